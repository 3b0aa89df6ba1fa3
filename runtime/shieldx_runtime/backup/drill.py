"""A restore drill: the newest copy into a database of its own, proved, dropped. Its time is the measured RTO."""

from typing import Any, Final

from shieldx_runtime.backup import postgres
from shieldx_runtime.backup.catalog import DRILLED, Copy
from shieldx_runtime.backup.clock import moment_of, new_id, now, text_of
from shieldx_runtime.backup.context import Context
from shieldx_runtime.backup.postgres import Address
from shieldx_runtime.backup.restore import How, Timeline, fill
from shieldx_runtime.backup.room import require_scratch_database
from shieldx_runtime.backup.segments import Segments

_PREFIX: Final = "shieldx_drill_"


async def drill(context: Context, copy: Copy, scratch: Address, how: How) -> dict[str, Any]:
    """Restores a copy with replay into a database of the scratch server; the measured RTO and RPO, as data.

    The outcome is kept beside the copy. The database is dropped in any case.

    Raises:
        NoSpaceError: the scratch server has no room for it.
        NotProvedError: the copy does not add up; BusyError: another drill is at work; BackupError.
    """
    require_scratch_database(context, copy.manifest)
    timeline = Timeline()
    with context.lease("drill"):
        async with postgres.connected(scratch.sibling(postgres.MAINTENANCE)) as connection:
            for name in await postgres.databases(connection):
                if name.startswith(_PREFIX):
                    await postgres.drop(connection, name)  # of a drill that died
            name = _PREFIX + new_id(now()).lower().replace("-", "_")
            await postgres.create(connection, name)
            try:
                replayed = await fill(context, copy, scratch.sibling(name), how, timeline)
            finally:
                await postgres.drop(connection, name)
    covered = covered_to(context)
    moment = now()
    newest = max((moment_of(t) for t in (copy.manifest.taken_at, covered) if t), default=moment)
    outcome = {
        "drilled_at": text_of(moment),
        "rto_s": timeline.elapsed_s,
        "rpo_s": round((moment - newest).total_seconds(), 3),
        "replayed_rows": replayed.rows,
        "replayed_to": replayed.to,
    }
    context.catalog.record(copy, DRILLED, outcome)
    return {"backup": copy.manifest.backup_id, **outcome, "timeline": timeline.steps}


def covered_to(context: Context) -> str | None:
    """The moment up to which the audit stream has everything; None where nothing is shipped."""
    segments = Segments(context.catalog)
    lines = segments.lines()
    return segments.covered_to(lines[-1]) if lines else None
