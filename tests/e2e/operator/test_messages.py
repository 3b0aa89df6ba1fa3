"""What is wrong names itself in Ready's message: what, where, and what to do; and mended it goes on by itself."""

import base64
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from shieldx_operator.blocks.resources import EVENT, NETWORK_POLICY, SECRET
from shieldx_operator.engine.types import Obj, Ref, Resource
from tests.e2e.operator.life import SERVICE, VERSION, Life, condition, is_ready, secret_values
from tests.e2e.operator.release import Release
from tests.e2e.operator.site import NAMESPACES, PREFIX, Site
from tests.e2e.waiting import until

TOLD_WITHIN_S = 30
MENDED_WITHIN_S = 150
MISSING_VERSION = "9.9.9"
WRONG = "wrong-password-of-a-person"
QUOTA = Resource("", "v1", "ResourceQuota", "resourcequotas")
EXTERNAL: Obj = {
    "profile": "Development",
    "version": VERSION,
    "database": {"external": {"secretRef": {"name": "postgresql"}}},
    "cache": {"external": {"secretRef": {"name": "redis"}}},
}


@dataclass
class Case:
    """One thing that is wrong, and what a person reads of it."""

    name: str
    reason: str
    says: tuple[str, ...]
    spec: Obj = field(default_factory=lambda: EXTERNAL)
    started_s: float = 0.0
    told: Obj = field(default_factory=dict)
    told_after_s: float | None = None

    @property
    def namespace(self) -> str:
        return f"{PREFIX}{self.name}"


def cases() -> list[Case]:
    managed = {"profile": "Development", "version": VERSION, "database": {"managed": {}}, "cache": {"managed": {}}}
    return [
        Case(
            "no-secret",
            "SecretNotFound",
            ("spec.database.external.secretRef", "postgresql does not exist", "create it with the key 'uri'"),
        ),
        Case("password", "MigrationFailed", (r"password authentication failed", r"[Ss]ecret|password")),
        Case(
            "no-image",
            "ImagePullFailed",
            (f"platform:{re.escape(MISSING_VERSION)}", "cannot be pulled", "check spec.version and spec.image"),
            {**EXTERNAL, "version": MISSING_VERSION},
        ),
        Case("quota", "PodsRefused", ("exceeded quota: no-pods", "credits-db-0", "raise the quota"), managed),
    ]


NAMES = [case.name for case in cases()]


@dataclass
class Ground:
    """The namespaces of all cases, beside a service whose stores they use."""

    site: Site
    standing: Life
    cases: dict[str, Case]

    def uris(self) -> tuple[str, str]:
        """Of a database and a cache that somebody else runs; the standing service's, as a stranger sees them."""
        database = secret_values(self.site, Ref(SECRET, self.standing.namespace, f"{SERVICE}-db"))["uri"]
        cache = secret_values(self.site, Ref(SECRET, self.standing.namespace, f"{SERVICE}-cache"))["uri"]
        return database.rpartition("/")[0], cache

    def secret(self, case: str, name: str, uri: str) -> None:
        data = {"uri": base64.b64encode(uri.encode()).decode()}
        self.site.apply(Ref(SECRET, self.cases[case].namespace, name), data=data)

    def database_uri(self, case: str) -> str:
        return f"{self.uris()[0]}/{case.replace('-', '_')}"

    def service(self, case: str) -> Ref:
        return Ref(self.standing.service.resource, self.cases[case].namespace, SERVICE)

    def open_the_stores(self) -> None:
        """A database of its own for each case, and the way to it."""
        for name in NAMES:
            target = ("exec", f"{SERVICE}-db-0", "-n", self.standing.namespace, "--")
            self.site.kubectl(*target, "createdb", "-U", "credits", name.replace("-", "_"))
        namespaces = [case.namespace for case in self.cases.values()]
        chosen = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": namespaces}
        stores = {"key": "app.kubernetes.io/component", "operator": "In", "values": ["database", "cache"]}
        self.site.apply(
            Ref(NETWORK_POLICY, self.standing.namespace, "let-others-in"),
            spec={
                "podSelector": {"matchExpressions": [stores]},
                "policyTypes": ["Ingress"],
                "ingress": [{"from": [{"namespaceSelector": {"matchExpressions": [chosen]}}]}],
            },
        )

    def break_it(self, case: Case) -> None:
        if case.name == "quota":
            self.site.apply(Ref(QUOTA, case.namespace, "no-pods"), spec={"hard": {"pods": "0"}})
        else:
            self.secret(case.name, "redis", self.uris()[1])
        if case.name == "no-image":
            self.secret(case.name, "postgresql", self.database_uri(case.name))
        if case.name == "password":
            uri = re.sub(r":[^:@/]+@", f":{WRONG}@", self.database_uri(case.name))
            self.secret(case.name, "postgresql", uri)

    def mend(self, case: Case) -> None:
        if case.name == "quota":
            self.site.delete(Ref(QUOTA, case.namespace, "no-pods"))
        elif case.name == "no-image":
            self.site.merge(self.service(case.name), {"spec": {"version": VERSION}})
        else:
            self.secret(case.name, "postgresql", self.database_uri(case.name))


@pytest.fixture(scope="module")
def ground(site: Site, standing: Life, any_release: Release) -> Iterator[Ground]:
    any_release.ensure()
    made = Ground(site, standing, {case.name: case for case in cases()})
    for case in made.cases.values():
        site.namespace(case.namespace)
    made.open_the_stores()
    yield made
    for case in made.cases.values():
        site.delete(Ref(NAMESPACES, "", case.namespace))
    site.delete(Ref(NETWORK_POLICY, standing.namespace, "let-others-in"))


def wait_each(waiting: list[Case], holds: Callable[[Case], Any], timeout_s: float) -> None:
    """Ask about all of them in turn until each holds or its time is over."""
    left = list(waiting)
    deadline_s = time.monotonic() + timeout_s
    while left and time.monotonic() < deadline_s:
        left = [case for case in left if not holds(case)]
        time.sleep(0.25)


@pytest.fixture(scope="module")
def broken(ground: Ground) -> Ground:
    """All cases at once; how long each took to say the reason that is expected of it."""
    for case in ground.cases.values():
        ground.break_it(case)
    for case in ground.cases.values():
        case.started_s = time.monotonic()
        ground.site.apply(ground.service(case.name), spec=case.spec)

    def told(case: Case) -> bool:
        case.told = condition(ground.site.get(ground.service(case.name)))
        if case.told.get("reason") != case.reason:
            return False
        case.told_after_s = time.monotonic() - case.started_s
        ground.site.tell(f"{case.name}: told after {case.told_after_s:.1f} s: {case.told['message']}")
        return True

    wait_each(list(ground.cases.values()), told, TOLD_WITHIN_S + 15)
    return ground


@pytest.fixture(scope="module")
def mended(broken: Ground) -> Ground:
    for case in broken.cases.values():
        broken.mend(case)
        case.started_s = time.monotonic()
    return broken


@pytest.mark.parametrize("name", NAMES)
def test_what_is_wrong_names_itself_within_thirty_seconds(broken: Ground, name: str) -> None:
    case = broken.cases[name]
    assert case.told_after_s is not None, f"Ready says {case.told}"
    assert case.told_after_s <= TOLD_WITHIN_S
    assert case.told["status"] == "False"
    missing = [part for part in case.says if not re.search(part, case.told["message"])]
    assert missing == [], case.told["message"]
    assert condition(broken.site.there(broken.service(name)), "Stalled")["status"] == "True"


@pytest.mark.parametrize("name", NAMES)
def test_an_event_says_it_too(broken: Ground, name: str) -> None:
    case = broken.cases[name]

    def told() -> Obj | None:
        events = broken.site.list(EVENT, case.namespace)
        about = [e for e in events if e["involvedObject"]["kind"] == "CreditsService" and e["reason"] == case.reason]
        return next((e for e in about if e["type"] == "Warning" and case.told["message"][:200] in e["message"]), None)

    assert until(f"a warning with reason {case.reason}", told, 10)


def test_no_message_holds_a_password(broken: Ground) -> None:
    for case in broken.cases.values():
        told = json.dumps([broken.site.there(broken.service(case.name)), broken.site.list(EVENT, case.namespace)])
        right = re.findall(r":([^:@/]+)@", " ".join(broken.uris()))
        assert [secret for secret in (WRONG, *right) if secret in told] == []


@pytest.mark.parametrize("name", NAMES)
def test_mended_it_becomes_ready_by_itself(mended: Ground, name: str) -> None:
    case = mended.cases[name]
    left_s = max(1.0, MENDED_WITHIN_S - (time.monotonic() - case.started_s))
    ref = mended.service(name)
    until(f"{ref} is Ready", lambda: is_ready(mended.site.there(ref)), left_s)
    assert condition(mended.site.there(ref), "Stalled")["status"] == "False"


def test_a_service_on_stores_that_somebody_else_runs_keeps_a_ledger(mended: Ground) -> None:
    life = Life(mended.site, mended.cases["no-secret"].namespace)
    admin = secret_values(mended.site, Ref(SECRET, life.namespace, f"{SERVICE}-auth"))["admin-key"]
    status, answer = life.call("PUT", "/credits/tenants/org-1", key=admin)
    assert status in (200, 201), answer
    bought = {"tenant_id": "org-1", "amount": 7, "idempotency_key": "00000000-0000-4000-8000-000000000004"}
    assert life.call("POST", "/credits/purchase", bought, key=admin)[0] == 200
    assert life.call("GET", "/credits/balance/org-1", key=admin)[1]["balance"] == 7
