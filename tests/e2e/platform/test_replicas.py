"""Three replicas behind one Service: what one of them did, the others know."""

import time
import uuid
from collections.abc import Callable

import requests

from tests.e2e.platform.conftest import TENANT, Running, tenant_spec
from tests.e2e.platform.world import TENANTS
from tests.e2e.waiting import until

OK, UNAUTHORIZED = requests.codes.ok, requests.codes.unauthorized
ROUNDS = 6
KNOWN_WITHIN_S = 3.0
"""A copy that nobody calls back would live for 30 s; each look itself takes about half a second."""
REVOKED_WITHIN_S = 5.0


def passed_s(what: str, holds: Callable[[], bool], within_s: float) -> float:
    start_s = time.monotonic()
    until(what, holds, within_s + 10)
    return time.monotonic() - start_s


def test_a_consume_at_one_replica_is_the_balance_that_all_tell(running: Running, replicas: list[str]) -> None:
    path = f"/credits/balance/{TENANT}"

    def told() -> list[int]:
        return [a["body"]["balance"] for a in running.client.calls_at(replicas, running.key, "GET", path)]

    (balance, *others) = told()
    assert others == [balance] * 2, "each has its copy now"
    slowest_s = 0.0
    for number in range(ROUNDS):
        body = {"tenant_id": TENANT, "amount": 1, "idempotency_key": str(uuid.uuid4())}
        writer = replicas[number % len(replicas)]
        (answer,) = running.client.calls_at([writer], running.key, "POST", "/credits/consume", body)
        assert answer["status"] == OK
        balance -= 1
        expected = [balance] * len(replicas)
        slowest_s = max(slowest_s, passed_s("all tell the new balance", lambda: told() == expected, KNOWN_WITHIN_S))  # noqa: B023 - asked at once
    running.world.tell(f"three replicas: a consume at one was told by all {slowest_s:.1f} s later at the latest")
    assert slowest_s < KNOWN_WITHIN_S


def test_a_repeated_consume_is_the_same_one_at_every_replica(running: Running, replicas: list[str]) -> None:
    before = running.balance()
    body = {"tenant_id": TENANT, "amount": 7, "idempotency_key": str(uuid.uuid4())}
    answers = running.client.calls_at([*replicas, *replicas], running.key, "POST", "/credits/consume", body)
    assert [a["status"] for a in answers] == [OK] * 6
    assert len({a["body"]["transaction_id"] for a in answers}) == 1
    until("it was charged once", lambda: running.balance() == before - 7, KNOWN_WITHIN_S)


def test_a_revoked_key_is_refused_by_every_replica_within_five_seconds(running: Running, replicas: list[str]) -> None:
    world, ref = running.world, running.world.ref(TENANTS, "org-6")
    world.apply(ref, spec=tenant_spec())
    world.wait_ready(ref)
    key = world.secret("org-6-credits-key", "api-key")

    def statuses() -> list[int]:
        return [a["status"] for a in running.client.calls_at(replicas, key, "GET", "/credits/balance/org-6")]

    assert statuses() == [OK] * 3, "each has found the key valid"
    world.delete(ref)
    world.gone(ref)  # the operator lets it go when the service has confirmed the revocation
    took_s = passed_s("each refuses the key", lambda: statuses() == [UNAUTHORIZED] * 3, REVOKED_WITHIN_S)
    world.tell(f"three replicas: a revoked key was refused by all {took_s:.1f} s later")
    assert took_s < REVOKED_WITHIN_S + 2, "a look of a busy machine takes its time as well"
