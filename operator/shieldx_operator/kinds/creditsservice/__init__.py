"""CreditsService: one credits API with its database and its cache."""

from collections.abc import Sequence
from typing import Final

from shieldx_contract import API_GROUP
from shieldx_operator.blocks.component import last_told
from shieldx_operator.blocks.resources import EVENT, POD
from shieldx_operator.engine.types import Measure, Obj, Observation, Plan, Reads, Resource, Results, Status
from shieldx_operator.kinds.creditsservice import books
from shieldx_operator.kinds.creditsservice import plan as planning
from shieldx_operator.kinds.creditsservice import status as telling
from shieldx_operator.kinds.creditsservice.view import view
from shieldx_operator.settings import OperatorSettings

RESOURCE: Final = Resource(API_GROUP, "v1alpha1", "CreditsService", "creditsservices")


class CreditsServiceKind:
    """The kind as the engine sees it: three pure functions bound to the operator's settings."""

    resource = RESOURCE
    owned: Sequence[Resource] = planning.OWNED
    lasting: Sequence[Resource] = planning.LASTING
    lists: Sequence[Resource] = (POD, EVENT)
    measured = books.GAUGES
    finalizes = False  # the garbage collector removes what is owned, and data has no owner

    def __init__(self, settings: OperatorSettings) -> None:
        self._settings = settings

    def reads(self, parent: Obj) -> Reads:
        ready = last_told(parent, "Ready").get("status") == "True"
        return planning.reads(view(parent, self._settings), explain=not ready)

    def plan(self, seen: Observation) -> Plan:
        return planning.plan(view(seen.parent, self._settings), seen, self._settings)

    def status(self, seen: Observation, plan: Plan, results: Results) -> Status:  # noqa: ARG002 - of the protocol
        return telling.status(view(seen.parent, self._settings), seen, results)

    def measures(self, parent: Obj, status: Status) -> Sequence[Measure]:
        return books.measures(view(parent, self._settings), status)
