"""What a machine must have for the second half, asked before anything is made."""

import os
import shutil
from pathlib import Path

from dev.localkube.process import StepError, run

PROGRAMS = {
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "mount": "mount",
    "tar": "tar",
    "zstd": "zstd",
    "apt-get": "apt",
    "dpkg": "dpkg",
    "perl": "perl",
}
FREE_DISK_BYTES = 6 << 30
MEMORY_BYTES = 3 << 30

# One command that needs each of the kernel's parts; run in a namespace of its own, so that it leaves nothing.
LINK_PROBE = "ip link add probe0 type veth peer name probe1 && ip link add probe2 type bridge"


def require() -> None:
    """Raise StepError naming everything that is missing, each with its remedy."""
    missing = [*_missing_programs(), *_missing_rights()]
    if not missing:
        missing = [*_missing_kernel_parts(), *_missing_room()]
    if missing:
        raise StepError("this machine cannot run the local cluster:\n" + "\n".join(f"  - {line}" for line in missing))


def _missing_programs() -> list[str]:
    return [
        f"program {program!r} is missing: install the package {package}"
        for program, package in PROGRAMS.items()
        if shutil.which(program) is None
    ]


def _missing_rights() -> list[str]:
    if os.geteuid() != 0:
        return [
            (
                "root is needed to make namespaces and mounts: run as root, "
                "or start a container engine (Docker or Podman) that can pull kindest/node"
            )
        ]
    return []


def _missing_kernel_parts() -> list[str]:
    lines = []
    if "\toverlay" not in Path("/proc/filesystems").read_text():
        run(["modprobe", "overlay"], timeout_s=10, check=False)
        if "\toverlay" not in Path("/proc/filesystems").read_text():
            lines.append("the kernel has no overlayfs (CONFIG_OVERLAY_FS): use another kernel or another machine")
    probe = run(["unshare", "--net", "sh", "-c", LINK_PROBE], timeout_s=10, check=False)
    if probe.returncode != 0:
        lines.append(
            f"the kernel makes no veth or bridge links (CONFIG_VETH, CONFIG_BRIDGE): {probe.stderr.strip()}; "
            "if this is a container, start it with --privileged"
        )
    if not Path("/proc/sys/net/bridge/bridge-nf-call-iptables").exists():
        run(["modprobe", "br_netfilter"], timeout_s=10, check=False)
        if not Path("/proc/sys/net/bridge/bridge-nf-call-iptables").exists():
            lines.append("the kernel has no bridge netfilter (CONFIG_BRIDGE_NETFILTER): `modprobe br_netfilter` failed")
    return lines


def _missing_room() -> list[str]:
    lines = []
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if memory_bytes < MEMORY_BYTES:
        lines.append(f"{memory_bytes >> 20} MiB of memory: the cluster needs {MEMORY_BYTES >> 20} MiB")
    return lines


def require_room(folder: Path) -> None:
    """Raise StepError where ``folder`` cannot take the packages, the binaries and the engine's images."""
    folder.mkdir(parents=True, exist_ok=True)
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < FREE_DISK_BYTES:
        raise StepError(
            f"{folder} has {free_bytes >> 20} MiB free, the local cluster needs {FREE_DISK_BYTES >> 20} MiB: "
            "free some, or point XDG_CACHE_HOME to a larger disk"
        )


def require_nftables(environment: dict[str, str]) -> None:
    """Raise StepError where the kernel takes no nftables rules (asked with the nft that the cluster will use)."""
    probe = run(
        ["unshare", "--net", "nft", "add", "table", "inet", "probe"], timeout_s=10, env=environment, check=False
    )
    if probe.returncode != 0:
        raise StepError(
            f"the kernel takes no nftables rules (CONFIG_NF_TABLES): {probe.stderr.strip()}; "
            "run `modprobe nf_tables`, or use another kernel"
        )
