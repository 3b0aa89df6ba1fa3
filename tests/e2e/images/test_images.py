"""The images as `make image` builds them, out of this tree."""

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
BUILD_TIMEOUT_S = 1800
Built = dict[str, dict[str, Any]]


def dev_images(*arguments: str, cache: Path | None = None) -> str:
    environment = os.environ if cache is None else {**os.environ, "XDG_CACHE_HOME": str(cache)}
    done = subprocess.run(
        [sys.executable, "-m", "dev.images", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def listed() -> Built:
    found: list[dict[str, Any]] = json.loads(dev_images("list", "--json"))
    return {image["name"].rpartition("/")[2].partition(":")[0]: image for image in found}


def config(archive: str) -> dict[str, Any]:
    """The image's configuration out of its OCI archive."""
    with tarfile.open(archive) as tar:

        def read(digest: str) -> dict[str, Any]:
            blob = tar.extractfile(f"blobs/{digest.replace(':', '/')}")
            assert blob is not None
            found: dict[str, Any] = json.loads(blob.read())
            return found

        index = tar.extractfile("index.json")
        assert index is not None
        manifest = read(json.loads(index.read())["manifests"][0]["digest"])
        configured: dict[str, Any] = read(manifest["config"]["digest"])["config"]
    return configured


@pytest.fixture(scope="module")
def built() -> Built:
    dev_images("build")
    return listed()


@pytest.mark.parametrize(("name", "user"), [("platform", "10001:10001"), ("postgres", "999:999"), ("redis", "999:999")])
def test_an_image_runs_as_a_user_without_rights(built: Built, name: str, user: str) -> None:
    assert config(built[name]["archive"])["User"] == user


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Path]:
    """A cache that knows no layer and no base."""
    (tmp_path / "shieldx").mkdir()
    yield tmp_path
    # what buildah wrote belongs to users of its own, and its mounts are gone when it ends
    subprocess.run(["rm", "-rf", str(tmp_path / "shieldx")], check=True, timeout=120)


def test_an_unchanged_tree_gives_the_same_digest_on_a_base_made_anew(built: Built, cache: Path) -> None:
    dev_images("build", "--fresh", "platform", cache=cache)
    assert listed()["platform"]["digest"] == built["platform"]["digest"]
