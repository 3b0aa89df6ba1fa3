"""Backup: one copy of one stream of a CreditsService."""

from collections.abc import Sequence

from shieldx_operator.engine.types import Obj, Observation, Plan, Reads, Resource, Results, Status
from shieldx_operator.kinds.backup import plan as planning
from shieldx_operator.kinds.backup import status as telling
from shieldx_operator.kinds.backup.view import RESOURCE, view
from shieldx_operator.settings import OperatorSettings


class BackupKind:
    """The kind as the engine sees it: three pure functions bound to the operator's settings."""

    resource = RESOURCE
    owned: Sequence[Resource] = planning.OWNED
    looks_at: Sequence[Resource] = planning.LOOKS_AT
    lists: Sequence[Resource] = planning.LISTS
    finalizes = False  # deleting it ends its run and deletes no copy

    def __init__(self, settings: OperatorSettings) -> None:
        self._settings = settings

    def reads(self, parent: Obj) -> Reads:
        return planning.reads(view(parent, self._settings))

    def plan(self, seen: Observation) -> Plan:
        return planning.plan(view(seen.parent, self._settings), seen)

    def status(self, seen: Observation, plan: Plan, results: Results) -> Status:  # noqa: ARG002 - of the protocol
        return telling.status(view(seen.parent, self._settings), seen, results)
