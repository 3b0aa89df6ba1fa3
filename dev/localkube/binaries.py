"""The cluster's programs: built from pinned Go modules, or out of an archive of the same, checked by its digest."""

import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dev.localkube.process import StepError, run, tail
from dev.localkube.settings import KUBERNETES_VERSION
from dev.localkube.tools import Say

ARCHIVE_NAME = f"localkube-all-{KUBERNETES_VERSION}.tar.zst"
ARCHIVE_SHA256 = "938f35874c1ebb931df0bf54d3517bdeb35367dd3cc8da2e51feb1cea34308d8"
ARCHIVE_VARIABLE = "SHIELDX_LOCALKUBE"

SOURCES = Path(__file__).parent / "go"
GO_AT_LEAST = (1, 25)
GO_FLAGS = "-mod=readonly -trimpath -buildvcs=false"
LIST_TIMEOUT_S = 600  # the first listing downloads the modules
BUILD_TIMEOUT_S = 3600
REPORT_EVERY_S = 10

_VERSION_PACKAGES = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
_VERSION_VALUES = {
    "gitVersion": KUBERNETES_VERSION,
    "gitMajor": KUBERNETES_VERSION.split(".")[0].removeprefix("v"),
    "gitMinor": KUBERNETES_VERSION.split(".")[1],
    "gitTreeState": "clean",
    "buildDate": "2026-01-01T00:00:00Z",
}


@dataclass(frozen=True)
class Program:
    """One Go module under ``go/`` and the package in it that is the program."""

    name: str
    package: str = "."
    stamped: bool = False

    @property
    def folder(self) -> Path:
        return SOURCES / self.name

    @property
    def flags(self) -> str:
        if not self.stamped:
            return "-s -w"
        stamps = (
            f"-X {package}.{key}={value}" for package in _VERSION_PACKAGES for key, value in _VERSION_VALUES.items()
        )
        return " ".join(["-s -w", *stamps])


# Upstream's, some 1,600 CPU seconds of compiling; the archive holds the same.
KIND = Program("kind", "sigs.k8s.io/kind")
UPSTREAM = (
    Program("localkube", stamped=True),
    Program("coredns"),
    Program("metrics-server", "sigs.k8s.io/metrics-server/cmd/metrics-server"),
    Program("local-path-provisioner", "github.com/rancher/local-path-provisioner"),
    KIND,
)
OWN = (Program("pause"), Program("netpol"))


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
        paths[program.name] = build(program, cache / "bin", say)
    identity = "\n".join(f"{name} {path.parent.name}" for name, path in sorted(paths.items()))
    return Binaries(paths, hashlib.sha256(identity.encode()).hexdigest()[:16])


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
    with _staged(unpacked) as staging, subprocess.Popen(["zstd", "-dcq", archive], stdout=subprocess.PIPE) as zstd:
        with tarfile.open(fileobj=zstd.stdout, mode="r|") as tar:
            for member in tar:
                if member.isfile():
                    member.name = Path(member.name).name
                    tar.extract(member, staging, filter="data")
        if zstd.wait(timeout=60) != 0:
            raise StepError(f"{archive}: zstd exited with {zstd.returncode}; fetch the archive again")
    return unpacked


def build(program: Program, target: Path, say: Say) -> Path:
    """The built program's path.

    Raises:
        StepError: Go is missing or too old, or the build failed.
    """
    version = _go_version()
    folder = target / f"{program.name}-{source_digest(program, version)}"
    binary = folder / program.name
    if not binary.exists():
        environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": GO_FLAGS}
        packages = _packages_to_compile(program, environment)
        say(f"building {program.name} with {version}: {packages} packages to compile")
        with _staged(folder) as staging:
            _compile(program, staging / program.name, environment, Progress(program.name, packages, say))
    return binary


def source_digest(program: Program, go_version: str) -> str:
    """Changes with any file of the module, the compiler or the flags. Tests do not count."""
    digest = hashlib.sha256(f"{go_version} {program.package} {program.flags}".encode())
    for path in sorted(program.folder.rglob("*")):
        if path.is_file() and not path.name.endswith("_test.go"):
            digest.update(f"\n{path.relative_to(program.folder)} ".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


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


class Progress:
    """Says how far a build is, at most every ``REPORT_EVERY_S`` seconds."""

    def __init__(self, name: str, packages: int, say: Say) -> None:
        self._name, self._total, self._say = name, max(packages, 1), say
        self._started_s = self._said_s = time.monotonic()
        self._done = 0

    def compiled(self) -> None:
        self._done += 1
        now_s = time.monotonic()
        if now_s - self._said_s >= REPORT_EVERY_S:
            self._said_s = now_s
            self._say(self.line(now_s - self._started_s))

    def line(self, elapsed_s: float) -> str:
        share = min(self._done / self._total, 0.99)
        left_s = elapsed_s / share - elapsed_s if share else 0.0
        return f"building {self._name}: {share:.0%}, {self._done} of {self._total} packages, about {left_s:.0f} s left"


def _go_version() -> str:
    if shutil.which("go") is None:
        raise StepError(
            f"Go is not on this machine: install Go {GO_AT_LEAST[0]}.{GO_AT_LEAST[1]} or newer (https://go.dev/dl), "
            "or start a container engine (Docker or Podman) that can pull kindest/node"
        )
    version = run(["go", "env", "GOVERSION"], timeout_s=30, cwd=SOURCES / "pause").stdout.strip()
    found = re.match(r"go(\d+)\.(\d+)", version)
    if found is None or (int(found[1]), int(found[2])) < GO_AT_LEAST:
        raise StepError(
            f"{version} is too old: install Go {GO_AT_LEAST[0]}.{GO_AT_LEAST[1]} or newer (https://go.dev/dl)"
        )
    return version


def _packages_to_compile(program: Program, environment: dict[str, str]) -> int:
    listing = ["go", "list", "-deps", "-f", "{{if .Stale}}{{.ImportPath}}{{end}}", program.package]
    return len(run(listing, cwd=program.folder, env=environment, timeout_s=LIST_TIMEOUT_S).stdout.split())


def _compile(program: Program, output: Path, environment: dict[str, str], progress: Progress) -> None:
    argv = ["go", "build", "-v", "-ldflags", program.flags, "-o", str(output), program.package]
    lines: list[str] = []
    with subprocess.Popen(
        argv, cwd=program.folder, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as go:
        limit = threading.Timer(BUILD_TIMEOUT_S, go.kill)
        limit.start()
        try:
            for line in go.stderr or ():  # with -v, one line for each package compiled
                lines.append(line)
                progress.compiled()
        finally:
            limit.cancel()
    if go.returncode != 0:
        raise StepError(f"building {program.name} in {program.folder} failed:\n{tail(''.join(lines))}")


@contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    """A folder that gets its name only when it is complete, so that a killed run leaves nothing half made in use."""
    staging = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    yield staging
    staging.rename(folder)
