"""What is told of a CreditsService: a condition a component, and Ready as the first of them that isn't true."""

from dataclasses import dataclass
from typing import Final, Literal

from shieldx_contract import HTTP_PORT, LABEL_COMPONENT
from shieldx_operator.blocks import postgres, redis
from shieldx_operator.blocks.api import VERSION_LABEL
from shieldx_operator.blocks.diagnosis import (
    Finding,
    deployment_rolled_out,
    job_condition,
    pods_finding,
    progress_deadline_exceeded,
    stateful_set_ready,
    workload_finding,
)
from shieldx_operator.blocks.spec import summary
from shieldx_operator.engine.types import Condition, Obj, Observation, Results, Status
from shieldx_operator.kinds.creditsservice.plan import (
    CACHE_SCHEMES,
    DATABASE_SCHEMES,
    deployment_ref,
    migration_job,
    migration_name,
    schema_is_current,
    store_ref,
)
from shieldx_operator.kinds.creditsservice.view import (
    API_COMPONENT,
    MIGRATION_COMPONENT,
    View,
    uri_problem,
)

POLL_S: Final = 5.0
"""Pods and Events are not watched: while something is amiss, they are looked at this often."""


@dataclass(frozen=True, slots=True)
class Component:
    """One component's condition; `needs_person` makes the whole object Stalled."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str
    needs_person: bool = False

    @classmethod
    def of(cls, condition: str, finding: Finding | None, *, waiting: tuple[str, str]) -> "Component":
        """False with what was found, or with the reason and message of `waiting` while nothing is wrong."""
        if finding is not None:
            return cls(condition, "False", finding.reason, finding.message, finding.needs_person)
        return cls(condition, "False", *waiting)

    def condition(self) -> Condition:
        return Condition(self.type, self.status, self.reason, self.message)


def status(v: View, seen: Observation, results: Results) -> Status:
    """The whole status but for what the engine adds (inventory, times, generation)."""
    parts = [database(v, seen), cache(v, seen), schema(v, seen), workload(v, seen)]
    conditions = [*overall(v, parts, results), *(p.condition() for p in parts)]
    ready = conditions[0].status == "True"
    return Status(
        conditions=conditions,
        fields=fields(v, seen, parts),
        requeue_after_s=None if ready or v.effective.suspend else POLL_S,
    )


def overall(v: View, parts: list[Component], results: Results) -> list[Condition]:
    """Ready, Reconciling and Stalled: the first thing that is not true speaks for the whole."""
    if v.effective.suspend:
        return summary("Unknown", "Suspended", "spec.suspend is true: nothing is repaired; set it to false to go on")
    failure = next(iter(results.failures), None)
    if failure is not None:
        message = f"{failure.where}: {failure.message}"
        return summary("False", failure.reason, message, needs_person=not failure.retryable)
    first = next((p for p in parts if p.status != "True"), None)
    if first is None:
        return summary("True", "Available", f"the credits API serves at {endpoint(v)}")
    return summary("False", first.reason, first.message, needs_person=first.needs_person)


def component_pods(seen: Observation, component: str) -> list[Obj]:
    return [p for p in seen.lists.get("pods", ()) if p["metadata"]["labels"].get(LABEL_COMPONENT) == component]


def warnings_about(seen: Observation, kind: str, name: str) -> list[Obj]:
    events = seen.lists.get(f"{kind} warnings", ())
    return [e for e in events if e.get("involvedObject", {}).get("name") == name]


def managed_store(v: View, seen: Observation, condition: str, suffix: str, component: str) -> Component:
    ref = store_ref(v, suffix)
    live = seen.objects.get(ref)
    if stateful_set_ready(live):
        return Component(condition, "True", "Available", f"{ref.name} is ready")
    finding = workload_finding(live, component_pods(seen, component), warnings_about(seen, "StatefulSet", ref.name))
    return Component.of(condition, finding, waiting=("Starting", f"waiting for the pod of StatefulSet {ref.name}"))


def database(v: View, seen: Observation) -> Component:
    name = "DatabaseReady"
    if v.effective.database.managed:
        return managed_store(v, seen, name, postgres.SUFFIX, postgres.COMPONENT)
    problem = uri_problem(seen, v.database_secret, v.database_key, DATABASE_SCHEMES)
    if problem:
        reason, message = problem
        return Component(name, "False", reason, f"spec.database.external.secretRef: {message}", needs_person=True)
    if schema_is_current(v, seen):
        return Component(name, "True", "Connected", f"the migration reached the database of {v.database_secret}")
    return Component(name, "Unknown", "NotReachedYet", "the migration has not reached the external database yet")


def cache(v: View, seen: Observation) -> Component:
    name = "CacheReady"
    if v.effective.cache.managed:
        return managed_store(v, seen, name, redis.SUFFIX, redis.COMPONENT)
    problem = uri_problem(seen, v.cache_secret, v.cache_key, CACHE_SCHEMES)
    if problem:
        reason, message = problem
        return Component(name, "False", reason, f"spec.cache.external.secretRef: {message}", needs_person=True)
    return Component(name, "True", "SecretFound", "used as soon as it answers; without it reads are slower, not wrong")


def schema(v: View, seen: Observation) -> Component:
    name = "SchemaCurrent"
    job = migration_job(v, seen)
    state = job_condition(job)
    if state == "Complete":
        return Component(name, "True", "Migrated", f"the schema is that of version {v.version}")
    job_name = migration_name(v, seen) or f"{v.service.name}-migrate"
    finding = pods_finding(component_pods(seen, MIGRATION_COMPONENT)) or workload_finding(
        job, (), warnings_about(seen, "Job", job_name)
    )
    if finding is not None:
        message = f"migration to version {v.version}: {finding.message}"
        reason = "MigrationFailed" if finding.reason == "ContainerFailed" else finding.reason
        return Component(name, "False", reason, message, needs_person=True)
    before = last_told(seen.parent, name)
    if before.get("reason") == "MigrationFailed":
        # its pod is gone and another try runs: what was wrong is still the best answer
        return Component(name, "False", "MigrationFailed", before["message"], needs_person=True)
    if state == "Failed":
        message = f"migration to version {v.version} failed; see `kubectl describe job {job_name}`"
        return Component(name, "False", "MigrationFailed", message, needs_person=True)
    waiting = "waiting for the database" if job is None else f"Job {job_name} is running"
    return Component(name, "Unknown" if job is None else "False", "Migrating", waiting)


def last_told(parent: Obj, condition: str) -> Obj:
    """The condition as it stands in the status now, or {}."""
    found: Obj = next((c for c in parent.get("status", {}).get("conditions", ()) if c["type"] == condition), {})
    return found


def workload(v: View, seen: Observation) -> Component:
    name = "WorkloadReady"
    live = seen.objects.get(deployment_ref(v))
    minimum = v.effective.autoscaling.min_replicas
    if live is None:
        return Component(name, "Unknown", "WaitingForSchema", "the API's pods start when the schema is current")
    state = live.get("status", {})
    if deployment_rolled_out(live, min_available=minimum):
        return Component(name, "True", "Available", f"{state['availableReplicas']} pods of version {v.version} serve")
    finding = workload_finding(live, component_pods(seen, API_COMPONENT), ())
    if finding is None and progress_deadline_exceeded(live):
        finding = Finding(
            "RolloutStuck",
            f"Deployment {v.service.name}: new pods did not become ready within 5 minutes; see "
            f"`kubectl -n {v.service.namespace} describe pods -l {v.service.label_selector()}`",
            needs_person=True,
        )
    waiting = (
        f"{state.get('updatedReplicas', 0)} of {max(minimum, live['spec'].get('replicas', 1))} pods are of this "
        f"revision, {state.get('availableReplicas', 0)} serve"
    )
    return Component.of(name, finding, waiting=("RollingOut", waiting))


def endpoint(v: View) -> str:
    return f"http://{v.service.host()}:{HTTP_PORT}"


def running_version(seen: Observation, v: View) -> str | None:
    """The version of the pod template that was rolled out last."""
    live = seen.objects.get(deployment_ref(v))
    if live is None:
        before = seen.parent.get("status", {}).get("version")
        return str(before) if before else None
    labels = live["spec"]["template"]["metadata"].get("labels", {})
    return str(labels[VERSION_LABEL]) if VERSION_LABEL in labels else None


def fields(v: View, seen: Observation, parts: list[Component]) -> Obj:
    live = seen.objects.get(deployment_ref(v))
    state = (live or {}).get("status", {})
    replicas = (live or {}).get("spec", {}).get("replicas", 0)
    ready = state.get("readyReplicas", 0)
    result: Obj = {
        "endpoint": endpoint(v),
        "replicas": replicas,
        "readyReplicas": ready,
        "ready": f"{ready}/{replicas}",
        "effective": v.effective.to_json(),
    }
    running = running_version(seen, v)
    if running is not None:
        result["version"] = running
    rejected = next((p for p in parts[2:] if p.needs_person), None)
    if rejected is not None and live is not None:
        result["rejected"] = {
            "version": v.version,
            "generation": v.generation,
            "reason": rejected.reason,
            "message": rejected.message,
        }
    return result
