"""BackupPolicy: what of a CreditsService is copied where, when, kept how long, and how it is proved."""

from collections.abc import Sequence

from shieldx_operator.engine.types import Measure, Obj, Observation, Plan, Reads, Resource, Results, Status
from shieldx_operator.kinds.backuppolicy import measures as measuring
from shieldx_operator.kinds.backuppolicy import plan as planning
from shieldx_operator.kinds.backuppolicy import status as telling
from shieldx_operator.kinds.backuppolicy.view import RESOURCE, view
from shieldx_operator.settings import OperatorSettings


class BackupPolicyKind:
    """The kind as the engine sees it: three pure functions bound to the operator's settings."""

    resource = RESOURCE
    owned: Sequence[Resource] = planning.OWNED
    looks_at: Sequence[Resource] = planning.LOOKS_AT
    lists: Sequence[Resource] = planning.LISTS
    lasting: Sequence[Resource] = planning.LASTING
    measured = measuring.GAUGES
    finalizes = False  # deleting it ends what runs and deletes no copy

    def __init__(self, settings: OperatorSettings) -> None:
        self._settings = settings

    def reads(self, parent: Obj) -> Reads:
        return planning.reads(view(parent, self._settings))

    def plan(self, seen: Observation) -> Plan:
        return planning.plan(view(seen.parent, self._settings), seen)

    def status(self, seen: Observation, plan: Plan, results: Results) -> Status:  # noqa: ARG002 - of the protocol
        return telling.status(view(seen.parent, self._settings), seen, results)

    def measures(self, parent: Obj, status: Status) -> Sequence[Measure]:
        return measuring.measures(view(parent, self._settings), status)
