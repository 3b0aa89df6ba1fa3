"""The engine's programs out of Debian packages, unpacked into the cache: nothing is installed, no daemon is started."""

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dev.localkube.process import StepError, run

PACKAGES = ("docker.io", "containerd", "runc", "iptables", "nftables", "mmdebstrap")
UPDATE_TIMEOUT_S = 180
DOWNLOAD_TIMEOUT_S = 300
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Tools:
    """A folder of unpacked packages, used through the environment alone."""

    root: Path
    sources: tuple[str, ...]

    def program(self, name: str) -> str:
        """The path of a program of the packages, or of the machine's own where that was installed already.

        Raises:
            StepError: neither has it.
        """
        found = shutil.which(name, path=self.environment()["PATH"])
        if found is None:
            raise StepError(f"the program {name!r} is in none of the packages {', '.join(PACKAGES)} under {self.root}")
        return found

    def environment(self) -> dict[str, str]:
        """Variables under which the unpacked programs find each other, their libraries and no user configuration."""
        folders = [self.root / "links", *(self.root / part for part in ("usr/sbin", "usr/bin", "sbin", "bin"))]
        libraries = sorted({library.parent for library in (self.root / "usr/lib").rglob("*.so.*")})
        environment = {
            "PATH": ":".join([*map(str, folders), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]),
            "HOME": str(self.root),
            "LC_ALL": "C.UTF-8",
        }
        if libraries:
            environment["LD_LIBRARY_PATH"] = ":".join(map(str, libraries))
        for extensions in (self.root / "usr/lib").glob("*/xtables"):
            environment["XTABLES_LIBDIR"] = str(extensions)
        for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
            if name in os.environ:
                environment[name] = os.environ[name]
        return environment


def prepare(cache: Path, say: Say) -> Tools:
    """Unpack the packages into the cache, once.

    Raises:
        StepError: no Debian archive is configured, or it does not answer.
    """
    there = find(cache)
    if there is not None:
        return there
    sources = debian_sources(_index_targets())
    root = cache / "tools" / _digest()
    say(f"Debian packages {', '.join(PACKAGES)}: downloading and unpacking into {root} (nothing is installed)")
    _unpack(cache / "apt", root, sources)
    return Tools(root, sources)


def find(cache: Path) -> Tools | None:
    """The tools that an earlier run unpacked."""
    root = cache / "tools" / _digest()
    sources = root / "sources.list"
    return Tools(root, tuple(sources.read_text().splitlines())) if sources.exists() else None


def _digest() -> str:
    return hashlib.sha256("\n".join(PACKAGES).encode()).hexdigest()[:16]


def debian_sources(index_targets: str) -> tuple[str, ...]:
    """One-line apt sources for the machine's Debian archives, from ``URI RELEASE COMPONENT ORIGIN`` lines.

    Raises:
        StepError: there is none.
    """
    signed_by = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
    sources = []
    for line in index_targets.splitlines():
        match line.split():
            case [uri, release, "main", "Debian"]:
                sources.append(f"deb {signed_by}{uri} {release} main")
    if not sources:
        raise StepError(
            "apt knows no Debian archive (`apt-get indextargets` lists no `main` of origin Debian): run "
            "`apt-get update` on Debian, or start a container engine (Docker or Podman) that can pull kindest/node"
        )
    return tuple(dict.fromkeys(sources))


def _index_targets() -> str:
    listing = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)"]
    found = run([*listing, "Created-By: Packages"], timeout_s=20).stdout
    if " Debian" not in found:  # a machine whose package lists were deleted, as images of containers are
        run(["apt-get", "update", "-q"], timeout_s=UPDATE_TIMEOUT_S, check=False)
        found = run([*listing, "Created-By: Packages"], timeout_s=20).stdout
    return found


def _unpack(apt: Path, root: Path, sources: tuple[str, ...]) -> None:
    """Download with an apt state of our own, so that the machine's package lists and cache stay as they are."""
    for folder in ("lists/partial", "archives/partial"):
        (apt / folder).mkdir(parents=True, exist_ok=True)
    (apt / "sources.list").write_text("\n".join(sources) + "\n")
    options = [
        *("-o", f"Dir::Etc::SourceList={apt}/sources.list"),
        *("-o", "Dir::Etc::SourceParts=-"),
        *("-o", f"Dir::State::Lists={apt}/lists"),
        *("-o", f"Dir::Cache={apt}"),
        *("-o", f"Dir::Cache::Archives={apt}/archives"),
        *("-o", "APT::Sandbox::User=root"),
        *("-o", "Acquire::Retries=3"),
        *("-o", "Acquire::http::Timeout=20"),
        *("-o", "Debug::NoLocking=1"),
    ]
    run(["apt-get", *options, "-q", "update"], timeout_s=UPDATE_TIMEOUT_S)
    install = ["install", "--download-only", "--no-install-recommends", "--reinstall", "-y", "-q", *PACKAGES]
    run(["apt-get", *options, *install], timeout_s=DOWNLOAD_TIMEOUT_S)
    staging = root.with_name(root.name + ".partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    for package in sorted((apt / "archives").glob("*.deb")):
        run(["dpkg", "-x", str(package), str(staging)], timeout_s=120)
    _link_alternatives(staging)
    shutil.copy(apt / "sources.list", staging / "sources.list")
    staging.rename(root)
    shutil.rmtree(apt, ignore_errors=True)


def _link_alternatives(root: Path) -> None:
    """The names that a package's postinst would have linked."""
    links = root / "links"
    links.mkdir()
    for name in ("iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"):
        (links / name).symlink_to("../usr/sbin/xtables-nft-multi")
