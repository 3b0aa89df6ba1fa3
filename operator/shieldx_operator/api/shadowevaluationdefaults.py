"""What an unset field of a ShadowEvaluation means. See `defaults` for why this stands in no schema."""

from typing import Any, Final

from shieldx_operator.api.apiservice import Image
from shieldx_operator.api.base import Model
from shieldx_operator.api.common import Scheduling
from shieldx_operator.api.defaults import EffectiveResources, filled
from shieldx_operator.api.detection import DetectionRule
from shieldx_operator.api.shadowevaluation import Data, Gates, ShadowEvaluationSpec

SHADOW_EVALUATION: Final[dict[str, Any]] = {
    "seed": 0,
    "shards": 1,
    "workers": 2,
    "batchSize": 100,
    "gates": {},
    "image": {},
    "resources": {
        "requests": {"cpu": "500m", "memory": "256Mi"},
        "limits": {"cpu": "2000m", "memory": "1Gi"},
    },
    "scheduling": {},
    "deadlineSeconds": 3600,
    "backoffLimitPerIndex": 3,
    "ttlSecondsAfterFinished": 3600,
    "suspend": False,
}


class EffectiveShadowEvaluation(Model):
    """A ShadowEvaluation's spec with every default filled in. None: nobody asked for it."""

    rule: DetectionRule
    baseline: DetectionRule | None = None
    data: Data
    sample_size: int | None = None
    seed: int
    prevalence: float | None = None
    gates: Gates
    shards: int
    parallelism: int
    workers: int
    batch_size: int
    version: str | None = None
    image: Image
    resources: EffectiveResources
    scheduling: Scheduling
    deadline_seconds: int
    backoff_limit_per_index: int
    ttl_seconds_after_finished: int
    rerun: str | None = None
    suspend: bool


def effective_evaluation(spec: ShadowEvaluationSpec) -> EffectiveShadowEvaluation:
    """What the operator holds true for `spec`."""
    chosen = filled(spec.to_json(), SHADOW_EVALUATION)
    chosen.setdefault("parallelism", chosen["shards"])
    return EffectiveShadowEvaluation.model_validate(chosen)
