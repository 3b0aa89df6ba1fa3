"""Building: from the public bases where an engine and a registry answer, else from Debian packages with buildah."""

import json
import os
import shutil
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dev.cluster.place import from_environment
from dev.cluster.providers import REGISTRY, answering_engine, registry_answers
from dev.images.recipes import ROOT, STATE, Base, Image, copy_code
from dev.localkube.process import StepError, run

EPOCH = "1735689600"
"""2025-01-01: every file and every image is dated so, for equal trees to give equal digests."""
BUILD_TIMEOUT_S = 900
TOOLS = ("buildah", "mmdebstrap")


def say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def all_images(wanted: Iterable[Image]) -> None:
    """Builds those whose inputs have changed; the archives replace the old ones in one step each.

    Raises:
        StepError: a tool is missing, or a build failed.
    """
    stale = [image for image in wanted if _recorded(image).get("inputs") != image.inputs_digest()]
    if not stale:
        return
    STATE.mkdir(parents=True, exist_ok=True)
    engine = answering_engine()
    if engine and not registry_answers(REGISTRY):
        engine = None
    for image in stale:
        start = time.monotonic()
        making = image.archive.with_suffix(".making")
        making.unlink(missing_ok=True)
        if engine:
            _with_engine(engine, image, making)
        else:
            _with_buildah(image, making)
        making.replace(image.archive)
        _record_file(image).write_text(json.dumps({"inputs": image.inputs_digest()}))
        say(f"{image.name}: {time.monotonic() - start:.1f} s")


def describe(image: Image) -> dict[str, Any]:
    """Name, archive, digest of the manifest and size of a built image."""
    with tarfile.open(image.archive) as tar:
        names = tar.getnames()
        index = tar.extractfile("index.json" if "index.json" in names else "manifest.json")
        found = json.loads(index.read()) if index else {}
    digest = found["manifests"][0]["digest"] if isinstance(found, dict) else f"config:{found[0]['Config']}"
    size_mib = round(image.archive.stat().st_size / 2**20)
    return {"name": image.name, "archive": str(image.archive), "digest": digest, "size_mib": size_mib}


def _record_file(image: Image) -> Path:
    return image.archive.with_suffix(".json")


def _recorded(image: Image) -> dict[str, str]:
    if not (image.archive.exists() and _record_file(image).exists()):
        return {}
    recorded: dict[str, str] = json.loads(_record_file(image).read_text())
    return recorded


def _with_engine(engine: str, image: Image, archive: Path) -> None:
    """The stores are the public images as they are; the platform is built on the public Python."""
    if image.public_base is None:
        run([engine, "pull", image.name], timeout_s=BUILD_TIMEOUT_S)
    else:
        with tempfile.TemporaryDirectory() as folder:
            context = _context(image, Path(folder))
            base = f"--build-arg=BASE={image.public_base}"
            run(
                [engine, "build", base, f"--tag={image.name}", f"--file={image.containerfile}", str(context)],
                timeout_s=BUILD_TIMEOUT_S,
                env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH},
            )
    run([engine, "save", f"--output={archive}", image.name], timeout_s=BUILD_TIMEOUT_S)


def _with_buildah(image: Image, archive: Path) -> None:
    _install_tools()
    base = f"localhost/shieldx-base-{image.base.name}:{image.base.digest}"
    if base not in _buildah("images", "--format={{.Name}}:{{.Tag}}"):
        _make_base(image.base, base)
    with tempfile.TemporaryDirectory() as folder:
        context = _context(image, Path(folder))
        _buildah(
            "build",
            "--isolation=chroot",
            "--pull-never",
            "--layers",
            f"--timestamp={EPOCH}",
            f"--build-arg=BASE={base}",
            f"--tag={image.name}",
            f"--file={image.containerfile}",
            str(context),
            wrapper=("unshare", "--net"),  # no step may need the network; chroot isolation alone would allow it
        )
    _buildah("push", "--quiet", image.name, f"oci-archive:{archive}:{image.name}")


def _buildah(*arguments: str, wrapper: tuple[str, ...] = ()) -> str:
    store = from_environment().cache / "images"
    options = [f"--root={store}/store", f"--runroot={store}/run", "--storage-driver=overlay"]
    return run([*wrapper, "buildah", *options, *arguments], timeout_s=BUILD_TIMEOUT_S).stdout


def _make_base(base: Base, name: str) -> None:
    say(f"base {base.name}: a root file system out of Debian packages ({', '.join(base.packages)})")
    with tempfile.TemporaryDirectory() as folder:
        rootfs = Path(folder) / "rootfs.tar"
        command = ["mmdebstrap", "--variant=minbase", "--quiet", f"--include={','.join(base.packages)}"]
        command += [f"--dpkgopt=path-exclude={pattern}" for pattern in base.leave_out]
        command += [f"--essential-hook={line}" for line in base.before_install]
        command += [f"--customize-hook={line}" for line in base.setup]
        # mmdebstrap clamps times to this and leaves out logs and machine ids by itself
        environment = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH}
        run([*command, "bookworm", str(rootfs)], timeout_s=BUILD_TIMEOUT_S, env=environment)
        container = _buildah("from", "scratch").strip()
        try:
            _buildah("add", "--quiet", container, str(rootfs), "/")
            _buildah("config", "--env=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", container)
            _buildah("commit", "--quiet", f"--timestamp={EPOCH}", container, name)
        finally:
            _buildah("rm", container)


def _context(image: Image, folder: Path) -> Path:
    """The build context: for the platform its dependencies and code, else the files beside the Containerfile."""
    if image.key != "platform":
        for file in image.context:
            shutil.copy(file, folder / file.name)
        return folder
    copy_code(folder / "code")
    _install_dependencies(folder / "dependencies")
    return folder


def _install_dependencies(target: Path) -> None:
    """The wheels of the lock file, each checked by its hash, for the image's Python and no other."""
    uv = shutil.which("uv", path=f"{ROOT / '.tools' / 'bin'}:{os.environ['PATH']}")
    if uv is None:
        raise StepError("uv is missing, which installs the locked dependencies; run `make venv` first")
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder) / "requirements.txt"
        export = ["export", "--frozen", "--no-dev", "--no-emit-project", "--quiet", f"--output-file={requirements}"]
        run([uv, *export], timeout_s=60, cwd=ROOT)
        run(
            [
                *(uv, "pip", "install", "--quiet", "--require-hashes", "--only-binary=:all:", "--no-deps"),
                *("--python-version=3.11", f"--python-platform={os.uname().machine}-manylinux_2_28"),
                *(f"--target={target}", f"--requirement={requirements}", "--link-mode=copy"),
            ],
            timeout_s=BUILD_TIMEOUT_S,
            cwd=ROOT,
        )
    for rubbish in (target / "bin", target / ".lock"):
        if rubbish.is_dir():
            shutil.rmtree(rubbish)
        else:
            rubbish.unlink(missing_ok=True)


def _install_tools() -> None:
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
