"""Removing what retention lets go: listed before it is done, one copy at a time, never by a clock that is wrong."""

import secrets
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, Final

from shieldx_runtime.backup import retention
from shieldx_runtime.backup.catalog import Catalog
from shieldx_runtime.backup.clock import now as wall_clock
from shieldx_runtime.backup.context import Context
from shieldx_runtime.backup.errors import SettingError
from shieldx_runtime.backup.manifest import Stream
from shieldx_runtime.backup.retention import Candidate, Decision, Rules
from shieldx_runtime.backup.segments import Segments
from shieldx_runtime.core import log

_MAX_PRUNED: Final = 1000
_logger = log.get(__name__)


def prune(
    context: Context, stream: Stream, rules: Rules, *, dry_run: bool = False, now: Callable[[], datetime] = wall_clock
) -> list[Decision]:
    """Decides about every copy of a stream, says so, and removes what may go; the decisions.

    Raises:
        SettingError: the clocks disagree.
        BusyError, DestinationError.
    """
    with context.lease(stream) as lease:
        moment = now()
        require_clock(context, moment)
        listing = context.catalog.list(stream)
        candidates = [
            Candidate(c.manifest.backup_id, c.taken_at, c.manifest.size_bytes, verified=c.verified is not None)
            for c in listing.copies
        ]
        decisions = retention.decide(candidates, rules, moment)
        for decision in decisions:
            _logger.info("prune decision", stream=stream, dry_run=dry_run, **asdict(decision))
        if not dry_run:
            for decision in [d for d in decisions if d.prune][:_MAX_PRUNED]:
                lease.check()
                context.deadline.check()
                context.catalog.remove(listing.get(decision.backup_id))
                _logger.info("backup pruned", stream=stream, backup=decision.backup_id)
    return decisions


def prune_audit(
    context: Context, keep: timedelta, *, dry_run: bool = False, now: Callable[[], datetime] = wall_clock
) -> list[Decision]:
    """The same for whole days of the audit stream. A day from which a kept dump would be replayed stays.

    Takes no lease: it touches only days that are long over. Raises: as `prune`.
    """
    moment = now()
    require_clock(context, moment)
    segments = Segments(context.catalog)
    needed: dict[str, int] = {}
    for copy in context.catalog.list(Stream.DATABASE).copies:
        head = copy.manifest.audit_head
        if head:
            # what branches off a line later needs that line to the branch
            for line, until in segments.lineage(segments.lines()[-1]):
                if line >= head.line:
                    after = head.sequence if line == head.line else 0
                    needed[line] = min(needed.get(line, after), after if until is None else min(after, until))
    decisions: list[Decision] = []
    for line in segments.lines():
        days = [(day, segments.last_number(line, day)) for day in segments.days(line)]
        gone = set(retention.days_to_prune(days, needed.get(line), keep, moment))
        for day, _ in days:
            reason = (
                f"over for longer than {keep.days} days, and no kept dump is replayed from it"
                if day in gone
                else f"within {keep.days} days, needed for replay, or the last day of its line"
            )
            decision = Decision(f"{line}/{day}", prune=day in gone, reason=reason)
            _logger.info("prune decision", stream=Stream.AUDIT, dry_run=dry_run, **asdict(decision))
            decisions.append(decision)
            if decision.prune and not dry_run:
                _remove_day(context, context.catalog, decision.backup_id)
    return decisions


def require_clock(context: Context, moment: datetime) -> None:
    """Compares clocks by an object that is put for it. Raises: SettingError, they disagree."""
    key = f"{context.service}/leases/clock-{secrets.token_hex(4)}.json"
    context.destination.put(key, b"{}")
    try:
        found = next(f for f in context.destination.find(key) if f.key == key)
    finally:
        context.destination.delete(key)
    problem = retention.clock_problem(moment, found.modified_at)
    if problem:
        raise SettingError(problem)


def _remove_day(context: Context, catalog: Catalog, name: str) -> None:
    prefix = catalog.folder(Stream.AUDIT) + name + "/"
    # from the end: what is left after a crash is still a stream without gaps
    for found in reversed(list(context.destination.find(prefix))):
        context.deadline.check()
        context.destination.delete(found.key)


def as_data(decisions: list[Decision]) -> list[dict[str, Any]]:
    return [asdict(decision) for decision in decisions]
