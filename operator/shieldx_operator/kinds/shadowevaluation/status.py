"""What is told of a ShadowEvaluation: how far it is, what came of it, and if nothing did, why not."""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from shieldx_operator.blocks.diagnosis import Finding, job_condition, pods_finding, workload_finding
from shieldx_operator.blocks.job import failure_message
from shieldx_operator.blocks.spec import summary
from shieldx_operator.engine.types import Condition, Obj, Observation, Results, Status
from shieldx_operator.kinds.shadowevaluation import judging, shards
from shieldx_operator.kinds.shadowevaluation.plan import (
    answered,
    counts,
    data_digest,
    disagreement,
    given_up,
    lost,
    source_problem,
    told,
)
from shieldx_operator.kinds.shadowevaluation.view import View

POLL_S: Final = 5.0
"""Pods are not watched: while something is amiss with them, they are looked at this often."""
_ASKED: Final = frozenset({"rule", "baseline", "data"})
"""Fields of the spec that have no defaults: to repeat them in the status would only make the object larger."""
_DEADLINE: Final = "DeadlineExceeded"
"""The reason of Kubernetes' own for a Job that took too long."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an evaluation stands: its reason and message, and what a person has to do with it."""

    reason: str
    message: str
    needs_person: bool = False
    final: bool = False
    """Nothing will happen by itself: there is no need to look again."""


def status(v: View, seen: Observation, results: Results) -> Status:
    """The whole status but for what the engine adds. Shards are the workers' own: see `told_by_others`."""
    fields = _fields(v, seen)
    result = fields.get("result")
    if result is not None:
        return Status([*_answered(v, result), *_of_the_answer(result)], fields)
    standing = _standing(v, seen, results)
    if standing.final and standing.reason != "Suspended":
        fields["failure"] = {"run": v.run, "reason": standing.reason, "message": standing.message}
    ready: Literal["False", "Unknown"] = "Unknown" if standing.reason == "Suspended" else "False"
    return Status(
        [
            *summary(ready, standing.reason, standing.message, needs_person=standing.needs_person),
            Condition(
                "Evaluated", "Unknown" if not standing.needs_person else "False", standing.reason, standing.message
            ),
            Condition("VerdictKnown", "Unknown", standing.reason, "there are no numbers yet"),
        ],
        fields,
        requeue_after_s=None if standing.final else POLL_S,
    )


def _answered(v: View, result: Obj) -> list[Condition]:
    return summary("True", "Evaluated", f"{v.effective.rule.id}: {judging.sentence(result)}")


def _of_the_answer(result: Obj) -> list[Condition]:
    source = f", counted by {result['cachedFrom']}" if "cachedFrom" in result else ""
    known: Literal["True", "False"] = "False" if result["verdict"] == "INCONCLUSIVE" else "True"
    return [
        Condition("Evaluated", "True", "Counted", f"{result['samples']} samples were judged{source}"),
        Condition("VerdictKnown", known, str(result["verdict"]).capitalize(), judging.why(result)),
    ]


Look: TypeAlias = tuple[View, Observation, Results]


def _given_up(look: Look) -> Standing | None:
    v, seen, _ = look
    before = given_up(v, seen.parent)
    return Standing(before["reason"], before["message"], needs_person=True, final=True) if before else None


def _suspended(look: Look) -> Standing | None:
    if not look[0].effective.suspend:
        return None
    return Standing("Suspended", "spec.suspend is true: no pod works on it; set it to false to go on", final=True)


def _mixed(look: Look) -> Standing | None:
    v, seen, _ = look
    found = disagreement(v, seen.parent)
    if found is None:
        return None
    message = f"{found}; set spec.rerun to another text to judge all of them again"
    return Standing("ShardsDisagree", message, needs_person=True, final=True)


def _refused(look: Look) -> Standing | None:
    failure = next(iter(look[2].failures), None)
    if failure is None:
        return None
    return Standing(failure.reason, f"{failure.where}: {failure.message}", needs_person=not failure.retryable)


def _without_job(look: Look) -> Standing | None:
    v, seen, _ = look
    if v.job in seen.objects:
        return None
    problem = source_problem(v, seen)
    if problem is not None:
        return Standing(*problem, needs_person=True)
    return Standing("Starting", "the Job is about to be made")


def _failed(look: Look) -> Standing | None:
    """The Job gave up: in the last words of a worker, where there are any."""
    v, seen, _ = look
    job = seen.objects[v.job]
    if job_condition(job) != "Failed":
        return None
    said = failure_message(job)
    if said.startswith(_DEADLINE):
        message = (
            f"Job {v.run_name} was not done within {v.effective.deadline_seconds} s ({_progress(v, seen)}); raise "
            "spec.deadlineSeconds, spec.shards or spec.workers, or lower spec.sampleSize"
        )
        return Standing(_DEADLINE, message, needs_person=True, final=True)
    finding = pods_finding(seen.lists.get("pods", ()))
    if finding is None:
        see = f"kubectl -n {v.service.namespace} describe job {v.run_name}"
        return Standing("EvaluationFailed", f"Job {v.run_name}: {said}; see `{see}`", needs_person=True, final=True)
    reason = "EvaluationFailed" if finding.reason == "ContainerFailed" else finding.reason
    return Standing(reason, f"{finding.message}{_remedy(finding)}", needs_person=True, final=True)


def _lost(look: Look) -> Standing | None:
    v, seen, _ = look
    if not lost(v, seen):
        return None
    return Standing("ShardLost", f"{_progress(v, seen)}, but Job {v.run_name} is done: its work is done again")


def _stuck(look: Look) -> Standing | None:
    """No pod can start. One that failed is tried again by the Job, and needs no person yet."""
    v, seen, _ = look
    if seen.objects[v.job].get("status", {}).get("ready", 0) or _done(v, seen):
        return None
    pods = [p for p in seen.lists.get("pods", ()) if p.get("status", {}).get("phase") == "Pending"]
    warnings = [e for e in seen.lists.get("Job warnings", ()) if e["involvedObject"].get("name") == v.run_name]
    finding = workload_finding(None, pods, () if pods else warnings)
    return Standing(finding.reason, finding.message, needs_person=finding.needs_person) if finding else None


_WHY_NOT: Final = (_given_up, _suspended, _mixed, _refused, _without_job, _failed, _lost, _stuck)
"""What can be in the way of an answer, in the order in which it is told."""


def _standing(v: View, seen: Observation, results: Results) -> Standing:
    """Why there is no answer: the first cause that holds, or that pods are at work."""
    found = next((standing for why in _WHY_NOT if (standing := why((v, seen, results))) is not None), None)
    return found or Standing("Evaluating", f"{_progress(v, seen)} by Job {v.run_name}")


def _remedy(finding: Finding) -> str:
    if finding.reason == "OutOfMemory":
        return "; raise spec.resources.limits.memory, or lower spec.workers or spec.batchSize"
    return "; correct what it names, or set spec.rerun to another text to try again"


def _done(v: View, seen: Observation) -> int:
    return len(shards.of_question(told(seen.parent).get("shards") or (), v.question))


def _progress(v: View, seen: Observation) -> str:
    return f"{_done(v, seen)} of {v.effective.shards} shards are judged"


def _fields(v: View, seen: Observation) -> Obj:
    """What is told beside conditions. An answer that is told already stays as it is."""
    before = told(seen.parent)
    same_question = before.get("question") == v.question
    fields: Obj = {
        "question": v.question,
        "run": v.run,
        "version": v.version,
        "effective": {k: value for k, value in v.effective.to_json().items() if k not in _ASKED},
    }
    if answered(v, seen.parent):
        kept = ("judgement", "dataDigest", "shardsDone", "samples", "f1", "result")
        return {**fields, **{name: before[name] for name in kept if name in before}}
    digest = before.get("dataDigest") if same_question else None
    digest = digest or data_digest(v, seen)
    if digest:
        # the samples that the first look saw: a ConfigMap that changes meanwhile does not become what was judged
        fields["dataDigest"] = digest
    mine = shards.of_question(before.get("shards") or (), v.question)
    fields["shardsDone"] = f"{len(mine)}/{v.effective.shards}"
    fields["samples"] = shards.samples(mine)
    found = counts(v, seen)
    if found is None:
        return fields
    result = judging.result(v, found.total, found.cached_from)
    return {
        **fields,
        "shardsDone": f"{v.effective.shards}/{v.effective.shards}",
        "samples": result["samples"],
        "judgement": v.judgement,
        "f1": judging.interval_text(result["f1"]),
        "result": result,
    }
