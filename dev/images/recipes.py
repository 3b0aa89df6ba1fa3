"""Which images there are and what goes into each: data, and the digests that tell whether a build is needed."""

import hashlib
import subprocess
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
STATE = ROOT / ".state" / "images"
HERE = ROOT / "dev" / "images"
DEBIAN = "bookworm"
PYTHON_VERSION = "3.11"
"""Of both Python bases; the wheels are chosen for it."""


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def version() -> str:
    return str(project()["project"]["version"])


def code() -> tuple[str, ...]:
    """The folders of the distribution's packages, as the wheel has them."""
    return tuple(project()["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])


@dataclass(frozen=True)
class Base:
    """A root file system out of Debian packages, for machines where no registry answers.

    `before_install` and `setup` are shell lines run with the new root in `$1`, before the packages are configured and
    after. `leave_out` are paths that are never unpacked. `remove` are packages that only an installation needs.
    """

    name: str
    packages: tuple[str, ...]
    before_install: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        return digest_of(DEBIAN.encode(), repr(self).encode())


_DOCS = tuple(f"/usr/share/{part}/*" for part in ("doc", "man", "locale", "info", "lintian", "bug"))
# instead of usrmerge, which brings all of Perl
_MERGED = "usr-is-merged"
# In a running container nobody installs, partitions, mounts or logs in. What is left out cannot be misused either.
_INSTALLERS = (
    *("apt", "libapt-pkg6.0", "gpgv", "debian-archive-keyring", "adduser", "debconf", "perl-base"),
    *("e2fsprogs", "libext2fs2", "logsave", "mount", "util-linux", "util-linux-extra", "bsdutils"),
    *("login", "passwd", "sysvinit-utils", "init-system-helpers"),
)

PYTHON = Base(
    "python",
    # the last two make and restore copies: pg_dump and pg_restore, redis-cli and redis-check-rdb
    ("python3.11", "ca-certificates", "libexpat1", "zlib1g", "postgresql-client-15", "redis-tools", _MERGED),
    setup=(
        # Debian's wrappers are in Perl, which is left out
        'cd "$1/usr/bin" && for tool in ../lib/postgresql/15/bin/*; do ln -sf "$tool" .; done',
        'ln -s python3.11 "$1/usr/bin/python3"; ln -s python3.11 "$1/usr/bin/python"',
        # the Containerfile compiles them anew, by content: these here know the source's time, which is about to change
        'find "$1/usr/lib/python3.11" -name __pycache__ -exec rm -r {} +',
    ),
    leave_out=(*_DOCS, "/usr/lib/*-linux-gnu/gconv/*", "/usr/share/zoneinfo/*"),
    remove=(*_INSTALLERS, "openssl"),
)
POSTGRES = Base(
    "postgres",
    ("postgresql-15", "postgresql-client-15", _MERGED),
    before_install=(
        'mkdir -p "$1/etc/postgresql-common"',
        'echo "create_main_cluster = false" > "$1/etc/postgresql-common/createcluster.conf"',
    ),
    setup=(
        'chroot "$1" groupmod -g 999 postgres && chroot "$1" usermod -u 999 -g 999 postgres',
        'mkdir -p "$1/var/lib/postgresql/data"',
        'chown -R 999:999 "$1/var/lib/postgresql" "$1/var/run/postgresql"',
        # Debian's wrappers of psql and its like look for a cluster of Debian's own kind
        'cd "$1/usr/bin" && for tool in ../lib/postgresql/15/bin/*; do ln -sf "$tool" .; done',
    ),
    # the JIT compiler is half of the image and of no use to short statements
    leave_out=(*_DOCS, "/usr/lib/postgresql/15/lib/llvmjit*", "/usr/lib/postgresql/15/lib/bitcode/*", "*/libLLVM*"),
)
REDIS = Base(
    "redis",
    ("redis-server", "redis-tools", _MERGED),
    setup=(
        'chroot "$1" groupmod -g 999 redis && chroot "$1" usermod -u 999 -g 999 redis',
        'mkdir -p "$1/data" && chown -R 999:999 "$1/data" "$1/var/lib/redis" "$1/var/log/redis"',
    ),
    leave_out=(*_DOCS, "/usr/lib/*-linux-gnu/gconv/*", "/usr/share/zoneinfo/*"),
)
TESTTOOLS = Base(
    "testtools",
    ("curl", "wrk", "postgresql-client-15", "redis-tools", "python3-minimal", "ca-certificates", _MERGED),
    leave_out=(*_DOCS, "/usr/share/zoneinfo/*"),
)
# for a static program: no more than what its Containerfile's shell lines need
SMALL = Base("small", (_MERGED,), leave_out=(*_DOCS, "/usr/share/zoneinfo/*"), remove=_INSTALLERS)


@dataclass(frozen=True)
class Image:
    """One image.

    `public_base` is what its Containerfile starts from where a registry answers; without one, the public image of the
    same name is taken as it is there. `context` is what the build sees. A plain `build` makes the `default` ones.
    """

    key: str
    name: str
    containerfile: Path
    base: Base
    public_base: str | None
    context: tuple[Path, ...] = ()
    default: bool = True

    @property
    def archive(self) -> Path:
        return STATE / f"{self.key}.tar"

    def inputs_digest(self) -> str:
        """Changes whenever the image would, and with the code that builds it."""
        parts = [self.name.encode(), self.base.digest.encode()]
        for file in sorted(set(project_files((self.containerfile, *self.context, *HERE.glob("*.py"))))):
            parts += [str(file.relative_to(ROOT)).encode(), file.read_bytes()]
        return digest_of(*parts)


def images() -> tuple[Image, ...]:
    return (
        Image(
            "platform",
            f"ghcr.io/shieldx/platform:{version()}",
            ROOT / "Containerfile",
            PYTHON,
            f"docker.io/library/python:{PYTHON_VERSION}-slim-bookworm",
            (*(ROOT / folder for folder in code()), ROOT / "uv.lock", ROOT / "pyproject.toml"),
        ),
        Image(
            "postgres",
            "docker.io/library/postgres:15",
            HERE / "postgres" / "Containerfile",
            POSTGRES,
            None,
            (HERE / "postgres" / "docker-entrypoint.sh",),
        ),
        Image("redis", "docker.io/library/redis:7", HERE / "redis" / "Containerfile", REDIS, None),
        Image(
            "testtools",
            "localhost/shieldx-testtools:1",
            HERE / "testtools" / "Containerfile",
            TESTTOOLS,
            f"docker.io/library/debian:{DEBIAN}-slim",
            default=False,
        ),
        Image(
            "objects",
            "localhost/shieldx-objects:1",
            HERE / "objects" / "Containerfile",
            SMALL,
            f"docker.io/library/debian:{DEBIAN}-slim",
            (ROOT / "uv.lock",),  # which names the wheel that the program comes from
            default=False,
        ),
    )


def project_files(paths: Iterable[Path]) -> Iterator[Path]:
    """The files at and below `paths` that are the project's: what git tracks or would, not what it ignores.

    Where git does not know the folder (an unpacked release), everything but Python's caches is.
    """
    wanted = [str(path.relative_to(ROOT)) for path in paths]
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *wanted]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.CalledProcessError):
        for path in map(ROOT.joinpath, wanted):
            found = path.rglob("*") if path.is_dir() else [path]
            yield from (file for file in found if file.is_file() and "__pycache__" not in file.parts)
    else:
        yield from (file for name in listed.stdout.split("\0") if name and (file := ROOT / name).is_file())


def digest_of(*parts: bytes) -> str:
    """16 hexadecimal digits; the borders between the parts count."""
    joined = hashlib.sha256()
    for part in parts:
        joined.update(len(part).to_bytes(8, "big"))
        joined.update(part)
    return joined.hexdigest()[:16]
