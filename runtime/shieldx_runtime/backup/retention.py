"""Which copies may go. Pure: copies, rules and the time come in, a decision with its reason for each copy comes out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

MAX_SKEW: Final = timedelta(minutes=10)
"""A clock that differs more than this from the destination's decides nothing."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How long copies of a class are kept, and how many verified ones at least, whatever their age."""

    keep: timedelta
    keep_verified: int = 2

    def __post_init__(self) -> None:
        if self.keep_verified < 1 or self.keep <= timedelta(0):
            raise ValueError("at least one verified copy is kept, and copies for longer than no time")


@dataclass(frozen=True, slots=True)
class Candidate:
    backup_id: str
    taken_at: datetime
    size_bytes: int
    verified: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """`prune` and why, in words for a log."""

    backup_id: str
    prune: bool
    reason: str


def decide(candidates: Sequence[Candidate], rules: Rules, now: datetime) -> list[Decision]:
    """One decision for each copy, oldest first.

    Pruned is only what is older than `rules.keep`, is not among the newest verified copies, and is older than a
    verified copy: so what is not verified never pushes anything out.
    """
    ordered = sorted(candidates, key=lambda c: (c.taken_at, c.backup_id))
    verified = [c for c in ordered if c.verified and c.taken_at <= now]
    newest = {c.backup_id for c in verified[-rules.keep_verified :]}
    return [_decide(candidate, rules, now, verified, newest) for candidate in ordered]


def _decide(
    candidate: Candidate, rules: Rules, now: datetime, verified: Sequence[Candidate], newest: set[str]
) -> Decision:
    age = now - candidate.taken_at
    if age < timedelta(0):
        return Decision(candidate.backup_id, prune=False, reason=f"taken {_text(-age)} in the future: a clock is wrong")
    if age <= rules.keep:
        return Decision(candidate.backup_id, prune=False, reason=f"{_text(age)} old, kept for {_text(rules.keep)}")
    if candidate.backup_id in newest:
        return Decision(
            candidate.backup_id, prune=False, reason=f"one of the last {rules.keep_verified} verified copies"
        )
    later = [c for c in verified if c.taken_at > candidate.taken_at]
    if not later:
        return Decision(candidate.backup_id, prune=False, reason="nothing newer is verified")
    return Decision(
        candidate.backup_id,
        prune=True,
        reason=f"{_text(age)} old, kept for {_text(rules.keep)}; {later[-1].backup_id} is newer and verified",
    )


def clock_problem(local: datetime, remote: datetime) -> str:
    """Why nothing may be pruned by this clock, or nothing. `remote` is the destination's."""
    skew = abs(local - remote)
    if skew <= MAX_SKEW:
        return ""
    return (
        f"this machine's clock says {local:%Y-%m-%d %H:%M:%S}, the destination's {remote:%Y-%m-%d %H:%M:%S} UTC: "
        "nothing is pruned until they agree; set the wrong one right"
    )


def days_to_prune(
    days: Sequence[tuple[str, int]], needed_after: int | None, keep: timedelta, now: datetime
) -> list[str]:
    """The days of an audit line that may go. `days` are `YYYYMMDD` in order, each with its last segment's number.

    A day goes when it is over for longer than `keep` and no kept dump is replayed from it on: `needed_after` is the
    lowest segment after which a dump that is kept needs the stream, None where no dump needs it. The last day stays.
    """
    last_kept = (now - keep).strftime("%Y%m%d")
    return [
        day
        for day, last_number in days[:-1]
        if day < last_kept and (needed_after is None or last_number <= needed_after)
    ]


def _text(span: timedelta) -> str:
    if span >= timedelta(days=2):
        return f"{span.days} days"
    return f"{span.total_seconds() / 3600:.1f} h"
