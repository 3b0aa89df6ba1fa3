"""Bodies of the API."""

import uuid
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from shieldx_contract import TENANT_ID_PATTERN

MAX_SAMPLE_SIZE: Final = 1_000_000
TenantId = Annotated[str, StringConstraints(pattern=f"^{TENANT_ID_PATTERN}$")]
Status = Literal["queued", "running", "completed", "failed", "cancelled"]
Share = Annotated[float, Field(ge=0, le=1)]
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LONGEST_WINDOW_S: Final = 366 * 86_400.0
"""Nothing is kept for so long; what lies far enough back, the database has no time for."""


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class GatesBody(Body):
    """What the rule must reach, held against bounds of 95% intervals."""

    minPrecision: Share | None = None  # noqa: N815 - as the custom resource has them
    minRecall: Share | None = None  # noqa: N815
    minF1: Share | None = None  # noqa: N815
    maxFalsePositiveRate: Share | None = None  # noqa: N815


class EvaluateBody(Body):
    """One question about the tenant's stored traffic."""

    rule_id: Annotated[str, Field(min_length=1, max_length=128)]
    rule_name: Annotated[str, Field(max_length=256)] = ""
    rule_type: Annotated[str, Field(max_length=64)]
    rule_config: dict[str, Any]
    baseline_config: dict[str, Any] | None = None
    sample_size: Annotated[int, Field(ge=1, le=MAX_SAMPLE_SIZE)] = 1000
    time_window: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,6}[smhd]$")] = "24h"
    tenant_id: TenantId
    seed: Annotated[int, Field(ge=0, le=2**53 - 1)] = 0
    gates: GatesBody = GatesBody()
    prevalence: Annotated[float, Field(gt=0, lt=1)] | None = None

    @property
    def window_s(self) -> float:
        return min(float(self.time_window[:-1]) * _UNITS_S[self.time_window[-1]], _LONGEST_WINDOW_S)

    @property
    def rule(self) -> dict[str, Any]:
        return {"type": self.rule_type, **self.rule_config}


class Charge(BaseModel):
    """What an evaluation costs its tenant.

    `credits`: while `state` is reserving or held, what it may cost at the most; when it is committing or committed,
    what it does cost; else 0.
    """

    state: Literal["reserving", "held", "committing", "cancelling", "committed", "cancelled", "refused", "lapsed"]
    credits: int


class Interval(BaseModel):
    """A ratio with its 95% interval; all are null where there was nothing to divide by."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


class EvaluationAnswer(BaseModel):
    """How the rule did. An undefined ratio is null."""

    eval_id: uuid.UUID
    status: Status
    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int
    precision: float | None
    recall: float | None
    f1_score: float | None
    recommendations: list[str]
    execution_time_ms: int
    confidence_intervals: dict[str, Interval]
    verdict: str
    reasons: list[str]
    mcc: float | None
    errors: int
    errors_by_reason: dict[str, int]
    comparison: dict[str, Any] | None
    seed: int
    dataset_digest: str
    engine: str
    cached: bool
    charge: Charge | None = None


class Accepted(BaseModel):
    """How an evaluation stands: `judged` of `samples` so far, 0 of 0 while it waits. `error` says why it failed."""

    eval_id: uuid.UUID
    status: Status
    judged: int = 0
    samples: int = 0
    error: str | None = None
    charge: Charge | None = None


class Mistake(BaseModel):
    """A sample that the rule and its label disagree on. `line` is its place among the tenant's samples."""

    line: int
    attack: bool
    group: str
    payload: str


class MistakesAnswer(BaseModel):
    """At most 50 of each, chosen by the seed."""

    false_positives: list[Mistake]
    false_negatives: list[Mistake]


class RejectedLine(BaseModel):
    line: int
    error: str


class IngestAnswer(BaseModel):
    accepted: int
    rejected: list[RejectedLine]
