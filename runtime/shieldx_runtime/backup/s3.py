"""S3 as a destination, by boto3: every object with a SHA-256 that the server checks, long ones in parts."""

import base64
import hashlib
import random
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import boto3
import urllib3.exceptions
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    HTTPClientError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)

from shieldx_runtime.backup.destination import SMALL_BYTES, Condition, Found
from shieldx_runtime.backup.errors import (
    BackupError,
    ConflictError,
    DamagedError,
    DestinationError,
    NoSpaceError,
    NotFoundError,
    RefusedError,
)
from shieldx_runtime.backup.streams import CHUNK_BYTES

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART_BYTES: Final = 16 << 20
_MAX_PARTS: Final = 10_000
_UPLOADERS: Final = 3
"""Parts in flight; memory is at most (this + 2) parts."""
_TRIES: Final = 5
_RESUMES: Final = 8
_CONNECT_TIMEOUT_S: Final = 10
_READ_TIMEOUT_S: Final = 30
_SHOWN_UPLOADS: Final = 1000
_PAUSE_MAX_S: Final = 5.0
T = TypeVar("T")

_REMEDIES: Final = {
    "NoSuchBucket": "create the bucket or correct its name",
    "InvalidAccessKeyId": "check access-key-id in the Secret of the destination",
    "SignatureDoesNotMatch": "check secret-access-key in the Secret of the destination",
    "ExpiredToken": "renew the credentials of the destination",
    "AccessDenied": "grant GetObject, PutObject, DeleteObject, ListBucket and AbortMultipartUpload on this prefix",
    "BadDigest": "the data was altered on its way: try again, then look at what stands between",
    "InternalError": "it fails by itself, as some servers do whose disk is full: look at its disk and its log",
}
_REFUSALS: Final = frozenset(_REMEDIES) - {"BadDigest", "InternalError"}
_FULL: Final = frozenset({"InsufficientStorage", "XMinioStorageFull", "QuotaExceeded", "507"})
_MISSING: Final = frozenset({"NoSuchKey", "404", "NotFound", "NoSuchUpload"})
_BROKEN_OFF: Final = (ConnectionClosedError, IncompleteReadError, ReadTimeoutError, ResponseStreamingError)
_CONFLICTS: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})


@dataclass(frozen=True, slots=True)
class S3Settings:
    """`prefix` has no slash at its ends. Without credentials the client's own chain finds some (a web identity)."""

    bucket: str
    prefix: str
    endpoint: str | None = None
    region: str = "us-east-1"
    path_style: bool = True
    ca_file: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    part_bytes: int = PART_BYTES
    read_timeout_s: float = _READ_TIMEOUT_S
    tries: int = _TRIES


class S3:
    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._bucket = settings.bucket
        self._root = f"{settings.prefix}/" if settings.prefix else ""
        self.name = f"s3://{settings.bucket}/{settings.prefix}".rstrip("/")
        self._client: S3Client = boto3.session.Session().client(
            "s3",
            endpoint_url=settings.endpoint,
            region_name=settings.region,
            aws_access_key_id=settings.access_key_id,
            aws_secret_access_key=settings.secret_access_key,
            verify=settings.ca_file,
            config=Config(
                s3={"addressing_style": "path" if settings.path_style else "virtual"},
                # exponential, with jitter, and only for what may be tried again
                retries={"mode": "standard", "total_max_attempts": settings.tries},
                connect_timeout=_CONNECT_TIMEOUT_S,
                read_timeout=settings.read_timeout_s,
                max_pool_connections=_UPLOADERS + 2,
            ),
        )
        self._locks: bool | None = None

    @property
    def locks(self) -> bool:
        if self._locks is None:
            try:
                answer = self._client.get_object_lock_configuration(Bucket=self._bucket)
                self._locks = answer["ObjectLockConfiguration"].get("ObjectLockEnabled") == "Enabled"
            except ClientError:
                # not configured, not implemented or not to be known by us: in each case nothing may rely on it
                self._locks = False
            except (BotoCoreError, HTTPClientError) as error:
                raise self._explain(error, "") from error
        return self._locks

    def put(
        self, key: str, data: bytes, *, only_if: Condition | None = None, retain_until: datetime | None = None
    ) -> str:
        options: dict[str, Any] = {"ChecksumSHA256": _checksum(data)}
        if only_if and only_if.absent:
            options["IfNoneMatch"] = "*"
        if only_if and only_if.etag is not None:
            options["IfMatch"] = only_if.etag
        if retain_until is not None and self.locks:
            options |= {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": retain_until}
        try:
            answer = self._call(
                key, lambda: self._client.put_object(Bucket=self._bucket, Key=self._root + key, Body=data, **options)
            )
        except ConflictError:
            # a try whose answer was lost may have done it: then exactly ours stands there
            found, etag = self.get(key)
            if found != data:
                raise
            return etag
        return answer["ETag"]

    def put_stream(self, key: str, chunks: Iterable[bytes]) -> None:
        full = self._root + key
        begun = self._call(
            key,
            lambda: self._client.create_multipart_upload(Bucket=self._bucket, Key=full, ChecksumAlgorithm="SHA256"),
        )
        upload_id = begun["UploadId"]
        try:
            parts = self._upload_parts(key, upload_id, chunks)
            self._call(
                key,
                lambda: self._client.complete_multipart_upload(
                    Bucket=self._bucket, Key=full, UploadId=upload_id, MultipartUpload={"Parts": parts}
                ),
            )
        except BaseException:
            self._abort_quietly(full, upload_id)
            raise

    def _upload_parts(self, key: str, upload_id: str, chunks: Iterable[bytes]) -> "list[CompletedPartTypeDef]":
        flying: list[Future[CompletedPartTypeDef]] = []
        done: list[CompletedPartTypeDef] = []
        with ThreadPoolExecutor(_UPLOADERS, thread_name_prefix="upload") as pool:
            try:
                for number, part in enumerate(_parts(chunks, self._settings.part_bytes), start=1):
                    if number > _MAX_PARTS:
                        raise DestinationError(  # noqa: TRY301 - the parts in flight are given up for every fault
                            f"{key} needs more than {_MAX_PARTS} parts: use larger ones"
                        )
                    if len(flying) == _UPLOADERS:
                        done.append(flying.pop(0).result())
                    flying.append(pool.submit(self._upload_part, key, upload_id, number, part))
                done += [future.result() for future in flying]
            except BaseException:
                for future in flying:
                    future.cancel()
                raise
        return done

    def _upload_part(self, key: str, upload_id: str, number: int, part: bytes) -> "CompletedPartTypeDef":
        checksum = _checksum(part)
        answer = self._call(
            key,
            lambda: self._client.upload_part(
                Bucket=self._bucket,
                Key=self._root + key,
                UploadId=upload_id,
                PartNumber=number,
                Body=part,
                ChecksumSHA256=checksum,
            ),
        )
        return {"ETag": answer["ETag"], "PartNumber": number, "ChecksumSHA256": checksum}

    def get(self, key: str) -> tuple[bytes, str]:
        def read() -> tuple[bytes, str]:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._root + key)
            if answer["ContentLength"] > SMALL_BYTES:
                raise DamagedError(
                    f"{key} in {self.name} has more than {SMALL_BYTES} bytes: it is not what was written"
                )
            return answer["Body"].read(), answer["ETag"]

        last: DestinationError | None = None
        for _ in range(_RESUMES):  # the client tries again for an answer, not for a body that breaks off
            try:
                return self._call(key, read)
            except (ConflictError, NotFoundError):
                raise
            except _BrokenOffError as error:
                last = error
        raise last or DestinationError(f"{key} in {self.name} cannot be read")

    def get_stream(self, key: str) -> Iterator[bytes]:
        offset = 0
        etag: str | None = None
        resumes = 0
        while True:
            options: dict[str, Any] = {} if etag is None else {"Range": f"bytes={offset}-", "IfMatch": etag}
            answer = self._call(
                key,
                lambda o=options: self._client.get_object(Bucket=self._bucket, Key=self._root + key, **o),  # type: ignore[misc]
            )
            etag, end = answer["ETag"], offset + answer["ContentLength"]
            try:
                while offset < end:
                    chunk = self._call(key, lambda a=answer: a["Body"].read(CHUNK_BYTES))  # type: ignore[misc]
                    if not chunk:
                        raise _BrokenOffError(  # noqa: TRY301 - taken up again as every other break
                            f"{key} in {self.name} ends {end - offset} bytes early"
                        )
                    offset += len(chunk)
                    yield chunk
            except _BrokenOffError:
                resumes += 1
                if resumes > _RESUMES:
                    raise
                time.sleep(random.uniform(0, min(_PAUSE_MAX_S, 0.1 * 2**resumes)))  # noqa: S311 - jitter is no secret
                continue
            finally:
                answer["Body"].close()
            return

    def find(self, prefix: str) -> Iterator[Found]:
        token: str | None = None
        while True:
            options: dict[str, Any] = {"ContinuationToken": token} if token else {}
            page = self._call(
                prefix,
                lambda o=options: self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._root + prefix, **o),  # type: ignore[misc]
            )
            for item in page.get("Contents", []):
                yield Found(item["Key"].removeprefix(self._root), item["Size"], item["LastModified"])
            token = page.get("NextContinuationToken")
            if not token:
                return

    def folders(self, prefix: str) -> list[str]:
        names: list[str] = []
        token: str | None = None
        while True:
            options: dict[str, Any] = {"ContinuationToken": token} if token else {}
            page = self._call(
                prefix,
                lambda o=options: self._client.list_objects_v2(  # type: ignore[misc]
                    Bucket=self._bucket, Prefix=self._root + prefix, Delimiter="/", **o
                ),
            )
            names += [p["Prefix"].rstrip("/").rpartition("/")[2] for p in page.get("CommonPrefixes", [])]
            token = page.get("NextContinuationToken")
            if not token:
                return sorted(names)

    def delete(self, key: str) -> None:
        self._call(key, lambda: self._client.delete_object(Bucket=self._bucket, Key=self._root + key))

    def unfinished(self, prefix: str) -> list[str]:
        page = self._call(
            prefix,
            lambda: self._client.list_multipart_uploads(
                Bucket=self._bucket, Prefix=self._root + prefix, MaxUploads=_SHOWN_UPLOADS
            ),
        )
        return [f"{u['UploadId']} {u['Key'].removeprefix(self._root)}" for u in page.get("Uploads", [])]

    def abort(self, name: str) -> None:
        upload_id, _, key = name.partition(" ")
        try:
            self._call(
                key,
                lambda: self._client.abort_multipart_upload(
                    Bucket=self._bucket, Key=self._root + key, UploadId=upload_id
                ),
            )
        except NotFoundError:
            return  # finished or gone meanwhile

    def _abort_quietly(self, key: str, upload_id: str) -> None:
        """What is left if this fails, too, the next run finds by `unfinished`."""
        try:
            self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload_id)
        except (ClientError, BotoCoreError, HTTPClientError):
            return

    def _call(self, key: str, call: Callable[[], T]) -> T:
        try:
            return call()
        except (ClientError, BotoCoreError, HTTPClientError, urllib3.exceptions.HTTPError, OSError) as error:
            raise self._explain(error, key) from error

    def _explain(self, error: Exception, key: str) -> BackupError:
        where = f"{self.name}: {key}" if key else self.name
        if isinstance(error, ClientError):
            code = error.response.get("Error", {}).get("Code", "")
            message = error.response.get("Error", {}).get("Message", "")
            if code in _CONFLICTS:
                return ConflictError(f"{where} is not what was expected: somebody else wrote it")
            if code in _MISSING:
                return NotFoundError(f"{where} is not there: it was deleted, or never finished")
            if code in _FULL:
                return NoSpaceError(f"{where}: the destination is full ({message}): enlarge it or keep less")
            remedy = _REMEDIES.get(code, "see what the server's own log says")
            kind = RefusedError if code in _REFUSALS else DestinationError
            return kind(f"{where}: the server refuses ({code}: {message}): {remedy}")
        if not isinstance(error, BotoCoreError) or isinstance(error, _BROKEN_OFF):
            return _BrokenOffError(f"{where}: the connection broke ({type(error).__name__}): check the network")
        return DestinationError(
            f"{where}: no answer from {self._client.meta.endpoint_url} ({type(error).__name__}: {error}): "
            "check the endpoint, its CA and that NetworkPolicies let this pod reach it"
        )


class _BrokenOffError(DestinationError):
    """An answer began and did not end: worth taking up again."""


def _checksum(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def _parts(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Parts of equal size, the last one shorter; at least one, even if empty."""
    held = bytearray()
    any_yet = False
    for chunk in chunks:
        held += chunk
        while len(held) >= size:
            yield bytes(held[:size])
            del held[:size]
            any_yet = True
    if held or not any_yet:
        yield bytes(held)
