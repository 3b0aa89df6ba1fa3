"""What must be true of a Restore: a hold on the service, nobody who writes, one Job, and a way back if it fails.

Each step is found again from what is there, so that a crash between any two goes on or goes back, never half way:
the hold before anything is stopped, the Job when nothing writes any more, the rollback after a Job that failed, and the
hold goes when the end is told.
"""

from dataclasses import replace
from typing import Final

from shieldx_contract import DATABASE_SECRET_DIR, LABEL_COMPONENT
from shieldx_contract.backup import ENV_BACKUP_TARGET_URI_FILE
from shieldx_operator.blocks import backup, hold, outcome, stores
from shieldx_operator.blocks.backup import SERVICE_LABEL, Work
from shieldx_operator.blocks.diagnosis import job_condition
from shieldx_operator.blocks.meta import Service
from shieldx_operator.blocks.resources import (
    CONFIG_MAP,
    EVENT,
    JOB,
    NETWORK_POLICY,
    POD,
    SECRET,
    SERVICE_ACCOUNT,
)
from shieldx_operator.blocks.workload import digest, pin_template
from shieldx_operator.engine.names import CONCERNS_ANNOTATION
from shieldx_operator.engine.types import GeneratedSecret, Obj, Observation, Plan, Query, Reads
from shieldx_operator.kinds.restore.view import (
    BACKUP_RESOURCE,
    COMPONENT,
    POLICY_RESOURCE,
    ROLLBACK,
    View,
    resolved,
)

OWNED: Final = (CONFIG_MAP, SERVICE_ACCOUNT, JOB, NETWORK_POLICY)
LOOKS_AT: Final = (SECRET, BACKUP_RESOURCE, POLICY_RESOURCE, stores.CREDITS_RESOURCE)
LISTS: Final = (POD, EVENT)
DEADLINE_MARGIN_S: Final = 60
_WRITERS: Final = frozenset({"run", "ship-audit", "prune"})
"""Components of a policy's or a Backup's pods that hold what a restore needs for itself."""
_OVER: Final = frozenset({"Succeeded", "Failed"})


def reads(v: View) -> Reads:
    """Once it has ended, its Jobs alone."""
    namespace = v.service.namespace
    jobs = (v.job, v.rollback)
    if v.ended:
        return Reads(jobs)
    objects = [*jobs, v.source, v.target, hold.ref(namespace, v.spec.target.name)]
    if v.effective and v.stores:
        objects += backup.secrets(namespace, v.effective, v.stores, v.reaches)
    credits_pods = Service(namespace, v.spec.target.name, stores.CREDITS_APP).label_selector()
    queries = {
        "pods": Query(POD, namespace, label_selector=v.service.label_selector()),
        "service pods": Query(POD, namespace, label_selector=f"{credits_pods},{LABEL_COMPONENT}=api"),
        "copying pods": Query(POD, namespace, label_selector=f"{SERVICE_LABEL}={v.spec.target.name}"),
        "policies": Query(POLICY_RESOURCE, namespace),
        "Job warnings": Query(
            EVENT, namespace, field_selector="type=Warning,reason=FailedCreate,involvedObject.kind=Job"
        ),
    }
    return Reads(objects, queries)


def plan(v: View, seen: Observation) -> Plan:
    job = seen.objects.get(v.job)
    kept = frozenset((v.job, v.rollback))
    if v.ended:
        return Plan(keep=kept, finalizer=False)
    if seen.deleting:
        return _departure(v, seen, job)
    work = v.work
    if work is None or (job is None and obstacle(v, work, seen)):
        return Plan(apply=_early_hold(v, seen), keep=kept, finalizer=None if began(v, seen) else False)
    apply = _frame(v, work, seen)
    state = job_condition(job)
    if state == "Running" or (state == "Missing" and not writers(seen)):
        apply.append(restore_job(v, work, job))
    elif state == "Failed" and v.in_place:
        apply.append(rollback_job(work, seen.objects.get(v.rollback)))
    return Plan(apply=apply, keep=kept, finalizer=v.in_place)


def _departure(v: View, seen: Observation, job: Obj | None) -> Plan:
    """A restore in place that was begun is ended and rolled back; then the object, and with it the hold, may go."""
    work = v.work
    back = job_condition(seen.objects.get(v.rollback))
    if work is None or not v.in_place or not began(v, seen) or back in ("Complete", "Failed"):
        return Plan(finalizer=False)
    if job_condition(job) == "Complete":
        return Plan(finalizer=False)
    apply = _frame(v, work, seen)
    if job is None and not _alive(outcome.pods_of(v.job.name, seen.lists.get("pods", ()))):
        apply.append(rollback_job(work, seen.objects.get(v.rollback)))
    # the Job is in no list here: it is pruned, and its pod with it
    return Plan(apply=apply, keep=frozenset((v.rollback,)), finalizer=True)


def began(v: View, seen: Observation) -> bool:
    """Whether the restoring Job may have run."""
    return v.job in seen.objects or v.rollback in seen.objects or v.job.name in v.inventory or "startedAt" in v.told


def obstacle(v: View, work: Work, seen: Observation) -> tuple[str, str] | None:
    """Reason and message of what must be mended, or must pass, before the service is stopped; None: nothing."""
    holds = hold.holder(seen, v.service.namespace, work.target)
    if holds is not None and holds != v.service.name:
        return "RestoreRuns", f"Restore {holds} holds CreditsService {work.target}; this one begins when it is done"
    if v.target not in seen.objects:
        return "TargetNotFound", f"spec.target: {v.target} does not exist; create it"
    found = resolved(v, seen)
    if isinstance(found, tuple):
        return found
    return backup.problem(work, seen)


def writers(seen: Observation) -> list[str]:
    """Names of pods that still write to the service's database or hold its copies."""
    copying = [
        p
        for p in seen.lists.get("copying pods", ())
        if (p["metadata"].get("labels") or {}).get(LABEL_COMPONENT) in _WRITERS
    ]
    return sorted(p["metadata"]["name"] for p in _alive([*seen.lists.get("service pods", ()), *copying]))


def _alive(pods: list[Obj]) -> list[Obj]:
    return [p for p in pods if p.get("status", {}).get("phase") not in _OVER]


def _frame(v: View, work: Work, seen: Observation) -> list[Obj]:
    """The hold first; then what the Jobs' pods need."""
    return [_hold(v, seen), backup.account(work), *backup.network(work, seen)]


def _early_hold(v: View, seen: Observation) -> list[Obj | GeneratedSecret]:
    """The hold of a service that is not there yet: its first schema must not come before what is restored."""
    if v.in_place or isinstance(resolved(v, seen), tuple):
        return []
    holds = hold.holder(seen, v.service.namespace, v.spec.target.name)
    new = holds is None and stores.found(seen.objects.get(v.target)) is None
    return [_hold(v, seen)] if new or holds == v.service.name else []


def _hold(v: View, seen: Observation) -> Obj:
    target = v.spec.target.name
    policies = sorted(
        p["metadata"]["name"]
        for p in seen.lists.get("policies", ())
        if (p["spec"].get("serviceRef") or {}).get("name") == target
    )
    concerned = [f"{v.target.resource.kind}/{target}", *(f"{POLICY_RESOURCE.kind}/{name}" for name in policies)]
    metadata = v.service.metadata("", COMPONENT)
    labels = {**v.service.labels(COMPONENT), SERVICE_LABEL: target}
    annotations = {CONCERNS_ANNOTATION: " ".join(concerned)}
    made = {**metadata, "labels": labels, "annotations": annotations}
    return hold.build(made, v.service.namespace, target, v.service.name)


def restore_job(v: View, work: Work, live: Obj | None) -> Obj:
    chosen = v.effective
    if chosen is None:
        raise ValueError("a Restore is built before it is known what it is done by")
    how = [chosen.backup_id or "latest"]
    if v.in_place:
        how += ["--in-place", "--confirm", work.origin]
    if chosen.source.until:
        how += ["--until", chosen.source.until]
    if chosen.source.replay is False:
        how.append("--no-replay")
    env = {} if v.in_place else {ENV_BACKUP_TARGET_URI_FILE: f"{DATABASE_SECRET_DIR}/{work.stores.database.key}"}
    return _job(work, COMPONENT, ("restore", *how), env, live)


def rollback_job(work: Work, live: Obj | None) -> Obj:
    """Gives the database that was put aside its name back, where nobody has it. Whatever ended the Job, it is safe.

    It needs the database alone: no key, no copy, no cache.
    """
    alone = replace(work, opens=False, reaches=("database",))
    return _job(alone, ROLLBACK, ("restore", "--rollback"), {}, live)


def _job(work: Work, name: str, command: tuple[str, ...], env: dict[str, str], live: Obj | None) -> Obj:
    pod = backup.template(work, [backup.container(work, command, env)])
    deadline_s = work.run.deadline_seconds + DEADLINE_MARGIN_S
    made = backup.job({**work.metadata(""), "name": f"{work.service.name}-{name}"}, pod, deadline_s=deadline_s)
    # a Job's template cannot change: what the first look built stays
    return pin_template(made, live, digest(work.run.to_json()))
