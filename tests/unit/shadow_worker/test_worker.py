from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from shieldx_runtime.shadow import worker
from shieldx_runtime.shadow.cluster.apiserver import Answer, Reporter
from shieldx_runtime.shadow.cluster.judged import Judged
from shieldx_runtime.shadow.cluster.settings import WorkerSettings
from shieldx_runtime.shadow.errors import DataError, TaskError
from shieldx_runtime.shadow.worker import ProgressLog, entry, work
from tests.unit.shadow_worker.test_settings import ENV

COUNTS = {"matrix": {"tp": 1, "fp": 0, "tn": 2, "fn": 0}}
JUDGED = Judged(COUNTS, "sha256:aa", "shieldx 1.0.0")


@pytest.fixture
def settings(tmp_path: Path) -> WorkerSettings:
    (tmp_path / "namespace").write_text("team")
    return WorkerSettings.from_environment(ENV, tmp_path)


def silent(*_: Any, **__: Any) -> None:
    return


def test_an_entry_says_which_shard_of_which_question_and_what_was_counted(settings: WorkerSettings) -> None:
    now = datetime(2026, 1, 1, 13, tzinfo=timezone(timedelta(hours=1)))
    assert entry(settings, JUDGED, now) == {
        "index": 3,
        "question": "0123456789",
        "finishedAt": "2026-01-01T12:00:00Z",
        "datasetDigest": "sha256:aa",
        "engine": "shieldx 1.0.0",
        "counts": COUNTS,
    }


def test_a_shard_is_judged_and_then_reported_once(settings: WorkerSettings) -> None:
    sent: list[bytes] = []

    def transport(path: str, body: bytes) -> Answer:  # noqa: ARG001 - a transport is called by these names
        sent.append(body)
        return Answer(200, b"{}")

    work(settings, lambda *_: JUDGED, Reporter(transport, settings.evaluation, silent), silent)
    assert len(sent) == 1
    assert b'"index":3' in sent[0]


@pytest.fixture
def in_a_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An account's folder and a termination log; the API server is a closed port."""
    (tmp_path / "namespace").write_text("team")
    read = WorkerSettings.from_environment
    monkeypatch.setattr(WorkerSettings, "from_environment", lambda env: read(env, tmp_path))
    log = tmp_path / "termination-log"
    log.touch()
    monkeypatch.setattr(worker, "_TERMINATION_LOG", log)
    return log


@pytest.mark.parametrize(
    "error", [TaskError("rule.pattern", "is no expression of RE2"), DataError("the samples are not there")]
)
def test_a_wrong_task_is_given_up_with_the_last_word_where_kubernetes_looks(
    in_a_pod: Path, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def evaluate(*_: Any) -> Judged:
        raise error

    assert worker.attempt(ENV, evaluate, silent) == 42
    assert in_a_pod.read_text() == str(error)
    assert capsys.readouterr().err == f"{error}\n"


def test_a_missing_variable_is_given_up(in_a_pod: Path) -> None:
    assert worker.attempt({}, lambda *_: JUDGED, silent) == 42
    assert "is not set" in in_a_pod.read_text()


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [(Answer(422, b"no"), 42, "422"), (Answer(404, b"gone"), 0, ""), (OSError("away"), 1, "cannot be reached")],
    ids=["refused", "gone", "away"],
)
def test_how_a_report_ends_decides_whether_it_is_tried_again(
    in_a_pod: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer | OSError, code: int, says: str
) -> None:
    def call(*_: Any) -> Answer:
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(worker, "PodTransport", lambda *_: call)
    monkeypatch.setattr(Reporter, "__init__", _impatient(Reporter.__init__))
    assert worker.attempt(ENV, lambda *_: JUDGED, silent) == code
    assert says in in_a_pod.read_text()


def _impatient(made: Any) -> Any:
    return lambda self, *args: made(self, *args, budget_s=0.5)


def test_progress_is_told_every_few_seconds_and_not_more_often() -> None:
    lines: list[int] = []
    now = [100.0]
    told = ProgressLog(lambda *_, samples, **__: lines.append(samples), shard=0, clock=lambda: now[0])
    for samples in range(1, 100):
        now[0] += 0.2
        told(samples)
    assert lines == [1, 26, 51, 76]
