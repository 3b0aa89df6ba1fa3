"""What is evaluated, as a document: the operator writes it for a worker, the API makes it out of a request."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from shieldx_runtime.shadow.errors import TaskError

Format = Literal["ndjson", "csv", "parquet"]
Compression = Literal["none", "gzip", "zstd"]

FORMATS: Final = ("ndjson", "csv", "parquet")
COMPRESSIONS: Final = ("none", "gzip", "zstd")
_ENDS: Final = {".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "ndjson", ".csv": "csv", ".parquet": "parquet"}
_PACKED: Final = {".gz": "gzip", ".zst": "zstd"}
MAX_SAMPLE_SIZE: Final = 1_000_000_000
MAX_SEED: Final = 2**53 - 1


@dataclass(frozen=True, slots=True)
class S3Object:
    """An object of a bucket. Credentials are no part of a task: they come in files."""

    endpoint: str
    bucket: str
    key: str
    region: str | None = None


@dataclass(frozen=True, slots=True)
class Data:
    """Where the samples are, and how they are written."""

    place: str | S3Object
    format: Format
    compression: Compression

    @classmethod
    def from_dict(cls, document: Any, path: str = "data") -> "Data":
        """Reads `{path}` or `{s3: {endpoint, bucket, key, region?}}`, with `format?` and `compression?`.

        Raises:
            TaskError: a field is missing or wrong, or the format cannot be told from the name.
        """
        if not isinstance(document, Mapping):
            raise TaskError(path, "must be an object with path or s3")
        _only(document, path, ("path", "s3", "format", "compression"))
        if ("path" in document) == ("s3" in document):
            raise TaskError(path, "must have exactly one of path and s3")
        place = _s3(document["s3"], f"{path}.s3") if "s3" in document else _text(document, path, "path")
        name = place.key if isinstance(place, S3Object) else place
        stem, packed = name, "none"
        for end, kind in _PACKED.items():
            if name.lower().endswith(end):
                stem, packed = name[: -len(end)], kind
        by_name = next((kind for end, kind in _ENDS.items() if stem.lower().endswith(end)), None)
        chosen: Any = document.get("format") or by_name
        compression: Any = document.get("compression") or packed
        if chosen not in FORMATS:
            told = f"is {chosen!r}" if chosen else f"is not given, and the name {name!r} does not tell it"
            raise TaskError(f"{path}.format", f"{told}; it must be one of {', '.join(FORMATS)}")
        if compression not in COMPRESSIONS:
            raise TaskError(f"{path}.compression", f"is {compression!r}; it must be one of {', '.join(COMPRESSIONS)}")
        return cls(place, chosen, compression)


@dataclass(frozen=True, slots=True)
class Task:
    """One question. `rule` and `baseline` are documents: each process compiles its own.

    `shards`, `workers` and `batch_size` say how it is computed and never change a number.
    """

    rule: Mapping[str, Any]
    data: Data
    baseline: Mapping[str, Any] | None = None
    sample_size: int | None = None
    seed: int = 0
    shards: int = 1
    workers: int = 1
    batch_size: int = 100

    @classmethod
    def from_dict(cls, document: Any) -> "Task":
        """Reads `{rule, baseline?, data, sampleSize?, seed?, shards?, workers?, batchSize?}`.

        Raises:
            TaskError: a field is unknown, missing, or out of its range. Rules are checked where they are compiled.
        """
        if not isinstance(document, Mapping):
            raise TaskError("task", "must be an object")
        numbers = {"sampleSize": MAX_SAMPLE_SIZE, "shards": 64, "workers": 32, "batchSize": 100_000}
        _only(document, "task", ("rule", "baseline", "data", "seed", *numbers))
        for field in ("rule", "data"):
            if field not in document:
                raise TaskError(field, "is missing")
        chosen = {name: _whole(document, name, 1, most) for name, most in numbers.items() if name in document}
        return cls(
            rule=document["rule"],
            baseline=document.get("baseline"),
            data=Data.from_dict(document["data"]),
            sample_size=chosen.get("sampleSize"),
            seed=_whole(document, "seed", 0, MAX_SEED) if "seed" in document else 0,
            shards=chosen.get("shards", 1),
            workers=chosen.get("workers", 1),
            batch_size=chosen.get("batchSize", 100),
        )


def _only(document: Mapping[str, Any], path: str, known: tuple[str, ...]) -> None:
    for name in document:
        if name not in known:
            raise TaskError(f"{path}.{name}", f"is unknown; there are {', '.join(known)}")


def _text(document: Mapping[str, Any], path: str, field: str) -> str:
    value = document.get(field)
    if not isinstance(value, str) or not value:
        raise TaskError(f"{path}.{field}", "must be a text that is not empty")
    return value


def _s3(document: Any, path: str) -> S3Object:
    if not isinstance(document, Mapping):
        raise TaskError(path, "must be an object with endpoint, bucket and key")
    _only(document, path, ("endpoint", "bucket", "key", "region"))
    endpoint, bucket, key = (_text(document, path, field) for field in ("endpoint", "bucket", "key"))
    return S3Object(endpoint, bucket, key, document.get("region"))


def _whole(document: Mapping[str, Any], field: str, least: int, most: int) -> int:
    value = document[field]
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise TaskError(field, f"is {value!r}; it must be a whole number from {least} to {most:,}")
    return value
