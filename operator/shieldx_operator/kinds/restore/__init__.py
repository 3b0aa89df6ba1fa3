"""Restore: one copy of a database, put in the place of a CreditsService's database or into a new service."""

from collections.abc import Sequence

from shieldx_operator.engine.types import Obj, Observation, Plan, Reads, Resource, Results, Status
from shieldx_operator.kinds.restore import plan as planning
from shieldx_operator.kinds.restore import status as telling
from shieldx_operator.kinds.restore.view import RESOURCE, view
from shieldx_operator.settings import OperatorSettings


class RestoreKind:
    """The kind as the engine sees it: three pure functions bound to the operator's settings.

    It has a finalizer: a restore in place that is deleted half way is rolled back before the object goes.
    """

    resource = RESOURCE
    owned: Sequence[Resource] = planning.OWNED
    looks_at: Sequence[Resource] = planning.LOOKS_AT
    lists: Sequence[Resource] = planning.LISTS

    def __init__(self, settings: OperatorSettings) -> None:
        self._settings = settings

    def reads(self, parent: Obj) -> Reads:
        return planning.reads(view(parent, self._settings))

    def plan(self, seen: Observation) -> Plan:
        return planning.plan(view(seen.parent, self._settings), seen)

    def status(self, seen: Observation, plan: Plan, results: Results) -> Status:  # noqa: ARG002 - of the protocol
        return telling.status(view(seen.parent, self._settings), seen, results)
