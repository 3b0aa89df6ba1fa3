"""When something is due. Pure: the time is an argument, and what was taken up before is another."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from shieldx_operator.engine.types import Stall


def latest_due(cron: str, zone: str, now: datetime, after: datetime) -> datetime | None:
    """The latest due time up to `now` that is later than `after`: of several that were missed, one is made good.

    Raises:
        Stall: no such schedule or time zone.
    """
    tick = _tick(cron, zone, now.replace(microsecond=0) + timedelta(seconds=1), reverse=True)
    return tick if tick is not None and tick > after else None


def next_due(cron: str, zone: str, now: datetime) -> datetime | None:
    """The first due time after `now`; None for one that never comes.

    Raises:
        Stall: no such schedule or time zone.
    """
    return _tick(cron, zone, now, reverse=False)


def _tick(cron: str, zone: str, moment: datetime, *, reverse: bool) -> datetime | None:
    try:
        local = moment.astimezone(ZoneInfo(zone))
    except (ZoneInfoNotFoundError, ValueError):
        message = f"spec.timeZone: {zone!r} is no time zone of the IANA data base; write for instance Europe/Berlin"
        raise Stall("InvalidTimeZone", message) from None
    try:
        found: datetime = next(CronSim(cron, local, reverse=reverse))
    except CronSimError as error:
        message = f"schedule {cron!r}: {error}; correct it: five fields, minute to day of week"
        raise Stall("InvalidSchedule", message) from None
    except StopIteration:
        return None
    return found.astimezone(moment.tzinfo)
