"""What is due now. Pure: what was taken up before stands in the status and in the objects that were made for it.

Due times are taken up by making an object whose name holds them: two operators, or one that dies in between, make it
once. The status remembers the last one, so that an object that is deleted is not made again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from shieldx_operator.api.backupparts import Stream
from shieldx_operator.blocks.diagnosis import job_condition
from shieldx_operator.blocks.workload import digest
from shieldx_operator.engine.types import Obj, Observation
from shieldx_operator.kinds.backuppolicy import copies as history
from shieldx_operator.kinds.backuppolicy.copies import Copy
from shieldx_operator.kinds.backuppolicy.schedule import latest_due, next_due
from shieldx_operator.kinds.backuppolicy.view import STREAMS, TASKS, Task, View, moment

_SHORT = {"database": "db", "cache": "cache"}


@dataclass(frozen=True, slots=True)
class Due:
    """`what` is a stream or a task; `name` is that of the Backup or the Job that takes it up."""

    what: str
    name: str
    at: datetime
    for_backup: str | None = None


def last_schedule(v: View, part: str, copies: Sequence[Copy], now: datetime) -> datetime | None:
    """The due time that was taken up last. One in the future is of a clock that was wrong, and counts as now."""
    told = moment(v.told_of(part).get("lastSchedule"))
    made = [c.scheduled_at for c in copies if c.mine and c.stream == part and c.scheduled_at and c.scheduled_at <= now]
    found = [*([min(told, now)] if told else []), *made]
    return max(found) if found else None


def of_stream(v: View, stream: Stream, copies: Sequence[Copy], now: datetime) -> Due | None:
    """A new policy copies at once; then one run makes good whatever was missed."""
    chosen = v.effective.stream(stream)
    if not chosen.enabled:
        return None
    last = last_schedule(v, stream, copies, now)
    at = v.created_at if last is None else latest_due(chosen.schedule, v.effective.time_zone, now, last)
    return None if at is None else Due(stream, f"{v.service.name}-{_SHORT[stream]}-{_stamp(at)}", at)


def of_drill(v: View, copies: Sequence[Copy], now: datetime) -> Due | None:
    """The first verified copy is restored at once; then by the schedule."""
    if not v.effective.drill.enabled:
        return None
    proved = newest_verified(v, copies, "database")
    if proved is None:
        return None
    last = last_schedule(v, "drill", (), now)
    at = proved[1] if last is None else latest_due(v.effective.drill.schedule, v.effective.time_zone, now, last)
    return None if at is None else Due("drill", f"{v.service.name}-drill-{_stamp(at)}", at, proved[0])


def of_prune(v: View, copies: Sequence[Copy]) -> Due | None:
    """After each newly verified copy: what is verified is what lets something older go."""
    stream: Stream = "database" if v.effective.database.enabled else "cache"
    proved = newest_verified(v, copies, stream)
    if proved is None or v.told_of("prune").get("forBackup") == proved[0]:
        return None
    return Due("prune", f"{v.service.name}-prune-{digest(proved[0])[:12]}", proved[1], proved[0])


def newest_verified(v: View, copies: Sequence[Copy], stream: Stream) -> tuple[str, datetime] | None:
    """Its Backup's name and when it was verified: of the objects, or of what the status says where they are gone."""
    found = history.verified(history.of_stream(copies, stream))
    told = v.told_of(stream)
    if (
        found
        and found[-1].verified_at
        and (moment(told.get("takenAt")) or _LONG_AGO) <= (found[-1].taken_at or _LONG_AGO)
    ):
        return found[-1].name, found[-1].verified_at
    when = moment(told.get("lastVerified"))
    return (told["backup"], when) if when and told.get("backup") else None


def running(v: View, seen: Observation, copies: Sequence[Copy]) -> str | None:
    """The Backup or the task of this policy that has not ended. While there is one nothing else begins."""
    for copy in copies:
        if not copy.ended:
            return copy.name
    return next((j["metadata"]["name"] for j in jobs(v, seen) if job_condition(j) == "Running"), None)


def jobs(v: View, seen: Observation) -> list[Obj]:
    """The policy's own Jobs, drills and pruning."""
    return [j for j in seen.lists.get("jobs", ()) if task_of(v, j["metadata"]["name"])]


def task_of(v: View, job: str) -> Task | None:
    return next((task for task in TASKS if job.startswith(f"{v.service.name}-{task}-")), None)


def now_due(v: View, seen: Observation, copies: Sequence[Copy]) -> Due | None:
    """What begins now, if nothing runs: copies before the proof of them, and that before pruning."""
    if running(v, seen, copies):
        return None
    streams = [of_stream(v, stream, copies, seen.now) for stream in STREAMS]
    wanted = [*streams, of_drill(v, copies, seen.now), of_prune(v, copies)]
    there = {j["metadata"]["name"] for j in jobs(v, seen)} | {c.name for c in copies}
    return next((due for due in wanted if due is not None and due.name not in there), None)


def upcoming(v: View, part: str, now: datetime) -> datetime | None:
    chosen = v.effective.drill if part == "drill" else v.effective.stream("database" if part == "database" else "cache")
    if not chosen.enabled or v.effective.suspend:
        return None
    return next_due(chosen.schedule, v.effective.time_zone, now)


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y%m%d%H%M")


_LONG_AGO = datetime.fromtimestamp(0, UTC)
