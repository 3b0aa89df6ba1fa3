"""Low-balance alerts: once a crossing, signed, delivered at least once, whatever happens in between."""

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.harness import Api, Stack, assert_books_balance, new_id, problem_of, until
from tests.integration.hook import Hook


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.close()


def watch(api: Api, tenant_id: str, url: str, *thresholds: int) -> dict[str, Any]:
    body = {"thresholds": list(thresholds), "webhook_url": url}
    answer = api.http.put(f"/credits/alerts/{tenant_id}", json=body)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def alerts(stack: Stack, tenant_id: str) -> list[tuple[int, int]]:
    rows = stack.sql("SELECT threshold, available FROM credits.alerts WHERE tenant_id = $1 ORDER BY 1 DESC", tenant_id)
    return [(row["threshold"], row["available"]) for row in rows]


def test_a_crossing_is_told_once_and_signed(stack: Stack, api: Api, hook: Hook) -> None:
    tenant_id = api.tenant(100)
    rule = watch(api, tenant_id, hook.url, 50)
    api.consume(tenant_id, 50)
    assert alerts(stack, tenant_id) == []
    for _ in range(5):
        api.consume(tenant_id, 1)
    until(lambda: hook.told(tenant_id) == [(50, 49)])
    ((fields, body),) = hook.received
    said = f"{fields['webhook-id']}.{fields['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(rule["secret"].removeprefix("whsec_"))
    assert fields["webhook-signature"] == "v1," + base64.b64encode(hmac.digest(key, said, hashlib.sha256)).decode()
    assert abs(int(fields["webhook-timestamp"]) - time.time()) < 30
    until(lambda: api.http.get(f"/credits/alerts/{tenant_id}").json()["last_delivered_at"] is not None)
    state = api.http.get(f"/credits/alerts/{tenant_id}").json()
    assert (state["pending"], state["last_problem"], state["thresholds"]) == (0, None, [50])
    assert "secret" not in state
    time.sleep(2.5)
    assert hook.told(tenant_id) == [(50, 49)]


def test_each_threshold_counts_for_itself_and_again_after_the_balance_was_above_it(stack: Stack, api: Api) -> None:
    tenant_id = api.tenant(100)
    watch(api, tenant_id, "https://example.invalid/hook", 10, 50, 80)
    api.consume(tenant_id, 95)
    assert alerts(stack, tenant_id) == [(80, 5), (50, 5), (10, 5)]
    api.purchase(tenant_id, 45)
    api.consume(tenant_id, 5)
    assert len(alerts(stack, tenant_id)) == 4
    hold = api.reserve(tenant_id, 40).json()["reservation_id"]
    assert [a for a in alerts(stack, tenant_id) if a[0] == 10] == [(10, 5), (10, 5)]
    api.cancel(hold)
    api.consume(tenant_id, 36)
    assert len([a for a in alerts(stack, tenant_id) if a[0] == 10]) == 3
    assert_books_balance(stack, tenant_id)


async def test_of_many_consumes_at_once_one_crosses(stack: Stack, api: Api) -> None:
    tenant_id = await asyncio.to_thread(api.tenant, 200)
    await asyncio.to_thread(watch, api, tenant_id, "https://example.invalid/hook", 100)
    bodies = [{"tenant_id": tenant_id, "amount": 1, "idempotency_key": new_id()} for _ in range(150)]
    answers = await api.consume_all(bodies)
    assert {answer.status_code for answer in answers} == {200}
    found = await asyncio.to_thread(alerts, stack, tenant_id)
    assert [threshold for threshold, _ in found] == [100]


def test_an_alert_that_was_not_taken_is_sent_again_under_the_same_id(api: Api, hook: Hook) -> None:
    tenant_id = api.tenant(10)
    hook.answers = [500, 302, 404]
    watch(api, tenant_id, hook.url, 5)
    api.consume(tenant_id, 6)
    until(lambda: len(hook.received) == 4, 60)
    assert len({fields["webhook-id"] for fields, _ in hook.received}) == 1
    assert hook.told(tenant_id) == [(5, 4)] * 4


def test_what_a_process_had_taken_when_it_was_killed_another_delivers(stack: Stack, api: Api, hook: Hook) -> None:
    tenant_id = api.tenant(10)
    watch(api, tenant_id, "https://example.invalid/hook", 5)
    api.consume(tenant_id, 6)
    # taken by a process that is no more
    stack.sql(
        "UPDATE credits.alerts SET next_attempt_at = clock_timestamp() + interval '2 s', attempts = 1 "
        "WHERE tenant_id = $1",
        tenant_id,
    )
    watch(api, tenant_id, hook.url, 5)
    until(lambda: hook.told(tenant_id) == [(5, 4)])


def test_after_its_last_try_an_alert_is_given_up_and_says_so(stack: Stack, api: Api, hook: Hook) -> None:
    tenant_id = api.tenant(10)
    hook.answers = [503] * 20  # the service may try in between
    watch(api, tenant_id, "https://example.invalid/hook", 5)
    api.consume(tenant_id, 6)
    watch(api, tenant_id, hook.url, 5)
    stack.sql(
        "UPDATE credits.alerts SET attempts = 15, next_attempt_at = clock_timestamp() WHERE tenant_id = $1", tenant_id
    )
    until(lambda: api.http.get(f"/credits/alerts/{tenant_id}").json()["pending"] == 0)
    assert api.http.get(f"/credits/alerts/{tenant_id}").json()["last_problem"] == "the webhook answered 503"
    assert "credits_alert_deliveries_total" in stack.service.metrics()


def test_alerts_of_a_rule_that_was_removed_while_they_were_being_sent_stop_nobody_elses(
    stack: Stack, api: Api, hook: Hook
) -> None:
    tenant_id, other = api.tenant(100), api.tenant(100)
    hook.answers, hook.pause_s = [503] * 4, 1.0
    watch(api, tenant_id, hook.url, 10, 20, 30, 40)
    api.consume(tenant_id, 95)
    until(lambda: len(hook.received) == 4)
    assert api.http.put(f"/credits/alerts/{tenant_id}", json={"thresholds": []}).json()["pending"] == 0
    hook.pause_s = 0.0
    time.sleep(1.5)
    assert api.http.get(f"/credits/alerts/{tenant_id}").json()["pending"] == 0
    # twice as many as are sent at a time, as a release before has left them
    stack.sql(
        "INSERT INTO credits.alerts (tenant_id, threshold, available, balance, version, next_attempt_at) "
        "SELECT $1, n, 0, 0, 1, clock_timestamp() - interval '1 day' FROM generate_series(1, 40) AS n",
        tenant_id,
    )
    watch(api, other, hook.url, 50)
    api.consume(other, 60)
    until(lambda: hook.told(other) == [(50, 40)], 10)


def test_without_a_rule_nothing_is_told(stack: Stack, api: Api) -> None:
    tenant_id = api.tenant(10)
    assert api.http.get(f"/credits/alerts/{tenant_id}").json()["thresholds"] == []
    watch(api, tenant_id, "https://example.invalid/hook", 9, 5)
    api.consume(tenant_id, 2)
    assert api.http.put(f"/credits/alerts/{tenant_id}", json={"thresholds": []}).json()["pending"] == 0
    api.consume(tenant_id, 5)
    assert [threshold for threshold, _ in alerts(stack, tenant_id)] == [9]


def test_another_version_makes_another_secret_and_the_same_one_the_same(api: Api) -> None:
    tenant_id = api.tenant()
    body = {"thresholds": [5], "webhook_url": "https://example.invalid/hook"}
    path = f"/credits/alerts/{tenant_id}"
    first, again = (api.http.put(path, json=body).json()["secret"] for _ in range(2))
    other = api.http.put(path, json={**body, "secret_version": 2}).json()["secret"]
    assert first == again != other


@pytest.mark.parametrize(
    "body",
    [
        {"thresholds": [5]},
        {"thresholds": [0], "webhook_url": "https://example.com/"},
        {"thresholds": list(range(1, 12)), "webhook_url": "https://example.com/"},
        {"thresholds": [5], "webhook_url": "http://example.com/"},
        {"thresholds": [5], "webhook_url": "https://169.254.169.254/"},
        {"thresholds": [5], "webhook_url": "https://example.com/", "secret_version": 0},
        {"thresholds": [5], "webhook_url": "https://example.com/" + "x" * 2048},
    ],
)
def test_a_rule_that_is_none_is_refused(api: Api, body: dict[str, Any]) -> None:
    problem_of(api.http.put(f"/credits/alerts/{api.tenant()}", json=body), 422, "validation-failed")


def test_who_may_set_and_read_a_rule(api: Api) -> None:
    tenant_id, other = api.tenant(), api.tenant()
    body = {"thresholds": [5], "webhook_url": "https://example.invalid/hook"}
    with api.with_key(api.issue(tenant_id, "read")) as reader:
        assert reader.http.get(f"/credits/alerts/{tenant_id}").status_code == 200
        problem_of(reader.http.put(f"/credits/alerts/{tenant_id}", json=body), 403, "missing-scope")
        problem_of(reader.http.get(f"/credits/alerts/{other}"), 404, "unknown-tenant")
    with api.with_key(api.issue(tenant_id, "purchase")) as buyer:
        assert buyer.http.put(f"/credits/alerts/{tenant_id}", json=body).status_code == 200
        problem_of(buyer.http.put(f"/credits/alerts/{other}", json=body), 404, "unknown-tenant")
    problem_of(api.http.put("/credits/alerts/no-such-tenant", json=body), 404, "unknown-tenant")
