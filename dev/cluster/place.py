"""The cluster's name and files: caches and the owner's record per user, the kubeconfig per checkout."""

import os
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from dev.localkube.process import StepError
from dev.localkube.settings import DEFAULT_LINK, Settings

CHECKOUT = Path(__file__).resolve().parents[2]
DEFAULT_NAME = "shieldx"


@dataclass(frozen=True)
class Place:
    """One cluster's name, its link's addresses and its two folders. Two places never meet."""

    name: str
    link: IPv4Network
    cache: Path
    checkout: Path

    @property
    def state(self) -> Path:
        """The folder in the checkout; git ignores it."""
        folder = self.checkout / ".state"
        return folder if self.name == DEFAULT_NAME else folder / self.name

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def choice(self) -> Path:
        """Which kind of cluster the kubeconfig leads to."""
        return self.state / "cluster.json"

    @property
    def record(self) -> Path:
        return self.cache / "cluster" / f"{self.name}.json"

    @property
    def lock(self) -> Path:
        return self.cache / "cluster" / f"{self.name}.lock"

    @property
    def settings(self) -> Settings:
        """The same for the second half."""
        return Settings(self.cache / "localkube", self.name, self.link)


def from_environment() -> Place:
    """The place that this process works on.

    Raises:
        StepError: a variable holds no valid value.
    """
    named_cache = os.environ.get("XDG_CACHE_HOME", "")
    cache = (Path(named_cache) if named_cache else Path.home() / ".cache") / "shieldx"
    name = os.environ.get("SHIELDX_CLUSTER_NAME", DEFAULT_NAME)
    link = os.environ.get("SHIELDX_CLUSTER_LINK", str(DEFAULT_LINK))
    try:
        place = Place(name, IPv4Network(link), cache, CHECKOUT)
        _ = place.settings  # it checks both
    except ValueError as error:
        raise StepError(f"SHIELDX_CLUSTER_NAME={name} SHIELDX_CLUSTER_LINK={link}: {error}") from error
    return place
