"""A next release, made of this one's image: the same program with one more migration."""

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

NAME_ANNOTATION = "org.opencontainers.image.ref.name"


def with_file(archive: Path, name: str, path: str, text: str, made: Path) -> None:
    """Writes to `made` the OCI archive of `archive`'s image under another `name`, with one file more at `path`."""
    layer = gzip.compress(_layer(path, text.encode()), mtime=0)
    with tarfile.open(archive) as old, tarfile.open(made, "w") as new:
        index = _json(old, "index.json")
        manifest = _json(old, _blob(index["manifests"][0]["digest"]))
        config = _json(old, _blob(manifest["config"]["digest"]))
        config["rootfs"]["diff_ids"].append(_digest(gzip.decompress(layer)))
        config.setdefault("history", []).append({"created_by": "one file more"})
        manifest["layers"].append({**manifest["layers"][-1], "digest": _digest(layer), "size": len(layer)})
        manifest["config"] |= _described(_add(new, json.dumps(config).encode()))
        _add(new, layer)
        described = _described(_add(new, json.dumps(manifest).encode()))
        entry = {"mediaType": manifest["mediaType"], **described, "annotations": {NAME_ANNOTATION: name}}
        _write(new, "index.json", json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode())
        for member in old.getmembers():
            if member.isfile() and member.name != "index.json":
                new.addfile(member, old.extractfile(member))


def _layer(path: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as layer:
        _write(layer, path.lstrip("/"), content)
    return out.getvalue()


def _write(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    tar.addfile(info, io.BytesIO(content))


def _add(tar: tarfile.TarFile, content: bytes) -> bytes:
    _write(tar, _blob(_digest(content)), content)
    return content


def _described(content: bytes) -> dict[str, Any]:
    return {"digest": _digest(content), "size": len(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _json(tar: tarfile.TarFile, name: str) -> dict[str, Any]:
    member = tar.extractfile(name)
    assert member is not None, f"{name} is no file"
    found: dict[str, Any] = json.loads(member.read())
    return found
