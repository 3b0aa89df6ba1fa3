"""Low-balance alerts: HTTP to service and back."""

from datetime import datetime
from typing import Annotated, Any, Final, Self

from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from starlette.responses import Response

from shieldx_runtime.core.openapi import refusals
from shieldx_runtime.core.problems import invalid_field
from shieldx_runtime.credits import problems
from shieldx_runtime.credits.alert_parts import AlertParts
from shieldx_runtime.credits.alerts import MAX_THRESHOLDS, MAX_URL, BadWebhookError, Rule, check_url, secret_of
from shieldx_runtime.credits.http import Purchaser, Reader, TenantPath, answer, service_of
from shieldx_runtime.credits.schemas import Amount, Body

_EXAMPLE: Final[dict[str, Any]] = {
    "thresholds": [1000, 100],
    "webhook_url": "https://example.com/hooks/credits",
    "secret_version": 1,
}


class AlertsBody(Body):
    """No thresholds: no alerts."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    thresholds: Annotated[list[Amount], Field(max_length=MAX_THRESHOLDS)] = Field(
        description="An alert is sent when what is available falls below one of them, once each time that it does."
    )
    webhook_url: Annotated[str, StringConstraints(max_length=MAX_URL)] | None = Field(
        default=None, description="Where alerts are sent: https. Needed with thresholds."
    )
    secret_version: int = Field(default=1, ge=1, le=1_000_000, description="Another number makes another secret.")

    @model_validator(mode="after")
    def _says_where(self) -> Self:
        if self.thresholds and self.webhook_url is None:
            raise ValueError("webhook_url is missing: send one, since there are thresholds")
        return self


_RULE_EXAMPLE: Final[dict[str, Any]] = {
    "tenant_id": "org-123",
    **_EXAMPLE,
    "pending": 0,
    "last_crossed_at": "2030-01-31T12:00:00Z",
    "last_delivered_at": "2030-01-31T12:00:01Z",
    "last_problem": "the webhook answered 503",
}


class AlertsAnswer(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [_RULE_EXAMPLE]})

    tenant_id: str
    thresholds: list[int]
    webhook_url: str | None
    secret_version: int
    pending: int = Field(description="Alerts that are not delivered yet.")
    last_crossed_at: datetime | None
    last_delivered_at: datetime | None = Field(description="When the last alert was delivered; null: not yet.")
    last_problem: str | None = Field(description="What was wrong when the last alert was tried.")


class SetAlertsAnswer(AlertsAnswer):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{**_RULE_EXAMPLE, "secret": "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}]
        }
    )

    secret: str = Field(description="Signs the deliveries, as of Standard Webhooks. It is told here alone.")


async def put_alerts(request: Request, tenant_id: TenantPath, body: AlertsBody, principal: Purchaser) -> Response:
    """Sets below which balances a tenant's webhook is called. Deliveries are signed, and repeated until taken."""
    parts = _parts(request)
    with service_of(request).counted("set_alerts"):
        if not principal.may_act_for(tenant_id):
            raise problems.unknown_tenant(tenant_id)
        if body.webhook_url is not None:
            try:
                check_url(body.webhook_url, parts.allowed)
            except BadWebhookError as error:
                problem, _, remedy = str(error).partition(": ")
                raise invalid_field("webhook_url", problem, remedy) from error
        thresholds = sorted(set(body.thresholds), reverse=True)
        if not await parts.book.set_rule(tenant_id, thresholds, body.webhook_url, body.secret_version):
            raise problems.unknown_tenant(tenant_id)
        rule = await _rule(parts, tenant_id)
        secret = secret_of(parts.pepper, tenant_id, rule.secret_version)
        told = SetAlertsAnswer(**_told(rule), secret=secret)
        return answer(told, headers={"Cache-Control": "no-store"})


async def get_alerts(request: Request, tenant_id: TenantPath, principal: Reader) -> Response:
    """What is set, and how the last alert fared."""
    with service_of(request).counted("alerts"):
        if not principal.may_act_for(tenant_id):
            raise problems.unknown_tenant(tenant_id)
        return answer(AlertsAnswer(**_told(await _rule(_parts(request), tenant_id))))


async def _rule(parts: AlertParts, tenant_id: str) -> Rule:
    rule = await parts.book.rule(tenant_id)
    if rule is None:
        raise problems.unknown_tenant(tenant_id)
    return rule


def _told(rule: Rule) -> dict[str, Any]:
    return {
        "tenant_id": rule.tenant_id,
        "thresholds": list(rule.thresholds),
        "webhook_url": rule.webhook_url,
        "secret_version": rule.secret_version,
        "pending": rule.pending,
        "last_crossed_at": rule.last_crossed_at,
        "last_delivered_at": rule.last_delivered_at,
        "last_problem": rule.last_problem,
    }


def _parts(request: Request) -> AlertParts:
    parts: AlertParts = request.app.state.alerts
    return parts


def add_to(app: FastAPI) -> None:
    path, tags = "/credits/alerts/{tenant_id}", ["alerts"]
    told = refusals(problems.UNKNOWN_TENANT)
    app.put(path, response_model=SetAlertsAnswer, responses=told, tags=[*tags])(put_alerts)
    app.get(path, response_model=AlertsAnswer, responses=told, tags=[*tags])(get_alerts)
