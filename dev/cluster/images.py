"""Loads image archives (OCI or ``docker save``) into the node, except those that it has already."""

import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev.cluster.providers import Provider
from dev.localkube.process import StepError, run

LOAD_TIMEOUT_S = 300
CTR = ("ctr", "--namespace=k8s.io")
NAME_ANNOTATIONS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


@dataclass(frozen=True)
class Archived:
    """One name in an archive and the digest that tells its contents: of the manifest (OCI) or the config (docker)."""

    name: str
    digest: str


def contents(archive: Path) -> list[Archived]:
    """The images of an archive.

    Raises:
        StepError: it is not an image archive, or an image in it has no name.
    """
    try:
        with tarfile.open(archive) as tar:
            names = tar.getnames()
            if "index.json" in names:
                found = _oci_contents(_read(tar, "index.json"))
            elif "manifest.json" in names:
                found = _docker_contents(_read(tar, "manifest.json"))
            else:
                raise StepError(f"{archive}: neither index.json (OCI) nor manifest.json (docker save) is in it")
    except (OSError, tarfile.TarError) as error:
        raise StepError(f"{archive}: not a readable image archive ({error})") from error
    if not found:
        raise StepError(f"{archive}: no image in it has a name; write it with a reference such as localhost/app:dev")
    return found


def load(provider: Provider, archive: Path) -> bool:
    """Put the archive's images into the node. False where it had them all.

    Raises:
        StepError: the archive is not readable, or the node refuses it.
    """
    if all(_is_there(provider, image, _node_images(provider)) for image in contents(archive)):
        return False
    command = provider.node_command(*CTR, "images", "import", "-")
    with archive.open("rb") as opened:
        run(command, timeout_s=LOAD_TIMEOUT_S, stdin=opened)
    return True


def qualified(name: str) -> str:
    """An image's name as containerd keeps it: ``busybox:1`` is ``docker.io/library/busybox:1``."""
    first, slash, _ = name.partition("/")
    if not slash:
        name = f"docker.io/library/{name}"
    elif "." not in first and ":" not in first and first != "localhost":
        name = f"docker.io/{name}"
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def parse_listing(listing: str) -> dict[str, str]:
    """Name to digest, out of what ``ctr images ls`` prints."""
    rows = (line.split() for line in listing.splitlines()[1:])
    return {row[0]: row[2] for row in rows if len(row) > 2}  # noqa: PLR2004 -- REF TYPE DIGEST ...


def _node_images(provider: Provider) -> dict[str, str]:
    return parse_listing(run(provider.node_command(*CTR, "images", "ls"), timeout_s=30).stdout)


def _is_there(provider: Provider, image: Archived, there: dict[str, str]) -> bool:
    digest = there.get(image.name)
    if digest is None or digest == image.digest:
        return digest is not None
    # An archive of `docker save` tells the config's digest only: ask the node's manifest for its own.
    manifest = run(provider.node_command(*CTR, "content", "get", digest), timeout_s=30, check=False).stdout
    try:
        return bool(json.loads(manifest)["config"]["digest"] == image.digest)
    except (ValueError, KeyError):
        return False


def _oci_contents(index: dict[str, Any]) -> list[Archived]:
    found = []
    for manifest in index.get("manifests", []):
        annotations = manifest.get("annotations") or {}
        name = next((annotations[key] for key in NAME_ANNOTATIONS if key in annotations), "")
        if "/" in name or ":" in name:  # a bare tag is no name: containerd would make one up
            found.append(Archived(name, manifest["digest"]))
    return found


def _docker_contents(manifest: list[dict[str, Any]]) -> list[Archived]:
    found = []
    for image in manifest:
        digest = "sha256:" + Path(image["Config"]).name.removesuffix(".json")
        found += [Archived(qualified(name), digest) for name in image.get("RepoTags") or []]
    return found


def _read(tar: tarfile.TarFile, name: str) -> Any:
    member = tar.extractfile(name)
    if member is None:
        raise StepError(f"{tar.name!r}: {name} in it is no file")
    return json.load(member)
