"""A real cluster: the one that is up, or `make cluster`'s. Each module of tests gets a namespace of its own."""

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
UP_TIMEOUT_S = 1800  # a machine without the archive builds Kubernetes first


@dataclass(frozen=True)
class Result:
    code: int
    text: str


class Cluster:
    """The front door, as a person uses it."""

    def __init__(self, namespace: str = "default") -> None:
        self.namespace = namespace

    def front_door(self, *arguments: str, stdin: str | None = None, timeout_s: float = 60) -> Result:
        done = subprocess.run(
            [sys.executable, "-m", "dev.cluster", *arguments],
            cwd=CHECKOUT,
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return Result(done.returncode, done.stdout + done.stderr)

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout_s: float = 60) -> Result:
        return self.front_door("kubectl", f"--namespace={self.namespace}", *arguments, stdin=stdin, timeout_s=timeout_s)

    def apply(self, *documents: dict[str, Any]) -> None:
        listed = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
        done = self.kubectl("apply", "--filename=-", stdin=json.dumps(listed))
        assert done.code == 0, done.text

    def refused(self, document: dict[str, Any]) -> str:
        """What the API server says to an object that it must not take."""
        done = self.kubectl("create", "--filename=-", stdin=json.dumps(document))
        assert done.code != 0, f"it was taken: {done.text}"
        return done.text

    def wait(self, *arguments: str, timeout_s: int = 90) -> None:
        done = self.kubectl("wait", f"--timeout={timeout_s}s", *arguments, timeout_s=timeout_s + 20)
        assert done.code == 0, done.text + self.kubectl("get", "pods,events").text[-3000:]

    def shell(self, pod: str, script: str) -> Result:
        return self.kubectl("exec", pod, "--", "sh", "-c", script)

    def until(self, what: str, holds: Callable[[], bool], timeout_s: float) -> float:
        """Seconds until it holds; fails after ``timeout_s``."""
        started_s = time.monotonic()
        while not holds():
            assert time.monotonic() - started_s < timeout_s, f"not within {timeout_s} s: {what}"
            time.sleep(0.5)
        return time.monotonic() - started_s


@pytest.fixture(scope="session")
def any_cluster() -> Cluster:
    up = Cluster().front_door("up", timeout_s=UP_TIMEOUT_S)
    assert up.code == 0, up.text
    return Cluster()


@pytest.fixture(scope="module")
def cluster(any_cluster: Cluster) -> Iterator[Cluster]:
    namespace = f"proof-{uuid.uuid4().hex[:8]}"
    made = any_cluster.kubectl("create", "namespace", namespace)
    assert made.code == 0, made.text
    any_cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    yield Cluster(namespace)
    any_cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def restricted_pod(name: str, labels: dict[str, str], script: str, **container: Any) -> dict[str, Any]:
    """A pod that the restricted Pod Security level admits: busybox with a script."""
    confined = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "fsGroup": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "main",
                    "image": "docker.io/library/busybox:1.35",
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["sh", "-c", script],
                    "securityContext": confined,
                    **container,
                }
            ],
        },
    }


@pytest.fixture(scope="session")
def pod() -> Callable[..., dict[str, Any]]:
    return restricted_pod
