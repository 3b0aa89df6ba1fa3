"""A tenant's key: it works, it is exchanged, it ends; the ledger outlives it."""

import base64

import requests

from shieldx_operator.blocks.resources import SECRET
from tests.e2e.platform.conftest import TENANT, Running, tenant_spec
from tests.e2e.platform.world import TENANTS, Obj, Ref, World, condition
from tests.e2e.waiting import until

OK, UNAUTHORIZED = requests.codes.ok, requests.codes.unauthorized
OVERLAP_S = 8
BUY: Obj = {"tenant_id": "org-2", "amount": 500, "idempotency_key": "00000000-0000-4000-8000-000000000002"}


def made(world: World, name: str, spec: Obj) -> Ref:
    ref = world.ref(TENANTS, name)
    world.apply(ref, spec=spec)
    world.wait_ready(ref)
    return ref


def api_key(world: World, name: str) -> str:
    return world.secret(f"{name}-credits-key", "api-key")


def balance(running: Running, key: str, tenant: str) -> int:
    """The status of a read by this key."""
    return int(running.client.call(key, "GET", f"/credits/balance/{tenant}")["status"])


def test_a_tenants_secret_holds_all_that_its_pods_need(running: Running) -> None:
    world = running.world
    live = world.get(running.tenant)
    secret = live["status"]["secretName"]
    assert secret == f"{TENANT}-credits-key"
    assert world.secret(secret, "endpoint") == running.client.url
    assert world.secret(secret, "tenant-id") == TENANT
    assert balance(running, world.secret(secret, "api-key"), TENANT) == OK
    assert world.secret(secret, "api-key") not in str(live), "the key stands in its Secret alone"


def test_an_exchanged_key_works_through_the_overlap_and_ends_with_it(running: Running) -> None:
    world = running.world
    ref = made(world, "org-3", tenant_spec(overlapSeconds=OVERLAP_S))
    old = api_key(world, "org-3")
    assert balance(running, old, "org-3") == OK
    world.change(ref, {"spec": {"key": {"rotation": "2"}}})
    until("the new key is there", lambda: world.get(ref)["status"]["key"].get("rotation") == "2")
    world.wait_ready(ref)
    new = api_key(world, "org-3")
    assert new != old
    assert [balance(running, key, "org-3") for key in (old, new)] == [OK, OK]
    told = world.get(ref)["status"]["key"]
    assert told["previousID"] == old.split("_")[1]
    until("the old key is revoked", lambda: "previousID" not in world.get(ref)["status"]["key"], OVERLAP_S + 20)
    until("the old key is refused", lambda: balance(running, old, "org-3") == UNAUTHORIZED, 10)
    assert balance(running, new, "org-3") == OK
    world.delete(ref)
    world.gone(ref)


def test_deleting_a_tenant_ends_its_key_and_keeps_its_ledger(running: Running) -> None:
    world = running.world
    ref = made(world, "org-2", tenant_spec())
    key = api_key(world, "org-2")
    assert running.client.call(key, "POST", "/credits/purchase", BUY)["body"]["balance"] == 500
    world.delete(ref)
    world.gone(ref)
    # each replica remembers a key for a few seconds; the spec of the ledger gives a revocation five
    until("the key is refused", lambda: balance(running, key, "org-2") == UNAUTHORIZED, 10)
    world.gone(world.ref(SECRET, "org-2-credits-key"))
    made(world, "org-2", tenant_spec())
    another = api_key(world, "org-2")
    assert another != key
    answer = running.client.call(another, "GET", "/credits/balance/org-2")
    assert (answer["status"], answer["body"]["balance"]) == (OK, 500)
    until(
        "no replica takes the old key",
        lambda: [balance(running, key, "org-2") for _ in range(4)] == [UNAUTHORIZED] * 4,
        10,
    )
    world.delete(ref)
    world.gone(ref)


def test_a_tenants_key_does_only_what_its_scopes_say(running: Running) -> None:
    world = running.world
    spec = tenant_spec()
    spec["key"]["scopes"] = ["read"]
    ref = made(world, "org-4", spec)
    key = api_key(world, "org-4")
    refused = running.client.call(key, "POST", "/credits/purchase", {**BUY, "tenant_id": "org-4"})
    assert refused["status"] == requests.codes.forbidden
    assert balance(running, key, "org-4") == OK
    world.delete(ref)
    world.gone(ref)


def test_a_tenant_of_a_service_that_is_not_there_says_so_and_can_go(world: World) -> None:
    ref = world.ref(TENANTS, "lost")
    world.apply(ref, spec=tenant_spec("nowhere"))
    until("it says so", lambda: condition(world.get(ref)).get("reason") == "ServiceNotFound")
    live = world.get(ref)
    ready, stalled = condition(live), condition(live, "Stalled")
    assert (ready["status"], stalled["status"]) == ("False", "True")
    assert "spec.serviceRef.name" in ready["message"]
    assert f"{world.namespace}/nowhere" in ready["message"]
    assert world.find(world.ref(SECRET, "lost-credits-key")) is None
    world.delete(ref)
    world.gone(ref, 30)


def test_a_deleted_key_secret_gives_a_new_key_that_works(running: Running) -> None:
    """A lost key cannot be had back: the service knows its hash alone."""
    world = running.world
    ref = made(world, "org-5", tenant_spec())
    old = world.get(world.ref(SECRET, "org-5-credits-key"))
    world.delete(world.ref(SECRET, "org-5-credits-key"))

    def another() -> bool:
        found = world.find(world.ref(SECRET, "org-5-credits-key"))
        return found is not None and found["metadata"]["uid"] != old["metadata"]["uid"] and "api-key" in found["data"]

    until("another Secret", another)
    until("its key works", lambda: balance(running, api_key(world, "org-5"), "org-5") == OK)
    world.wait_ready(ref)
    lost = base64.b64decode(old["data"]["key-id"]).decode()
    assert world.get(ref)["status"]["key"]["previousID"] == lost, "it ends when its overlap has passed"
    world.delete(ref)
    world.gone(ref)
