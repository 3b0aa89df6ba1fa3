"""A policy's figures for Prometheus, out of its status. Times are as they are told: `time() - ...` is their age."""

from collections.abc import Mapping
from typing import Final

from shieldx_operator.engine.types import Measure, Obj, Status
from shieldx_operator.kinds.backuppolicy.view import STREAMS, View, moment

SUCCESS: Final = "shieldx_backup_last_success_timestamp_seconds"
VERIFIED: Final = "shieldx_backup_last_verified_timestamp_seconds"
SIZE: Final = "shieldx_backup_size_bytes"
DURATION: Final = "shieldx_backup_duration_seconds"
OBJECTIVE: Final = "shieldx_backup_objective_seconds"
MEASURED: Final = "shieldx_backup_measured_seconds"
MET: Final = "shieldx_backup_objectives_met"
FAILURES: Final = "shieldx_backup_failed_runs"
SUSPENDED: Final = "shieldx_backup_suspended"
GAUGES: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    SUCCESS: ("When the newest copy was complete; 0: never.", ("stream",)),
    VERIFIED: ("When a copy was last found whole; 0: never.", ("stream",)),
    SIZE: ("Size of the newest verified copy, as it is stored.", ("stream",)),
    DURATION: ("How long the newest verified copy took to make.", ("stream",)),
    OBJECTIVE: ("What a restore must reach.", ("objective",)),
    MEASURED: ("What was measured of a restore.", ("objective",)),
    MET: ("1 while the objectives are met, 0 while they are missed; absent while they are not measured.", ()),
    FAILURES: ("Failed Backup objects that are still there.", ("reason",)),
    SUSPENDED: ("1 while the policy is suspended.", ()),
}


def measures(v: View, status: Status) -> list[Measure]:
    told = status.fields
    found = [Measure(SUSPENDED, float(v.effective.suspend))]
    for stream in STREAMS:
        if v.effective.stream(stream).enabled:
            copies = told.get(stream) or {}
            found.append(Measure(SUCCESS, _time(copies, "lastSuccess"), {"stream": stream}))
            found.append(Measure(VERIFIED, _time(copies, "lastVerified"), {"stream": stream}))
            for gauge, field in ((SIZE, "sizeBytes"), (DURATION, "durationSeconds")):
                if copies.get(field) is not None:
                    found.append(Measure(gauge, float(copies[field]), {"stream": stream}))
    wanted = v.effective.objectives
    found.append(Measure(OBJECTIVE, wanted.rpo_seconds, {"objective": "rpo"}))
    found.append(Measure(OBJECTIVE, wanted.rto_seconds, {"objective": "rto"}))
    drill = told.get("drill") or {}
    known = {name: drill[f"{name}Seconds"] for name in ("rpo", "rto") if f"{name}Seconds" in drill}
    found += [Measure(MEASURED, float(seconds), {"objective": name}) for name, seconds in known.items()]
    met = next(c.status for c in status.conditions if c.type == "ObjectivesMet")
    if met != "Unknown":
        found.append(Measure(MET, float(met == "True")))
    found += [Measure(FAILURES, count, {"reason": reason}) for reason, count in (told.get("failures") or {}).items()]
    return found


def _time(known: Obj, field: str) -> float:
    when = moment(known.get(field))
    return when.timestamp() if when else 0.0
