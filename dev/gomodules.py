"""Programs out of Go modules in this tree: built once for each state of their sources and cached by its digest."""

import hashlib
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dev.localkube.process import StepError, run, tail

GO_AT_LEAST = (1, 25)
GO_FLAGS = "-mod=readonly -trimpath -buildvcs=false"
LIST_TIMEOUT_S = 600  # the first listing downloads the modules
BUILD_TIMEOUT_S = 3600
REPORT_EVERY_S = 10

Say = Callable[[str], None]


@dataclass(frozen=True)
class Program:
    """The Go module in ``folder`` and the package in it that is the program ``name``. ``ldflags`` go to the linker."""

    name: str
    folder: Path
    package: str = "."
    ldflags: str = "-s -w"


def build(program: Program, target: Path, say: Say, *, instead: str = "") -> Path:
    """The built program's path, below ``target``. ``instead`` ends the message of a machine without Go.

    Raises:
        StepError: Go is missing or too old, or the build failed.
    """
    version = _go_version(program.name, instead)
    folder = target / f"{program.name}-{source_digest(program, version)}"
    binary = folder / program.name
    if not binary.exists():
        environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": GO_FLAGS}
        packages = _packages_to_compile(program, environment)
        say(f"building {program.name} with {version}: {packages} packages to compile")
        with staged(folder) as staging:
            _compile(program, staging / program.name, environment, Progress(program.name, packages, say))
    return binary


def source_digest(program: Program, go_version: str) -> str:
    """Changes with any file of the module, the compiler or the flags. Tests do not count."""
    digest = hashlib.sha256(f"{go_version} {program.package} {program.ldflags}".encode())
    for path in sorted(program.folder.rglob("*")):
        if path.is_file() and not path.name.endswith("_test.go"):
            digest.update(f"\n{path.relative_to(program.folder)} ".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


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


def _go_version(needed_for: str, instead: str) -> str:
    if shutil.which("go") is None:
        raise StepError(
            f"Go is not on this machine, and {needed_for} is built with it: install Go "
            f"{GO_AT_LEAST[0]}.{GO_AT_LEAST[1]} or newer (https://go.dev/dl){instead}"
        )
    version = run(["go", "env", "GOVERSION"], timeout_s=30, cwd="/").stdout.strip()
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
    argv = ["go", "build", "-v", "-ldflags", program.ldflags, "-o", str(output), program.package]
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
def staged(folder: Path) -> Iterator[Path]:
    """A folder that gets its name only when it is complete, so that a killed run leaves nothing half made in use."""
    staging = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    yield staging
    staging.rename(folder)
