"""Reconciliation: HTTP to the comparison and back."""

from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from shieldx_runtime.core import log
from shieldx_runtime.core.openapi import refusals
from shieldx_runtime.credits import problems
from shieldx_runtime.credits.http import ADMINISTRATOR, TenantPath, answer, service_of
from shieldx_runtime.credits.reconcile import Reconciler

_logger = log.get(__name__)


class DifferenceAnswer(BaseModel):
    what: str = Field(description="account, grants, ledger, audit, l1 or l2, and what of it.")
    found: str
    expected: str = Field(description="What the ledger says, recomputed.")


class ReconciliationAnswer(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "tenant_id": "org-123",
                    "agrees": False,
                    "version": 41,
                    "differences": [{"what": "account: balance", "found": "9901", "expected": "9900"}],
                }
            ]
        }
    )

    tenant_id: str
    agrees: bool
    version: int = Field(description="The account's version at the comparison.")
    differences: list[DifferenceAnswer]


async def reconcile(request: Request, tenant_id: TenantPath) -> Response:
    """Recomputes an account out of its ledger and compares account, grants, audit log and caches. Mends nothing.

    A ledger too large for the time of a request is 503: use `credits reconcile --tenant`.
    """
    reconciler: Reconciler = request.app.state.reconciler
    with service_of(request).counted("reconcile") as counter:
        done = await reconciler.reconcile(tenant_id)
        if done is None:
            raise problems.unknown_tenant(tenant_id)
        account, found = done
        if found:
            counter.result = "differs"
            _logger.error("books differ", tenant_id=tenant_id, differences=[str(difference) for difference in found])
        told = [DifferenceAnswer(what=d.what, found=d.found, expected=d.expected) for d in found]
        return answer(
            ReconciliationAnswer(tenant_id=tenant_id, agrees=not told, version=account.version, differences=told)
        )


def add_to(app: FastAPI) -> None:
    app.post(
        "/credits/reconcile/{tenant_id}",
        response_model=ReconciliationAnswer,
        responses=refusals(problems.UNKNOWN_TENANT),
        dependencies=[ADMINISTRATOR],
        tags=["administration"],
    )(reconcile)
