"""Building what has changed: from the public bases where an engine and a registry answer, else from Debian packages."""

import fcntl
import json
import os
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dev.cluster.place import from_environment
from dev.cluster.providers import REGISTRY, answering_engine, registry_answers
from dev.images import context, debian
from dev.images.recipes import STATE, Image
from dev.localkube.process import StepError, run

LOCK_TIMEOUT_S = 1800


def say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def all_images(wanted: Iterable[Image], *, fresh: bool = False) -> None:
    """Builds those whose inputs have changed, or with `fresh` all, on bases made anew.

    Each archive replaces the old one in one step.

    Raises:
        StepError: a tool is missing, a build failed, or another build did not end.
    """
    stale = [image for image in wanted if fresh or not is_current(image)]
    if not stale:
        return
    STATE.mkdir(parents=True, exist_ok=True)
    with _alone():
        engine = _engine_with_registry()
        if engine is None:
            debian.install_tools(say)
            debian.clear()
        made_bases: set[str] = set()
        for image in stale:
            start_s = time.monotonic()
            inputs = image.inputs_digest()
            making = image.archive.with_suffix(".making")
            making.unlink(missing_ok=True)
            with tempfile.TemporaryDirectory() as folder:
                if engine:
                    _with_engine(engine, image, Path(folder), making)
                else:
                    context.prepare(image, Path(folder))
                    remake = fresh and image.base.name not in made_bases
                    debian.build(image, Path(folder), making, say, fresh_base=remake)
                    made_bases.add(image.base.name)
            making.replace(image.archive)
            _record_file(image).write_text(json.dumps({"inputs": inputs}))
            say(f"{image.name}: built in {time.monotonic() - start_s:.1f} s")


def is_current(image: Image) -> bool:
    """Whether the archive was built from what the tree holds now."""
    if not (image.archive.exists() and _record_file(image).exists()):
        return False
    return bool(json.loads(_record_file(image).read_text()).get("inputs") == image.inputs_digest())


def describe(image: Image) -> dict[str, Any]:
    """Name, archive, digest (of the manifest, or where the engine writes none, of the configuration) and size."""
    with tarfile.open(image.archive) as tar:
        names = tar.getnames()
        index = tar.extractfile("index.json" if "index.json" in names else "manifest.json")
        found = json.loads(index.read()) if index else {}
    if isinstance(found, dict):
        digest = found["manifests"][0]["digest"]
    else:
        digest = f"sha256:{Path(found[0]['Config']).name.removesuffix('.json')}"
    size_mib = round(image.archive.stat().st_size / 2**20)
    return {"name": image.name, "archive": str(image.archive), "digest": digest, "size_mib": size_mib}


def _record_file(image: Image) -> Path:
    return image.archive.with_suffix(".json")


def _engine_with_registry() -> str | None:
    engine = answering_engine()
    return engine if engine and registry_answers(REGISTRY) else None


def _with_engine(engine: str, image: Image, folder: Path, archive: Path) -> None:
    """The stores are the public images as they are; the platform is built on the public Python."""
    if image.public_base is None:
        run([engine, "pull", image.name], timeout_s=debian.BUILD_TIMEOUT_S)
    else:
        context.prepare(image, folder)
        dated = [f"--timestamp={debian.EPOCH_S}"] if engine == "podman" else []
        run(
            [
                *(engine, "build", f"--build-arg=BASE={image.public_base}", *dated),
                *(f"--tag={image.name}", f"--file={image.containerfile}", str(folder)),
            ],
            timeout_s=debian.BUILD_TIMEOUT_S,
            env={**os.environ, "SOURCE_DATE_EPOCH": str(debian.EPOCH_S)},
        )
    run([engine, "save", f"--output={archive}", image.name], timeout_s=debian.BUILD_TIMEOUT_S)


@contextmanager
def _alone() -> Iterator[None]:
    """Waits until no other build of this user runs: they share the store of layers."""
    folder = from_environment().cache / "images"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        deadline_s = time.monotonic() + LOCK_TIMEOUT_S
        told = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline_s:
                    raise StepError(f"another build holds {lock.name} for {LOCK_TIMEOUT_S} s; end it") from None
                if not told:
                    say("waiting for another build of this user")
                    told = True
                time.sleep(0.5)
        yield
