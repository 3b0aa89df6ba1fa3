"""One running platform for all modules here: a service of two pods with a tenant, and the pods that call it."""

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pykube
import pytest
import requests

from shieldx_operator.engine.types import Ref
from tests.e2e.platform.clients import Client, Oracle
from tests.e2e.platform.world import (
    CLIENT_LABELS,
    NAMESPACES,
    SERVICES,
    TENANTS,
    Obj,
    World,
    is_ready,
)
from tests.e2e.waiting import until
from tests.oracle import Entry, check_answers, check_sums

PREFIX = "shieldx-e2e-platform"
SERVICE, TENANT, ORACLE_TENANT = "credits", "org-1", "org-8"
OK = requests.codes.ok
BOUGHT = 1_000_000
PURCHASE = "00000000-0000-4000-8000-000000000001"
_FIGURES: list[str] = []

SPEC: Obj = {
    # two small pods, so that there is a budget to keep and a rollout to live through
    "profile": "Development",
    "version": "0.1.0",
    "autoscaling": {"minReplicas": 2, "maxReplicas": 3},
    "disruption": {"minAvailable": 1},
    "network": {"allowFrom": [{"podSelector": {"matchLabels": CLIENT_LABELS}}]},
    "database": {"managed": {}},
    "cache": {"managed": {}},
}


def tenant_spec(service: str = SERVICE, **key: object) -> Obj:
    scopes = ["consume", "read", "purchase"]
    return {"serviceRef": {"name": service}, "key": {"scopes": scopes, "rotation": "1", **key}}


def patch_to(live: Obj, wanted: Obj) -> Obj:
    """The merge patch that makes `wanted` of `live`; empty where nothing differs."""
    patch: Obj = {name: None for name in live if name not in wanted}
    for name, right in wanted.items():
        there = live.get(name)
        if there == right:
            continue
        patch[name] = patch_to(there, right) if isinstance(there, dict) and isinstance(right, dict) else right
    return patch


def make_namespace(world: World) -> None:
    """A namespace whose pods must be restricted."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "shieldx.io/e2e": "platform"}
    world.apply(Ref(NAMESPACES, "", world.namespace), metadata={"labels": labels})


@pytest.fixture(scope="session")
def world(installed: str) -> Iterator[World]:
    """An own namespace. What an earlier run left, because it was killed, goes first."""
    client = pykube.HTTPClient(pykube.KubeConfig.from_file(installed), timeout=20)
    made = World(client, f"{PREFIX}-{secrets.token_hex(3)}")
    for left in made.all(NAMESPACES, "shieldx.io/e2e=platform"):
        made.delete(Ref(NAMESPACES, "", left["metadata"]["name"]))
    make_namespace(made)
    yield made
    for own in made.all(NAMESPACES, "shieldx.io/e2e=platform"):
        made.delete(Ref(NAMESPACES, "", own["metadata"]["name"]))
    _FIGURES.extend(made.figures)


@dataclass
class Running:
    """The service and its tenant, Ready."""

    world: World
    client: Client
    stranger: Client
    _known: set[str | None] = field(default_factory=lambda: {PURCHASE})
    """Keys that an earlier look has explained."""

    @property
    def ref(self) -> Ref:
        return self.world.ref(SERVICES, SERVICE)

    @property
    def tenant(self) -> Ref:
        return self.world.ref(TENANTS, TENANT)

    @property
    def key(self) -> str:
        return self.key_of(TENANT)

    def key_of(self, tenant: str) -> str:
        return self.world.secret(f"{tenant}-credits-key", "api-key")

    def ready(self) -> Obj:
        return self.world.wait_ready(self.ref)

    def balance(self) -> int:
        answer = self.client.call(self.key, "GET", f"/credits/balance/{TENANT}")
        assert answer["status"] == requests.codes.ok, answer
        return int(answer["body"]["balance"])

    def check(self, tenant: str, oracle: Oracle) -> None:
        """The tenant's ledger is what the crash oracle was told. Raises: OracleError."""
        # in one statement: holds may expire between two
        statement = (
            "SELECT l.tenant_id, l.version, kind, amount, balance_after, transaction_id, idempotency_key, related_id, "  # noqa: S608 - a name of ours
            f"a.balance, a.version FROM credits.ledger l JOIN credits.accounts a USING (tenant_id) "
            f"WHERE tenant_id = '{tenant}' ORDER BY l.version"
        )
        rows = self.world.sql(SERVICE, statement)
        entries = [
            Entry(row[0], int(row[1]), row[2], int(row[3]), int(row[4]), row[5], row[6] or None, row[7] or None)
            for row in rows
        ]
        assert check_answers(oracle.intents, [entry for entry in entries if entry.key not in self._known]) == []
        self._known |= {entry.key for entry in entries}
        check_sums(entries, int(rows[-1][8]), int(rows[-1][9]))

    def ledger(self) -> dict[str, list[str]]:
        """Transactions of consumes by idempotency key, as the database has them."""
        statement = "SELECT idempotency_key, transaction_id FROM credits.ledger WHERE kind = 'consume'"
        rows = self.world.sql(SERVICE, statement)
        found: dict[str, list[str]] = {}
        for key, transaction in rows:
            found.setdefault(key, []).append(transaction)
        return found


@pytest.fixture(scope="session")
def _running(world: World) -> Running:
    client = Client(world, "client", SERVICE).start(CLIENT_LABELS)
    stranger = Client(world, "stranger", SERVICE).start({"shieldx.io/credits-client": "false"})
    client.wait()
    stranger.wait()
    made = Running(world, client, stranger)
    start_s = time.monotonic()
    world.apply(made.ref, spec=SPEC)
    world.apply(made.tenant, spec=tenant_spec())
    world.wait_ready(made.ref)
    world.tell(f"CreditsService with two pods: Ready {time.monotonic() - start_s:.1f} s after apply")
    world.wait_ready(made.tenant)
    world.tell(f"Tenant: Ready {time.monotonic() - start_s:.1f} s after apply of both")
    bought = client.call(
        made.key,
        *("POST", "/credits/purchase"),
        {"tenant_id": TENANT, "amount": BOUGHT, "idempotency_key": PURCHASE},
    )
    assert bought["status"] == requests.codes.ok, bought
    return made


@pytest.fixture
def running(_running: Running) -> Iterator[Running]:
    """The service, Ready, with the spec that all tests start from. What a test changed in it is taken back."""
    _running.ready()
    yield _running
    undo = patch_to(_running.world.get(_running.ref)["spec"], SPEC)
    if undo:
        _running.world.change(_running.ref, {"spec": undo})


@pytest.fixture
def replicas(running: Running) -> list[str]:
    """The addresses of three Ready pods."""
    world = running.world
    world.change(running.ref, {"spec": {"autoscaling": {"minReplicas": 3}}})

    def three() -> list[str]:
        pods = [p for p in world.pods(SERVICE, "api") if is_ready(p)]
        return [p["status"]["podIP"] for p in pods] if len(pods) == 3 else []

    return until("three replicas are Ready", three, 120)


@pytest.fixture
def charged(running: Running) -> str:
    """Another tenant, with credits, for the crash oracle alone; its name."""
    ref = running.world.ref(TENANTS, ORACLE_TENANT)
    running.world.apply(ref, spec=tenant_spec())
    running.world.wait_ready(ref)
    body = {"tenant_id": ORACLE_TENANT, "amount": BOUGHT, "idempotency_key": PURCHASE}
    assert running.client.call(running.key_of(ORACLE_TENANT), "POST", "/credits/purchase", body)["status"] == OK
    return ORACLE_TENANT


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _FIGURES:
        terminalreporter.section("the running platform, measured")
        for figure in _FIGURES:
            terminalreporter.line(figure)
