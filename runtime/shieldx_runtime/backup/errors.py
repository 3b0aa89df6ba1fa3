"""What can go wrong with a backup. Each error says which exit code its command ends with."""

from typing import ClassVar

from shieldx_contract.backup import (
    EXIT_BUSY,
    EXIT_DAMAGED,
    EXIT_DEADLINE,
    EXIT_DESTINATION,
    EXIT_FAILED,
    EXIT_GAP,
    EXIT_NO_SPACE,
    EXIT_NOT_FOUND,
    EXIT_NOT_PROVED,
    EXIT_REFUSED,
    EXIT_SETTINGS,
    EXIT_WRONG_KEY,
)


class BackupError(Exception):
    """It could not be done. `reason` is one word for programs; the message names object, problem and remedy."""

    exit_code: ClassVar[int] = EXIT_FAILED
    reason: ClassVar[str] = "Failed"


class SettingError(BackupError):
    exit_code, reason = EXIT_SETTINGS, "BadSetting"


class ToolError(BackupError):
    """pg_dump, pg_restore or a Redis tool failed or is missing."""

    reason = "ToolFailed"


class WrongKeyError(BackupError):
    exit_code, reason = EXIT_WRONG_KEY, "WrongKey"


class DamagedError(BackupError):
    """A stored object is not what was written: cut off, altered, exchanged or gone."""

    exit_code, reason = EXIT_DAMAGED, "Damaged"


class BusyError(BackupError):
    """Another run works on the same stream."""

    exit_code, reason = EXIT_BUSY, "Busy"


class LeaseLostError(BusyError):
    """This run was given up for dead by another one and must write nothing more."""

    reason = "LeaseLost"


class DestinationError(BackupError):
    """The destination fails or does not answer: that may pass."""

    exit_code, reason = EXIT_DESTINATION, "DestinationUnavailable"


class RefusedError(DestinationError):
    """The destination refuses the credentials or has no such bucket: a person must mend it."""

    exit_code, reason = EXIT_REFUSED, "DestinationRefused"


class ConflictError(DestinationError):
    """A conditional put found another object than it expected."""

    reason = "Conflict"


class DeadlineError(BackupError):
    exit_code, reason = EXIT_DEADLINE, "DeadlineExceeded"


class NotFoundError(BackupError):
    exit_code, reason = EXIT_NOT_FOUND, "NotFound"


class NotProvedError(BackupError):
    """Restored, and the books do not add up."""

    exit_code, reason = EXIT_NOT_PROVED, "NotProved"


class GapError(BackupError):
    """The database does not continue what was shipped of its audit log."""

    exit_code, reason = EXIT_GAP, "AuditGap"


class NoSpaceError(BackupError):
    exit_code, reason = EXIT_NO_SPACE, "NoSpace"
