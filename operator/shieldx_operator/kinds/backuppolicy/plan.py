"""What must be true of a BackupPolicy: the shipper at work, one thing at a time under way, and a bounded history."""

from typing import Final

from shieldx_operator.blocks import backup, hold, stores
from shieldx_operator.blocks.resources import (
    CONFIG_MAP,
    DEPLOYMENT,
    JOB,
    NETWORK_POLICY,
    POD,
    SECRET,
    SERVICE_ACCOUNT,
    ref_of,
)
from shieldx_operator.engine.types import GeneratedSecret, Obj, Observation, Plan, Query, Reads, Ref
from shieldx_operator.kinds.backuppolicy import build
from shieldx_operator.kinds.backuppolicy import copies as history
from shieldx_operator.kinds.backuppolicy.due import Due, jobs, now_due, task_of
from shieldx_operator.kinds.backuppolicy.view import (
    BACKUP_RESOURCE,
    DRILL,
    PRUNE,
    SHIP,
    TASKS,
    Group,
    View,
    ways,
)

OWNED: Final = (BACKUP_RESOURCE, SECRET, SERVICE_ACCOUNT, DEPLOYMENT, JOB, NETWORK_POLICY)
LASTING: Final = (DEPLOYMENT,)
"""Never pruned: an audit log that is not shipped has a shipper without pods."""
LOOKS_AT: Final = (CONFIG_MAP, stores.CREDITS_RESOURCE)
LISTS: Final = (POD,)
MAX_BACKUPS: Final = 500


def reads(v: View) -> Reads:
    namespace = v.service.namespace
    selector = v.service.label_selector()
    objects = [v.credits, v.shipper, v.scratch_secret, hold.ref(namespace, v.effective.service_name)]
    if v.stores:
        objects += backup.secrets(namespace, v.effective, v.stores, ("database", "cache"))
    queries = {
        "backups": Query(BACKUP_RESOURCE, namespace, limit=MAX_BACKUPS),
        "jobs": Query(JOB, namespace, label_selector=selector),
        "pods": Query(POD, namespace, label_selector=selector),
    }
    return Reads(objects, queries)


def groups(v: View) -> list[Group]:
    """Groups of pods that the policy may have now."""
    audit: list[Group] = [SHIP] if v.effective.audit.enabled else []
    return [*audit, *([DRILL] if v.effective.drill.enabled else []), PRUNE]  # type: ignore[list-item]


def plan(v: View, seen: Observation) -> Plan:
    """Everything that is there stays; at most one thing begins, and none while a Restore holds the service."""
    found = history.of_policy(v, seen)
    live = seen.objects.get(v.shipper)
    places = ways(v, seen)
    keep = kept(v, seen, found)
    if places is None:
        return Plan(keep=keep)
    apply: list[Obj | GeneratedSecret] = [o for group in groups(v) for o in build.frame(v, group, places, seen)]
    if v.effective.drill.enabled:
        apply.append(build.scratch_secret(v))
    held = hold.holder(seen, v.service.namespace, v.effective.service_name)
    clear = trouble(v, seen) is None
    if live is not None or (v.effective.audit.enabled and clear):
        there = v.credits in seen.objects
        at_work = v.effective.audit.enabled and not v.effective.suspend and held is None and there
        apply.append(build.shipper(v, places, live, at_work=at_work))
    due = None if v.effective.suspend or held or not clear else now_due(v, seen, found)
    if due is not None:
        apply.append(taken_up(v, due, seen))
    return Plan(apply=apply, keep=keep - {_ref(o) for o in apply})


def taken_up(v: View, due: Due, seen: Observation) -> Obj:
    places = ways(v, seen)
    if due.what not in TASKS or places is None:
        return build.due_backup(v, due)
    return build.drill(v, due, places) if due.what == DRILL else build.prune(v, due, places)


def kept(v: View, seen: Observation, found: list[history.Copy]) -> frozenset[Ref]:
    """Backups of the history, the newest Job of each task, and what runs under accounts that are wanted no more."""
    outdated = history.outdated(v, found)
    refs = {history.ref(v, c.name) for c in found if c.mine and c.name not in outdated}
    for task in TASKS:
        mine = [j for j in jobs(v, seen) if task_of(v, j["metadata"]["name"]) == task]
        newest = max(mine, key=lambda j: str(j["metadata"].get("creationTimestamp", "")), default=None)
        refs |= {ref_of(newest)} if newest else set()
    return frozenset((*refs, v.shipper, v.scratch_secret))


def trouble(v: View, seen: Observation) -> tuple[str, str] | None:
    """Reason and message of what a person must mend before anything can begin; None where nothing speaks against it."""
    places = ways(v, seen)
    if v.credits not in seen.objects:
        return "ServiceNotFound", f"spec.serviceRef: {v.credits} does not exist; create it, or delete this policy"
    if places is None:
        return "ServiceNotReady", f"{v.credits} does not tell its stores yet"
    if v.stores is None:
        return "Resolving", "finding out where the service's stores are"
    return backup.problem(v.work(SHIP, places), seen)


def _ref(item: Obj | GeneratedSecret) -> Ref:
    if isinstance(item, GeneratedSecret):
        return Ref(SECRET, item.metadata["namespace"], item.metadata["name"])
    if item["kind"] == BACKUP_RESOURCE.kind:
        return Ref(BACKUP_RESOURCE, item["metadata"]["namespace"], item["metadata"]["name"])
    return ref_of(item)
