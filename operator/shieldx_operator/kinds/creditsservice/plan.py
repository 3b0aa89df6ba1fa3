"""What must be true of a CreditsService at this moment: the objects of its spec, held back where one must wait.

The order is: identity and network, stores, schema, workload. A workload waits for its schema, a schema for its
database; what runs already goes on running while they wait, and what was deleted meanwhile comes back as it was.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from shieldx_contract import LABEL_COMPONENT
from shieldx_operator.blocks import autoscaling, hold, postgres, redis
from shieldx_operator.blocks.api import VERSION_LABEL
from shieldx_operator.blocks.diagnosis import job_condition, stateful_set_ready
from shieldx_operator.blocks.resources import (
    CONFIG_MAP,
    CRON_JOB,
    DEPLOYMENT,
    EVENT,
    HPA,
    JOB,
    NETWORK_POLICY,
    PDB,
    POD,
    PVC,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    STATEFUL_SET,
    ref_of,
)
from shieldx_operator.blocks.uri import uri_problem
from shieldx_operator.blocks.workload import digest, pin_template, pinned_template
from shieldx_operator.engine.types import GeneratedSecret, Obj, Observation, Plan, Query, Reads, Ref
from shieldx_operator.kinds.creditsservice import build, network
from shieldx_operator.kinds.creditsservice.view import (
    MIGRATION_COMPONENT,
    RECONCILIATION_COMPONENT,
    View,
)
from shieldx_operator.settings import OperatorSettings

OWNED: Final = (
    CONFIG_MAP,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    PVC,
    DEPLOYMENT,
    STATEFUL_SET,
    CRON_JOB,
    JOB,
    HPA,
    PDB,
    NETWORK_POLICY,
)
LASTING: Final = (SERVICE_ACCOUNT, DEPLOYMENT, CRON_JOB, HPA)
"""Never pruned: wanted whatever the spec says."""
MIGRATION_RETRY_AFTER: Final = timedelta(seconds=60)
DATABASE_SCHEMES: Final = ("postgresql", "postgres")
CACHE_SCHEMES: Final = ("redis", "rediss")


def reads(v: View, *, explain: bool) -> Reads:
    """Everything the service may be made of, its pods and Jobs; with `explain` also the warnings about them."""
    names = {
        CONFIG_MAP: ("-config", redis.SUFFIX),
        SECRET: ("-audit", "-auth", postgres.SUFFIX, postgres.SERVICE_SUFFIX, redis.SUFFIX),
        SERVICE: ("", postgres.SUFFIX, redis.SUFFIX),
        SERVICE_ACCOUNT: ("",),
        PVC: (postgres.SUFFIX, redis.SUFFIX),
        DEPLOYMENT: ("",),
        STATEFUL_SET: (postgres.SUFFIX, redis.SUFFIX),
        CRON_JOB: (build.RECONCILE_SUFFIX,),
        HPA: ("",),
        PDB: ("",),
        NETWORK_POLICY: ("-default-deny", "-api", "-migration", "-reconciliation", postgres.SUFFIX, redis.SUFFIX),
    }
    namespace = v.service.namespace
    refs = [
        Ref(resource, namespace, f"{v.service.name}{suffix}")
        for resource, suffixes in names.items()
        for suffix in suffixes
    ]
    refs += [r for r in dict.fromkeys((v.database_secret, v.owner_secret, v.cache_secret)) if r not in refs]
    refs.append(hold.ref(namespace, v.service.name))
    selector = v.service.label_selector()
    queries = {
        "pods": Query(POD, namespace, label_selector=selector),
        "jobs": Query(JOB, namespace, label_selector=f"{selector},{LABEL_COMPONENT}={MIGRATION_COMPONENT}"),
        "comparisons": Query(JOB, namespace, label_selector=f"{selector},{LABEL_COMPONENT}={RECONCILIATION_COMPONENT}"),
    }
    if explain:
        for kind in ("StatefulSet", "Job"):
            queries[f"{kind} warnings"] = Query(
                EVENT, namespace, field_selector=f"type=Warning,reason=FailedCreate,involvedObject.kind={kind}"
            )
    return Reads(refs, queries)


def deployment_ref(v: View) -> Ref:
    return Ref(DEPLOYMENT, v.service.namespace, v.service.name)


def store_ref(v: View, suffix: str) -> Ref:
    return Ref(STATEFUL_SET, v.service.namespace, f"{v.service.name}{suffix}")


def migration_name(v: View, seen: Observation) -> str | None:
    """The Job for this version on this very database; None while the database is not there yet.

    A new claim or a new Secret is another database: its schema is not the one that an older Job brought up. A new
    Secret of the API's role is a role that the Job has not made yet.
    """
    secrets = [seen.objects.get(s) for s in dict.fromkeys((v.owner_secret, v.database_secret))]
    found = [s["metadata"] for s in secrets if s is not None]
    if len(found) < len(secrets):
        return None
    identity = [found[0]["uid"]]
    if v.effective.database.managed:
        claim = seen.objects.get(Ref(PVC, v.service.namespace, f"{v.service.name}{postgres.SUFFIX}"))
        if claim is None:
            return None
        identity += [claim["metadata"]["uid"], found[-1]["uid"]]
    else:
        identity += [s["resourceVersion"] for s in found]
    return f"{v.service.name}-migrate-{digest([v.image, v.database_key, *identity])[:10]}"


def migration_job(v: View, seen: Observation) -> Obj | None:
    """The Job of `migration_name`, if there is one."""
    name = migration_name(v, seen)
    return next((j for j in seen.lists.get("jobs", ()) if j["metadata"]["name"] == name), None)


def schema_is_current(v: View, seen: Observation) -> bool:
    return job_condition(migration_job(v, seen)) == "Complete"


def served_before(v: View, seen: Observation) -> View | None:
    """The service as its pods were last, where this very database has the schema for them; else None.

    While a later migration fails, a Deployment that somebody deleted comes back so: with the version that served.
    """
    told = seen.parent.get("status", {})
    version = told.get("version")
    if not version or not told.get("migrated"):
        return None
    # an operator before this one noted no image, and the repository may be what was changed
    image = told.get("migratedImage") or f"{v.image.rpartition(':')[0]}:{version}"
    inputs = v.spec_digest if image == v.image else digest([v.spec_digest, image])
    before = replace(v, version=image.rpartition(":")[2], image=image, spec_digest=inputs)
    return before if migration_name(before, seen) == told["migrated"] else None


def database_is_ready(v: View, seen: Observation) -> bool:
    if v.effective.database.managed:
        return stateful_set_ready(seen.objects.get(store_ref(v, postgres.SUFFIX)))
    return external_problem(v, seen) is None


def external_problem(v: View, seen: Observation) -> tuple[str, str] | None:
    """Reason and message where a Secret of the user's database is of no use; the message names the field."""
    for field, ref, key in (
        ("secretRef", v.database_secret, v.database_key),
        ("ownerSecretRef", v.owner_secret, v.owner_key),
    ):
        problem = uri_problem(seen, ref, key, DATABASE_SCHEMES)
        if problem is not None:
            reason, message = problem
            return reason, f"spec.database.external.{field}: {message}"
    return None


def connects_as_owner(v: View, live: Obj | None) -> bool:
    """Whether the API must go on as the owner of its managed database, as operators before this one had it do.

    The image that runs may be of a release whose migration makes no other role: that changes with the version.
    """
    pinned = pinned_template(live)
    if v.effective.database.managed is None or pinned is None:
        return False
    if pinned["metadata"]["labels"].get(VERSION_LABEL) != v.version:
        return False
    mounted = {volume.get("secret", {}).get("secretName") for volume in pinned["spec"]["volumes"]}
    return v.owner_secret.name in mounted


def retry_is_due(job: Obj, now: datetime) -> bool:
    """Whether a failed Job has had its minute: what was wrong may have been mended outside of Kubernetes."""
    times = [c["lastTransitionTime"] for c in job.get("status", {}).get("conditions", ()) if c["type"] == "Failed"]
    return any(now - datetime.fromisoformat(t) >= MIGRATION_RETRY_AFTER for t in times)


def held_by(v: View, seen: Observation) -> str | None:
    """The Restore that has the service's database to itself: no pod runs and no schema is brought up meanwhile."""
    return hold.holder(seen, v.service.namespace, v.service.name)


def everything(seen: Observation, *queries: str) -> frozenset[Ref]:
    """All that was seen of the objects and of the named lists, to be left as it is."""
    listed = (ref_of(o) for q in queries for o in seen.lists.get(q, ()))
    return frozenset((*seen.objects, *listed))


def plan(v: View, seen: Observation, settings: OperatorSettings) -> Plan:
    """The plan for what was seen. A suspended service is left alone altogether."""
    if v.effective.suspend:
        return Plan(keep=everything(seen, "jobs"))
    apply: list[Obj | GeneratedSecret] = [
        build.service_account(v),
        build.configuration(v, settings),
        build.auth_secret(v),
        build.audit_secret(v),
        *network.build(v, seen, settings),
        *(pinned_store(v, seen, o) for o in build.database(v, settings)),
        *(pinned_store(v, seen, o) for o in build.cache(v, settings)),
        build.service(v),
    ]
    # they wait with their Deployment where it waits for a schema
    keep = {Ref(resource, v.service.namespace, v.service.name) for resource in (HPA, PDB)}
    keep.add(Ref(CRON_JOB, v.service.namespace, f"{v.service.name}{build.RECONCILE_SUFFIX}"))
    job = migration_job(v, seen)
    name = migration_name(v, seen)
    if job is not None:
        if job_condition(job) != "Failed" or not retry_is_due(job, seen.now):
            keep.add(ref_of(job))
    elif name is not None and database_is_ready(v, seen) and not held_by(v, seen):
        apply.append(build.migration(v, settings, name))
    live = seen.objects.get(deployment_ref(v))
    initial = {}
    serves = v if live is not None or schema_is_current(v, seen) else served_before(v, seen)
    if live is not None or (serves is not None and not held_by(v, seen)):
        made_of = serves or v
        as_owner, held = connects_as_owner(made_of, live), held_by(v, seen) is not None
        fresh = build.deployment(made_of, settings, as_owner=as_owner)
        workload = pin_template(fresh, live, made_of.spec_digest, hold=not schema_is_current(v, seen))
        if held:
            # an autoscaler leaves a Deployment without pods alone
            workload["spec"] = {**workload["spec"], "replicas": 0}
        apply.append(workload if held else autoscaling.woken(workload, live))
        initial[deployment_ref(v)] = {"spec": {"replicas": v.effective.autoscaling.min_replicas}}
        apply.append(build.autoscaler(v))
        if schema_is_current(v, seen):
            # until then the one before stays: it knows the schema that is there
            apply.append(build.reconciliation(v, settings, as_owner=as_owner, held=held))
        if v.effective.disruption.min_available > 0:
            apply.append(build.disruption_budget(v))
        else:
            keep.discard(Ref(PDB, v.service.namespace, v.service.name))
    return Plan(apply=apply, keep=frozenset(keep), initial=initial)


def pinned_store(v: View, seen: Observation, built: Obj | GeneratedSecret) -> Obj | GeneratedSecret:
    """A store's StatefulSet with the pod template that it was given on purpose."""
    if isinstance(built, GeneratedSecret) or built["kind"] != "StatefulSet":
        return built
    return pin_template(built, seen.objects.get(ref_of(built)), v.spec_digest)
