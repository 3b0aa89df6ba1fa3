"""A schedule in the words of a Kubernetes CronJob. Pure."""

from typing import Final

_WEEKDAYS: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_SUNDAY_AS_LAST: Final = 7


def cron_job_schedule(schedule: str) -> str:
    """`schedule`, whose five fields the CRD has checked, with Sundays as a CronJob wants them.

    cron calls a Sunday 0 and 7, so that a week can end with one; a CronJob refuses the 7. All else is left as it is:
    what is wrong there (a range that runs backwards) the API server says.
    """
    *others, weekdays = schedule.split()
    return " ".join((*others, ",".join(_weekdays(term) for term in weekdays.split(","))))


def _weekdays(term: str) -> str:
    days, _, step = term.partition("/")
    first, _, last = days.partition("-")
    if first == str(_SUNDAY_AS_LAST) and last in ("", first):
        return "0"
    if last != str(_SUNDAY_AS_LAST):
        return term
    begin = _WEEKDAYS.index(first) if first in _WEEKDAYS else int(first)
    found = (day % _SUNDAY_AS_LAST for day in range(begin, _SUNDAY_AS_LAST + 1, int(step or 1)))
    return ",".join(str(day) for day in dict.fromkeys(found))
