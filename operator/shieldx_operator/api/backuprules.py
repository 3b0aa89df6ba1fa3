"""What the API server checks across the fields of a BackupPolicy, a Backup and a Restore. See `rules`."""

from typing import Final

from shieldx_operator.api.backupdefaults import BACKUP_POLICY
from shieldx_operator.api.rules import Rule, Tables, at_most_the_limit, named, unchanged, value_of

_POLICY: Final[Tables] = (BACKUP_POLICY, BACKUP_POLICY)
POLICY_NAME_MAX_LENGTH: Final = 40
RUN_NAME_MAX_LENGTH: Final = 59
"""A policy's name, a stream and a time are a Backup's name; that and `-run` are a Job's, which has 63 characters."""


def _name(longest: int) -> Rule:
    return Rule(
        at="",
        field=".metadata.name",
        rule=f"self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{{0,{longest - 2}}}[a-z0-9])?$')",
        message=f"metadata.name must be at most {longest} lower case letters, digits and '-', with a letter or digit "
        "at both ends: names of Jobs are made of it",
        summary=f"`metadata.name` is at most {longest} characters: names of Jobs are made of it.",
    )


def _never_changes(kind: str) -> Rule:
    return Rule(
        at="spec",
        rule="self == oldSelf",
        message=f"cannot be changed: a {kind} is done once; make another {kind}",
        summary=f"The spec of a {kind} never changes: it is done once.",
    )


BACKUP_POLICY_RULES: Final[tuple[Rule, ...]] = (
    _name(POLICY_NAME_MAX_LENGTH),
    *at_most_the_limit("resources", tables=_POLICY),
    Rule(
        at="spec.serviceRef",
        field=".name",
        rule=unchanged("self.name"),
        message="cannot be changed: copies of one service would be taken for another's; make a BackupPolicy for the "
        "other service",
        summary="`serviceRef.name` never changes: copies of one service would be taken for another's.",
    ),
    Rule(
        at="spec",
        field=".retention",
        rule=f"{value_of('retention.auditDays', tables=_POLICY)} >= {value_of('retention.days', tables=_POLICY)}",
        message=f"{named('retention.auditDays', 'auditDays', tables=_POLICY)} must not be less than "
        f"{named('retention.days', 'days', tables=_POLICY)}: what was written after a dump is replayed from the "
        "audit log; raise auditDays or lower days",
        summary="`retention.auditDays` is at least `retention.days`: what was written after a dump is replayed from "
        "the audit log.",
    ),
)
BACKUP_RULES: Final[tuple[Rule, ...]] = (
    _name(RUN_NAME_MAX_LENGTH),
    _never_changes("Backup"),
    Rule(
        at="spec",
        rule="has(self.policyRef) ? !has(self.serviceRef) && !has(self.destination) && !has(self.encryption) : "
        "has(self.serviceRef) && has(self.destination) && has(self.encryption)",
        message="set either policyRef, whose service, destination and keys are taken, or all of serviceRef, "
        "destination and encryption",
        summary="Either `policyRef`, or all of `serviceRef`, `destination` and `encryption`.",
    ),
)
RESTORE_RULES: Final[tuple[Rule, ...]] = (
    _name(RUN_NAME_MAX_LENGTH - len("-rollback") + len("-run")),
    _never_changes("Restore"),
    Rule(
        at="spec",
        field=".confirm",
        rule="self.target.mode == 'InPlace' ? has(self.confirm) && self.confirm == self.target.name : "
        "!has(self.confirm)",
        message="for target.mode InPlace set confirm to target.name: the database of that service is replaced; for "
        "NewService leave it out",
        summary="For `target.mode` InPlace, `confirm` is `target.name`; for NewService it is left out.",
    ),
)
