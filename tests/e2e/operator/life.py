"""One whole life of a CreditsService and a Tenant: made, used, changed, deleted. Calm, or while operators die."""

import base64
import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from shieldx_operator.blocks.resources import POD, SECRET
from shieldx_operator.engine.types import Obj, Ref
from shieldx_operator.kinds.creditsservice import RESOURCE as SERVICES
from shieldx_operator.kinds.tenant import RESOURCE as TENANTS
from tests.e2e.operator import compare
from tests.e2e.operator.release import Told
from tests.e2e.operator.site import Site
from tests.e2e.waiting import until

SERVICE, TENANT = "credits", "org-1"
VERSION = "0.1.0"
NEWER = "0.1.1-e2e"
"""The same image under another tag: what changes is what the object asks for."""
IMAGE = "ghcr.io/shieldx/platform"
READY_TIMEOUT_S = 120
STILL_S = 1.5
BOUGHT = 1000

Disturb = Callable[[str], AbstractContextManager[None]]

_CALL = """
import json, sys, urllib.error, urllib.request
wanted = json.load(sys.stdin)
request = urllib.request.Request(
    "http://127.0.0.1:8080" + wanted["path"],
    method=wanted["method"],
    data=json.dumps(wanted["body"]).encode() if wanted["body"] else None,
    headers={"Authorization": "Bearer " + wanted["key"], "Content-Type": "application/json"},
)
try:
    with urllib.request.urlopen(request, timeout=10) as answer:
        print(json.dumps([answer.status, json.load(answer)]))
except urllib.error.HTTPError as error:
    print(json.dumps([error.code, json.load(error)]))
"""


def service_spec(**changes: Any) -> Obj:
    """Two small pods, so that there is a budget to keep; the cache goes with the object."""
    spec = {
        "profile": "Development",
        "version": VERSION,
        "autoscaling": {"minReplicas": 2, "maxReplicas": 2},
        "disruption": {"minAvailable": 1},
        "database": {"managed": {}},
        "cache": {"managed": {"deletionPolicy": "Delete"}},
    }
    return {k: v for k, v in {**spec, **changes}.items() if v is not None}


def tenant_spec(rotation: str) -> Obj:
    scopes = ["consume", "read", "purchase"]
    return {"serviceRef": {"name": SERVICE}, "key": {"scopes": scopes, "rotation": rotation, "overlapSeconds": 1}}


def condition(obj: Obj | None, kind: str = "Ready") -> Obj:
    conditions = ((obj or {}).get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c["type"] == kind), {})


def is_ready(obj: Obj | None) -> bool:
    if obj is None:
        return False
    now = (obj.get("status") or {}).get("observedGeneration") == obj["metadata"]["generation"]
    return now and condition(obj).get("status") == "True"


def wait_ready(site: Site, ref: Ref, timeout_s: float = READY_TIMEOUT_S) -> Obj:
    """The object once it is Ready for its present generation; what it says where it does not get there."""
    said: Obj = {}

    def ready() -> Obj | None:
        live = site.there(ref)
        said.clear()
        said.update(condition(live))
        return live if is_ready(live) else None

    try:
        return until(f"{ref} is Ready", ready, timeout_s)
    except AssertionError as late:
        raise AssertionError(f"{late}; it says: {json.dumps(said)}") from None


def secret_values(site: Site, ref: Ref) -> dict[str, str]:
    return {k: base64.b64decode(v).decode() for k, v in (site.there(ref).get("data") or {}).items()}


@dataclass
class Life:
    """The life in one namespace. `disturb` is entered right before each change, with its name."""

    site: Site
    namespace: str
    disturb: Disturb = lambda _: nullcontext()
    snapshots: dict[str, compare.Snapshot] = field(default_factory=dict)
    orphans: dict[str, set[str]] = field(default_factory=dict)
    """What is in the namespace or in an inventory, and not in both, by stage."""
    told: Told | None = None
    """What the operator told of it, taken at its end."""
    secrets: set[str] = field(default_factory=set)
    """Every value that was ever generated for it."""

    @property
    def service(self) -> Ref:
        return Ref(SERVICES, self.namespace, SERVICE)

    @property
    def tenant(self) -> Ref:
        return Ref(TENANTS, self.namespace, TENANT)

    @property
    def key_secret(self) -> Ref:
        return Ref(SECRET, self.namespace, f"{TENANT}-credits-key")

    def begin(self) -> None:
        """Ask for both, and wait for neither."""
        self.site.namespace(self.namespace)
        self.site.apply(self.service, spec=service_spec())
        self.site.apply(self.tenant, spec=tenant_spec("1"))

    def create(self) -> None:
        with self.disturb("create"):
            self.begin()
        self.settle("created")

    def update(self) -> None:
        """A newer version, no budget any more, a cache that somebody else runs, another key for the tenant."""
        self.site.tag_image(f"{IMAGE}:{VERSION}", f"{IMAGE}:{NEWER}")
        uri = f"redis://:{'x' * 20}@nobody.{self.namespace}.svc:6379/0"
        external = Ref(SECRET, self.namespace, "shared-cache")
        self.site.apply(external, data={"uri": base64.b64encode(uri.encode()).decode()})
        changed = service_spec(
            version=NEWER,
            disruption={"minAvailable": 0},
            settings={"logLevel": "debug"},
            cache={"external": {"secretRef": {"name": external.name}}},
        )
        with self.disturb("update"):
            self.site.apply(self.service, spec=changed)
            self.site.apply(self.tenant, spec=tenant_spec("2"))
        rotated = lambda: (self.site.there(self.tenant)["status"].get("key") or {}).get("rotation") == "2"  # noqa: E731
        until("the tenant's key is the new one", rotated, READY_TIMEOUT_S)
        previous = lambda: "previousID" not in self.site.there(self.tenant)["status"]["key"]  # noqa: E731
        until("the old key is revoked", previous, READY_TIMEOUT_S)
        self.settle("updated")

    def delete(self) -> None:
        """The tenant first, so that there is still a service that hears of it."""
        for ref, change in ((self.tenant, "delete the tenant"), (self.service, "delete the service")):
            with self.disturb(change):
                self.site.delete(ref)
            self.site.until_gone(ref, READY_TIMEOUT_S)
        pods = lambda: not self.site.list(POD, self.namespace)  # noqa: E731
        until("its pods are gone", pods, READY_TIMEOUT_S)
        until("what it owned is gone", lambda: not compare.owned(self.site, self.namespace), READY_TIMEOUT_S)
        self.snapshots["deleted"] = compare.snapshot(self.site, self.namespace)

    def settle(self, stage: str) -> None:
        """Wait until all is as it was asked for, and remember how that looks."""
        wait_ready(self.site, self.service)
        wait_ready(self.site, self.tenant)
        running = lambda: len(self.site.list(POD, self.namespace, "app.kubernetes.io/component=api")) == 2  # noqa: E731
        until("the old pods are gone", running, READY_TIMEOUT_S)
        for secret in self.site.list(SECRET, self.namespace):
            self.secrets |= compare.guarded(secret)
        self.snapshots[stage] = until("nothing moves any more", self._still, READY_TIMEOUT_S)
        self.orphans[stage] = compare.orphans(self.site, self.namespace)

    def _still(self) -> compare.Snapshot | None:
        before = compare.snapshot(self.site, self.namespace)
        time.sleep(STILL_S)
        return before if compare.snapshot(self.site, self.namespace) == before else None

    # --- as a client of the API

    def call(self, method: str, path: str, body: Obj | None = None, key: str | None = None) -> tuple[int, Obj]:
        """One call from inside of a pod of the API; the key goes through standard input, never an argument."""
        used = key or secret_values(self.site, self.key_secret)["api-key"]
        wanted = json.dumps({"method": method, "path": path, "body": body, "key": used})
        target = ("exec", "-i", f"deploy/{SERVICE}", "-n", self.namespace, "--")
        done = self.site.kubectl(*target, "python", "-c", _CALL, stdin=wanted)
        status, answer = json.loads(done.out)
        return int(status), answer

    def buy(self, idempotency_key: str) -> tuple[int, Obj]:
        body = {"tenant_id": TENANT, "amount": BOUGHT, "idempotency_key": idempotency_key}
        return self.call("POST", "/credits/purchase", body)

    def balance(self) -> int:
        status, answer = self.call("GET", f"/credits/balance/{TENANT}")
        assert status == 200, answer
        return int(answer["balance"])

    def pods(self) -> dict[str, tuple[str, int]]:
        """Each pod's uid, and how often its containers were started again."""
        return {
            p["metadata"]["name"]: (
                p["metadata"]["uid"],
                sum(s["restartCount"] for s in p["status"].get("containerStatuses", ())),
            )
            for p in self.site.list(POD, self.namespace)
        }
