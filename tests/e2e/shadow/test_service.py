"""A ShadowService beside a CreditsService: it starts, takes labelled traffic, and answers for one tenant."""

import json
import time
from collections.abc import Callable

import pytest
import yaml

from shieldx_contract import API_GROUP
from shieldx_operator.engine.types import Obj, Ref, Resource
from tests.e2e.shadow.conftest import ROOT, Ground
from tests.e2e.waiting import eventually

pytestmark = pytest.mark.timeout(600, func_only=True)
KINDS = {
    kind: Resource(API_GROUP, "v1alpha1", kind, plural)
    for kind, plural in (("CreditsService", "creditsservices"), ("ShadowService", "shadowservices"))
}
SAMPLES: list[Obj] = [
    {"payload": f"/search?q=' or '1'='1&n={n}" if n % 3 == 0 else f"/search?q=shoes {n}", "n": n} for n in range(90)
]
CALL = """
import json, sys, urllib.error, urllib.request
key = open("/etc/shieldx/secrets/auth/admin-key").read().strip()
method, path, kind, body = sys.argv[1:5]
headers = {"Content-Type": kind, "Authorization": "Bearer " + key}
request = urllib.request.Request("http://127.0.0.1:8080" + path, body.encode(), headers, method=method)
try:
    answer = urllib.request.urlopen(request, timeout=30)
except urllib.error.HTTPError as refused:
    answer = refused
print(json.dumps([answer.status, json.loads(answer.read() or b"null")]))
"""


async def test_it_serves_the_tenants_of_the_credits_service(ground: Ground, kubectl: Callable[..., str]) -> None:
    ground.start_operator()
    for example in ("shadowservice", "creditsservice"):
        kubectl("apply", "--server-side", "-f", str(ROOT / "examples" / f"{example}.yaml"))

    async def ready() -> bool:
        ground.revive()
        return await condition(ground, Ref(KINDS["ShadowService"], ground.namespace, "shadow")) == "True"

    await eventually(ready, 420, "the ShadowService is Ready")
    traffic = "".join(
        json.dumps(
            {
                "payload": s["payload"],
                "label": "benign" if s["n"] % 3 else "attack",
                "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            }
        )
        + "\n"
        for s in SAMPLES
    )
    status, said = call(kubectl, "/shadow/samples?tenant_id=org-1", "application/x-ndjson", traffic)
    assert (status, said["accepted"]) == (200, 90)
    question = {
        "rule_id": "rule-001",
        "rule_name": "SQL injection",
        "rule_type": "signature",
        "rule_config": {"type": "signature", "pattern": "' or '1'='1"},
        "sample_size": 1000,
        "time_window": "24h",
        "tenant_id": "org-1",
    }
    status, said = call(kubectl, "/shadow/evaluate", "application/json", json.dumps(question))
    assert status == 200, said
    assert (said["true_positives"], said["true_negatives"], said["false_positives"]) == (30, 60, 0)


async def condition(ground: Ground, ref: Ref) -> str:
    there = await ground.client.get(ref) or {}
    conditions: list[Obj] = (there.get("status") or {}).get("conditions") or []
    return next((str(c["status"]) for c in conditions if c["type"] == "Ready"), "")


def call(kubectl: Callable[..., str], path: str, kind: str, body: str) -> tuple[int, Obj]:
    """An administrator's call from within a pod of the API, where its key is."""
    said = kubectl("exec", "deploy/shadow", "--", "python", "-c", CALL, "POST", path, kind, body)
    status, answer = json.loads(said)
    return status, answer


def test_the_example_takes_the_service_of_the_other_examples() -> None:
    shadow, credits_service = (
        yaml.safe_load((ROOT / "examples" / f"{name}.yaml").read_text()) for name in ("shadowservice", "creditsservice")
    )
    assert shadow["spec"]["creditsRef"]["name"] == credits_service["metadata"]["name"]
