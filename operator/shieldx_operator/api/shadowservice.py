"""ShadowService: the HTTP API of shadow evaluation, beside a credits service whose tenants and keys it takes."""

from pydantic import Field

from shieldx_contract import SHADOW_BILLING_MAX_HOLD_S, SHADOW_BILLING_MAX_PRICE, SHADOW_BILLING_MIN_HOLD_S
from shieldx_operator.api.apiservice import ApiServiceSpec, ApiServiceStatus, ApiSettings
from shieldx_operator.api.base import Model
from shieldx_operator.api.common import LocalObjectReference
from shieldx_operator.api.fields import ObjectName, SecretKey


class ShadowSettings(ApiSettings):
    """How each pod of the API behaves."""

    pool_max_size: int | None = Field(
        default=None, ge=1, le=100, description="Most connections to the database, for each pod."
    )
    request_timeout_seconds: int | None = Field(
        default=None,
        ge=1,
        le=300,
        description="Seconds that a request may last. An evaluation that is not answered by then goes on: its caller "
        "gets 202 and where the result will be.",
    )
    termination_grace_period_seconds: int | None = Field(
        default=None,
        ge=2,
        le=900,
        description="Seconds from the order to stop until the pod is killed. More than drainDelaySeconds and "
        "requestTimeoutSeconds together, so that accepted evaluations are answered.",
    )


class BillingKeyReference(Model):
    """Names the key of a Secret that holds an API key of the credits service."""

    name: ObjectName = Field(description="Name of the Secret, in the namespace of this object.")
    key: SecretKey | None = Field(default=None, description="Key of the Secret whose value is the API key.")


class Billing(Model):
    """What evaluations cost: credits are held before, taken by the samples judged, and released otherwise."""

    credits_per_thousand_samples: int = Field(
        ge=1,
        le=SHADOW_BILLING_MAX_PRICE,
        description="Credits for 1,000 judged samples, rounded up to whole credits for each evaluation. What is "
        "answered from the cache, fails or is cancelled costs nothing.",
    )
    key_secret_ref: BillingKeyReference = Field(
        description="The Secret with an API key of the credits service that may consume for every tenant "
        '(`{"tenant_id": null, "scopes": ["consume"]}`). The operator reads it and never changes it.'
    )
    hold_seconds: int | None = Field(
        default=None,
        ge=SHADOW_BILLING_MIN_HOLD_S,
        le=SHADOW_BILLING_MAX_HOLD_S,
        description="Seconds after which held credits are released by themselves, should nobody be left to do it. An "
        "evaluation must have waited and been judged by then.",
    )


class ShadowServiceSpec(ApiServiceSpec):
    """What a ShadowService asks for."""

    credits_ref: LocalObjectReference = Field(
        description="The CreditsService, in the same namespace, whose tenants may call: their keys are valid here, "
        "and its database and cache hold the samples and results. It cannot be changed later."
    )
    settings: ShadowSettings | None = Field(default=None, description="How each pod of the API behaves.")
    billing: Billing | None = Field(
        default=None, description="What evaluations cost their tenants, in credits. Unset: nothing."
    )


class Stores(Model):
    """The Secrets that lead to the stores in use."""

    database: str = Field(description="Name of the Secret with the URI of the database.")
    cache: str = Field(description="Name of the Secret with the URI of the cache.")


class ShadowServiceStatus(ApiServiceStatus):
    """What the operator sees."""

    stores: Stores | None = Field(
        default=None, description="The Secrets that lead to the stores of the credits service, which this one uses."
    )
