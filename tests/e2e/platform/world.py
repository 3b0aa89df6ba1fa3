"""The running platform, as a person with `kubectl` and a tenant's pod see it."""

import base64
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pykube
import requests

from shieldx_operator.blocks.resources import EVENT, POD, SECRET
from shieldx_operator.engine.client import path_of
from shieldx_operator.engine.types import Obj, Ref, Resource
from shieldx_operator.kinds.creditsservice import RESOURCE as SERVICES
from shieldx_operator.kinds.tenant import RESOURCE as TENANTS
from tests.e2e.calls import Calls, body_of
from tests.e2e.waiting import until

__all__ = ["SERVICES", "TENANTS", "Obj", "Ref", "Resource", "World", "condition"]

ROOT = Path(__file__).resolve().parents[3]
NAMESPACES = Resource("", "v1", "Namespace", "namespaces", namespaced=False)
CLIENT_LABELS = {"shieldx.io/credits-client": "true"}
IMAGE = "ghcr.io/shieldx/platform:0.1.0"
PERSON = "e2e-person"
READY_TIMEOUT_S = 120


def condition(obj: Obj, kind: str = "Ready") -> Obj:
    conditions: list[Obj] = (obj.get("status") or {}).get("conditions") or []
    return next((c for c in conditions if c["type"] == kind), {})


def is_ready(obj: Obj) -> bool:
    now = (obj.get("status") or {}).get("observedGeneration") == obj["metadata"]["generation"]
    return now and condition(obj).get("status") == "True"


def merge(wrong: Any, *path: str) -> Obj:
    """A merge patch that sets one field."""
    for name in reversed(path):
        wrong = {name: wrong}
    return wrong  # type: ignore[no-any-return]


def value(obj: Obj, path: Sequence[str]) -> Any:
    """A field of an object, or None."""
    found: Any = obj
    for name in path:
        if not isinstance(found, dict) or name not in found:
            return None
        found = found[name]
    return found


@dataclass
class World(Calls):
    """The API server, `kubectl` and the pods, in one namespace."""

    client: pykube.HTTPClient
    namespace: str
    figures: list[str] = field(default_factory=list)

    def elsewhere(self, namespace: str) -> "World":
        """The same cluster, in another namespace."""
        return World(self.client, namespace, self.figures)

    def tell(self, figure: str) -> None:
        """A figure for the end of the run's report."""
        self.figures.append(figure)

    # --- the API server

    def ref(self, resource: Resource, name: str) -> Ref:
        return Ref(resource, self.namespace, name)

    def find(self, ref: Ref) -> Obj | None:
        answer = self.call("GET", path_of(ref.resource, ref.namespace, ref.name))
        return None if answer.status_code == requests.codes.not_found else body_of(answer)

    def get(self, ref: Ref) -> Obj:
        found = self.find(ref)
        assert found is not None, f"{ref} does not exist"
        return found

    def all(self, resource: Resource, labels: str = "") -> list[Obj]:
        body = body_of(self.call("GET", path_of(resource, self.namespace), params={"labelSelector": labels}))
        return [{"apiVersion": resource.api_version, "kind": resource.kind, **item} for item in body["items"]]

    def apply(self, ref: Ref, **fields: Any) -> Obj:
        """Server-side apply, as a person or a GitOps tool does it."""
        metadata = {"name": ref.name, **fields.pop("metadata", {})}
        body = {"apiVersion": ref.resource.api_version, "kind": ref.resource.kind, "metadata": metadata, **fields}
        params = {"fieldManager": PERSON, "force": "true"}
        path = path_of(ref.resource, ref.namespace, ref.name)
        return body_of(self.call("PATCH", path, body, params=params, content_type="application/apply-patch+yaml"))

    def change(self, ref: Ref, patch: Obj, subresource: str = "") -> Obj:
        return body_of(self.try_change(ref, patch, subresource))

    def try_change(self, ref: Ref, patch: Obj, subresource: str = "") -> requests.Response:
        path = path_of(ref.resource, ref.namespace, ref.name, subresource)
        params = {"fieldManager": PERSON}
        return self.call("PATCH", path, patch, params=params, content_type="application/merge-patch+json")

    def delete(self, ref: Ref) -> None:
        """As kubectl does it: what the object owns goes with it, which is not every API's own default."""
        body = {"propagationPolicy": "Background"}
        answer = self.call("DELETE", path_of(ref.resource, ref.namespace, ref.name), body)
        assert answer.status_code in (200, 202, 404), answer.text

    def gone(self, ref: Ref, timeout_s: float = 60) -> None:
        until(f"{ref} is gone", lambda: self.find(ref) is None, timeout_s)

    def wait_ready(self, ref: Ref, timeout_s: float = READY_TIMEOUT_S) -> Obj:
        """The object once it is Ready for its present generation; what it says where it does not get there."""
        last: Obj = {}

        def ready() -> Obj | None:
            last.update(self.get(ref))
            return last if is_ready(last) else None

        try:
            return until(f"{ref} is Ready", ready, timeout_s)
        except AssertionError as late:
            raise AssertionError(f"{late}; it says {condition(last)}; {self.warnings()}") from None

    def warnings(self) -> list[str]:
        """What the namespace's Events complain about."""
        found = [e for e in self.all(EVENT) if e.get("type") == "Warning"]
        return [f"{e['involvedObject']['name']}: {e['reason']}: {e.get('message', '')}"[:300] for e in found[-10:]]

    def secret(self, name: str, key: str) -> str:
        return base64.b64decode(self.get(self.ref(SECRET, name))["data"][key]).decode()

    def pods(self, service: str, component: str) -> list[Obj]:
        """Pods of one component that nobody has told to go."""
        labels = f"app.kubernetes.io/instance={service},app.kubernetes.io/component={component}"
        return [p for p in self.all(POD, labels) if "deletionTimestamp" not in p["metadata"]]

    # --- the programs

    def kubectl_command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "dev.cluster", "kubectl", f"--namespace={self.namespace}", *arguments]

    def kubectl(self, *arguments: str, stdin: str = "", timeout_s: float = 60, check: bool = True) -> str:
        """Both outputs of kubectl where `check` is off, else what it printed."""
        done = subprocess.run(
            self.kubectl_command(*arguments),
            cwd=ROOT,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert not check or done.returncode == 0, f"kubectl {' '.join(arguments[:4])}: {done.stderr[-2000:]}"
        return done.stdout if check else done.stdout + done.stderr

    def python(self, pod: str, script: str, told: Any) -> Any:
        """Runs a script in a pod: it reads `told` as JSON from its input and prints its answer as JSON."""
        done = self.kubectl("exec", "-i", pod, "--", "python", "-c", script, stdin=json.dumps(told) + "\n")
        return json.loads(done)

    def sql(self, service: str, statement: str) -> list[list[str]]:
        """Rows of a statement, asked inside of the database's pod."""
        told = ("exec", "-i", f"{service}-db-0", "--", "psql", "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1")
        done = self.kubectl(*told, "-U", "credits", "-d", "credits", stdin=statement)
        return [line.split("|") for line in done.splitlines() if line]
