"""Tenant: one tenant of a CreditsService, and the key that it calls the API with."""

from collections.abc import Sequence
from typing import Final

from shieldx_contract import API_GROUP
from shieldx_operator.blocks.resources import SECRET
from shieldx_operator.engine.types import Obj, Observation, Plan, Reads, Resource, Results, Status
from shieldx_operator.kinds.tenant import plan as planning
from shieldx_operator.kinds.tenant import status as telling

RESOURCE: Final = Resource(API_GROUP, "v1alpha1", "Tenant", "tenants")


class TenantKind:
    """The kind as the engine sees it."""

    resource = RESOURCE
    owned: Sequence[Resource] = (SECRET,)

    def reads(self, parent: Obj) -> Reads:
        return planning.reads(planning.view(parent))

    def plan(self, seen: Observation) -> Plan:
        return planning.plan(planning.view(seen.parent), seen)

    def status(self, seen: Observation, plan: Plan, results: Results) -> Status:
        return telling.status(planning.view(seen.parent), seen, plan, results)
