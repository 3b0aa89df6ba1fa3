"""A ShadowEvaluation as the other functions of this kind want to see it: parsed, defaulted, named.

Three digests tell what a change of the spec means. `question` is of what the numbers depend on: another question makes
the shards of the old one worthless. `run` is of how they are computed, too: another run is another Job. `judgement` is
of what the verdict depends on beside the numbers: another judgement needs no Job.
"""

from dataclasses import dataclass
from typing import Any, Final

from shieldx_contract import SHADOW_QUESTION_HEX_DIGITS, SHADOW_WORKER_SUFFIX
from shieldx_operator.api.shadowevaluation import ShadowEvaluationSpec
from shieldx_operator.api.shadowevaluationdefaults import EffectiveShadowEvaluation, effective_evaluation
from shieldx_operator.blocks.meta import Service
from shieldx_operator.blocks.resources import CONFIG_MAP, JOB, NETWORK_POLICY, ROLE, ROLE_BINDING, SERVICE_ACCOUNT
from shieldx_operator.blocks.spec import parse
from shieldx_operator.blocks.workload import digest
from shieldx_operator.engine.types import Obj, Ref
from shieldx_operator.settings import OperatorSettings

APP: Final = "shadow-evaluation"
WORKER: Final = "worker"


@dataclass(frozen=True, slots=True)
class View:
    """What one ShadowEvaluation asks for. `version` and `image` are those that judge."""

    service: Service
    uid: str
    effective: EffectiveShadowEvaluation
    version: str
    image: str
    question: str
    run: str
    judgement: str

    @property
    def worker_name(self) -> str:
        """Of the account, its Role and binding, and the NetworkPolicy: as long-lived as the question."""
        return f"{self.service.name}-{self.question}{SHADOW_WORKER_SUFFIX}"

    @property
    def run_name(self) -> str:
        """Of the Job and its task."""
        return f"{self.service.name}-{self.run}"

    @property
    def job(self) -> Ref:
        return Ref(JOB, self.service.namespace, self.run_name)

    @property
    def helpers(self) -> frozenset[Ref]:
        """What the Job's pods need while they run, and nothing needs afterwards."""
        namespace = self.service.namespace
        named = [Ref(r, namespace, self.worker_name) for r in (SERVICE_ACCOUNT, ROLE, ROLE_BINDING, NETWORK_POLICY)]
        return frozenset((*named, Ref(CONFIG_MAP, namespace, self.run_name)))


def view(parent: Obj, settings: OperatorSettings) -> View:
    """Parses an object that the API server let through.

    Raises:
        Stall: see `blocks.spec.parse`.
    """
    meta = parent["metadata"]
    chosen = parse(lambda spec: effective_evaluation(ShadowEvaluationSpec.from_json(spec)), parent)
    told = parent.get("status") or {}
    repository, _, default_version = settings.runtime_image.rpartition(":")
    version = chosen.version or default_version
    pinned = told.get("version")
    if pinned and not chosen.version and told.get("question") == _question(chosen, pinned):
        version = str(pinned)
    question = _question(chosen, version)
    image = f"{chosen.image.repository or repository}:{version}"
    return View(
        service=Service(meta["namespace"], meta["name"], APP),
        uid=meta.get("uid", ""),
        effective=chosen,
        version=version,
        image=image,
        question=question,
        run=_short(
            # not the image that the operator was installed with: another registry of it restarts nothing
            question,
            chosen.workers,
            chosen.batch_size,
            chosen.resources.to_json(),
            chosen.scheduling.to_json(),
            chosen.image.to_json(),
            chosen.deadline_seconds,
            chosen.backoff_limit_per_index,
            chosen.data.to_json(),
        ),
        judgement=_short(chosen.gates.to_json(), chosen.prevalence),
    )


def _question(chosen: EffectiveShadowEvaluation, version: str) -> str:
    """What the numbers depend on. Not the names of rules, nor by which credentials the data are read."""
    data = chosen.data.to_json()
    data.get("s3", {}).pop("credentials", None)
    return _short(
        _decides(chosen.rule.to_json()),
        _decides(chosen.baseline.to_json()) if chosen.baseline else None,
        data,
        chosen.sample_size,
        chosen.seed,
        chosen.shards,
        chosen.rerun,
        version,
    )


def _decides(rule: Obj) -> Obj:
    return {field: value for field, value in rule.items() if field not in ("id", "name")}


def _short(*parts: Any) -> str:
    return digest(list(parts))[:SHADOW_QUESTION_HEX_DIGITS]
