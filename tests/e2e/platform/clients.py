"""Pods that stand for the service's callers, and what they do."""

import json
import subprocess
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from shieldx_operator.blocks.resources import POD
from tests.e2e.platform.scripts import CALLS, LOAD, NAMES, REACH
from tests.e2e.platform.world import IMAGE, ROOT, Obj, World, condition
from tests.e2e.waiting import until
from tests.oracle import Intent, read_diary

LISTENS_ON = 8000
RATE_PER_S = 50
MOST_CALLS = 20_000
ORACLE = (ROOT / "tests" / "oracle.py").read_text(encoding="utf-8")
TAKE = "import json, sys; exec(json.loads(sys.stdin.readline()))"
"""Runs the program that is the first line of its input."""
DIARIES = "/diaries"
ORACLE_CLIENTS, ORACLE_PAUSE_S = 4, 0.1


def client_pod(labels: dict[str, str]) -> Obj:
    """A pod that the restricted level admits; it listens, so that others can try to reach it."""
    confined = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
    container = {
        "name": "main",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-m", "http.server", str(LISTENS_ON)],
        "securityContext": confined,
        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}},
        "readinessProbe": {"tcpSocket": {"port": LISTENS_ON}, "periodSeconds": 1},
        "volumeMounts": [{"name": "diaries", "mountPath": DIARIES}],
    }
    spec = {
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "diaries", "emptyDir": {}}],
    }
    return {"metadata": {"labels": labels}, "spec": spec}


@dataclass
class Load:
    """What came of a load."""

    results: list[dict[str, Any]] = field(default_factory=list)

    def by_status(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for result in self.results:
            name = str(result["status"] or result["error"].partition(":")[0])
            counts[name] = counts.get(name, 0) + 1
        return dict(sorted(counts.items()))

    def trouble(self) -> list[str]:
        """Calls without an answer, in their order: when, on which kind of connection, and what happened."""
        lost = [r for r in self.results if not r["status"]]
        return [f"{r['at_s']:.2f} s, {'kept' if r['kept'] else 'new'}: {r['error'][:80]}" for r in lost]

    def answered(self, status: int) -> list[dict[str, Any]]:
        return [r for r in self.results if r["status"] == status]

    def keys_without(self, status: int) -> list[str]:
        return [r["key"] for r in self.results if r["status"] != status]


@dataclass
class Oracle:
    """What the crash oracle's clients wanted and were answered in the end; how much of it had no answer at first."""

    intents: dict[str, Intent] = field(default_factory=dict)
    unanswered: int = 0


@dataclass
class Client:
    """One pod that calls `service`, of its own namespace unless `calls_to` names another."""

    world: World
    pod: str
    service: str
    calls_to: str = ""

    @property
    def url(self) -> str:
        return f"http://{self.service}.{self.calls_to or self.world.namespace}.svc:8080"

    def start(self, labels: dict[str, str]) -> "Client":
        self.world.apply(self.world.ref(POD, self.pod), **client_pod(labels))
        return self

    def wait(self) -> None:
        ref = self.world.ref(POD, self.pod)
        until(f"{ref} is Ready", lambda: condition(self.world.get(ref)).get("status") == "True", 60)

    def ip(self) -> str:
        return str(self.world.get(self.world.ref(POD, self.pod))["status"]["podIP"])

    def reach(self, *targets: str) -> dict[str, str]:
        found: dict[str, str] = self.world.python(self.pod, REACH, targets)
        return found

    def names(self, *names: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = self.world.python(self.pod, NAMES, names)
        return found

    def calls(self, key: str, *calls: tuple[str, str, Obj | None]) -> list[dict[str, Any]]:
        """Answers to (method, path, body), one after another."""
        told = [{"method": m, "url": self.url + path, "body": body, "key": key} for m, path, body in calls]
        answers: list[dict[str, Any]] = self.world.python(self.pod, CALLS, told)
        return answers

    def calls_at(self, ips: Sequence[str], key: str, method: str, path: str, body: Obj | None = None) -> list[Obj]:
        """The answers of these pods of the service, asked one after another by their own addresses."""
        told = [{"method": method, "url": f"http://{ip}:8080{path}", "body": body, "key": key} for ip in ips]
        answers: list[Obj] = self.world.python(self.pod, CALLS, told)
        return answers

    def call(self, key: str, method: str, path: str, body: Obj | None = None) -> dict[str, Any]:
        return self.calls(key, (method, path, body))[0]

    def _told(self, tenant: str, key: str, keys: Sequence[str] | None) -> dict[str, Any]:
        named = {"url": self.url, "tenant": tenant, "key": key, "keys": keys}
        return {**named, "rate_per_s": RATE_PER_S, "most": MOST_CALLS}

    @contextmanager
    def load(self, tenant: str, key: str) -> Iterator[Load]:
        """Consumes at a steady rate for as long as the block runs; the load holds the results after it."""
        load = Load()
        with self._running(LOAD, self._told(tenant, key, None)) as said:
            yield load
        load.results = json.loads(said[0])

    @contextmanager
    def oracle(self, tenant: str, key: str, name: str) -> Iterator["Oracle"]:
        """The crash oracle's clients for as long as the block runs; after it their diary has an answer to each key."""
        told = {
            "url": self.url,
            "key": key,
            "tenants": [tenant],
            "diary": f"{DIARIES}/{name}",
            # of its own: the same seed asks with the same keys, whose answers are replays
            "seed": zlib.crc32(name.encode()),
            "least": 1,
            "clients": ORACLE_CLIENTS,
            "pause_s": ORACLE_PAUSE_S,
        }
        oracle = Oracle()
        with self._running(TAKE, ORACLE, told) as said:
            yield oracle
        asked = read_diary(said[0].splitlines())
        oracle.unanswered = sum(intent.status is None for intent in asked.values())
        with self._running(TAKE, ORACLE, {**told, "settle": True}) as said:
            pass
        oracle.intents = read_diary(said[0].splitlines())

    @contextmanager
    def _running(self, script: str, *lines: Any) -> Iterator[list[str]]:
        """A script in the pod that is told these lines of JSON; its input ends with the block. What it printed."""
        printed: list[str] = []
        command = self.world.kubectl_command("exec", "-i", self.pod, "--", "python", "-c", script)
        with subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as running:
            try:
                assert running.stdin is not None
                running.stdin.writelines(json.dumps(line) + "\n" for line in lines)
                running.stdin.flush()
                yield printed
                said, complaint = running.communicate(timeout=90)
            finally:
                if running.poll() is None:
                    running.kill()
        assert running.returncode == 0, complaint[-2000:]
        printed.append(said)

    def again(self, tenant: str, key: str, keys: Sequence[str]) -> Load:
        """Sends each of the idempotency keys once more."""
        return Load(self.world.python(self.pod, LOAD, self._told(tenant, key, list(keys))))
