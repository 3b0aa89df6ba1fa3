"""ShadowService: the HTTP API of shadow evaluation, beside a credits service."""

from collections.abc import Sequence
from typing import Final

from shieldx_contract import API_GROUP
from shieldx_operator.engine.types import Obj, Observation, Plan, Reads, Resource, Results, Status
from shieldx_operator.kinds.shadowservice import plan as planning
from shieldx_operator.kinds.shadowservice import status as telling
from shieldx_operator.kinds.shadowservice.view import view
from shieldx_operator.settings import OperatorSettings

RESOURCE: Final = Resource(API_GROUP, "v1alpha1", "ShadowService", "shadowservices")


class ShadowServiceKind:
    """The kind as the engine sees it: three pure functions bound to the operator's settings."""

    resource = RESOURCE
    owned: Sequence[Resource] = planning.OWNED
    lasting: Sequence[Resource] = planning.LASTING
    looks_at: Sequence[Resource] = planning.LOOKS_AT
    lists: Sequence[Resource] = planning.LISTS
    finalizes = False  # the garbage collector removes what is owned; it keeps no data of its own

    def __init__(self, settings: OperatorSettings) -> None:
        self._settings = settings

    def reads(self, parent: Obj) -> Reads:
        return planning.reads(view(parent, self._settings), parent)

    def plan(self, seen: Observation) -> Plan:
        return planning.plan(view(seen.parent, self._settings), seen, self._settings)

    def status(self, seen: Observation, plan: Plan, results: Results) -> Status:  # noqa: ARG002 - of the protocol
        return telling.status(view(seen.parent, self._settings), seen, results)
