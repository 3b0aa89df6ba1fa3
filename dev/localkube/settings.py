"""What one local cluster is called, which addresses it has and where its files are."""

from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

KUBERNETES_VERSION = "v1.34.4"

# All from 198.18.0.0/15, the range RFC 2544 sets aside for tests: it can clash with no real network. Only the link is
# seen by the machine; the others exist inside the cluster's own network namespace, so two clusters may both use them.
DEFAULT_LINK = IPv4Network("198.18.250.0/30")
POD_NETWORK = IPv4Network("198.18.64.0/18")
SERVICE_NETWORK = IPv4Network("198.19.0.0/16")
ENGINE_BRIDGE = IPv4Interface("198.18.253.1/24")
ENGINE_POOL = IPv4Network("198.18.240.0/21")  # of which each of the engine's networks takes a /24
INSIDE = (POD_NETWORK, SERVICE_NETWORK, ENGINE_BRIDGE.network, ENGINE_POOL)
API_SERVER_PORT = 6443

LINK_NAME_MAX_LEN = 15  # IFNAMSIZ - 1


@dataclass(frozen=True)
class Settings:
    """One cluster: its name is also that of its network namespace, cgroup and folder."""

    cache: Path
    name: str = "shieldx"
    link: IPv4Network = DEFAULT_LINK

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or len(self.name) > LINK_NAME_MAX_LEN - len("-host"):
            raise ValueError(
                f"cluster name {self.name!r}: use at most {LINK_NAME_MAX_LEN - len('-host')} letters and digits"
            )
        if self.link.prefixlen != 30:  # noqa: PLR2004 -- a network of two ends
            raise ValueError(f"link network {self.link}: use a /30, one address for each end")
        if clash := next((network for network in INSIDE if network.overlaps(self.link)), None):
            raise ValueError(f"link network {self.link}: {clash} is used inside the cluster, take one outside of it")

    @property
    def host_address(self) -> str:
        return str(self.link[1])

    @property
    def engine_address(self) -> str:
        """Where the API server answers: the cluster's end of the link."""
        return str(self.link[2])

    @property
    def host_link(self) -> str:
        return f"{self.name}-host"

    @property
    def engine_link(self) -> str:
        return f"{self.name}-node"

    @property
    def node(self) -> str:
        """The node's name, which kind forms out of the cluster's."""
        return f"{self.name}-control-plane"

    @property
    def folder(self) -> Path:
        return self.cache / "clusters" / self.name

    @property
    def sandbox_pid_file(self) -> Path:
        return self.folder / "sandbox.json"

    @property
    def engine_log(self) -> Path:
        return self.folder / "engine.log"

    @property
    def engine_data(self) -> Path:
        """The engine's images and volumes. Kept between runs, because importing the node image costs 10 s."""
        return self.folder / "engine"

    @property
    def node_image(self) -> str:
        return f"localhost/shieldx-node:{KUBERNETES_VERSION}"
