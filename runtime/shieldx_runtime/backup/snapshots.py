"""Which of two snapshots of one PostgreSQL came first. Pure; no clock is asked.

`pg_current_snapshot()` is `xmin:xmax:xip,...`: everything from xmax on, and each xip, was not committed yet.
"""


def covers(later: str, earlier: str) -> bool:
    """Whether `later` sees everything that `earlier` sees.

    Raises:
        ValueError: one is no snapshot.
    """
    later_max, later_open = _parse(later)
    earlier_max, earlier_open = _parse(earlier)
    if later_max != earlier_max:
        return later_max > earlier_max
    return later_open <= earlier_open


def _parse(text: str) -> tuple[int, frozenset[int]]:
    parts = text.split(":")
    if len(parts) != 3:  # noqa: PLR2004 - xmin, xmax, xip
        raise ValueError(f"{text!r} is no snapshot of PostgreSQL")
    return int(parts[1]), frozenset(int(xid) for xid in parts[2].split(",") if xid)
