"""The cluster's programs: built from pinned Go modules, or out of an archive of the same, checked by its digest."""

import hashlib
import os
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from dev.gomodules import LIST_TIMEOUT_S, Program, build, staged
from dev.localkube.process import StepError, run
from dev.localkube.settings import KUBERNETES_VERSION
from dev.localkube.tools import Say

ARCHIVE_NAME = f"localkube-all-{KUBERNETES_VERSION}.tar.zst"
ARCHIVE_SHA256 = "938f35874c1ebb931df0bf54d3517bdeb35367dd3cc8da2e51feb1cea34308d8"
ARCHIVE_VARIABLE = "SHIELDX_LOCALKUBE"

SOURCES = Path(__file__).parent / "go"

_VERSION_PACKAGES = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
_VERSION_VALUES = {
    "gitVersion": KUBERNETES_VERSION,
    "gitMajor": KUBERNETES_VERSION.split(".")[0].removeprefix("v"),
    "gitMinor": KUBERNETES_VERSION.split(".")[1],
    "gitTreeState": "clean",
    "buildDate": "2026-01-01T00:00:00Z",
}
_STAMPS = " ".join(
    f"-X {package}.{key}={value}" for package in _VERSION_PACKAGES for key, value in _VERSION_VALUES.items()
)


def _program(name: str, package: str = ".", ldflags: str = "-s -w") -> Program:
    return Program(name, SOURCES / name, package, ldflags)


# Upstream's, some 1,600 CPU seconds of compiling; the archive holds the same.
KIND = _program("kind", "sigs.k8s.io/kind")
UPSTREAM = (
    _program("localkube", ldflags=f"-s -w {_STAMPS}"),
    _program("coredns"),
    _program("metrics-server", "sigs.k8s.io/metrics-server/cmd/metrics-server"),
    _program("local-path-provisioner", "github.com/rancher/local-path-provisioner"),
    KIND,
)
OWN = (_program("pause"), _program("netpol"))


@dataclass(frozen=True)
class Binaries:
    """Where each program is, and a digest of them all."""

    paths: dict[str, Path]
    digest: str

    def __getitem__(self, name: str) -> Path:
        return self.paths[name]


def prepare(cache: Path, say: Say) -> Binaries:
    """Every program, built or unpacked at most once.

    Raises:
        StepError: the archive is not the one expected, Go is missing or too old, or a build failed.
    """
    unpacked = _unpacked_archive(cache / "bin", say)
    paths = {program.name: unpacked / program.name for program in UPSTREAM} if unpacked else {}
    for program in OWN if unpacked else (*UPSTREAM, *OWN):
        paths[program.name] = build_program(program, cache, say)
    identity = "\n".join(f"{name} {path.parent.name}" for name, path in sorted(paths.items()))
    return Binaries(paths, hashlib.sha256(identity.encode()).hexdigest()[:16])


def build_program(program: Program, cache: Path, say: Say) -> Path:
    """The built program's path.

    Raises:
        StepError: Go is missing or too old, or the build failed.
    """
    return build(
        program,
        cache / "bin",
        say,
        instead=", or start a container engine (Docker or Podman) that can pull kindest/node",
    )


def _unpacked_archive(target: Path, say: Say) -> Path | None:
    """The archive's folder where one is named, or where it was unpacked before: that stays in use until a purge."""
    named_folder = os.environ.get(ARCHIVE_VARIABLE, "")
    if named_folder:
        return unpack_archive(Path(named_folder), target, say)
    unpacked = target / f"archive-{ARCHIVE_SHA256[:16]}"
    return unpacked if unpacked.exists() else None


def unpack_archive(folder: Path, target: Path, say: Say) -> Path:
    """The folder of unpacked programs.

    Raises:
        StepError: the archive is not there, or its SHA-256 is another.
    """
    archive = folder / ARCHIVE_NAME
    unpacked = target / f"archive-{ARCHIVE_SHA256[:16]}"
    if unpacked.exists():
        return unpacked
    if not archive.is_file():
        raise StepError(
            f"{ARCHIVE_VARIABLE}={folder}: there is no {ARCHIVE_NAME} in it; name the folder that holds it, or unset "
            f"{ARCHIVE_VARIABLE} to build the programs (about 15 minutes on 2 cores)"
        )
    with archive.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != ARCHIVE_SHA256:
        raise StepError(
            f"{archive}: SHA-256 is {found}, expected {ARCHIVE_SHA256}; fetch it again, or unset {ARCHIVE_VARIABLE} "
            "to build the programs (about 15 minutes on 2 cores)"
        )
    say(f"programs: unpacking {archive.name}")
    with staged(unpacked) as staging, subprocess.Popen(["zstd", "-dcq", archive], stdout=subprocess.PIPE) as zstd:
        with tarfile.open(fileobj=zstd.stdout, mode="r|") as tar:
            for member in tar:
                if member.isfile():
                    member.name = Path(member.name).name
                    tar.extract(member, staging, filter="data")
        if zstd.wait(timeout=60) != 0:
            raise StepError(f"{archive}: zstd exited with {zstd.returncode}; fetch the archive again")
    return unpacked


def kind_sources(say: Say) -> Path:
    """The folder of kind's own module, which holds the files of its node image."""
    module = "sigs.k8s.io/kind"
    describe = ["go", "list", "-m", "-f", "{{.Dir}}", module]
    folder = run(describe, cwd=SOURCES / "kind", timeout_s=60).stdout.strip()
    if not folder:
        say(f"downloading the module {module}")
        run(["go", "mod", "download", module], cwd=SOURCES / "kind", timeout_s=LIST_TIMEOUT_S)
        folder = run(describe, cwd=SOURCES / "kind", timeout_s=60).stdout.strip()
    return Path(folder)
