"""What the operator owns it keeps true, object by object; what it does not own it leaves alone."""

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from shieldx_contract import LABEL_COMPONENT, LABEL_PART_OF
from shieldx_operator.blocks.resources import (
    CONFIG_MAP,
    CRON_JOB,
    DEPLOYMENT,
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
)
from shieldx_operator.engine.names import FIELD_MANAGER
from tests.e2e.platform.conftest import SERVICE as NAME
from tests.e2e.platform.conftest import Running
from tests.e2e.platform.world import Obj, Ref, Resource, World, merge, value
from tests.e2e.waiting import until

REPAIRED_WITHIN_S = 30
WRONG = base64.b64encode(b"postgresql://nobody@nowhere:1/nothing").decode()
OPEN_TO_ALL: list[Obj] = [{}]


def add_any_namespace(rules: list[Obj]) -> list[Obj]:
    """The label that lets in from this namespace lets in from all others as well."""
    (peer, *others), rest = rules[0]["from"], rules[1:]
    return [{**rules[0], "from": [{**peer, "namespaceSelector": {}}, *others]}, *rest]


@dataclass(frozen=True)
class Drift:
    """One field of one owned object, and what somebody makes of it: a value, or a function of the right one.

    `data`: a new object could not bring back what it holds.
    """

    resource: Resource
    suffix: str
    path: tuple[str, ...]
    wrong: Any
    data: bool = False

    def __str__(self) -> str:
        how = f":{self.wrong.__name__}" if callable(self.wrong) else ""
        return f"{self.resource.kind}{self.suffix}:{self.path[-1]}{how}"

    def ref(self, world: World) -> Ref:
        """Of the object; a Job's name ends with the digest of what it migrates."""
        name = f"{NAME}{self.suffix}"
        if self.resource == JOB:
            (name,) = (o["metadata"]["name"] for o in world.all(JOB, "app.kubernetes.io/instance=credits"))
        return world.ref(self.resource, name)


_LABELS = ("metadata", "labels")
_SELECTED = ("spec", "selector", LABEL_COMPONENT)
_INGRESS, _EGRESS = ("spec", "ingress"), ("spec", "egress")
DRIFTS = (
    Drift(CONFIG_MAP, "-config", ("data", "SHIELDX_LOG_LEVEL"), "debug"),
    Drift(CONFIG_MAP, "-cache", ("data", "redis.conf"), "port 1\n"),
    Drift(PVC, "-db", (*_LABELS, LABEL_PART_OF), "something-else", data=True),
    Drift(PVC, "-cache", (*_LABELS, LABEL_PART_OF), "something-else", data=True),
    Drift(SECRET, "-auth", ("data", "admin-key"), WRONG, data=True),
    Drift(SECRET, "-audit", ("data", "master-keys"), WRONG, data=True),
    Drift(SECRET, "-db", ("data", "uri"), WRONG, data=True),
    Drift(SECRET, "-db-service", ("data", "uri"), WRONG, data=True),
    Drift(SECRET, "-cache", ("data", "uri"), WRONG, data=True),
    Drift(SERVICE, "", _SELECTED, "nobody"),
    Drift(SERVICE, "-db", _SELECTED, "nobody"),
    Drift(SERVICE, "-cache", _SELECTED, "nobody"),
    Drift(SERVICE_ACCOUNT, "", ("automountServiceAccountToken",), wrong=True),
    Drift(STATEFUL_SET, "-db", (*_LABELS, LABEL_PART_OF), "something-else"),
    Drift(STATEFUL_SET, "-cache", ("spec", "replicas"), 0),
    Drift(DEPLOYMENT, "", ("spec", "strategy", "rollingUpdate", "maxUnavailable"), 1),
    Drift(DEPLOYMENT, "", ("spec", "template", "spec", "enableServiceLinks"), wrong=True),
    Drift(HPA, "", ("spec", "maxReplicas"), 9),
    Drift(PDB, "", ("spec", "minAvailable"), 0),
    Drift(JOB, "-migrate", (*_LABELS, LABEL_COMPONENT), "something-else"),
    Drift(CRON_JOB, "-reconcile", ("spec", "suspend"), wrong=True),
    Drift(NETWORK_POLICY, "-default-deny", _INGRESS, OPEN_TO_ALL),
    Drift(NETWORK_POLICY, "-default-deny", _EGRESS, OPEN_TO_ALL),
    Drift(NETWORK_POLICY, "-api", _INGRESS, OPEN_TO_ALL),
    Drift(NETWORK_POLICY, "-api", _INGRESS, add_any_namespace),
    Drift(NETWORK_POLICY, "-api", _EGRESS, OPEN_TO_ALL),
    Drift(NETWORK_POLICY, "-migration", _INGRESS, OPEN_TO_ALL),
    Drift(NETWORK_POLICY, "-migration", _EGRESS, OPEN_TO_ALL),
    Drift(NETWORK_POLICY, "-reconciliation", _INGRESS, OPEN_TO_ALL),
    Drift(NETWORK_POLICY, "-reconciliation", _EGRESS, OPEN_TO_ALL),
    Drift(NETWORK_POLICY, "-db", _INGRESS, OPEN_TO_ALL),
    Drift(NETWORK_POLICY, "-db", _EGRESS, OPEN_TO_ALL),
    Drift(NETWORK_POLICY, "-cache", _INGRESS, OPEN_TO_ALL),
    Drift(NETWORK_POLICY, "-cache", _EGRESS, OPEN_TO_ALL),
)
DELETED = tuple({(d.resource, d.suffix): d for d in DRIFTS if not d.data}.values())


def inventory(running: Running) -> set[tuple[str, str]]:
    return {(e["kind"], e["name"]) for e in running.ready()["status"]["inventory"]}


def test_the_table_names_every_object_of_the_inventory(running: Running) -> None:
    named = {(d.resource.kind, d.ref(running.world).name) for d in DRIFTS}
    assert named == inventory(running)


@pytest.mark.parametrize("drift", DRIFTS, ids=str)
def test_a_field_that_somebody_changed_is_put_right(running: Running, drift: Drift) -> None:
    world, ref = running.world, drift.ref(running.world)
    right = value(world.get(ref), drift.path)
    wrong = drift.wrong(right) if callable(drift.wrong) else drift.wrong
    changed = world.change(ref, merge(wrong, *drift.path))
    assert value(changed, drift.path) != right, "the change must have been one"
    try:
        until(f"{ref} has its {drift.path[-1]} back", lambda: value(world.get(ref), drift.path) == right, 30)
    except AssertionError as late:
        raise AssertionError(f"{late}: {value(world.get(ref), drift.path)!r} instead of {right!r}") from None


def essence(obj: Obj) -> Obj:
    """What an object says, without what each new one has of its own."""
    spec = {k: v for k, v in (obj.get("spec") or {}).items() if k not in ("clusterIP", "clusterIPs", "replicas")}
    return {"spec": spec, "data": obj.get("data"), "labels": obj["metadata"].get("labels")}


@pytest.mark.parametrize("deleted", [d for d in DELETED if d.resource not in (DEPLOYMENT, JOB)], ids=str)
def test_an_object_that_somebody_deleted_is_made_again_as_it_was(running: Running, deleted: Drift) -> None:
    """But for volumes and Secrets: a new one is there at once as well, and what the old one held is gone for good."""
    world, ref = running.world, deleted.ref(running.world)
    before = world.get(ref)
    world.delete(ref)

    def another() -> Obj | None:
        found = world.find(ref)
        return found if found is not None and found["metadata"]["uid"] != before["metadata"]["uid"] else None

    assert essence(until(f"{ref} is there again", another, REPAIRED_WITHIN_S)) == essence(before)


def test_a_deleted_migration_job_runs_again_while_the_pods_serve(running: Running) -> None:
    world = running.world
    (before,) = world.all(JOB, "app.kubernetes.io/component=migration")
    pods = {p["metadata"]["uid"] for p in world.pods(NAME, "api")}
    world.delete(world.ref(JOB, before["metadata"]["name"]))

    def done_again() -> bool:
        jobs = world.all(JOB, "app.kubernetes.io/component=migration")
        return any(
            j["metadata"]["uid"] != before["metadata"]["uid"] and j.get("status", {}).get("succeeded") for j in jobs
        )

    until("another Job has succeeded", done_again, 60)
    running.ready()
    assert {p["metadata"]["uid"] for p in world.pods(NAME, "api")} == pods


def test_a_deleted_deployment_is_back_and_serves_the_same_data(running: Running) -> None:
    world, ref = running.world, running.world.ref(DEPLOYMENT, NAME)
    before, balance = world.get(ref), running.balance()
    start_s = time.monotonic()
    world.delete(ref)

    def another() -> Obj | None:
        found = world.find(ref)
        return found if found is not None and found["metadata"]["uid"] != before["metadata"]["uid"] else None

    made = until(f"{ref} is there again", another, REPAIRED_WITHIN_S)
    world.tell(f"deleted Deployment: back {time.monotonic() - start_s:.2f} s after the call")
    assert essence(made) == essence(before)
    running.ready()
    world.tell(f"deleted Deployment: Ready again {time.monotonic() - start_s:.1f} s after the call")
    assert running.balance() == balance


def test_what_others_put_on_an_owned_object_outlives_a_repair(running: Running) -> None:
    """Labels, annotations and fields of a policy engine, a mesh or a person."""
    world, ref = running.world, running.world.ref(SERVICE, NAME)
    theirs = {
        "metadata": {"labels": {"team": "payments"}, "annotations": {"example.com/note": "ours"}},
        "spec": {"internalTrafficPolicy": "Local"},
    }
    world.change(ref, theirs)
    world.change(ref, merge("nobody", *_SELECTED))
    until("the repair", lambda: value(world.get(ref), _SELECTED) == "api", REPAIRED_WITHIN_S)
    live = world.get(ref)
    assert live["metadata"]["labels"]["team"] == "payments"
    assert live["metadata"]["annotations"]["example.com/note"] == "ours"
    assert live["spec"]["internalTrafficPolicy"] == "Local"
    world.delete(ref)  # theirs go with it


def test_the_number_of_pods_belongs_to_the_autoscaler_and_to_kubectl_scale(running: Running) -> None:
    world, ref = running.world, running.world.ref(DEPLOYMENT, NAME)
    world.kubectl("scale", f"deployment/{NAME}", "--replicas=3")
    drift = ("spec", "strategy", "rollingUpdate", "maxUnavailable")
    world.change(ref, merge(1, *drift))

    def repaired() -> Obj | None:
        found = world.get(ref)
        return found if value(found, drift) == 0 else None

    live = until("the operator has written the Deployment", repaired, REPAIRED_WITHIN_S)
    owners = managers_of_replicas(live)
    assert FIELD_MANAGER not in owners
    # from here on the autoscaler decides: it may already have found that two are enough
    assert live["spec"]["replicas"] == 3 or "kube-controller-manager" in owners
    hpa = world.get(world.ref(HPA, NAME))
    assert (hpa["spec"]["minReplicas"], hpa["spec"]["maxReplicas"]) == (2, 3)
    world.kubectl("scale", f"deployment/{NAME}", "--replicas=2")
    until("two pods", lambda: len(world.pods(NAME, "api")) == 2, 30)


def managers_of_replicas(deployment: Obj) -> set[str]:
    return {
        entry["manager"]
        for entry in deployment["metadata"]["managedFields"]
        if "f:replicas" in entry.get("fieldsV1", {}).get("f:spec", {})
    }


def written(running: Running) -> dict[str, Obj]:
    """Every owned object, without what its own controller tells in it."""
    world = running.world
    resources = {r.kind: r for r in (d.resource for d in DRIFTS)}
    found = {}
    for kind, name in sorted(inventory(running)):
        live = world.get(world.ref(resources[kind], name))
        told = [m for m in live["metadata"].get("managedFields", ()) if m.get("subresource") != "status"]
        plain = {k: v for k, v in live["metadata"].items() if k not in ("managedFields", "resourceVersion")}
        version = live["metadata"]["resourceVersion"] if "status" not in live else ""
        found[f"{kind} {name}"] = {**live, "metadata": plain, "managers": told, "version": version, "status": None}
    return found


def looks(world: World) -> float:
    """Reconciles of CreditsServices so far, of whichever pod leads."""
    pods = world.elsewhere("shieldx-system").all(POD, "app.kubernetes.io/name=shieldx-operator")
    texts = [world.call("GET", _metrics_of(pod)).text for pod in pods]
    return sum(_count(text.splitlines()) for text in texts)


def looked_since(world: World, seen: float) -> bool:
    return looks(world) > seen


def _metrics_of(pod: Obj) -> str:
    return f"/api/v1/namespaces/shieldx-system/pods/{pod['metadata']['name']}:8081/proxy/metrics"


def _count(lines: Sequence[str]) -> float:
    name = 'shieldx_operator_reconciles_total{kind="CreditsService"'
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def test_a_second_look_at_what_is_right_writes_nothing(running: Running) -> None:
    """No new resource version in any owned object, nor a write of the operator in those whose status changes."""
    world = running.world
    before, status = written(running), world.get(running.ref)["status"]
    for number in range(3):
        seen = looks(world)
        world.change(running.ref, merge(str(number), "metadata", "annotations", "example.com/look-again"))
        until("another look", partial(looked_since, world, seen), 30)
    time.sleep(3)  # the last look ends
    assert written(running) == before
    assert world.get(running.ref)["status"] == status
