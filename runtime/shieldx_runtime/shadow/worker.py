"""A worker pod's whole life: read the task, judge one shard, tell it, end. `shieldx shadow work`.

Exit codes: 0 done (or nobody asks any more), 1 try again, `SHADOW_GIVE_UP_EXIT_CODE` no repetition would help. The last
line of standard error is what the evaluation's condition says.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from shieldx_contract import SHADOW_GIVE_UP_EXIT_CODE
from shieldx_runtime.shadow.cluster.apiserver import GoneError, PodTransport, Reporter, ReportError
from shieldx_runtime.shadow.cluster.judged import Judged, Progress
from shieldx_runtime.shadow.cluster.log import say
from shieldx_runtime.shadow.cluster.settings import SettingsError, WorkerSettings
from shieldx_runtime.shadow.errors import DataError, TaskError

TRY_AGAIN: Final = 1
PROGRESS_EVERY_S: Final = 5.0
_TERMINATION_LOG: Final = Path("/dev/termination-log")
"""What a container writes here, Kubernetes shows as the reason of its end."""
_MAX_LAST_WORDS: Final = 2000


Evaluate = Callable[[WorkerSettings, Progress], Judged]


@dataclass(slots=True)
class ProgressLog:
    """A line of the log every few seconds at most."""

    log: Callable[..., None]
    shard: int
    clock: Callable[[], float] = time.monotonic
    _told_s: float = 0.0

    def __call__(self, samples: int) -> None:
        now_s = self.clock()
        if now_s - self._told_s >= PROGRESS_EVERY_S:
            self._told_s = now_s
            self.log("judging", shard=self.shard, samples=samples)


def work(settings: WorkerSettings, evaluate: Evaluate, reporter: Reporter, log: Callable[..., None]) -> None:
    """Judge the shard and report it.

    Raises:
        TaskError, DataError: the task cannot be evaluated, or its data cannot be read.
        GoneError, ReportError: see `Reporter.report`.
    """
    started_s = time.monotonic()
    judged = evaluate(settings, ProgressLog(log, settings.index))
    log("judged", shard=settings.index, seconds=round(time.monotonic() - started_s, 3), counts=judged.counts["matrix"])
    reporter.report(settings.index, entry(settings, judged, datetime.now(UTC)))
    log("reported", shard=settings.index, seconds=round(time.monotonic() - started_s, 3))


def entry(settings: WorkerSettings, judged: Judged, now: datetime) -> dict[str, Any]:
    """This shard's entry of `status.shards`."""
    return {
        "index": settings.index,
        "question": settings.question,
        "finishedAt": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "datasetDigest": judged.dataset_digest,
        "engine": judged.engine,
        "counts": dict(judged.counts),
    }


def attempt(env: Mapping[str, str], evaluate: Evaluate, log: Callable[..., None] = say) -> int:
    """One attempt at the shard that `env` names; the exit code."""
    try:
        settings = WorkerSettings.from_environment(env)
        transport = PodTransport(settings.host, settings.port, settings.account_dir)
        work(settings, evaluate, Reporter(transport, settings.evaluation, log), log)
    except (SettingsError, TaskError, DataError) as error:
        return _end(str(error), SHADOW_GIVE_UP_EXIT_CODE)
    except ReportError as error:
        return _end(f"the shard could not be reported: {error}", SHADOW_GIVE_UP_EXIT_CODE if error.final else TRY_AGAIN)
    except GoneError as error:
        log("nobody asks any more", said=str(error))
    return 0


def _end(message: str, code: int) -> int:
    """Says the last word, also where Kubernetes looks for it."""
    sys.stderr.write(message + "\n")
    if _TERMINATION_LOG.exists() and os.access(_TERMINATION_LOG, os.W_OK):
        _TERMINATION_LOG.write_text(message[-_MAX_LAST_WORDS:], encoding="utf-8")
    return code


def main() -> int:
    """Run in a pod. Told to end, it ends at once: a shard that is not reported is judged again.

    Its children end with the container.
    """
    from shieldx_runtime.shadow.cluster.engine import evaluate  # noqa: PLC0415 - what it imports takes longer than all else

    return attempt(os.environ, evaluate)
