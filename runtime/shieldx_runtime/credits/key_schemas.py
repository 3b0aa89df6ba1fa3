"""The JSON of calls about API keys."""

from datetime import datetime
from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from shieldx_contract import API_KEY_PATTERN, MAX_RATE_LIMIT
from shieldx_runtime.core.auth import KeyTerms, Scope
from shieldx_runtime.core.quota import WINDOW_S
from shieldx_runtime.credits.schemas import Body, Moment, TenantId

EXAMPLE_KEY_ID: Final = "0123456789abcdef"
EXAMPLE_KEY: Final = f"sxk_{EXAMPLE_KEY_ID}_{'x' * 43}"

KeyId: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
RateLimit: TypeAlias = Annotated[int, Field(ge=1, le=MAX_RATE_LIMIT)]
ScopeName: TypeAlias = Literal["consume", "read", "purchase", "admin"]
Scopes: TypeAlias = Annotated[list[ScopeName], Field(min_length=1, max_length=4)]


class _KeyBody(Body):
    tenant_id: TenantId | None = Field(description="The one tenant that the key acts for; null: the whole platform.")
    scopes: Scopes
    expires_at: Moment = None
    rate_limit: RateLimit | None = Field(
        default=None,
        description=f"Requests within {WINDOW_S} s, for all replicas together; null: the service's own limit, which "
        "each replica counts for itself.",
    )

    @model_validator(mode="after")
    def _administrators_belong_to_the_platform(self) -> Self:
        if "admin" in self.scopes and self.tenant_id is not None:
            raise ValueError("scope 'admin' acts on every tenant: send \"tenant_id\": null with it")
        return self

    def terms(self) -> KeyTerms:
        scopes = frozenset(Scope(s) for s in self.scopes)
        return KeyTerms(self.tenant_id, scopes, self.expires_at, self.rate_limit)


class IssueKeyBody(_KeyBody):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"tenant_id": "org-123", "scopes": ["consume", "read"], "expires_at": "2030-01-31T12:00:00Z"}]
        }
    )


class RegisterKeyBody(_KeyBody):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "tenant_id": "org-123",
                    "scopes": ["consume", "read"],
                    "key": EXAMPLE_KEY,
                    "expires_at": "2030-01-31T12:00:00Z",
                }
            ]
        }
    )

    key: Annotated[str, StringConstraints(pattern=f"^{API_KEY_PATTERN}$")]


class KeyAnswer(BaseModel):
    key_id: str
    tenant_id: str | None
    scopes: list[ScopeName]
    expires_at: datetime | None
    rate_limit: int | None = None


class IssuedKeyAnswer(KeyAnswer):
    """The only time that the key is shown."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "key_id": EXAMPLE_KEY_ID,
                    "key": EXAMPLE_KEY,
                    "tenant_id": "org-123",
                    "scopes": ["consume", "read"],
                    "expires_at": "2030-01-31T12:00:00Z",
                }
            ]
        }
    )

    key: str
