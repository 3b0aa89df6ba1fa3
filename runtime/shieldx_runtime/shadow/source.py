"""The bytes of a task's data, as a stream: out of a file or a bucket, decompressed, within bounds."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, cast

import zstandard

from shieldx_runtime.shadow.errors import DataError
from shieldx_runtime.shadow.task import Data, S3Object

READ_BYTES: Final = 1 << 20
FREE_BYTES: Final = 256 * 2**20
MAX_GROWTH: Final = 200
"""Beyond `FREE_BYTES`, data may not grow by more than this when they are decompressed."""
CONNECT_TIMEOUT_S: Final = 10
READ_TIMEOUT_S: Final = 60
ATTEMPTS: Final = 4

S3Credentials = tuple[str, str]
"""Access key id and secret access key."""


class _Counted:
    """A stream that tells how much was read of it."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self.read_bytes = 0

    def read(self, size: int = -1) -> bytes:
        got = self._raw.read(size)
        self.read_bytes += len(got)
        return got


class Opened:
    """The data as they are when they are decompressed. `seekable` is there for a format that needs it."""

    def __init__(self, raw: IO[bytes], data: Data, name: str) -> None:
        self._name = name
        self._counted = _Counted(raw)
        self._stream = _decompressed(self._counted, data)
        self._grown_bytes = 0

    def blocks(self) -> Iterator[bytes]:
        """Blocks of at most `READ_BYTES`.

        Raises:
            DataError: they are not compressed as was said, are cut short, or grow out of proportion.
        """
        while True:
            try:
                block = self._stream.read(READ_BYTES)
            except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
                raise DataError(f"{self._name} cannot be decompressed, or is cut short: {error}") from error
            except OSError as error:
                raise DataError(f"{self._name} cannot be read: {error}") from error
            if not block:
                return
            self._grown_bytes += len(block)
            if self._grown_bytes > FREE_BYTES and self._grown_bytes > MAX_GROWTH * self._counted.read_bytes:
                raise DataError(
                    f"{self._name} grows more than {MAX_GROWTH}-fold when it is decompressed: no traffic does, so it "
                    "is refused; store it with less compression if it is meant so"
                )
            yield block


def _decompressed(counted: _Counted, data: Data) -> IO[bytes]:
    raw = cast("IO[bytes]", counted)
    if data.compression == "gzip":
        return cast("IO[bytes]", gzip.GzipFile(fileobj=raw))
    if data.compression == "zstd":
        reader = zstandard.ZstdDecompressor().stream_reader(raw, read_size=READ_BYTES, read_across_frames=True)
        return cast("IO[bytes]", reader)
    return raw


@contextmanager
def opened(data: Data, credentials: S3Credentials | None = None) -> Iterator[Opened]:
    """The data, from their beginning.

    Raises:
        DataError: they are not there or may not be read.
    """
    if isinstance(data.place, S3Object):
        with _s3_body(data.place, credentials) as body:
            yield Opened(body, data, f"s3://{data.place.bucket}/{data.place.key}")
        return
    try:
        raw = Path(data.place).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise DataError(f"{data.place} cannot be read: {error.strerror}") from error
    with raw:
        yield Opened(raw, data, data.place)


@contextmanager
def _s3_body(place: S3Object, credentials: S3Credentials | None) -> Iterator[IO[bytes]]:
    # an import of a third of a second that files need not pay
    import boto3  # noqa: PLC0415
    from botocore import UNSIGNED  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    config: dict[str, Any] = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "read_timeout": READ_TIMEOUT_S,
        "retries": {"mode": "standard", "total_max_attempts": ATTEMPTS},
        "s3": {"addressing_style": "path"},
    }
    if credentials is None:
        config["signature_version"] = UNSIGNED
    key_id, secret = credentials or (None, None)
    client = boto3.client(
        "s3",
        endpoint_url=place.endpoint,
        region_name=place.region or "us-east-1",
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        config=Config(**config),
    )
    try:
        body = client.get_object(Bucket=place.bucket, Key=place.key)["Body"]
    except (BotoCoreError, ClientError) as error:
        raise DataError(f"s3://{place.bucket}/{place.key} at {place.endpoint} cannot be read: {error}") from error
    try:
        yield cast("IO[bytes]", body)
    finally:
        body.close()
