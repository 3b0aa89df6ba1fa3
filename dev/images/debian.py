"""Building where no registry answers: root file systems out of Debian packages, images with buildah. No daemon."""

import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

from dev.cluster.place import from_environment
from dev.images.recipes import DEBIAN, Base, Image
from dev.localkube.process import StepError, run
from dev.localkube.tools import Say

EPOCH_S = 1735689600
"""2025-01-01: every file and every image is dated so, for equal trees to give equal digests."""
BUILD_TIMEOUT_S = 900
TOOLS = ("buildah", "mmdebstrap")
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def install_tools(say: Say) -> None:
    """Installs what is missing of buildah and mmdebstrap.

    Raises:
        StepError: they are missing and cannot be installed from here.
    """
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if not missing:
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise StepError(
            f"{', '.join(missing)} missing and no container engine with a registry answers: "
            "start Docker or Podman, or install them (on Debian, as root: apt-get install buildah mmdebstrap)"
        )
    say(f"installing {', '.join(missing)} with apt-get")
    run(["apt-get", "update", "-q"], timeout_s=180)
    run(
        ["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing],
        timeout_s=300,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
    )


def clear() -> None:
    """Removes what builds that were killed left in the store, and layers that no image needs any more."""
    _buildah("rm", "--all")
    _buildah("rmi", "--prune")


def build(image: Image, context: Path, archive: Path, say: Say, *, fresh_base: bool = False) -> None:
    """Builds `image` out of `context` into the OCI archive; its base is made where the cache has none.

    Raises:
        StepError: a package cannot be had, or a step of the Containerfile failed.
    """
    base = f"localhost/shieldx-base-{image.base.name}:{image.base.digest}"
    if fresh_base or base not in _buildah("images", "--format={{.Name}}:{{.Tag}}").split():
        _make_base(image.base, base, say)
    _buildah(
        "build",
        "--isolation=chroot",
        "--pull-never",
        "--layers",
        f"--timestamp={EPOCH_S}",
        f"--build-arg=BASE={base}",
        f"--tag={image.name}",
        f"--file={image.containerfile}",
        str(context),
        wrapper=("unshare", "--net"),  # chroot isolation alone would let the steps reach the network
    )
    _buildah("push", "--quiet", image.name, f"oci-archive:{archive}:{image.name}")


def debootstrap_command(base: Base, target: Path) -> list[str]:
    """The command that makes `base` as a tar file at `target`."""
    command = ["mmdebstrap", "--variant=minbase", "--quiet", f"--include={','.join(base.packages)}"]
    command += [f"--dpkgopt=path-exclude={pattern}" for pattern in base.leave_out]
    command += [f"--essential-hook={line}" for line in base.before_install]
    command += [f"--customize-hook={line}" for line in base.setup]
    if base.remove:
        force = "--force-depends --force-remove-essential --force-remove-protected"
        command.append(f'--customize-hook=chroot "$1" dpkg --purge {force} {" ".join(base.remove)} >/dev/null 2>&1')
    return [*command, DEBIAN, str(target)]


def _make_base(base: Base, name: str, say: Say) -> None:
    say(f"base {base.name}: a root file system out of Debian packages ({', '.join(base.packages)}), once")
    with tempfile.TemporaryDirectory() as folder:
        rootfs = Path(folder) / "rootfs.tar"
        # with SOURCE_DATE_EPOCH mmdebstrap dates all files so, and leaves out logs and machine ids by itself
        run(
            debootstrap_command(base, rootfs),
            timeout_s=BUILD_TIMEOUT_S,
            env={**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH_S)},
        )
        container = _buildah("from", "scratch").strip()
        try:
            _buildah("add", "--quiet", container, str(rootfs), "/")
            _buildah("config", f"--env=PATH={SEARCH_PATH}", container)
            _buildah("commit", "--quiet", f"--timestamp={EPOCH_S}", container, name)
        finally:
            _buildah("rm", container)


def _buildah(*arguments: str, wrapper: tuple[str, ...] = ()) -> str:
    return run([*wrapper, "buildah", *_store(), *arguments], timeout_s=BUILD_TIMEOUT_S).stdout


@cache
def _store() -> tuple[str, ...]:
    """Options that name the store: by overlay mounts where the file system bears them, else by copies."""
    folder = from_environment().cache / "images"
    overlay = (f"--root={folder}/store", f"--runroot={folder}/run", "--storage-driver=overlay")
    if run(["buildah", *overlay, "info"], timeout_s=60, check=False).returncode == 0:
        return overlay
    return (f"--root={folder}/store-vfs", f"--runroot={folder}/run-vfs", "--storage-driver=vfs")
