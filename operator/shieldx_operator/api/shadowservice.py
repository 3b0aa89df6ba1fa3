"""ShadowService: the HTTP API of shadow evaluation, beside a credits service whose tenants and keys it takes."""

from pydantic import Field

from shieldx_operator.api.apiservice import ApiServiceSpec, ApiServiceStatus, ApiSettings
from shieldx_operator.api.base import Model
from shieldx_operator.api.common import LocalObjectReference


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


class ShadowServiceSpec(ApiServiceSpec):
    """What a ShadowService asks for."""

    credits_ref: LocalObjectReference = Field(
        description="The CreditsService, in the same namespace, whose tenants may call: their keys are valid here, "
        "and its database and cache hold the samples and results. It cannot be changed later."
    )
    settings: ShadowSettings | None = Field(default=None, description="How each pod of the API behaves.")


class Stores(Model):
    """The Secrets that lead to the stores in use."""

    database: str = Field(description="Name of the Secret with the URI of the database.")
    cache: str = Field(description="Name of the Secret with the URI of the cache.")


class ShadowServiceStatus(ApiServiceStatus):
    """What the operator sees."""

    stores: Stores | None = Field(
        default=None, description="The Secrets that lead to the stores of the credits service, which this one uses."
    )
