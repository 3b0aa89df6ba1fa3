"""Writes one OCI archive of several images, from files, without an engine: the same files give the same bytes."""

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
SEARCH_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True)
class Layer:
    """Files by their path in the image, and links by path and target. Every folder above them is made."""

    files: Mapping[str, Path]
    links: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Image:
    names: tuple[str, ...]
    layers: tuple[Layer, ...]
    entrypoint: tuple[str, ...] = ()


def write(images: Iterable[Image], archive: Path, machine: str) -> None:
    """Write ``archive``; ``machine`` is the processor as ``uname -m`` says it. Layers that images share are in it once.

    Raises:
        KeyError: the processor is not in ``ARCHITECTURES``.
    """
    manifests = []
    with tarfile.open(archive, "w") as tar:
        seen: set[str] = set()
        written: dict[int, dict[str, Any]] = {}
        for image in images:
            layers = []
            for layer in image.layers:
                if id(layer) not in written:
                    written[id(layer)] = _add_layer(tar, layer, seen)
                layers.append(written[id(layer)])
            config = _config(image, [layer["digest"] for layer in layers], ARCHITECTURES[machine])
            manifest = {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "config": _add_json(tar, config, CONFIG_TYPE, seen),
                "layers": layers,
            }
            described = _add_json(tar, manifest, MANIFEST_TYPE, seen)
            manifests += [{**described, "annotations": {"io.containerd.image.name": name}} for name in image.names]
        _add_bytes(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _add_bytes(tar, "index.json", json.dumps({"schemaVersion": 2, "manifests": manifests}).encode())


def _config(image: Image, diff_ids: list[str], architecture: str) -> dict[str, Any]:
    process: dict[str, Any] = {"Env": [SEARCH_PATH]}
    if image.entrypoint:
        process["Entrypoint"] = list(image.entrypoint)
    return {
        "architecture": architecture,
        "os": "linux",
        "config": process,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }


def _add_layer(archive: tarfile.TarFile, layer: Layer, seen: set[str]) -> dict[str, Any]:
    with tempfile.TemporaryFile() as buffer:
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            paths = {*layer.files, *layer.links}
            for folder in sorted({str(parent) for path in paths for parent in Path(path).parents} - {"."}):
                tar.addfile(_entry(folder, tarfile.DIRTYPE))
            for path in sorted(paths):
                if path in layer.links:
                    entry = _entry(path, tarfile.SYMTYPE)
                    entry.linkname = layer.links[path]
                    tar.addfile(entry)
                    continue
                source = layer.files[path]
                entry = _entry(path, tarfile.REGTYPE)
                entry.size = source.stat().st_size
                with source.open("rb") as opened:
                    tar.addfile(entry, opened)
        size_bytes = buffer.tell()
        buffer.seek(0)
        digest = "sha256:" + hashlib.file_digest(buffer, "sha256").hexdigest()
        if digest not in seen:
            seen.add(digest)
            buffer.seek(0)
            blob = _entry(_blob_path(digest), tarfile.REGTYPE)
            blob.size = size_bytes
            archive.addfile(blob, buffer)
    return {"mediaType": LAYER_TYPE, "digest": digest, "size": size_bytes}


def _add_json(tar: tarfile.TarFile, document: dict[str, Any], media_type: str, seen: set[str]) -> dict[str, Any]:
    data = json.dumps(document, sort_keys=True).encode()
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    if digest not in seen:
        seen.add(digest)
        _add_bytes(tar, _blob_path(digest), data)
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


def _add_bytes(tar: tarfile.TarFile, path: str, data: bytes) -> None:
    entry = _entry(path, tarfile.REGTYPE)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


def _entry(path: str, kind: bytes) -> tarfile.TarInfo:
    """An entry without time, owner or umask: executable by all, because programs are what these images hold."""
    entry = tarfile.TarInfo(path)
    entry.type = kind
    entry.mode = 0o755
    return entry


def _blob_path(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")
