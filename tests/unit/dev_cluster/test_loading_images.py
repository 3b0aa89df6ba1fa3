import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from dev.cluster import images
from dev.cluster.images import Archived
from dev.localkube.process import StepError


def archive(path: Path, documents: dict[str, Any]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, document in documents.items():
            data = json.dumps(document).encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


def oci(path: Path, name: str, digest: str = "sha256:aa") -> Path:
    annotations = {"org.opencontainers.image.ref.name": name}
    return archive(path, {"index.json": {"manifests": [{"digest": digest, "annotations": annotations}]}})


class Node:
    """Stands for the node's ``ctr``: a script that answers from files and notes what is imported."""

    kind = "local"

    def __init__(self, folder: Path, images_there: dict[str, str], manifests: dict[str, str] | None = None) -> None:
        rows = "".join(f"{name} type {digest} 1 MiB linux/amd64 -\n" for name, digest in images_there.items())
        (folder / "listing").write_text("REF TYPE DIGEST SIZE PLATFORMS LABELS\n" + rows)
        for digest, config in (manifests or {}).items():
            (folder / digest).write_text(json.dumps({"config": {"digest": config}}))
        self.folder = folder

    def node_command(self, *argv: str) -> list[str]:
        match argv[2:]:
            case ["images", "ls"]:
                return ["cat", str(self.folder / "listing")]
            case ["content", "get", digest]:
                return ["cat", str(self.folder / digest)]
            case ["images", "import", "-"]:
                return ["tee", str(self.folder / "imported")]
        raise AssertionError(argv)

    def imported(self) -> bool:
        return (self.folder / "imported").exists()

    def create(self, kubeconfig: Path) -> None: ...

    def delete(self) -> None: ...

    def purge(self) -> None: ...

    def kubectl(self) -> list[str]:
        return []


def test_an_image_that_the_node_has_is_not_sent_again(tmp_path: Path) -> None:
    node = Node(tmp_path, {"localhost/app:1": "sha256:aa"})
    assert images.load(node, oci(tmp_path / "a.tar", "localhost/app:1")) is False
    assert not node.imported()


@pytest.mark.parametrize("there", [{}, {"localhost/app:1": "sha256:bb"}, {"localhost/other:1": "sha256:aa"}])
def test_an_image_that_is_missing_or_another_is_sent_whole(tmp_path: Path, there: dict[str, str]) -> None:
    node = Node(tmp_path, there)
    path = oci(tmp_path / "a.tar", "localhost/app:1")
    assert images.load(node, path) is True
    assert (tmp_path / "imported").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(("config", "sent"), [("sha256:c0", False), ("sha256:c1", True)])
def test_an_archive_of_docker_save_is_compared_by_its_configuration(tmp_path: Path, config: str, sent: bool) -> None:
    node = Node(tmp_path, {"docker.io/library/app:1": "sha256:aa"}, {"sha256:aa": config})
    path = archive(tmp_path / "a.tar", {"manifest.json": [{"Config": "c0.json", "RepoTags": ["app:1"]}]})
    assert images.load(node, path) is sent


def test_every_name_of_an_archive_counts(tmp_path: Path) -> None:
    path = archive(
        tmp_path / "a.tar", {"manifest.json": [{"Config": "blobs/sha256/c0", "RepoTags": ["app:1", "localhost/b:2"]}]}
    )
    assert images.contents(path) == [
        Archived("docker.io/library/app:1", "sha256:c0"),
        Archived("localhost/b:2", "sha256:c0"),
    ]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("team/app:1", "docker.io/team/app:1"),
        ("localhost/app:1", "localhost/app:1"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
    ],
)
def test_names_are_completed_as_the_engine_completes_them(given: str, kept: str) -> None:
    assert images.qualified(given) == kept


def test_an_archive_without_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="no image in it has a name"):
        images.contents(oci(tmp_path / "a.tar", "latest"))


def test_what_is_no_archive_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no tar")
    with pytest.raises(StepError, match=r"notes\.txt: not a readable image archive"):
        images.contents(path)
    with pytest.raises(StepError, match="neither index"):
        images.contents(archive(tmp_path / "b.tar", {"other": {}}))
