"""The operator as its chart installs it, and what can be asked of its pods."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import yaml

from dev import platform
from shieldx_contract import MANAGED_BY
from shieldx_operator.blocks.resources import EVENT, POD
from shieldx_operator.engine.lease import LEASES
from shieldx_operator.engine.types import Obj, Ref
from shieldx_operator.kinds.creditsservice import RESOURCE as SERVICES
from shieldx_operator.kinds.restore.view import RESOURCE as RESTORES
from shieldx_operator.kinds.tenant import RESOURCE as TENANTS
from shieldx_operator.settings import DEFAULT_HEALTH_PORT
from tests.e2e.operator.site import NAMESPACES, PREFIX, Site
from tests.e2e.waiting import until

NAME = "shieldx"
SYSTEM = f"{PREFIX}system"
CHART = "charts/shieldx-platform"
SELECTOR = f"app.kubernetes.io/name={MANAGED_BY}"
READY_TIMEOUT_S = 90
REPLICAS = 2
_SAMPLE = re.compile(r"^(\w+?)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class Sample:
    """One line of /metrics."""

    name: str
    labels: dict[str, str]
    value: float


@dataclass(frozen=True)
class Told:
    """What the operator has told in and around one namespace."""

    metrics: list[Sample]
    """Its calls to the API server."""
    watched: set[str]
    logs: list[str]
    events: list[Obj]
    pods: list[Obj]
    """Of the whole cluster."""


@dataclass
class Release:
    """One helm release in a namespace whose pods must be restricted."""

    site: Site
    namespace: str = SYSTEM
    _values: dict[str, Any] | None = field(default=None)

    @property
    def lease(self) -> Ref:
        return Ref(LEASES, self.namespace, MANAGED_BY)

    def ensure(self, **values: Any) -> None:
        """Install or upgrade to exactly these values, and wait until one of its pods leads."""
        if values == self._values:
            return
        self.site.namespace(self.namespace)
        digest = next(i["digest"] for i in platform.images() if "/platform:" in i["name"])
        merged = {"podAnnotations": {"image-digest": digest}, **values}
        self._values = None
        self.site.helm(
            *("upgrade", "--install", NAME, CHART, "--namespace", self.namespace),
            # what an earlier run left of the whole cluster's objects, and no release owns any more
            *("--take-ownership", "--wait", "--timeout", f"{READY_TIMEOUT_S}s", "--values", "-"),
            stdin=yaml.safe_dump(merged),
        )
        self._values = values
        until("only pods of the new revision are left", lambda: self._settled(values.get("replicas", REPLICAS)), 60)
        self.leader()

    def uninstall(self) -> None:
        self.site.helm("uninstall", NAME, "--namespace", self.namespace, "--wait")
        self._values = None

    def remove_all_traces(self, *, wait: bool = True) -> None:
        """The release and every namespace of a run, which without `wait` end later; nothing in a fresh cluster.

        What stands in another namespace is somebody else's.
        """
        if self.site.get(Ref(NAMESPACES, "", self.namespace)) is not None:
            self.site.helm("uninstall", NAME, "--namespace", self.namespace, "--wait", "--ignore-not-found")
        # afterwards: an operator would set them again
        for resource in (RESTORES, TENANTS, SERVICES):
            for obj in self.site.list(resource) if self.site.serves(resource) else ():
                if not obj["metadata"]["namespace"].startswith(PREFIX):
                    continue
                ref = Ref(resource, obj["metadata"]["namespace"], obj["metadata"]["name"])
                self.site.merge(ref, {"metadata": {"finalizers": None}})
                self.site.delete(ref)
        old = [n["metadata"]["name"] for n in self.site.list(NAMESPACES)]
        for name in (n for n in old if n.startswith(PREFIX)):
            self.site.delete(Ref(NAMESPACES, "", name))
        if not wait:
            return
        until(
            "old namespaces are gone",
            lambda: not any(n["metadata"]["name"].startswith(PREFIX) for n in self.site.list(NAMESPACES)),
            120,
        )

    def _settled(self, replicas: int) -> bool:
        return len(self.pods()) == replicas == len(self.site.list(POD, self.namespace, SELECTOR))

    # --- its pods

    def pods(self) -> list[Obj]:
        """Those that are ready and stay."""
        return [
            p
            for p in self.site.list(POD, self.namespace, SELECTOR)
            if "deletionTimestamp" not in p["metadata"]
            and any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"].get("conditions", ()))
        ]

    def holder(self) -> str:
        """Who holds the lease: `pod_random`, or nothing."""
        lease = self.site.get(self.lease)
        return str(((lease or {}).get("spec") or {}).get("holderIdentity") or "")

    def leader(self, timeout_s: float = 30) -> str:
        """The name of the pod that leads and says so itself."""

        def leading() -> str:
            pod = self.holder().partition("_")[0]
            return pod if pod in self.leading() else ""

        return until("a pod holds the lease and leads", leading, timeout_s)

    def with_standby(self) -> str:
        """The name of the pod that leads, once another is ready to take over.

        A pod whose container has ended is replaced: the kubelet's patience with one that was killed again and again
        is not what these tests measure.
        """
        for pod in self.site.list(POD, self.namespace, SELECTOR):
            states = pod["status"].get("containerStatuses", ())
            if any(s["restartCount"] for s in states) and not any(s["ready"] for s in states):
                self.site.delete(Ref(POD, self.namespace, pod["metadata"]["name"]))
        # one that goes may take the lease as well until it is gone
        until("another is ready to take over, and none goes", lambda: self._settled(REPLICAS), READY_TIMEOUT_S)
        return self.leader()

    def leading(self) -> list[str]:
        """The pods whose metrics say that they lead."""
        names = [p["metadata"]["name"] for p in self.pods()]
        return [n for n in names if any(s.value == 1 for s in self.metrics(n, "shieldx_operator_leader"))]

    def probe(self, pod: str, path: str) -> tuple[int, str]:
        proxied = f"/api/v1/namespaces/{self.namespace}/pods/{pod}:{DEFAULT_HEALTH_PORT}/proxy{path}"
        answer = self.site.call("GET", proxied)
        return answer.status_code, answer.text

    def metrics(self, pod: str, name: str) -> list[Sample]:
        code, text = self.probe(pod, "/metrics")
        if code != 200:
            return []  # it is starting, or was killed
        found = (_SAMPLE.match(line) for line in text.splitlines() if line.startswith(name))
        return [Sample(m[1], dict(_LABEL.findall(m[2] or "")), float(m[3])) for m in found if m]

    def logs(self) -> list[str]:
        """Every line that its pods have said, those of killed containers too."""
        lines: list[str] = []
        for pod in self.site.list(POD, self.namespace, SELECTOR):
            name = pod["metadata"]["name"]
            for previous in (False, True):
                path = f"/api/v1/namespaces/{self.namespace}/pods/{name}/log"
                answer = self.site.call("GET", path, params={"previous": str(previous).lower()})
                lines += answer.text.splitlines() if answer.ok else []
        return lines

    def told(self, namespace: str) -> Told:
        names = [p["metadata"]["name"] for p in self.pods()]
        watches = [s for n in names for s in self.metrics(n, "shieldx_operator_watch_healthy")]
        return Told(
            metrics=[s for n in names for s in self.metrics(n, "shieldx_operator_api_calls_total")],
            watched={s.labels["resource"] for s in watches if s.value == 1},
            logs=self.logs(),
            events=self.site.list(EVENT, namespace),
            pods=self.site.list(POD),
        )

    def wait_idle(self, timeout_s: float = 60) -> None:
        """Until the leader has looked at everything, and has nothing to do for two seconds."""
        leader = self.leader(timeout_s)

        def looks() -> tuple[float, float]:
            reconciles = sum(s.value for s in self.metrics(leader, "shieldx_operator_reconciles_total"))
            return reconciles, sum(s.value for s in self.metrics(leader, "shieldx_operator_queue_depth"))

        deadline_s = time.monotonic() + timeout_s
        before = looks()
        while True:
            time.sleep(2)
            now = looks()
            if now == before and now[0] > 0 and now[1] == 0:
                return
            assert time.monotonic() < deadline_s, f"{leader} is not idle: {now}"
            before = now

    # --- what befalls them

    @contextmanager
    def ended_soon(self, pod: str, signal: str, *, after_s: float = 0.0) -> Iterator["End"]:
        """Send a signal to the leader out of the node, `after_s` seconds after the body of the `with` began."""
        holder = self.holder()
        assert holder.startswith(f"{pod}_"), f"{pod} does not hold the lease, {holder or 'nobody'} does"
        live = self.site.there(Ref(POD, self.namespace, pod))
        container = live["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
        kill = f"ctr --namespace=k8s.io tasks kill --signal={signal} {container}"
        end = End(self, holder)
        with self.site.in_node("sh", "-c", f"echo ready; sleep {after_s:.2f}; {kill}") as sent:
            yield end
            sent()
        end.sent_s = time.monotonic()


@dataclass
class End:
    """The end of a process that held the lease."""

    release: Release
    holder: str
    sent_s: float = 0.0

    def takeover_s(self, timeout_s: float = 40) -> float:
        """Seconds from the end until another process holds the lease; waits until it says that it leads."""
        held = self.release.holder
        until("another holds the lease", lambda: held() not in ("", self.holder), timeout_s, every_s=0.1)
        took_s = time.monotonic() - self.sent_s
        self.release.leader()
        return took_s


def structured(lines: list[str]) -> list[Obj]:
    """Log lines as objects; what is no JSON fails."""
    return [json.loads(line) for line in lines]
