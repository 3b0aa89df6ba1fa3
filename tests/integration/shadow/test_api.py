"""The shadow API on a real database: traffic in, rules judged, answers kept, tenants apart."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from tests.integration.harness import Api, new_id, new_tenant_id, problem_of

NDJSON = {"Content-Type": "application/x-ndjson"}
RULE = {"type": "signature", "pattern": "' OR '1'='1"}


def lines(attacks: int, benign: int) -> bytes:
    rows = [{"payload": f"id={n}' OR '1'='1", "label": "attack", "attack_type": "sqli"} for n in range(attacks)]
    rows += [{"payload": f"name=o'hara {n}", "label": "benign", "path": "/names"} for n in range(benign)]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def send(shadow: Api, tenant_id: str, body: bytes) -> httpx.Response:
    return shadow.http.post("/shadow/samples", params={"tenant_id": tenant_id}, content=body, headers=NDJSON)


def question(tenant_id: str, **more: Any) -> dict[str, Any]:
    return {
        "rule_id": "rule-001",
        "rule_name": "SQL Injection Detection",
        "rule_type": "signature",
        "rule_config": RULE,
        "sample_size": 1000,
        "time_window": "24h",
        "tenant_id": tenant_id,
        **more,
    }


@pytest.fixture
def tenant(shadow: Api) -> str:
    """A tenant with 40 attacks and 160 benign requests."""
    tenant_id = new_tenant_id()
    answer = send(shadow, tenant_id, lines(40, 160))
    assert answer.json() == {"accepted": 200, "rejected": []}
    return tenant_id


def test_a_rule_is_judged_on_stored_traffic_in_the_fixed_shape(shadow: Api, tenant: str) -> None:
    answer = shadow.http.post("/shadow/evaluate", json=question(tenant, gates={"minRecall": 0.8}))
    assert answer.status_code == 200, answer.text
    told = answer.json()
    cells = [told[n] for n in ("true_positives", "false_positives", "true_negatives", "false_negatives")]
    assert cells == [40, 0, 160, 0]
    assert (told["status"], told["precision"], told["recall"], told["f1_score"]) == ("completed", 1.0, 1.0, 1.0)
    assert told["verdict"] == "PROMOTE"
    assert told["confidence_intervals"]["recall"]["low"] == pytest.approx(0.9124, abs=1e-4)
    assert told["cached"] is False
    assert told["recommendations"]
    assert told["execution_time_ms"] >= 0


def test_the_same_question_is_answered_from_the_cache_and_judged_by_its_own_gates(shadow: Api, tenant: str) -> None:
    first = shadow.http.post("/shadow/evaluate", json=question(tenant, gates={"minRecall": 0.8})).json()
    second = shadow.http.post("/shadow/evaluate", json=question(tenant, gates={"minRecall": 0.99})).json()
    assert (first["cached"], second["cached"]) == (False, True)
    assert (first["verdict"], second["verdict"]) == ("PROMOTE", "INCONCLUSIVE")
    assert first["dataset_digest"] == second["dataset_digest"]
    assert send(shadow, tenant, lines(1, 0)).json()["accepted"] == 1
    assert shadow.http.post("/shadow/evaluate", json=question(tenant)).json()["cached"] is False


def test_lines_that_are_no_samples_are_named_and_the_others_kept(shadow: Api) -> None:
    body = lines(1, 0) + b'{"payload":"x"}\n\nnonsense\n{"payload":"\xff","label":1}\n' + lines(0, 1)
    answer = send(shadow, new_tenant_id(), body)
    assert answer.json() == {
        "accepted": 2,
        "rejected": [
            {"line": 2, "error": "no_label"},
            {"line": 4, "error": "unreadable"},
            {"line": 5, "error": "unreadable"},
        ],
    }


def test_an_undefined_ratio_is_null(shadow: Api) -> None:
    tenant_id = new_tenant_id()
    send(shadow, tenant_id, lines(0, 5))
    told = shadow.http.post("/shadow/evaluate", json=question(tenant_id)).json()
    assert (told["precision"], told["recall"], told["mcc"]) == (None, None, None)
    assert told["verdict"] == "INCONCLUSIVE"


def test_an_asynchronous_evaluation_tells_its_end_and_its_mistakes(shadow: Api, tenant: str) -> None:
    asked = shadow.http.post("/shadow/evaluations", json=question(tenant, rule_config={"pattern": "hara 1"}))
    assert asked.status_code == 202
    eval_id = asked.json()["eval_id"]
    with shadow.http.stream("GET", f"/shadow/evaluations/{eval_id}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        told = "".join(stream.iter_text())
    assert "event: completed" in told
    result = shadow.http.get(asked.headers["location"]).json()
    assert (result["false_positives"], result["false_negatives"]) == (71, 40)
    mistakes = shadow.http.get(f"/shadow/evaluations/{eval_id}/mistakes").json()
    assert len(mistakes["false_positives"]) == 50
    assert len(mistakes["false_negatives"]) == 40
    assert "hara 1" in mistakes["false_positives"][0]["payload"]


def test_tenants_see_neither_each_others_traffic_nor_answers(shadow: Api, api: Api, tenant: str) -> None:
    other = api.tenant()
    eval_id = shadow.http.post("/shadow/evaluate", json=question(tenant)).json()["eval_id"]
    with shadow.with_key(api.issue(other, "read")) as stranger:
        problem_of(stranger.http.get(f"/shadow/results/{eval_id}"), 404, "not-found")
        problem_of(stranger.http.get(f"/shadow/evaluations/{eval_id}/mistakes"), 404, "not-found")
        problem_of(stranger.http.get(f"/shadow/evaluations/{eval_id}/events"), 404, "not-found")
        problem_of(stranger.http.post("/shadow/evaluate", json=question(tenant)), 404, "not-found")
        problem_of(send(stranger, tenant, lines(1, 0)), 404, "not-found")
        # the same question by the stranger about its own traffic is no hit in the cache of the other
        problem_of(stranger.http.post("/shadow/evaluate", json=question(other)), 422, "evaluation-failed")


def test_who_has_no_key_gets_nothing(shadow: Api, tenant: str) -> None:
    with shadow.with_key(None) as nobody:
        problem_of(nobody.http.post("/shadow/evaluate", json=question(tenant)), 401, "unauthenticated")


@pytest.mark.parametrize(
    ("change", "slug", "says"),
    [
        ({"rule_config": {"pattern": "(?=a)", "syntax": "regex"}}, "wrong-rule", "rule_config.pattern"),
        ({"rule_config": {"pattern": "a", "pattren": "b"}}, "wrong-rule", "rule_config.pattren"),
        ({"rule_type": "magic", "rule_config": {}}, "wrong-rule", "rule_config.type"),
        ({"rule_type": "libinjection"}, "wrong-rule", "rule_config.type"),
        ({"sample_size": 0}, "validation-failed", "sample_size"),
        ({"time_window": "soon"}, "validation-failed", "time_window"),
        ({"seeed": 1}, "validation-failed", "seeed"),
    ],
)
def test_a_wrong_question_is_refused_where_it_is_wrong(
    shadow: Api, tenant: str, change: dict[str, Any], slug: str, says: str
) -> None:
    answer = shadow.http.post("/shadow/evaluate", json=question(tenant, **change))
    assert says in problem_of(answer, 422, slug)["detail"]


def test_traffic_without_its_media_type_is_refused(shadow: Api, tenant: str) -> None:
    answer = shadow.http.post("/shadow/samples", params={"tenant_id": tenant}, content=lines(1, 0))
    problem_of(answer, 415, "unsupported-media-type")


def test_more_questions_than_places_are_refused_with_a_time_to_come_back(shadow: Api, tenant: str) -> None:
    async def flood() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=shadow.url, headers=shadow.headers, timeout=60) as client:
            body = question(tenant, rule_type="anomaly_detection", rule_config={"threshold": 5.5})
            calls = [client.post("/shadow/evaluations", json={**body, "seed": n}) for n in range(240)]
            return await asyncio.gather(*calls)

    answers = asyncio.run(flood())
    refused = [answer for answer in answers if answer.status_code != 202]
    assert refused, "the queue never was full"
    assert problem_of(refused[0], 429, "queue-full")
    assert refused[0].headers["retry-after"]


def test_a_key_stands_for_one_question_of_one_tenant(shadow: Api, tenant: str) -> None:
    key = {"Idempotency-Key": new_id()}
    first = shadow.http.post("/shadow/evaluate", json=question(tenant), headers=key)
    again = shadow.http.post("/shadow/evaluate", json=question(tenant), headers=key)
    assert (first.status_code, again.json()) == (200, first.json())
    assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (None, "true")
    other = shadow.http.post("/shadow/evaluate", json=question(tenant, seed=1), headers=key)
    problem_of(other, 422, "idempotency-key-reused")
    other_tenant = new_tenant_id()
    send(shadow, other_tenant, lines(40, 160))
    theirs = shadow.http.post("/shadow/evaluate", json=question(other_tenant), headers=key)
    assert theirs.json()["eval_id"] != first.json()["eval_id"]


@pytest.mark.parametrize("key", ["", "7", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "6ba7b8109dad41d180b400c04fd430c8"])
def test_what_is_no_key_is_refused(shadow: Api, tenant: str, key: str) -> None:
    answer = shadow.http.post("/shadow/evaluations", json=question(tenant), headers={"Idempotency-Key": key})
    problem_of(answer, 400, "idempotency-key-invalid")
