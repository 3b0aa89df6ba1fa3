"""Which images there are and what goes into each: data, and the digests that tell whether a build is needed."""

import hashlib
import shutil
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STATE = ROOT / ".state" / "images"
PYTHON_BASE = "docker.io/library/python:3.11-slim-bookworm"
CODE = ("operator/shieldx_operator", "runtime/shieldx_runtime", "contract/shieldx_contract")


def version() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


@dataclass(frozen=True)
class Base:
    """A root file system out of Debian packages. `setup` are shell lines run with the new root in `$1`."""

    name: str
    packages: tuple[str, ...]
    before_install: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        return _digest(repr(self).encode())


_DOCS = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*", "/var/cache/*")

PYTHON = Base(
    "python",
    ("python3.11", "python-is-python3", "ca-certificates", "libexpat1", "zlib1g"),
    leave_out=_DOCS,
)
STORES = Base(
    "stores",
    ("postgresql-15", "redis-server", "redis-tools"),
    before_install=(
        'mkdir -p "$1/etc/postgresql-common"',
        'echo "create_main_cluster = false" > "$1/etc/postgresql-common/createcluster.conf"',
    ),
    setup=(
        'chroot "$1" groupmod -g 999 postgres && chroot "$1" usermod -u 999 -g 999 postgres',
        'mkdir -p "$1/data" && chown 999:999 "$1/data" "$1/var/lib/postgresql" "$1/var/run/postgresql"',
    ),
    # the JIT compiler is a third of the image and of no use to short statements
    leave_out=(*_DOCS, "/usr/lib/postgresql/15/lib/llvmjit*", "/usr/lib/postgresql/15/lib/bitcode/*", "*/libLLVM*"),
)


@dataclass(frozen=True)
class Image:
    """One image. `public_base` is what its Containerfile starts from where a registry answers."""

    key: str
    name: str
    containerfile: Path
    base: Base
    public_base: str | None
    context: tuple[Path, ...]

    @property
    def archive(self) -> Path:
        return STATE / f"{self.key}.tar"

    def inputs_digest(self) -> str:
        """Changes whenever the image would."""
        files = sorted(_files((self.containerfile, *self.context)))
        parts = [self.name.encode(), self.base.digest.encode()]
        for file in files:
            parts += [str(file.relative_to(ROOT)).encode(), file.read_bytes()]
        return _digest(*parts)


def images() -> tuple[Image, ...]:
    here = ROOT / "dev" / "images"
    return (
        Image(
            "platform",
            f"ghcr.io/shieldx/platform:{version()}",
            ROOT / "Containerfile",
            PYTHON,
            PYTHON_BASE,
            (*(ROOT / folder for folder in CODE), ROOT / "uv.lock", ROOT / "pyproject.toml"),
        ),
        Image(
            "postgres",
            "docker.io/library/postgres:15",
            here / "postgres" / "Containerfile",
            STORES,
            None,
            (here / "postgres" / "docker-entrypoint.sh",),
        ),
        Image("redis", "docker.io/library/redis:7", here / "redis" / "Containerfile", STORES, None, ()),
    )


def copy_code(target: Path) -> None:
    """The project's packages alone, without what Python or an editor left beside them."""
    for folder in CODE:
        shutil.copytree(
            ROOT / folder, target / Path(folder).name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
        )


def _files(paths: Iterable[Path]) -> Iterable[Path]:
    for path in paths:
        if path.is_dir():
            yield from (p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
        else:
            yield path


def _digest(*parts: bytes) -> str:
    joined = hashlib.sha256()
    for part in parts:
        joined.update(len(part).to_bytes(8, "big"))
        joined.update(part)
    return joined.hexdigest()[:16]
