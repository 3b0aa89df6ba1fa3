"""The cluster's sandbox: network, PID and mount namespaces and a cgroup, made and removed as a whole.

PID 1 of the sandbox is ``sandbox_init.py``: when it is killed, the kernel ends every process of the cluster and with
them the namespaces. None has a name in the file system that could be left behind. The network namespace has no default
route and no uplink, only the link to this machine, so nothing of the cluster can leave it.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dev.localkube.process import StepError, run, tail, wait_until
from dev.localkube.settings import Settings
from dev.localkube.tools import Tools

CGROUPS = Path("/sys/fs/cgroup")
INIT = Path(__file__).with_name("sandbox_init.py")
KILL_TIMEOUT_S = 30


@dataclass(frozen=True)
class Sandbox:
    """A running sandbox: ``unshare``'s PID, and that of its child, PID 1 inside."""

    outer_pid: int
    init_pid: int

    def enter(self, argv: Sequence[str]) -> list[str]:
        """The command that runs ``argv`` inside."""
        return ["nsenter", f"--target={self.init_pid}", "--mount", "--pid", "--net", "--", *argv]


def find(settings: Settings) -> Sandbox | None:
    """The sandbox that an earlier run started, if it is still alive."""
    try:
        record = json.loads(settings.sandbox_pid_file.read_text())
    except (FileNotFoundError, ValueError):
        return None
    outer_pid, started_ticks = record["outer_pid"], record["started_ticks"]
    if _start_ticks(outer_pid) != started_ticks:  # gone, or its number was given to another process
        return None
    children = _children(outer_pid)
    return Sandbox(outer_pid, children[0]) if children else None


def start(settings: Settings, tools: Tools, argv: Sequence[str], environment: dict[str, str]) -> Sandbox:
    """Make the sandbox and run ``argv`` in it.

    Its first process waits for our word on its standard input, and ends where it gets none: a run that is killed before
    the sandbox is complete and on record leaves nothing alive.

    Raises:
        StepError: a part could not be made. What was made is left for ``remove``.
    """
    settings.folder.mkdir(parents=True, exist_ok=True)
    _make_cgroups(settings.name)
    spec = settings.folder / "sandbox-spec.json"
    spec.write_text(json.dumps({"cgroup": settings.name, "argv": list(argv), "env": environment}))
    unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc"]
    options = ["--propagation=private", "--kill-child=KILL"]
    with settings.engine_log.open("w") as log:
        outer = subprocess.Popen(
            [*unshare, *options, sys.executable, "-I", str(INIT), str(spec)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
    wait_until(
        "the sandbox's first process",
        lambda: outer.poll() is not None or bool(_children(outer.pid)),
        timeout_s=10,
        every_s=0.05,
    )
    if outer.poll() is not None or outer.stdin is None:
        raise StepError(f"the sandbox ended at once:\n{tail(settings.engine_log.read_text())}")
    sandbox = Sandbox(outer.pid, _children(outer.pid)[0])
    record = {"outer_pid": outer.pid, "started_ticks": _start_ticks(outer.pid)}
    settings.sandbox_pid_file.write_text(json.dumps(record))
    _make_network(settings, tools, sandbox)
    outer.stdin.write(b"go\n")
    outer.stdin.close()
    return sandbox


def remove(settings: Settings) -> None:
    """Remove whatever there is of the sandbox. Safe to repeat, and after a run that was killed at any point.

    Raises:
        StepError: a process, a cgroup or the link does not go.
    """
    groups = [root / settings.name for root in _hierarchies()]
    sandbox = find(settings)
    if os.geteuid() != 0 and (sandbox is not None or any(group.exists() for group in groups)):
        raise StepError(f"root made the cluster {settings.name}: run `make down` as root")
    if sandbox is not None:
        _kill(sandbox.init_pid)
        wait_until(
            f"the end of process {sandbox.outer_pid} (the sandbox)",
            lambda: _start_ticks(sandbox.outer_pid) is None,
            timeout_s=KILL_TIMEOUT_S,
            every_s=0.05,
        )
    for pid in _members(settings.name):  # where the record of the sandbox is lost
        _kill(pid)
    _remove_cgroups(settings.name)
    # The link goes with the namespace, which the kernel takes down in its own time.
    link = Path("/sys/class/net", settings.host_link)
    if link.exists():
        run(["ip", "link", "del", settings.host_link], timeout_s=20, check=False)
    wait_until(f"the end of link {settings.host_link}", lambda: not link.exists(), timeout_s=KILL_TIMEOUT_S)
    for path in (settings.sandbox_pid_file, settings.folder / "sandbox-spec.json"):
        path.unlink(missing_ok=True)


def guard_rules(settings: Settings) -> str:
    """Rules of the sandbox: nothing new is forwarded to the machine, and only it is reached over the link.

    Not in ``output``: that hook sees the device before DNAT, and would break aggregated APIs.
    """
    return f"""table inet shieldx_guard {{
  chain forward {{
    type filter hook forward priority -20; policy accept;
    oifname "{settings.engine_link}" ct state new drop
  }}
  chain postrouting {{
    type filter hook postrouting priority -20; policy accept;
    oifname "{settings.engine_link}" ip daddr != {settings.host_address} drop
  }}
}}
"""


def _make_network(settings: Settings, tools: Tools, sandbox: Sandbox) -> None:
    host, engine, prefix = settings.host_link, settings.engine_link, settings.link.prefixlen
    run(f"ip link add {host} type veth peer name {engine} netns {sandbox.init_pid}".split(), timeout_s=20)
    run(f"ip addr add {settings.host_address}/{prefix} dev {host}".split(), timeout_s=20)
    run(f"ip link set {host} up".split(), timeout_s=20)
    # nsenter and not `ip netns exec`: that remounts /sys and hides the cgroups.
    inside = ["nsenter", f"--target={sandbox.init_pid}", "--net", "--"]
    for command in (
        "ip link set lo up",
        f"ip addr add {settings.engine_address}/{prefix} dev {engine}",
        f"ip link set {engine} up",
    ):
        run([*inside, *command.split()], timeout_s=20)
    run([*inside, "nft", "-f", "-"], timeout_s=20, env=tools.environment(), stdin_text=guard_rules(settings))


def _hierarchies() -> list[Path]:
    """The roots of the mounted cgroup hierarchies: one of version 2, or one for each controller of version 1."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return [path for path in sorted(CGROUPS.iterdir()) if (path / "cgroup.procs").exists() and not path.is_symlink()]


def _make_cgroups(name: str) -> None:
    for root in _hierarchies():
        for group in (root / name, root / name / "engine"):
            group.mkdir(exist_ok=True)
            for setting in ("cpuset.cpus", "cpuset.mems"):  # version 1: a new group has none and takes no process
                if (root / setting).exists() and (group / setting).exists():
                    (group / setting).write_text((group.parent / setting).read_text())


def _members(name: str) -> Iterator[int]:
    """Every process of the cluster's cgroups."""
    for root in _hierarchies():
        for procs in (root / name).rglob("cgroup.procs"):
            yield from (int(pid) for pid in procs.read_text().split() if pid != "0")


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _remove_cgroups(name: str) -> None:
    """Remove the cluster's groups, innermost first, as soon as the kernel has taken the ended processes out of them."""
    for group in (root / name for root in _hierarchies()):
        wait_until(
            f"the removal of cgroup {group} (see cgroup.procs in it)",
            lambda group=group: _is_removed(group),  # type: ignore[misc]  # the default binds this turn's group
            timeout_s=KILL_TIMEOUT_S,
            every_s=0.05,
        )


def _is_removed(group: Path) -> bool:
    for folder, _, _ in os.walk(group, topdown=False):
        with suppress(OSError):  # its processes are still ending
            Path(folder).rmdir()
    return not group.exists()


def _start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks after boot, or None when there is none (a zombie is none)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])


def _children(pid: int) -> list[int]:
    children = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == pid:
            children.append(int(stat.parent.name))
    return children
