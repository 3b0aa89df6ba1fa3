"""The lease on a folder: who holds it, who takes over, what a clock can do to it (nothing)."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shieldx_runtime.backup.clock import Deadline
from shieldx_runtime.backup.destination import Condition
from shieldx_runtime.backup.errors import BusyError, ConflictError, DeadlineError, LeaseLostError
from shieldx_runtime.backup.folder import Folder
from shieldx_runtime.backup.lease import Lease, held

KEY = "ns.name/leases/database.json"
TTL_S = 0.6


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def lease(folder: Folder) -> Iterator[Lease]:
    made = Lease(folder, KEY, ttl_s=TTL_S)
    yield made
    made.release()


def dead(folder: Folder, at: str) -> None:
    """What a run leaves that was killed."""
    folder.put(KEY, json.dumps({"holder": "dead", "renewals": 3, "at": at}).encode())


def test_a_second_run_is_refused_while_the_first_is_at_work(folder: Folder, lease: Lease) -> None:
    lease.acquire(Deadline(10))
    with pytest.raises(BusyError, match="which is at work"):
        Lease(folder, KEY, ttl_s=TTL_S).acquire(Deadline(10))


def test_it_is_free_at_once_when_given_back(folder: Folder) -> None:
    for _ in range(2):
        began_s = time.monotonic()
        with held(folder, KEY, Deadline(10), ttl_s=30):
            pass
        assert time.monotonic() - began_s < 5


@pytest.mark.parametrize("at", ["1970-01-01T00:00:00.000Z", "2999-01-01T00:00:00.000Z"])
def test_a_dead_run_s_lease_is_taken_after_its_time_whatever_the_clocks_say(
    folder: Folder, lease: Lease, at: str
) -> None:
    dead(folder, at)
    began_s = time.monotonic()
    lease.acquire(Deadline(10))
    assert time.monotonic() - began_s >= TTL_S
    lease.check()


def test_whoever_was_given_up_for_dead_notices(folder: Folder, lease: Lease) -> None:
    lease.acquire(Deadline(10))
    dead(folder, "2026-01-01T00:00:00.000Z")
    time.sleep(TTL_S)
    with pytest.raises(LeaseLostError):
        lease.check()


def test_waiting_for_a_dead_run_ends_with_the_deadline(folder: Folder) -> None:
    dead(folder, "2026-01-01T00:00:00.000Z")
    with pytest.raises(DeadlineError):
        Lease(folder, KEY, ttl_s=30).acquire(Deadline(0.2))


def test_a_conditional_put_of_a_folder_happens_once(folder: Folder) -> None:
    etag = folder.put("a/b", b"1", only_if=Condition(absent=True))
    with pytest.raises(ConflictError):
        folder.put("a/b", b"2", only_if=Condition(absent=True))
    folder.put("a/b", b"2", only_if=Condition(etag=etag))
    with pytest.raises(ConflictError):
        folder.put("a/b", b"3", only_if=Condition(etag=etag))
    assert folder.get("a/b")[0] == b"2"
    assert [f.key for f in folder.find("a/")] == ["a/b"]
    folder.delete("a/b")
    assert folder.folders("") == []
