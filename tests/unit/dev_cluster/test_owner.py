import multiprocessing
from pathlib import Path

import pytest

from dev.cluster import owner
from dev.cluster.owner import Record
from dev.localkube.process import StepError


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = Record("docker", "/somewhere", "/somewhere/kubeconfig", ready=True)
    owner.write(tmp_path / "a" / "record.json", record)
    assert owner.read(tmp_path / "a" / "record.json") == record


def test_no_record_is_none_and_a_torn_one_is_a_half_made_cluster(tmp_path: Path) -> None:
    assert owner.read(tmp_path / "none.json") is None
    torn = tmp_path / "torn.json"
    torn.write_text('{"provider": "loc')
    read = owner.read(torn)
    assert read is not None
    assert not read.ready


def _try_lock(path: Path, answer: "multiprocessing.SimpleQueue[str]") -> None:
    try:
        with owner.locked(path, timeout_s=0.3):
            answer.put("taken")
    except StepError as error:
        answer.put(str(error))


def test_two_processes_never_change_the_cluster_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    answer = context.SimpleQueue()
    path = tmp_path / "lock"
    with owner.locked(path):
        other = context.Process(target=_try_lock, args=(path, answer))
        other.start()
        refusal = answer.get()
        other.join(10)
    assert "has been changing the cluster" in refusal
    again = context.Process(target=_try_lock, args=(path, answer))
    again.start()
    assert answer.get() == "taken"
    again.join(10)


def test_a_holder_that_is_given_up_on_is_named(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with owner.locked(path), path.open() as lock:
        assert lock.read().isdigit()
        with pytest.raises(StepError, match=r"process \d+ has been changing"), owner.locked(path, timeout_s=0.0):
            pass
