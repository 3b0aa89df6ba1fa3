"""Every status of every call."""

import json
import socket
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.integration.harness import Api, Stack, new_id, new_tenant_id, problem_of

MAX = 2**53 - 1


def test_a_consume_takes_credits_and_says_what_is_left(api: Api) -> None:
    tenant_id = api.tenant(10_000)
    answer = api.consume(tenant_id, 100, description="API call charge", reference="req-abc123")
    assert answer.status_code == 200
    body = answer.json()
    assert body.pop("transaction_id")
    assert body == {"success": True, "balance": 9900, "message": "Successfully consumed 100 credits"}


def test_a_consume_beyond_the_balance_is_402_and_takes_nothing(api: Api) -> None:
    tenant_id = api.tenant(50)
    document = problem_of(api.consume(tenant_id, 51), 402, "insufficient-credits")
    assert document["success"] is False
    assert document["error"] == "Insufficient credits"
    assert (document["available"], document["required"]) == (50, 51)
    assert api.balance(tenant_id).json()["balance"] == 50


def test_reserved_credits_cannot_be_consumed(api: Api, stack: Stack) -> None:
    tenant_id = api.tenant(100)
    stack.sql("UPDATE credits.accounts SET reserved_funds = 40 WHERE tenant_id = $1", tenant_id)
    assert problem_of(api.consume(tenant_id, 61), 402, "insufficient-credits")["available"] == 60
    assert api.consume(tenant_id, 60).status_code == 200
    assert api.balance(tenant_id).json() == {
        "tenant_id": tenant_id,
        "balance": 40,
        "reserved_funds": 40,
        "available": 0,
        "total_spent": 60,
        "total_purchased": 100,
    }


def test_a_purchase_adds_credits(api: Api) -> None:
    tenant_id = api.tenant()
    answer = api.purchase(tenant_id, 500, reference="invoice-1", source="card")
    assert answer.status_code == 200
    assert answer.json()["balance"] == 500
    assert answer.json()["message"] == "Successfully purchased 500 credits"


def test_texts_are_kept_in_the_ledger(api: Api) -> None:
    tenant_id = api.tenant(5)
    text = "für 5 Ħ 💳 \n\t'\";--"
    assert api.consume(tenant_id, 5, description=text, reference="r" * 512).status_code == 200
    newest = api.http.get(f"/credits/transactions/{tenant_id}").json()["transactions"][0]
    assert (newest["description"], newest["reference"]) == (text, "r" * 512)


def test_the_largest_balance_is_reached_and_not_passed(api: Api) -> None:
    tenant_id = api.tenant()
    assert api.purchase(tenant_id, MAX).status_code == 200
    document = problem_of(api.purchase(tenant_id, 1), 422, "balance-limit")
    assert str(MAX) in document["detail"]
    assert api.consume(tenant_id, MAX).status_code == 200
    assert api.purchase(tenant_id, MAX).status_code == 200


@pytest.mark.parametrize("amount", [0, -1, MAX + 1, 10**30, 1.0, 1.5, "1", True, None, [], {}])
@pytest.mark.parametrize("call", ["consume", "purchase"])
def test_an_amount_that_is_no_integer_in_range_is_422(api: Api, call: str, amount: Any) -> None:
    document = problem_of(getattr(api, call)("org-123", amount), 422, "validation-failed")
    assert [e["field"] for e in document["errors"]] == ["amount"]
    assert all(e["problem"] and e["remedy"] for e in document["errors"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tenant_id", "Org"),
        ("tenant_id", "-org"),
        ("tenant_id", "a" * 64),
        ("tenant_id", "org\n"),
        ("tenant_id", 7),
        ("description", "x" * 513),
        ("description", "a\0b"),
        ("reference", 1),
        ("reference", "\ud800"),
        ("colour", "blue"),
    ],
)
def test_a_wrong_field_is_named(api: Api, field: str, value: Any) -> None:
    body = {"tenant_id": "org-123", "amount": 1, "idempotency_key": new_id(), field: value}
    document = problem_of(
        api.http.post("/credits/consume", content=_ascii(body), headers=JSON), 422, "validation-failed"
    )
    assert [e["field"] for e in document["errors"]] == [field]


JSON = {"Content-Type": "application/json"}


def _ascii(body: Any) -> bytes:
    return json.dumps(body).encode()


@pytest.mark.parametrize(
    ("content", "status", "slug"),
    [
        (b"", 422, "validation-failed"),
        (b"[]", 422, "validation-failed"),
        (b"null", 422, "validation-failed"),
        (b"{", 400, "malformed-request"),
        (b"\xff", 400, "malformed-request"),
        (b"[" * 60_000, 400, "malformed-request"),
        (b"9" * 60_000, 400, "malformed-request"),
        (b'{"\\ud800": 1}', 422, "validation-failed"),
        (b" " * 65_537, 413, "payload-too-large"),
    ],
)
def test_a_body_that_cannot_be_used_is_a_problem(api: Api, content: bytes, status: int, slug: str) -> None:
    problem_of(api.http.post("/credits/consume", content=content, headers=JSON), status, slug)


def test_a_body_without_announced_length_is_bounded_too(api: Api) -> None:
    chunks = (b" " * 1000 for _ in range(100))
    problem_of(api.http.post("/credits/consume", content=chunks, headers=JSON), 413, "payload-too-large")


def test_a_body_that_is_not_sent_as_json_is_415(api: Api) -> None:
    answer = api.http.post("/credits/consume", content=b"{}", headers={"Content-Type": "text/plain"})
    problem_of(answer, 415, "unsupported-media-type")


def test_an_unknown_path_is_404_and_a_wrong_method_405(api: Api) -> None:
    problem_of(api.http.get("/nothing"), 404, "not-found")
    problem_of(api.http.get("/credits/consume/"), 404, "not-found")
    answer = api.http.patch("/credits/keys/0123456789abcdef")
    problem_of(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "DELETE, PUT"


def test_an_unknown_tenant_is_404_in_every_call(api: Api) -> None:
    nobody = new_tenant_id()
    for answer in (
        api.consume(nobody, 1),
        api.purchase(nobody, 1),
        api.balance(nobody),
        api.http.post("/credits/keys", json={"tenant_id": nobody, "scopes": ["read"]}),
        api.http.put(
            "/credits/keys/00000000000000aa",
            json={"tenant_id": nobody, "scopes": ["read"], "key": f"sxk_00000000000000aa_{'x' * 43}"},
        ),
    ):
        problem_of(answer, 404, "unknown-tenant")


def test_a_tenants_key_gets_the_same_404_for_another_tenant_as_for_none(api: Api) -> None:
    mine, other, nobody = api.tenant(10), api.tenant(10), new_tenant_id()
    with api.with_key(api.issue(mine, "consume", "read", "purchase")) as tenant:
        assert tenant.consume(mine, 1).status_code == 200
        for call in (lambda t: tenant.consume(t, 1), lambda t: tenant.purchase(t, 1), tenant.balance):
            theirs, none = call(other), call(nobody)
            problem_of(theirs, 404, "unknown-tenant")
            assert theirs.text.replace(other, "?") == none.text.replace(nobody, "?")
    assert api.balance(other).json()["balance"] == 10


@pytest.mark.parametrize("header", [None, "", "Basic abc", "Bearer", "Bearer nonsense", "Bearer sxk_12_34"])
def test_no_call_works_without_a_key(api: Api, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    for method, path in (
        ("POST", "/credits/consume"),
        ("POST", "/credits/purchase"),
        ("GET", "/credits/balance/org-123"),
        ("PUT", "/credits/tenants/org-123"),
        ("POST", "/credits/keys"),
        ("PUT", "/credits/keys/0123456789abcdef"),
        ("DELETE", "/credits/keys/0123456789abcdef"),
        ("GET", "/nothing"),
    ):
        answer = httpx.request(method, api.url + path, headers=headers)
        problem_of(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_key_with_a_right_id_and_a_wrong_secret_is_401(api: Api) -> None:
    key = api.issue(api.tenant(), "read")
    with api.with_key(key[:-43] + "A" * 43) as wrong:
        problem_of(wrong.balance("org-123"), 401, "unauthenticated")
    with api.with_key(f"sxk_{'0' * 16}_{'A' * 43}") as unknown:
        problem_of(unknown.balance("org-123"), 401, "unauthenticated")


def test_a_key_does_only_what_its_scopes_say(api: Api) -> None:
    tenant_id = api.tenant(10)
    calls: dict[str, Callable[[Api], httpx.Response]] = {
        "consume": lambda a: a.consume(tenant_id, 1),
        "purchase": lambda a: a.purchase(tenant_id, 1),
        "read": lambda a: a.balance(tenant_id),
        "admin": lambda a: a.http.put(f"/credits/tenants/{tenant_id}"),
    }
    for scope in calls:
        with api.with_key(api.issue(None, scope)) as client:
            for needed, call in calls.items():
                answer = call(client)
                if needed == scope:
                    assert answer.status_code == 200
                else:
                    problem_of(answer, 403, "missing-scope")


def test_a_tenant_is_created_once(api: Api) -> None:
    tenant_id = new_tenant_id()
    first = api.http.put(f"/credits/tenants/{tenant_id}")
    assert first.status_code == 201
    assert first.json()["balance"] == 0
    api.purchase(tenant_id, 7)
    again = api.http.put(f"/credits/tenants/{tenant_id}")
    assert again.status_code == 200
    assert again.json()["balance"] == 7


@pytest.mark.parametrize("tenant_id", ["Org", "a_", "-a", "a" * 64])
def test_a_tenant_id_of_a_wrong_form_is_422(api: Api, tenant_id: str) -> None:
    problem_of(api.http.put(f"/credits/tenants/{tenant_id}"), 422, "validation-failed")
    problem_of(api.balance(tenant_id), 422, "validation-failed")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"scopes": ["read"]}, "tenant_id"),
        ({"tenant_id": None, "scopes": []}, "scopes"),
        ({"tenant_id": None, "scopes": ["fly"]}, "scopes.0"),
        ({"tenant_id": None, "scopes": "read"}, "scopes"),
        ({"tenant_id": None, "scopes": ["read"], "expires_at": 5}, "expires_at"),
        ({"tenant_id": None, "scopes": ["read"], "expires_at": "2030-01-01T00:00:00"}, "expires_at"),
        ({"tenant_id": None, "scopes": ["read"], "expires_at": "0001-01-01T00:00:00+14:00"}, "expires_at"),
        ({"tenant_id": "org-123", "scopes": ["admin"]}, "body"),
        ({"tenant_id": None, "scopes": ["read"], "key": "mine"}, "key"),
    ],
)
def test_a_wrong_wish_for_a_key_is_422(api: Api, body: dict[str, Any], field: str) -> None:
    document = problem_of(api.http.post("/credits/keys", json=body), 422, "validation-failed")
    assert [e["field"] for e in document["errors"]] == [field]


def test_a_key_that_has_expired_is_401(api: Api) -> None:
    answer = api.http.post(
        "/credits/keys", json={"tenant_id": None, "scopes": ["read"], "expires_at": "2020-01-01T00:00:00Z"}
    )
    assert answer.json()["expires_at"] == "2020-01-01T00:00:00Z"
    with api.with_key(answer.json()["key"]) as late:
        problem_of(late.balance("org-123"), 401, "unauthenticated")


def test_a_revoked_key_is_401_here_at_once_and_revoking_is_idempotent(api: Api) -> None:
    tenant_id = api.tenant()
    key = api.issue(tenant_id, "read")
    key_id = key.split("_")[1]
    with api.with_key(key) as client:
        assert client.balance(tenant_id).status_code == 200
        assert api.http.delete(f"/credits/keys/{key_id}").status_code == 204
        problem_of(client.balance(tenant_id), 401, "unauthenticated")
    assert api.http.delete(f"/credits/keys/{key_id}").status_code == 204
    assert api.http.delete("/credits/keys/00000000000000ff").status_code == 204
    problem_of(api.http.delete("/credits/keys/XYZ"), 422, "validation-failed")


class TestRegisteringAKey:
    def put(self, api: Api, key: str, tenant_id: str | None, *scopes: str, **more: Any) -> httpx.Response:
        body = {"tenant_id": tenant_id, "scopes": list(scopes), "key": key, **more}
        return api.http.put(f"/credits/keys/{key.split('_')[1]}", json=body)

    def key(self) -> str:
        return f"sxk_{new_id().replace('-', '')[:16]}_{'s' * 43}"

    def test_it_is_201_then_200_and_the_key_works(self, api: Api) -> None:
        tenant_id, key = api.tenant(), self.key()
        assert self.put(api, key, tenant_id, "read").status_code == 201
        again = self.put(api, key, tenant_id, "read")
        assert again.status_code == 200
        assert "key" not in again.json()
        with api.with_key(key) as client:
            assert client.balance(tenant_id).status_code == 200

    def test_again_with_other_scopes_they_apply(self, api: Api) -> None:
        tenant_id, key = api.tenant(1), self.key()
        self.put(api, key, tenant_id, "read")
        with api.with_key(key) as client:
            problem_of(client.consume(tenant_id, 1), 403, "missing-scope")
            assert self.put(api, key, tenant_id, "read", "consume").status_code == 200
            assert client.consume(tenant_id, 1).status_code == 200

    def test_another_secret_or_tenant_under_the_id_is_409(self, api: Api) -> None:
        tenant_id, key = api.tenant(), self.key()
        self.put(api, key, tenant_id, "read")
        problem_of(self.put(api, key[:-1] + "t", tenant_id, "read"), 409, "api-key-conflict")
        problem_of(self.put(api, key, api.tenant(), "read"), 409, "api-key-conflict")

    def test_a_revoked_id_is_409_for_good(self, api: Api) -> None:
        tenant_id, key = api.tenant(), self.key()
        self.put(api, key, tenant_id, "read")
        api.http.delete(f"/credits/keys/{key.split('_')[1]}")
        problem_of(self.put(api, key, tenant_id, "read"), 409, "api-key-revoked")

    def test_a_key_of_another_id_than_the_paths_is_422(self, api: Api) -> None:
        body = {"tenant_id": None, "scopes": ["read"], "key": self.key()}
        document = problem_of(api.http.put("/credits/keys/0123456789abcdef", json=body), 422, "validation-failed")
        assert document["errors"][0]["field"] == "key"


def test_a_balance_is_told_again_only_when_it_has_changed(api: Api) -> None:
    tenant_id = api.tenant(10)
    first = api.balance(tenant_id)
    etag = first.headers["etag"]
    for tag in (etag, f'"x", W/{etag}', "*"):
        unchanged = api.balance(tenant_id, **{"If-None-Match": tag})
        assert (unchanged.status_code, unchanged.content, unchanged.headers["etag"]) == (304, b"", etag)
    lines = [*api.headers.items(), ("If-None-Match", '"none"'), ("If-None-Match", etag)]
    assert api.http.get(f"/credits/balance/{tenant_id}", headers=lines).status_code == 304
    api.consume(tenant_id, 1)
    changed = api.balance(tenant_id, **{"If-None-Match": etag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != etag


def test_a_slow_body_is_408(stack: Stack) -> None:
    head = (
        f"POST /credits/consume HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {stack.admin_key}\r\n"
        "Content-Type: application/json\r\nContent-Length: 10\r\n\r\n{"
    )
    with socket.create_connection(("127.0.0.1", stack.service.http_port), timeout=10) as connection:
        began = time.monotonic()
        connection.sendall(head.encode())
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 408")
    assert time.monotonic() - began < 7


def test_metrics_count_by_operation_result_and_route(api: Api, stack: Stack) -> None:
    api.consume(api.tenant(1), 1)
    text = stack.service.metrics()
    assert 'credits_operations_total{op="consume",result="ok"}' in text
    assert "credits_cache_hit_rate" in text
    assert 'http_request_duration_seconds_count{method="POST",route="/credits/consume",status="200"}' in text
    assert "org-" not in text


def test_health_has_liveness_and_a_readiness_that_says_why(stack: Stack) -> None:
    assert httpx.get(stack.service.health_url + "/healthz").status_code == 200
    status, document = stack.service.readiness()
    assert status == 200
    assert document["ready"] is True
    assert document["checks"] == {n: {"ok": True, "message": ""} for n in ("database", "schema", "cache")}
