"""PID 1 of the cluster's sandbox: private /run, own cgroup, then one program; when either ends, everything ends.

Started by path with a bare interpreter, so it imports nothing of the project.
Usage: python sandbox_init.py SPEC.json
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

CGROUPS = Path("/sys/fs/cgroup")
# Only sysctls that belong to the network namespace: nothing here reaches the machine.
NETWORK_SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/conf/all/route_localnet": "1",
    "net/bridge/bridge-nf-call-iptables": "1",
}


def join_cgroups(name: str) -> None:
    for procs in (*CGROUPS.glob(f"*/{name}/engine/cgroup.procs"), CGROUPS / name / "engine" / "cgroup.procs"):
        if procs.exists():
            procs.write_text("0\n")  # "0" is the writer: a process inside a PID namespace cannot know its outer number


def reap_until_gone(child_pid: int) -> int:
    """Wait for ``child_pid`` while reaping the orphans that every PID 1 inherits (the containers' shims)."""
    while True:
        pid, status = os.wait()
        if pid == child_pid:
            return os.waitstatus_to_exitcode(status)


def main(spec: dict[str, Any]) -> int:
    if sys.stdin.readline() != "go\n":  # whoever makes the sandbox ended before it was complete
        return 1
    # A tmpfs over /run: pid files of an earlier run would name other processes, as numbers repeat in a fresh namespace.
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755,size=256m", "tmpfs", "/run"], check=True, timeout=10)
    for key, value in NETWORK_SYSCTLS.items():
        with contextlib.suppress(FileNotFoundError):
            Path("/proc/sys", key).write_text(value)
    join_cgroups(spec["cgroup"])
    child = subprocess.Popen(spec["argv"], env=spec["env"], stdin=subprocess.DEVNULL, start_new_session=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    return reap_until_gone(child.pid)


if __name__ == "__main__":
    sys.exit(main(json.loads(Path(sys.argv[1]).read_text())))
