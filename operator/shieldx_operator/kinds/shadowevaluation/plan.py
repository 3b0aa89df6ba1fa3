"""What must be true of a ShadowEvaluation: a Job while there is no answer, and no more than its log afterwards.

An answer is what the status says for this question and this judgement, or what the shards in the status give, or what
another evaluation of the namespace has found for the same question on the same data a little while ago.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from shieldx_contract import API_GROUP, SECRET_S3_ACCESS_KEY_ID, SECRET_S3_SECRET_ACCESS_KEY, SHADOW_EVALUATIONS
from shieldx_operator.blocks import apiserver
from shieldx_operator.blocks.diagnosis import job_condition
from shieldx_operator.blocks.resources import (
    CONFIG_MAP,
    EVENT,
    JOB,
    NETWORK_POLICY,
    POD,
    ROLE,
    ROLE_BINDING,
    SECRET,
    SERVICE_ACCOUNT,
)
from shieldx_operator.engine.types import Obj, Observation, Plan, Query, Reads, Ref, Resource
from shieldx_operator.kinds.shadowevaluation import build, shards
from shieldx_operator.kinds.shadowevaluation.view import View
from shieldx_operator.settings import OperatorSettings

RESOURCE: Final = Resource(API_GROUP, "v1alpha1", "ShadowEvaluation", SHADOW_EVALUATIONS)
OWNED: Final = (CONFIG_MAP, SERVICE_ACCOUNT, JOB, NETWORK_POLICY, ROLE, ROLE_BINDING)
LOOKS_AT: Final = (SECRET,)
LISTS: Final = (POD, EVENT, apiserver.QUERY.resource)
CACHE_FOR: Final = timedelta(minutes=15)
LOST_AFTER: Final = timedelta(seconds=30)
"""A Job that is complete while a shard's entry is missing has lost it, unless the entry is only just on its way."""


def reads(v: View, parent: Obj) -> Reads:
    """The Job; and while there is no answer its pods, the data, and who else has asked the same."""
    namespace = v.service.namespace
    objects = [v.job]
    if answered(v, parent):
        return Reads(objects)
    queries = {
        "pods": Query(POD, namespace, label_selector=v.service.label_selector()),
        "Job warnings": Query(
            EVENT, namespace, field_selector="type=Warning,reason=FailedCreate,involvedObject.kind=Job"
        ),
        # optional: a server before 1.31 selects by no field of ours, and there is no cache
        "same question": Query(
            RESOURCE, namespace, field_selector=f"status.question={v.question}", limit=20, optional=True
        ),
        "api server": apiserver.QUERY,
    }
    return Reads([*objects, *sources(v)], queries)


def sources(v: View) -> list[Ref]:
    """The objects that the samples, or the way to them, must be in before a Job makes sense."""
    data = v.effective.data
    if data.config_map:
        return [Ref(CONFIG_MAP, v.service.namespace, data.config_map.name)]
    if data.s3 and data.s3.credentials:
        return [Ref(SECRET, v.service.namespace, data.s3.credentials.name)]
    return []


def source_problem(v: View, seen: Observation) -> tuple[str, str] | None:
    """Reason and message where the samples cannot be had; None where nothing speaks against it."""
    data = v.effective.data
    for ref in sources(v):
        found = seen.objects.get(ref)
        if found is None:
            return "DataNotFound", f"spec.data: {ref} does not exist; create it, or correct its name"
        wanted = (data.config_map.key,) if data.config_map else (SECRET_S3_ACCESS_KEY_ID, SECRET_S3_SECRET_ACCESS_KEY)
        missing = [k for k in wanted if k not in {**found.get("data", {}), **found.get("binaryData", {})}]
        if missing:
            return "DataNotFound", f"spec.data: {ref} has no key {missing[0]!r}; add it, or correct the key's name"
    return None


def data_digest(v: View, seen: Observation) -> str:
    """Of samples that a ConfigMap holds. What is in a volume or a bucket the operator cannot see: empty."""
    place = v.effective.data.config_map
    if place is None:
        return ""
    held = seen.objects.get(sources(v)[0], {})
    if place.key in held.get("binaryData", {}):
        content = base64.b64decode(held["binaryData"][place.key])
    else:
        content = held.get("data", {}).get(place.key, "").encode()
    return hashlib.sha256(content).hexdigest()[:16]


def told(parent: Obj) -> Obj:
    found: Obj = parent.get("status") or {}
    return found


def answered(v: View, parent: Obj) -> bool:
    """Whether the status holds the answer to this very question, judged as is asked now."""
    status = told(parent)
    return bool(
        status.get("result") and status.get("question") == v.question and status.get("judgement") == v.judgement
    )


def given_up(v: View, parent: Obj) -> Obj | None:
    """What the status says about a run of this very kind that failed, so that it is not tried again unasked."""
    failure: Obj | None = told(parent).get("failure")
    return failure if failure and failure.get("run") == v.run else None


@dataclass(frozen=True, slots=True)
class Found:
    """The counts of all shards, and whose they are where they are not one's own."""

    total: shards.Total
    cached_from: str | None = None


def counts(v: View, seen: Observation) -> Found | None:
    """The counts of all shards: one's own, or those of an evaluation that asked the same within `CACHE_FOR`."""
    own = shards.total(told(seen.parent).get("shards") or (), v.question, v.effective.shards)
    if own is not None:
        return Found(own)
    wanted = data_digest(v, seen)
    for other in _others(v, seen):
        status = told(other)
        total = shards.total(status.get("shards") or (), v.question, v.effective.shards)
        if total is None or seen.now - total.finished_at > CACHE_FOR:
            continue
        if status.get("dataDigest", "") == wanted:
            return Found(total, other["metadata"]["name"])
    return None


def _others(v: View, seen: Observation) -> Sequence[Obj]:
    found = [o for o in seen.lists.get("same question", ()) if o["metadata"]["name"] != v.service.name]
    return sorted(found, key=lambda o: str(o["metadata"]["name"]))


def disagreement(v: View, parent: Obj) -> str | None:
    """Why the shards that are there cannot be added up, or None."""
    return shards.problem(told(parent).get("shards") or (), v.question)


def lost(v: View, seen: Observation) -> bool:
    """Whether the Job says that it is done while a shard's entry has not come."""
    job = seen.objects.get(v.job)
    if job is None or job_condition(job) != "Complete":
        return False
    ended = job["status"].get("completionTime")
    return ended is not None and seen.now - datetime.fromisoformat(ended) >= LOST_AFTER


def plan(v: View, seen: Observation, settings: OperatorSettings) -> Plan:
    """While it runs all of it is held true; at the end all goes but the Job, which its own time to live ends."""
    job = seen.objects.get(v.job)
    kept = frozenset((v.job,) if job is not None else ())
    state = job_condition(job)
    if answered(v, seen.parent) or counts(v, seen) is not None:
        # pods that still run keep what they run under; a Job of an older run goes, whatever it does
        return Plan(keep=kept | v.helpers if state == "Running" else kept)
    if given_up(v, seen.parent) or state == "Failed" or disagreement(v, seen.parent):
        return Plan(keep=kept)
    if lost(v, seen):
        return Plan()
    if job is None and (v.effective.suspend or source_problem(v, seen)):
        return Plan()
    return Plan(apply=build.everything(v, settings, seen.lists.get("api server", ()), job))
