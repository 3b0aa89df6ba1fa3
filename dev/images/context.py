"""What a build sees: the project's code and the locked dependencies in a folder, so that no step needs the network."""

import os
import shutil
import tempfile
from pathlib import Path

from dev.cluster.place import from_environment
from dev.images.recipes import PYTHON_VERSION, ROOT, Image, code, project_files, version
from dev.localkube.process import StepError, run

INSTALL_TIMEOUT_S = 900
SOURCES_ONLY = ("libinjection-python",)
"""Dependencies that publish no wheels; they are compiled here, by this machine's C compiler and Python."""


def prepare(image: Image, folder: Path) -> None:
    """Fills `folder`: with dependencies and code, with one program, or with the files beside the Containerfile.

    Raises:
        StepError: uv is missing, or a dependency cannot be had or is not the locked one.
    """
    if image.key == "platform":
        copy_code(folder / "code")
        install_dependencies(folder / "dependencies")
    elif image.key == "objects":
        copy_program("weed", folder)
    else:
        for file in image.context:
            shutil.copyfile(file, folder / file.name)
    even_out(folder)


def copy_program(name: str, folder: Path) -> None:
    """A program that a locked wheel has brought into this checkout's environment.

    Raises:
        StepError: it is not there.
    """
    program = ROOT / ".venv" / "bin" / name
    if not program.is_file():
        raise StepError(f"{name} is not in {program.parent}; `make venv` brings it")
    shutil.copyfile(program, folder / name)


def copy_code(target: Path) -> None:
    """The project's packages, and the metadata by which the operator finds its own version."""
    for folder in code():
        source = ROOT / folder
        for file in project_files([source]):
            copy = target / source.name / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    metadata = target / f"shieldx_platform-{version()}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: shieldx-platform\nVersion: {version()}\n")


def install_dependencies(target: Path) -> None:
    """The wheels of the lock file, each checked by its hash, for the image's Python and no other.

    Raises:
        StepError: see `prepare`.
    """
    uv = shutil.which("uv", path=f"{ROOT / '.tools' / 'bin'}:{os.environ['PATH']}")
    if uv is None:
        raise StepError("uv, which installs the locked dependencies, is missing; `make image` brings it")
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder) / "requirements.txt"
        export = ["export", "--frozen", "--no-dev", "--no-emit-project", "--quiet", f"--output-file={requirements}"]
        run([uv, *export], timeout_s=60, cwd=ROOT)
        run(
            [
                *(uv, "pip", "install", "--quiet", "--require-hashes", "--only-binary=:all:", "--no-deps"),
                *(f"--no-binary={name}" for name in SOURCES_ONLY),
                *(f"--python-version={PYTHON_VERSION}", f"--python-platform={os.uname().machine}-manylinux_2_28"),
                *(f"--target={target}", f"--requirement={requirements}", "--link-mode=copy"),
            ],
            timeout_s=INSTALL_TIMEOUT_S,
            cwd=ROOT,
            # what is compiled must not remember the folder that it was compiled in; and not in uv's usual cache, which
            # would give what was compiled for this machine's own use
            env={
                **os.environ,
                "UV_CACHE_DIR": str(from_environment().cache / "images" / "uv"),
                "CFLAGS": "-O2 -g0",
                "LDFLAGS": "-s -Wl,--build-id=none",
            },
        )
    shutil.rmtree(target / "bin", ignore_errors=True)
    (target / ".lock").unlink(missing_ok=True)


def even_out(folder: Path) -> None:
    """Gives every file the same rights whatever the umask was, so that equal trees give equal layers."""
    for path in folder.rglob("*"):
        runs = path.is_dir() or path.suffix == ".sh"
        path.chmod(0o755 if runs else 0o644)
