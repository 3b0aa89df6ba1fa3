"""What `make up` shows a person, on the service of these tests."""

import uuid

from dev import platform
from tests.e2e.platform.conftest import SERVICE, TENANT, Running


def test_a_purchase_and_a_consume_move_credits_a_replay_moves_none_and_too_much_is_402(running: Running) -> None:
    """Over HTTP, from outside of the cluster."""
    before = running.balance()
    consume = {"tenant_id": TENANT, "amount": 100, "description": "API call charge", "reference": "req-abc123"}
    once = {**consume, "idempotency_key": str(uuid.uuid4())}
    purchase = {"tenant_id": TENANT, "amount": 10_000, "idempotency_key": str(uuid.uuid4())}
    too_much = {**consume, "amount": 10**12, "idempotency_key": str(uuid.uuid4())}
    with platform.port_forward(f"svc/{SERVICE}", 8080, running.world.namespace) as url:
        bought, used, replayed, refused = (
            platform.call("POST", f"{url}/credits/{path}", running.key, body)
            for path, body in (("purchase", purchase), ("consume", once), ("consume", once), ("consume", too_much))
        )
    assert [a.status for a in (bought, used, replayed, refused)] == [200, 200, 200, 402]
    assert bought.body["balance"] == before + 10_000
    assert used.body["success"] is True
    assert used.body["balance"] == before + 9_900
    assert used.body["message"] == "Successfully consumed 100 credits"
    assert replayed.body == used.body
    assert {k.lower(): v for k, v in replayed.headers.items()}["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in {k.lower() for k in used.headers}
    assert (refused.body["error"], refused.body["required"]) == ("Insufficient credits", 10**12)
    assert refused.body["available"] == before + 9_900
    assert running.balance() == before + 9_900


def test_kubectl_get_tells_in_one_line_each_what_serves_and_where(running: Running) -> None:
    shown = running.world.kubectl("get", "creditsservices,tenants").splitlines()
    rows = [line.split() for line in shown if line]
    assert rows[0] == ["NAME", "READY", "REASON", "PODS", "VERSION", "ENDPOINT", "AGE"]
    name, ready, reason, pods, version, endpoint, _ = rows[1]
    assert (name, ready, reason) == (f"creditsservice.platform.shieldx.io/{SERVICE}", "True", "Available")
    assert (pods, version) == ("2/2", "0.1.0")
    assert endpoint == f"http://{SERVICE}.{running.world.namespace}.svc:8080"
    assert rows[2] == ["NAME", "READY", "REASON", "TENANT", "SERVICE", "KEY", "AGE", "AGE"]
    assert rows[3][:5] == [f"tenant.platform.shieldx.io/{TENANT}", "True", "Registered", TENANT, SERVICE]


def test_no_call_works_without_a_key_or_with_another_tenants(running: Running) -> None:
    """From inside of the cluster, by the name that the status tells."""
    endpoint = running.world.get(running.ref)["status"]["endpoint"]
    assert endpoint == running.client.url
    nobody, stranger = running.client.calls(
        "sxk_0000000000000000_" + "A" * 43,
        ("GET", f"/credits/balance/{TENANT}", None),
        ("POST", "/credits/consume", {"tenant_id": TENANT, "amount": 1, "idempotency_key": str(uuid.uuid4())}),
    )
    assert nobody["status"] == stranger["status"] == 401
    assert running.client.call(running.key, "GET", "/credits/balance/another")["status"] == 404
