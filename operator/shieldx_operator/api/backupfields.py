"""Types of single fields that backups need: schedules, time zones, places in a store, keys and times."""

from typing import Annotated, Final, TypeAlias

from shieldx_operator.api.fields import Text

_MINUTE: Final = r"[0-5]?[0-9]"
_HOUR: Final = r"([01]?[0-9]|2[0-3])"
_DAY: Final = r"(0?[1-9]|[12][0-9]|3[01])"
_MONTH: Final = r"(0?[1-9]|1[0-2]|JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)"
_WEEKDAY: Final = r"([0-7]|SUN|MON|TUE|WED|THU|FRI|SAT)"


def _cron_field(value: str) -> str:
    term = rf"(\*|{value}(-{value})?)(/[1-9][0-9]?)?"
    return rf"{term}(,{term})*"


Cron: TypeAlias = Annotated[
    str,
    Text(
        " +".join(_cron_field(value) for value in (_MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY)),
        "must be a cron schedule of five fields (minute, hour, day of month, month, day of week), such as "
        "0 */6 * * * for every six hours or 30 2 * * MON-FRI",
        100,
    ),
]
TimeZone: TypeAlias = Annotated[
    str,
    Text(
        r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}",
        "must be the name of a time zone in the IANA data base, such as Etc/UTC or Europe/Berlin",
        64,
    ),
]
Moment: TypeAlias = Annotated[
    str,
    Text(
        r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?Z",
        "must be a time in UTC, such as 2026-01-31T12:00:00Z",
        32,
    ),
]
BackupId: TypeAlias = Annotated[
    str,
    Text(
        r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}",
        "must be the id of a stored copy, such as 20260131T120000Z-1a2b3c4d: status.backupID of a Backup has it, and "
        "`backup list` shows all",
        64,
    ),
]
KeyId: TypeAlias = Annotated[
    str,
    Text(
        r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?",
        "must be the id of a key, which is a key of the Secret: letters, digits, '.', '_' and '-'",
        63,
    ),
]
FolderPath: TypeAlias = Annotated[
    str,
    Text(
        r"[-._a-zA-Z0-9]+(/[-._a-zA-Z0-9]+)*",
        "must be a folder below the root of the store, without '/' in front and without '..', such as backups/team",
        253,
        cel="{subject}.matches(r'^[-._a-zA-Z0-9]+(/[-._a-zA-Z0-9]+)*$') && "
        "!{subject}.split('/').exists(part, part == '..' || part == '.')",
    ),
]
