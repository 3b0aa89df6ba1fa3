"""One local cluster a user, several checkouts: a lock for those who change it, and a record of whose it is."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from dev.localkube.process import StepError

LOCK_TIMEOUT_S = 900  # longer than a first `up` with the archive; a build from source is told about


@dataclass(frozen=True)
class Record:
    """Whose the cluster is. ``ready`` is False from the first step of making it to the last."""

    provider: str
    checkout: str
    kubeconfig: str
    ready: bool


def read(path: Path) -> Record | None:
    """The record, or None where there is none (a torn one counts as not ready)."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    try:
        return Record(**json.loads(text))
    except (ValueError, TypeError):
        return Record(provider="local", checkout="", kubeconfig="", ready=False)


def write(path: Path, record: Record) -> None:
    """Replace the record in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(record)))
    fresh.replace(path)


def require_ours(record: Record | None, checkout: Path, *, alive: bool) -> None:
    """Raise StepError where another checkout's cluster is running; one whose folder is gone is taken over."""
    if record is None or not alive or record.checkout in ("", str(checkout)):
        return
    if Path(record.checkout).is_dir():
        raise StepError(
            f"the local cluster belongs to the checkout {record.checkout} and is running: "
            f"use that one, or run `make down` there first"
        )


@contextmanager
def locked(path: Path, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
    """Hold the lock file; it is released when the process ends, however it ends.

    Raises:
        StepError: another process holds it for longer than ``timeout_s`` seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as lock:
        deadline_s = time.monotonic() + timeout_s
        told = False
        while not _take(lock.fileno()):
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            if time.monotonic() > deadline_s:
                raise StepError(
                    f"process {holder} has been changing the cluster for {timeout_s:g} s ({path}): end it first"
                )
            if not told:
                print(f"waiting for process {holder}, which is changing the cluster", flush=True)
                told = True
            time.sleep(0.2)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
