"""runc, asked only for capabilities that this machine grants.

``docker run --privileged`` asks for all of them, and runc fails with "unable to apply caps" where the bounding set
lacks one (CAP_SYS_RESOURCE in many sandboxes). Set as the engine's runtime; runc's own path is the first argument.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# In the order of the bits, linux/capability.h.
CAPABILITIES = (  # noqa: SIM905 -- forty lines otherwise
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN "
    "SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE "
    "MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
).split()


def bounding_set(status: str) -> frozenset[str]:
    """The capabilities named in ``CapBnd`` of a /proc/PID/status text, as ``CAP_...``."""
    mask = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapBnd:"))
    return frozenset(f"CAP_{name}" for bit, name in enumerate(CAPABILITIES) if mask >> bit & 1)


def within(process: dict[str, Any], granted: frozenset[str]) -> None:
    """Drop from an OCI process every capability that is not granted, in place."""
    sets: dict[str, list[str] | None] = process.get("capabilities") or {}
    for kind, names in sets.items():
        sets[kind] = [name for name in names or [] if name in granted]


def option(arguments: Sequence[str], *names: str) -> str | None:
    """The value of a command line option, given as ``--name value`` or ``--name=value``."""
    for position, argument in enumerate(arguments):
        for name in names:
            if argument == name:
                return arguments[position + 1]
            if argument.startswith(f"{name}="):
                return argument.removeprefix(f"{name}=")
    return None


def rewrite(path: Path, process_of: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    document = json.loads(path.read_text())
    within(process_of(document), bounding_set(Path("/proc/self/status").read_text()))
    path.write_text(json.dumps(document))


def main(runc: str, arguments: Sequence[str]) -> None:
    if {"create", "run"} & set(arguments):
        bundle = option(arguments, "--bundle", "-b") or "."
        rewrite(Path(bundle, "config.json"), lambda document: document["process"])
    elif "exec" in arguments and (process_file := option(arguments, "--process", "-p")):
        rewrite(Path(process_file), lambda document: document)
    os.execv(runc, ["runc", *arguments])  # noqa: S606 -- this program is a stand-in for runc


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
