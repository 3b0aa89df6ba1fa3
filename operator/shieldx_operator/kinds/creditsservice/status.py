"""What is told of a CreditsService: a condition a component, and Ready as the first of them that isn't true."""

from dataclasses import replace

from shieldx_operator.blocks import component, postgres, redis
from shieldx_operator.blocks.component import (
    POLL_S,
    Component,
    component_pods,
    endpoint,
    last_told,
    suspended,
)
from shieldx_operator.blocks.diagnosis import (
    job_condition,
    pods_finding,
    stateful_set_ready,
    workload_finding,
)
from shieldx_operator.blocks.resources import CRON_JOB
from shieldx_operator.blocks.uri import uri_problem
from shieldx_operator.engine.types import Condition, Obj, Observation, Results, Status
from shieldx_operator.kinds.creditsservice import books
from shieldx_operator.kinds.creditsservice.plan import (
    CACHE_SCHEMES,
    deployment_ref,
    external_problem,
    held_by,
    migration_job,
    migration_name,
    schema_is_current,
    store_ref,
)
from shieldx_operator.kinds.creditsservice.view import (
    MIGRATION_COMPONENT,
    View,
)


def status(v: View, seen: Observation, results: Results) -> Status:
    """The whole status but for what the engine adds (inventory, times, generation)."""
    parts = [database(v, seen), cache(v, seen), schema(v, seen), workload(v, seen)]
    # whether the books can be compared is a condition of its own
    of_books = [f for f in results.failures if f.ref is not None and f.ref.resource == CRON_JOB]
    of_serving = replace(results, failures=[f for f in results.failures if f not in of_books])
    told = (*parts, books.books(v, seen, results))
    conditions = [*overall(v, parts, of_serving), *(p.condition() for p in told)]
    ready = conditions[0].status == "True"
    return Status(
        conditions=conditions,
        fields=fields(v, seen, parts),
        requeue_after_s=None if ready or v.effective.suspend else POLL_S,
        told_apart=of_books,
    )


def overall(v: View, parts: list[Component], results: Results) -> list[Condition]:
    if v.effective.suspend:
        return suspended()
    return component.overall(parts, results, f"the credits API serves at {endpoint(v.service)}")


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
    problem = external_problem(v, seen)
    if problem:
        return Component(name, "False", *problem, needs_person=True)
    if schema_is_current(v, seen):
        return Component(name, "True", "Connected", f"the migration reached the database of {v.owner_secret}")
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
    restore = held_by(v, seen)
    if restore is not None and job is None:
        return Component(name, "Unknown", "HeldByRestore", f"Restore {restore} brings the schema up")
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


def workload(v: View, seen: Observation) -> Component:
    restore = held_by(v, seen)
    if restore is not None:
        message = f"Restore {restore} has the database to itself; the pods come back when it is done"
        return Component("WorkloadReady", "False", "HeldByRestore", message)
    return component.api_workload(
        v.service,
        seen,
        seen.objects.get(deployment_ref(v)),
        minimum=v.effective.autoscaling.min_replicas,
        version=v.version,
        waiting=("WaitingForSchema", "the API's pods start when the schema is current"),
    )


def fields(v: View, seen: Observation, parts: list[Component]) -> Obj:
    live = seen.objects.get(deployment_ref(v))
    migrated = {"migrated": migration_name(v, seen), "migratedImage": v.image}
    if not schema_is_current(v, seen):
        before = seen.parent.get("status", {})
        migrated = {name: before.get(name) for name in migrated}
    return {
        **component.api_fields(v.service, seen, live),
        **{name: value for name, value in migrated.items() if value},
        "effective": v.effective.to_json(),
        **books.fields(seen),
        **component.rejected(parts[2:], live, version=v.version, generation=v.generation),
    }
