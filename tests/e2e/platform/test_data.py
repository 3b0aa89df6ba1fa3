"""What happens to the data: migrations before pods, a failed one, deletion, and an object that comes back."""

import json
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
import requests

from dev import platform
from shieldx_operator.blocks.resources import DEPLOYMENT, JOB, POD, PVC, SECRET
from shieldx_operator.engine.client import path_of
from shieldx_operator.engine.types import Resource
from tests.e2e.platform.clients import Client
from tests.e2e.platform.conftest import SERVICE, Running, make_namespace, tenant_spec
from tests.e2e.platform.release import with_file
from tests.e2e.platform.world import CLIENT_LABELS, IMAGE, SERVICES, TENANTS, Obj, Ref, World, condition
from tests.e2e.waiting import until

TENANT = "org-7"
BOUGHT = 700
NEXT = "0.1.1-e2e"
MIGRATIONS = "/opt/shieldx/code/shieldx_runtime/credits/migrations"
LASTING = {
    ("PersistentVolumeClaim", "credits-db"),
    *(("Secret", f"credits-{s}") for s in ("db", "db-service", "auth", "audit")),
}
ANYWHERE = {
    "namespaceSelector": {"matchLabels": {"shieldx.io/e2e": "platform"}},
    "podSelector": {"matchLabels": CLIENT_LABELS},
}
SPEC: Obj = {
    "profile": "Development",
    "version": "0.1.0",
    "network": {"allowFrom": [ANYWHERE]},
    "database": {"managed": {}},
    "cache": {"managed": {}},
}


@dataclass
class Spare:
    """A second service, of one pod, in a namespace of its own; called from the first one's."""

    world: World
    client: Client

    @property
    def ref(self) -> Ref:
        return self.world.ref(SERVICES, SERVICE)

    @property
    def tenant(self) -> Ref:
        return self.world.ref(TENANTS, TENANT)

    def make(self, **changes: object) -> None:
        self.world.apply(self.ref, spec={**SPEC, **changes})
        self.world.wait_ready(self.ref)

    def key(self) -> str:
        return self.world.secret(f"{TENANT}-credits-key", "api-key")

    def balance(self) -> tuple[int, int | None]:
        answer = self.client.call(self.key(), "GET", f"/credits/balance/{TENANT}")
        return int(answer["status"]), answer["body"].get("balance")

    def consume(self) -> int:
        body = {"tenant_id": TENANT, "amount": 1, "idempotency_key": str(uuid.uuid4())}
        return int(self.client.call(self.key(), "POST", "/credits/consume", body)["status"])

    def owned(self) -> dict[tuple[str, str], Resource]:
        found = {}
        for entry in self.world.get(self.ref)["status"]["inventory"]:
            plural = {"NetworkPolicy": "networkpolicies"}.get(entry["kind"], f"{entry['kind'].lower()}s")
            resource = Resource(entry.get("group", ""), entry["version"], entry["kind"], plural)
            found[entry["kind"], entry["name"]] = resource
        return found

    def there(self, owned: dict[tuple[str, str], Resource]) -> set[tuple[str, str]]:
        paths = {pair: path_of(r, self.world.namespace, pair[1]) for pair, r in owned.items()}
        return {pair for pair, path in paths.items() if self.world.call("GET", path).status_code == requests.codes.ok}


@pytest.fixture(scope="module")
def spare(world: World, _running: Running) -> Iterator[Spare]:
    own = world.elsewhere(f"{world.namespace}-spare")
    make_namespace(own)
    made = Spare(own, Client(world, "client", SERVICE, calls_to=own.namespace))
    start_s = time.monotonic()
    made.make()
    world.tell(f"CreditsService of one pod: Ready {time.monotonic() - start_s:.1f} s after apply")
    own.apply(made.tenant, spec=tenant_spec())
    own.wait_ready(made.tenant)
    body = {"tenant_id": TENANT, "amount": BOUGHT, "idempotency_key": str(uuid.uuid4())}
    bought = made.client.call(made.key(), "POST", "/credits/purchase", body)
    assert bought["status"] == requests.codes.ok, bought
    yield made
    own.delete(made.tenant)
    own.delete(made.ref)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_the_schema_is_there_before_the_first_pod(spare: Spare) -> None:
    (job,) = spare.world.all(JOB)
    live = spare.world.get(spare.world.ref(DEPLOYMENT, SERVICE))
    assert moment(job["status"]["completionTime"]) <= moment(live["metadata"]["creationTimestamp"])
    assert condition(spare.world.get(spare.ref), "SchemaCurrent")["status"] == "True"


@pytest.fixture(scope="module")
def next_release(spare: Spare, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A version whose migration makes a table; its name."""
    built = next(i["archive"] for i in platform.images() if "/platform:" in i["name"])
    (applied,) = spare.world.sql(SERVICE, "SELECT max(version) FROM credits.schema_migrations")
    file = f"{MIGRATIONS}/{int(applied[0]) + 1:04}_regions.sql"
    archive = tmp_path_factory.mktemp("release") / "next.tar"
    name = f"{IMAGE.rpartition(':')[0]}:{NEXT}"
    with_file(Path(built), name, file, "CREATE TABLE credits.regions (region text PRIMARY KEY);\n", archive)
    platform.run("python3", "-m", "dev.cluster", "load", str(archive), timeout_s=300)
    return NEXT


def test_a_migration_that_fails_stalls_with_its_reason_while_the_old_pods_serve(
    spare: Spare, next_release: str
) -> None:
    """Somebody has made a table of the name that the next release's migration makes."""
    world, (status, before) = spare.world, spare.balance()
    assert status == requests.codes.ok
    assert before is not None
    (old,) = world.pods(SERVICE, "api")
    world.sql(SERVICE, "CREATE TABLE credits.regions (somebodys text)")
    world.change(spare.ref, {"spec": {"version": next_release}})

    def stalled() -> Obj | None:
        live = world.get(spare.ref)
        return live if condition(live, "Stalled").get("status") == "True" else None

    live = until("it is Stalled", stalled, 90)
    ready = condition(live)
    assert (ready["status"], ready["reason"]) == ("False", "MigrationFailed")
    assert re.search(r"regions.*already exists", ready["message"]), ready
    assert f"version {next_release}" in ready["message"]
    assert condition(live, "SchemaCurrent")["status"] == "False"
    assert condition(live, "WorkloadReady")["status"] == "True"
    assert live["status"]["version"] == "0.1.0"
    assert live["status"]["rejected"]["version"] == next_release
    (serving,) = world.pods(SERVICE, "api")
    assert serving["metadata"]["uid"] == old["metadata"]["uid"]
    assert spare.consume() == requests.codes.ok
    assert spare.balance() == (requests.codes.ok, before - 1)
    delete_its_deployment(spare)

    world.sql(SERVICE, "DROP TABLE credits.regions")
    for job in world.all(JOB):  # or a minute's patience: then it is tried again unasked
        if job.get("status", {}).get("failed"):
            world.delete(world.ref(JOB, job["metadata"]["name"]))
    live = world.wait_ready(spare.ref)
    assert live["status"]["version"] == next_release
    assert "rejected" not in live["status"]
    assert spare.balance() == (requests.codes.ok, before - 1)
    assert world.sql(SERVICE, "SELECT count(*) FROM credits.regions") == [["0"]]


def delete_its_deployment(spare: Spare) -> None:
    """And see it come back with the version that served, which the newer one's failure does not concern."""
    ref = spare.world.ref(DEPLOYMENT, SERVICE)
    gone = spare.world.get(ref)
    spare.world.delete(ref)

    def back() -> Obj | None:
        live = spare.world.find(ref)
        other = live is not None and live["metadata"]["uid"] != gone["metadata"]["uid"]
        return live if live and other and live.get("status", {}).get("availableReplicas") else None

    live = until("the Deployment is back with a pod that is ready", back, 90)
    assert live["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/version"] == "0.1.0"
    assert condition(spare.world.get(spare.ref), "SchemaCurrent")["status"] == "False"


def test_deleting_the_object_removes_what_it_owns_and_keeps_the_data(spare: Spare) -> None:
    world, owned = spare.world, spare.owned()
    assert set(owned) > LASTING
    start_s = time.monotonic()
    world.delete(spare.ref)
    world.gone(spare.ref)
    until("what it owned is gone", lambda: spare.there(owned) == LASTING, 90)
    world.tell(f"deleted object: what it owned was gone {time.monotonic() - start_s:.1f} s after the call")
    until("its tenant says so", lambda: condition(world.get(spare.tenant)).get("reason") == "ServiceNotFound", 15)
    until("its pods are gone", lambda: not world.all(POD), 60)
    time.sleep(2)
    assert spare.there(owned) == LASTING
    assert world.get(world.ref(PVC, "credits-db"))["status"]["phase"] == "Bound"


def test_a_new_object_of_the_same_name_finds_its_data_and_its_tenants_keys(spare: Spare) -> None:
    world, key = spare.world, spare.key()
    spare.make(version=NEXT)
    world.wait_ready(spare.tenant)
    assert spare.key() == key
    assert spare.balance() == (requests.codes.ok, BOUGHT - 1)


def test_with_the_policy_delete_the_data_goes_with_the_object(spare: Spare) -> None:
    world, owned = spare.world, spare.owned()
    world.change(spare.ref, {"spec": {"database": {"managed": {"deletionPolicy": "Delete"}}}})
    world.wait_ready(spare.ref)
    world.delete(spare.ref)
    world.gone(spare.ref)
    until("all is gone", lambda: not spare.there(owned), 90)
    names = {s["metadata"]["name"] for s in world.all(SECRET)}
    assert names == {f"{TENANT}-credits-key"}, json.dumps(sorted(names))
