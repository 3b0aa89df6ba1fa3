"""Paid evaluations in a cluster: no start without the key, 402 without credits, one commit for what was judged."""

import base64
import json
import time
from collections.abc import Callable

import pytest

from shieldx_contract import API_GROUP
from shieldx_operator.blocks.resources import SECRET
from shieldx_operator.engine.types import Obj, Ref, Resource
from tests.e2e.shadow.conftest import ROOT, Ground
from tests.e2e.waiting import eventually

pytestmark = pytest.mark.timeout(900, func_only=True)
CREDITS, SHADOW = (
    Resource(API_GROUP, "v1alpha1", kind, plural)
    for kind, plural in (("CreditsService", "creditsservices"), ("ShadowService", "shadowservices"))
)
CALL = """
import json, sys, urllib.error, urllib.request
key = open("/etc/shieldx/secrets/auth/admin-key").read().strip()
method, url, kind, body = sys.argv[1:5]
headers = {"Content-Type": kind, "Authorization": "Bearer " + key}
request = urllib.request.Request(url, body.encode() or None, headers, method=method)
try:
    answer = urllib.request.urlopen(request, timeout=30)
except urllib.error.HTTPError as refused:
    answer = refused
print(json.dumps([answer.status, json.loads(answer.read() or b"null")]))
"""
API, JSON = "http://127.0.0.1:8080", "application/json"
QUESTION = {
    "rule_id": "rule-001",
    "rule_type": "signature",
    "rule_config": {"pattern": "' or '1'='1"},
    "sample_size": 1000,
    "tenant_id": "org-1",
}


async def test_an_evaluation_is_paid_in_the_cluster(ground: Ground, kubectl: Callable[..., str]) -> None:
    def call(pods: str, method: str, url: str, body: str = "", kind: str = JSON) -> tuple[int, Obj]:
        said = kubectl("exec", f"deploy/{pods}", "-c", pods, "--", "python", "-c", CALL, method, url, kind, body)
        status, document = json.loads(said)
        return status, document

    async def condition(resource: Resource, name: str, kind: str) -> Obj:
        ground.revive()
        there = await ground.client.get(Ref(resource, ground.namespace, name)) or {}
        conditions: list[Obj] = (there.get("status") or {}).get("conditions") or []
        return next((c for c in conditions if c["type"] == kind), {})

    async def holds(resource: Resource, name: str, kind: str) -> bool:
        return (await condition(resource, name, kind)).get("status") == "True"

    ground.start_operator()
    for example in ("shadowservice-billing", "creditsservice"):
        kubectl("apply", "--server-side", "-f", str(ROOT / "examples" / f"{example}.yaml"))
    await eventually(lambda: holds(CREDITS, "credits", "Ready"), 420, "the CreditsService is Ready")
    told = await condition(SHADOW, "shadow", "BillingReady")
    assert (told["status"], told["reason"]) == ("False", "SecretNotFound")
    assert "spec.billing.keySecretRef" in told["message"]

    status, made = call("credits", "POST", f"{API}/credits/keys", '{"tenant_id":null,"scopes":["consume"]}')
    assert status == 201
    data = {"key": base64.b64encode(made["key"].encode()).decode()}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "shadow-billing"}, "data": data}
    await ground.client.apply(Ref(SECRET, ground.namespace, "shadow-billing"), secret)
    await eventually(lambda: holds(SHADOW, "shadow", "Ready"), 180, "the ShadowService is Ready")

    assert call("credits", "PUT", f"{API}/credits/tenants/org-1")[0] == 201
    rows = [{"payload": f"q=' or '1'='1 {n}" if n % 3 == 0 else f"q={n}", "label": int(n % 3 == 0)} for n in range(90)]
    traffic = "".join(json.dumps(row) + "\n" for row in rows)
    status, said = call("shadow", "POST", f"{API}/shadow/samples?tenant_id=org-1", traffic, "application/x-ndjson")
    assert (status, said["accepted"]) == (200, 90)
    status, said = call("shadow", "POST", f"{API}/shadow/evaluate", json.dumps(QUESTION))
    assert (status, said["required"]) == (402, 5)
    purchase = {"tenant_id": "org-1", "amount": 7, "idempotency_key": "6b0c7f1e-3d52-4c8a-9e0b-5a4f3c2d1e00"}
    assert call("credits", "POST", f"{API}/credits/purchase", json.dumps(purchase))[0] == 200
    status, said = call("shadow", "POST", f"{API}/shadow/evaluate", json.dumps(QUESTION))
    assert status == 200, said
    assert (said["true_positives"], said["true_negatives"], said["charge"]["credits"]) == (30, 60, 1)
    deadline_s = time.monotonic() + 30
    while (balance := call("credits", "GET", f"{API}/credits/balance/org-1")[1])["reserved_funds"]:
        assert time.monotonic() < deadline_s, balance
    assert (balance["balance"], balance["total_spent"]) == (6, 1)
