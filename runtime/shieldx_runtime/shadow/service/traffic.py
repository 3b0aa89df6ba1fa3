"""A tenant's labelled traffic: what may come in, and how it goes to a file that the engine reads."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shieldx_runtime.shadow.errors import DataError
from shieldx_runtime.shadow.samples import read
from shieldx_runtime.shadow.service.store import Store

MAX_INGEST_BYTES: Final = 4 * 2**20
MAX_REJECTED: Final = 100
"""Rejected lines that an answer names; beyond that they are only not counted as accepted."""
PAGE: Final = 5000
MAX_FILE_BYTES: Final = 256 * 2**20
_NOTHING: Final = "the tenant has no labelled traffic in this time window: send some to /shadow/samples, or widen it"


@dataclass(frozen=True, slots=True)
class Sorted:
    """Lines that are samples, and by line number why the others are none."""

    lines: list[bytes]
    rejected: list[tuple[int, str]]


def sort(body: bytes) -> Sorted:
    """Each line of NDJSON, numbered from 1; empty lines are passed over."""
    lines: list[bytes] = []
    rejected: list[tuple[int, str]] = []
    for number, line in enumerate(body.split(b"\n"), 1):
        if not line or line.isspace():
            continue
        seen = read(line, with_client=False, with_time=False)
        if isinstance(seen, str):
            rejected.append((number, seen))
        else:
            lines.append(line)
    return Sorted(lines, rejected)


async def write(store: Store, tenant_id: str, window_s: float, path: Path) -> tuple[str, int]:
    """Write the tenant's traffic of the window as NDJSON; its SHA-256, and how many samples it has.

    Raises:
        DataError: there is none, or more than can be judged at once.
        DatabaseUnavailableError: the database did not answer.
    """
    digest = hashlib.sha256()
    after_id = size_bytes = samples = 0
    with path.open("wb") as file:
        while page := await store.samples(tenant_id, after_id, window_s, PAGE):
            text = b"".join(line + b"\n" for _, line in page)
            size_bytes += len(text)
            if size_bytes > MAX_FILE_BYTES:
                raise DataError(f"the time window holds more than {MAX_FILE_BYTES >> 20} MiB: shorten it")
            digest.update(text)
            file.write(text)
            samples += len(page)
            after_id = page[-1][0]
            if len(page) < PAGE:
                break
    if not size_bytes:
        raise DataError(_NOTHING)
    return digest.hexdigest(), samples
