"""The fields of a policy's status: what was measured, out of Backups and Jobs, and of what was told before. Pure."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from shieldx_operator.api.backupparts import Stream
from shieldx_operator.blocks import outcome
from shieldx_operator.blocks.backup import CONTAINER
from shieldx_operator.blocks.diagnosis import job_condition
from shieldx_operator.engine.types import Obj, Observation
from shieldx_operator.kinds.backuppolicy import copies as history
from shieldx_operator.kinds.backuppolicy.build import PRUNED
from shieldx_operator.kinds.backuppolicy.copies import Copy
from shieldx_operator.kinds.backuppolicy.due import jobs, last_schedule, running, task_of, upcoming
from shieldx_operator.kinds.backuppolicy.view import DRILL, PRUNE, Task, View, moment, text_of, ways

FOR_BACKUP: Final = "platform.shieldx.io/for-backup"
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_DAY_S: Final = 86_400
_STAMP_DIGITS: Final = 12
_OF_THE_NEWEST: Final = ("lastVerified", "takenAt", "exposureSeconds", "backup", "sizeBytes", "durationSeconds")
"""What is told of the newest verified copy, as long as there is no newer one."""


def fields(v: View, seen: Observation) -> Obj:
    """Everything that the status tells beside conditions."""
    found = history.of_policy(v, seen)
    parts: Obj = {stream: of_stream(v, stream, found, seen.now) for stream in ("database", "cache")}
    parts |= {task: of_task(v, task, seen) for task in (DRILL, PRUNE)}
    places = ways(v, seen)
    drill = parts[DRILL]
    times = [t for part in ("database", "cache") if (t := parts[part].get("nextSchedule"))]
    told = {
        **parts,
        "lastSuccess": parts["database"].get("lastSuccess"),
        "lastVerified": parts["database"].get("lastVerified"),
        "rto": span_text(drill.get("rtoSeconds")),
        "rpo": span_text(rpo_s(v, parts)),
        "nextSchedule": min(times, default=None),
        "running": running(v, seen, found),
        "version": v.version,
        "failures": dict(Counter(c.failure["reason"] for c in found if c.phase == "Failed" and c.failure)),
        "stores": places.to_json() if places else None,
        "effective": v.effective.to_json(),
    }
    return _set(told)


def of_stream(v: View, stream: Stream, found: Sequence[Copy], now: datetime) -> Obj:
    """What is known of one stream. What its objects no longer say, the status goes on saying."""
    told = v.told_of(stream)
    mine = history.of_stream(found, stream)
    ended = [c for c in mine if c.ended]
    whole = [c for c in ended if c.phase == "Succeeded" and c.completed_at]
    good = history.verified(mine)
    known: Obj = {
        "lastSchedule": text_of(last_schedule(v, stream, found, now)),
        "nextSchedule": text_of(upcoming(v, stream, now)),
        "lastSuccess": _latest(told.get("lastSuccess"), whole[-1].completed_at if whole else None),
        **{name: told.get(name) for name in _OF_THE_NEWEST},
    }
    if good and _later(good[-1].taken_at, told.get("takenAt")):
        newest = good[-1]
        before = good[-2].taken_at if len(good) > 1 else moment(told.get("takenAt"))
        end = newest.completed_at or newest.verified_at
        known |= {
            "lastVerified": text_of(newest.verified_at),
            "takenAt": text_of(newest.taken_at),
            "backup": newest.name,
            "exposureSeconds": _seconds(before, end),
            "sizeBytes": newest.size_bytes,
            "durationSeconds": newest.duration_s,
        }
    if ended and ended[-1].failure:
        known["failure"] = ended[-1].failure
    return _set(known)


def of_task(v: View, task: Task, seen: Observation) -> Obj:
    """What is known of drills or of pruning: of the newest Job, once it has ended, else as it was told."""
    told = v.told_of(task)
    mine = [j for j in jobs(v, seen) if task_of(v, j["metadata"]["name"]) == task]
    newest = max(mine, key=lambda j: str(j["metadata"].get("creationTimestamp", "")), default=None)
    known: Obj = {**told, "nextSchedule": text_of(upcoming(v, task, seen.now)) if task == DRILL else None}
    told_last = moment(told.get("lastSchedule"))
    if told_last is not None:
        known["lastSchedule"] = text_of(min(told_last, seen.now))
    if newest is None:
        return _set(known)
    name = newest["metadata"]["name"]
    known["forBackup"] = newest["metadata"].get("annotations", {}).get(FOR_BACKUP, told.get("forBackup"))
    known["lastSchedule"] = _due_at(name, task) or known.get("lastSchedule")
    if told.get("job") == name or job_condition(newest) not in ("Complete", "Failed"):
        return _set(known)
    known["job"] = name
    end = task_outcome(newest, task, seen)
    at = end.ended_at or text_of(seen.now)
    known |= {"lastRun": at, "failure": None}
    if not end.succeeded:
        return _set({**known, "failure": {"reason": end.reason, "message": end.message}})
    known["lastSuccess"] = at
    if task == DRILL:
        known |= {"rtoSeconds": end.result.get("rto_s"), "rpoSeconds": end.result.get("rpo_s")}
    return _set(known)


def task_outcome(job: Obj, task: Task, seen: Observation) -> outcome.Outcome:
    """Of a pruning's containers the first that says why it failed speaks for all."""
    names = (CONTAINER,) if task == DRILL else PRUNED
    ends = [end for name in names if (end := outcome.of_job(job, seen.lists.get("pods", ()), name)) is not None]
    if task == PRUNE and job_condition(job) == "Complete":
        # what it decided is in its log; that its pod is gone takes nothing from its success
        return outcome.Outcome(succeeded=True, ended_at=next((e.ended_at for e in ends if e.ended_at), None))
    telling = [e for e in ends if not e.succeeded and e.said]
    return (telling or ends)[0]


def rpo_s(v: View, parts: Obj) -> float | None:
    """Measured: of the drill, with what was replayed of the audit log; else what could have been lost at worst."""
    measured = parts[DRILL].get("rpoSeconds")
    if v.effective.audit.enabled and measured is not None:
        return float(measured)
    exposure = parts["database"].get("exposureSeconds")
    return None if exposure is None else float(exposure)


def span_text(seconds: float | None) -> str | None:
    """A span of time for people: `8.4s`, `5m10s`, `6h02m`, `3d04h`."""
    if seconds is None:
        return None
    if seconds < _MINUTE_S:
        return f"{seconds:.3g}s"
    whole = round(seconds)
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S}m{whole % _MINUTE_S:02d}s"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S}h{whole % _HOUR_S // _MINUTE_S:02d}m"
    return f"{whole // _DAY_S}d{whole % _DAY_S // _HOUR_S:02d}h"


def _due_at(job: str, task: Task) -> str | None:
    """The due time that a drill's name holds."""
    stamp = job.rpartition("-")[2]
    if task != DRILL or len(stamp) != _STAMP_DIGITS or not stamp.isdigit():
        return None
    return text_of(datetime.strptime(stamp, "%Y%m%d%H%M").replace(tzinfo=UTC))


def _latest(told: Any, seen: datetime | None) -> str | None:
    known = [t for t in (moment(told), seen) if t is not None]
    return text_of(max(known)) if known else None


def _later(taken_at: datetime | None, told: Any) -> bool:
    before = moment(told)
    # what is told is cut to the second
    return taken_at is not None and (before is None or taken_at.replace(microsecond=0) > before)


def _seconds(begin: datetime | None, end: datetime | None) -> int | None:
    return max(0, round((end - begin).total_seconds())) if begin and end else None


def _set(known: Obj) -> Obj:
    return {name: value for name, value in known.items() if value is not None}
