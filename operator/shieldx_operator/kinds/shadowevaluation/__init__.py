"""ShadowEvaluation: one question, how a rule does on labelled traffic."""

from collections.abc import Sequence
from typing import Final

from shieldx_operator.engine.types import Obj, Observation, Plan, Reads, Resource, Results, Status
from shieldx_operator.kinds.shadowevaluation import plan as planning
from shieldx_operator.kinds.shadowevaluation import status as telling
from shieldx_operator.kinds.shadowevaluation.view import view
from shieldx_operator.settings import OperatorSettings

RESOURCE: Final = planning.RESOURCE


class ShadowEvaluationKind:
    """The kind as the engine sees it: three pure functions bound to the operator's settings."""

    resource = RESOURCE
    owned: Sequence[Resource] = planning.OWNED
    looks_at: Sequence[Resource] = planning.LOOKS_AT
    lists: Sequence[Resource] = planning.LISTS
    told_by_others = frozenset({"shards"})
    finalizes = False  # deleting it is cancelling it: the garbage collector ends the Job and its pods

    def __init__(self, settings: OperatorSettings) -> None:
        self._settings = settings

    def reads(self, parent: Obj) -> Reads:
        return planning.reads(view(parent, self._settings), parent)

    def plan(self, seen: Observation) -> Plan:
        return planning.plan(view(seen.parent, self._settings), seen, self._settings)

    def status(self, seen: Observation, plan: Plan, results: Results) -> Status:  # noqa: ARG002 - of the protocol
        return telling.status(view(seen.parent, self._settings), seen, results)
