"""What must be true of a ShadowService: its pods run once the credits service, whose keys it takes, serves."""

import re
from dataclasses import replace
from typing import Final

from shieldx_contract import API_KEY_PATTERN
from shieldx_operator.blocks import api, autoscaling, postgres, redis
from shieldx_operator.blocks.resources import (
    CONFIG_MAP,
    DEPLOYMENT,
    HPA,
    NETWORK_POLICY,
    PDB,
    POD,
    PVC,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
)
from shieldx_operator.blocks.uri import secret_value
from shieldx_operator.blocks.workload import digest, pin_template, pinned_template
from shieldx_operator.engine.types import GeneratedSecret, Obj, Observation, Plan, Query, Reads, Ref
from shieldx_operator.kinds.shadowservice import build
from shieldx_operator.kinds.shadowservice.view import CREDITS_RESOURCE, Store, View, stores
from shieldx_operator.settings import OperatorSettings

OWNED: Final = (CONFIG_MAP, SECRET, SERVICE, SERVICE_ACCOUNT, DEPLOYMENT, HPA, PDB, NETWORK_POLICY)
LASTING: Final = (SERVICE_ACCOUNT, DEPLOYMENT, HPA)
"""Never pruned: wanted whatever the spec says."""
LOOKS_AT: Final = (SECRET, PVC, CREDITS_RESOURCE)
LISTS: Final = (POD,)
_USED: Final = (postgres.COMPONENT, redis.COMPONENT, api.COMPONENT)
"""Components of the credits service that this one's pods may be let in at."""


def reads(v: View, parent: Obj) -> Reads:
    """Everything the service may be made of, its pods, and the credits service with the Secrets that lead to it."""
    namespace, name = v.service.namespace, v.service.name
    names = {
        CONFIG_MAP: ("-config",),
        SECRET: (postgres.SUFFIX,),
        SERVICE: ("",),
        SERVICE_ACCOUNT: ("",),
        DEPLOYMENT: ("",),
        HPA: ("",),
        PDB: ("",),
        NETWORK_POLICY: ("-default-deny", "-api", *(f"-to-{component}" for component in _USED)),
    }
    refs = [Ref(r, namespace, f"{name}{suffix}") for r, suffixes in names.items() for suffix in suffixes]
    queries = {"pods": Query(POD, namespace, label_selector=v.service.label_selector())}
    billing = () if v.billing_secret is None else (v.billing_secret,)
    return Reads([*refs, v.credits, v.auth_secret, v.database_claim, *billing, *_secrets_told(v, parent)], queries)


def _secrets_told(v: View, parent: Obj) -> list[Ref]:
    """The stores' Secrets as the last look found them: what a read names cannot depend on what it finds."""
    names = ((parent.get("status") or {}).get("stores") or {}).values()
    return [Ref(SECRET, v.service.namespace, str(name)) for name in names]


def credits_serve(v: View, seen: Observation) -> bool:
    """Whether the credits service has brought up what this one needs: its keys and its stores."""
    told = (seen.objects.get(v.credits) or {}).get("status") or {}
    return bool(told.get("readyReplicas")) and v.auth_secret in seen.objects


def billing_problem(v: View, seen: Observation) -> tuple[str, str] | None:
    """Reason and message where evaluations are to be paid and the key for it is not there."""
    billing, ref = v.effective.billing, v.billing_secret
    if billing is None or ref is None:
        return None
    key, where = billing.key_secret_ref.key, "spec.billing.keySecretRef"
    wanted = "an API key of the credits service with the scope consume"
    if ref not in seen.objects:
        return "SecretNotFound", f"{where}: {ref} does not exist; create it with the key {key!r} holding {wanted}"
    value = secret_value(seen.objects[ref], key)
    if value is None:
        return "SecretKeyMissing", f"{where}: {ref} has no key {key!r}; add it with {wanted} as its value"
    if not re.fullmatch(API_KEY_PATTERN, value.strip()):
        return "SecretInvalid", f"{where}: {ref}, key {key!r}: the value is no API key (sxk_...); write {wanted}"
    return None


def connects_as_owner(v: View, live: Obj | None, database: Store) -> bool:
    """Whether the API must go on as the database's owner, as operators before this one had it do.

    The image that runs may be of a release that has no migration of its own: that changes with the version.
    """
    pinned = pinned_template(live)
    if pinned is None or pinned["metadata"]["labels"].get(api.VERSION_LABEL) != v.version:
        return False
    mounted = {volume["name"]: volume.get("secret", {}).get("secretName") for volume in pinned["spec"]["volumes"]}
    return "initContainers" not in pinned["spec"] and mounted.get("database") == database.secret.name


def made_with(v: View, seen: Observation, database: Store) -> list[str] | None:
    """What the role that the API connects by hangs on, where the operator makes it; None while a part is missing.

    The init container gives the role its password: a Secret that was made anew has another, and a database on another
    claim has no such role. Only pods that start again bring that about.
    """
    if database.role != v.role_secret:
        return []
    parts = [seen.objects.get(ref) for ref in (v.role_secret, v.database_claim)]
    return None if None in parts else [str(part["metadata"]["uid"]) for part in parts if part is not None]


def workload(v: View, seen: Observation, fresh: Obj, database: Store, *, unpaid: bool) -> Obj:
    """The Deployment `fresh` with the template that its pods must have now.

    At its creation the Secret has no uid yet, and operators before this one did not note it: such a template is taken
    for one that was made with what is there, so that nothing starts twice. It stays while a part is missing.
    """
    live, hangs_on = seen.objects.get(v.deployment), made_with(v, seen, database)
    if hangs_on == [] or (live is None and hangs_on is None):
        return pin_template(fresh, live, v.spec_digest, hold=unpaid)
    inputs = digest([v.spec_digest, *(hangs_on or ("missing",))])
    return pin_template(fresh, live, inputs, hold=unpaid or hangs_on is None, formerly=v.spec_digest)


def plan(v: View, seen: Observation, settings: OperatorSettings) -> Plan:
    """A suspended service is left alone altogether; one that runs goes on running while the credits service is away."""
    live = seen.objects.get(v.deployment)
    found = stores(v, seen)
    unpaid = billing_problem(v, seen) is not None
    mine = frozenset(ref for ref in seen.objects if ref.resource in OWNED)
    if v.effective.suspend or found is None or (live is None and (unpaid or not credits_serve(v, seen))):
        return Plan(keep=mine)
    database, cache = found
    if connects_as_owner(v, live, database):
        database = replace(database, role=None)
    runtime = build.pods(v, database, cache, settings)
    # pods of a template that is held may start again: with the environment that belongs to it
    held_configuration = frozenset((v.configuration,)) & seen.objects.keys() if unpaid else frozenset()
    apply: list[Obj | GeneratedSecret] = [
        *([build.role_secret(v)] if database.role == v.role_secret else []),
        api.service_account(v.service),
        *([] if held_configuration else [api.configuration(runtime)]),
        *build.network(v, database, cache, seen),
        api.service_object(v.service),
        autoscaling.woken(workload(v, seen, build.deployment(v, runtime, database), database, unpaid=unpaid), live),
        build.autoscaler(v),
    ]
    if v.effective.disruption.min_available > 0:
        apply.append(build.disruption_budget(v))
    initial = {v.deployment: {"spec": {"replicas": v.effective.autoscaling.min_replicas}}}
    return Plan(apply=apply, keep=held_configuration, initial=initial)
