"""`python3 -m dev.tools helm ARGS…`: the helm of this machine, or one built from its pinned Go module."""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from dev.cluster.place import from_environment
from dev.gomodules import Program, build
from dev.localkube.process import StepError, run

_KUBERNETES = (("Major", "1"), ("Minor", "34"))
# what helm's own Makefile stamps: without it `helm template` and `helm lint` take Kubernetes for 1.20
_STAMPS = {
    "internal/version.version": "v3.19.5",
    **{f"pkg/{part}.k8sVersion{piece}": value for part in ("chartutil", "lint/rules") for piece, value in _KUBERNETES},
}
HELM = Program(
    "helm",
    Path(__file__).parent / "go" / "helm",
    "helm.sh/helm/v3/cmd/helm",
    " ".join(["-s -w", *(f"-X helm.sh/helm/v3/{name}={value}" for name, value in _STAMPS.items())]),
)
HELM_AT_LEAST = (3, 14)
HELM_BELOW = (4, 0)


def helm() -> Path:
    """A helm 3 that knows what the chart needs: the machine's own, else one that is built once and cached.

    Raises:
        StepError: none is installed, and Go is missing or the build failed.
    """
    installed = shutil.which("helm")
    if installed and HELM_AT_LEAST <= _version(installed) < HELM_BELOW:
        return Path(installed)

    def say(text: str) -> None:
        print(f"  {text}", file=sys.stderr, flush=True)

    return build(HELM, from_environment().cache / "tools", say, instead=", or install helm 3.14 or newer")


def _version(program: str) -> tuple[int, int]:
    said = run([program, "version", "--template={{.Version}}"], timeout_s=30, check=False).stdout
    found = re.match(r"v(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("python3 -m dev.tools", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    passed_on = commands.add_parser("helm", help="run helm", add_help=False, prefix_chars="\0")
    passed_on.add_argument("arguments", nargs=argparse.REMAINDER)
    chosen = parser.parse_args(arguments)
    try:
        program = helm()
    except StepError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    # a process of its own, not exec: callers of this module read its output and its exit status alike
    return subprocess.run([program, *chosen.arguments], env=os.environ, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
