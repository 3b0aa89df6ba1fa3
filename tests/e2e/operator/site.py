"""The cluster that these tests kill, upgrade and uninstall operators in, which nobody else must feel.

It is the one that is up where nothing of the platform is in it, as at the beginning of `make test-e2e`; else one of
their own.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pykube
import pytest
import requests

from dev import platform
from dev.cluster import place as places
from shieldx_contract import API_GROUP, MANAGED_BY
from shieldx_operator.engine.client import path_of
from shieldx_operator.engine.types import Obj, Ref, Resource
from shieldx_operator.kinds import kinds
from shieldx_operator.settings import OperatorSettings
from tests.e2e.calls import CALL_TIMEOUT_S, Calls, body_of
from tests.e2e.waiting import until

ROOT = Path(__file__).resolve().parents[3]
OWN = {"SHIELDX_CLUSTER_NAME": "sxop", "SHIELDX_CLUSTER_LINK": "198.18.249.0/30"}
PREFIX = "shieldx-e2e-operator-"
"""Namespaces of these tests begin so."""
_UNKNOWN_RESOURCE = "doesn't have a resource type"
UP_TIMEOUT_S = 1800  # a machine without the archive builds Kubernetes first
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
NAMESPACES = Resource("", "v1", "Namespace", "namespaces", namespaced=False)
MANAGER = "e2e-person"

_names: dict[str, str] = {}
"""What leads to a cluster of these tests' own; empty for the usual one."""


@dataclass(frozen=True)
class Done:
    """How a program ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


def environment() -> dict[str, str]:
    """This process's own, but for the names that lead to another cluster."""
    kept = {k: v for k, v in os.environ.items() if k not in ("KUBECONFIG", "CONTEXT")}
    return {**kept, **_names}


def run(
    *command: str, stdin: str = "", timeout_s: float = 120, extra: Mapping[str, str] | None = None, check: bool = True
) -> Done:
    """Run a program of the checkout against this cluster; with `check` its failure fails the test."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**environment(), **(extra or {})},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    result = Done(done.returncode, done.stdout, done.stderr)
    assert not check or result.code == 0, f"`{' '.join(command)}` ended with {result.code}: {result.text[-3000:]}"
    return result


def front_door(*arguments: str, **options: Any) -> Done:
    return run(sys.executable, "-m", "dev.cluster", *arguments, **options)


@dataclass
class Site(Calls):
    """The API server and the node."""

    kubeconfig: str
    client: pykube.HTTPClient
    stays: bool
    """Whether others go on with the cluster: then what these tests have made must go."""
    figures: list[str] = field(default_factory=list)

    # --- the API server

    def get(self, ref: Ref) -> Obj | None:
        answer = self.call("GET", path_of(ref.resource, ref.namespace, ref.name))
        if answer.status_code == requests.codes.not_found:
            return None
        return body_of(answer)

    def there(self, ref: Ref) -> Obj:
        found = self.get(ref)
        assert found is not None, f"{ref} does not exist"
        return found

    def list(self, resource: Resource, namespace: str = "", selector: str = "") -> list[Obj]:
        params = {"labelSelector": selector} if selector else {}
        body = body_of(self.call("GET", path_of(resource, namespace), params=params))
        kind = {"apiVersion": resource.api_version, "kind": resource.kind}
        return [{**kind, **item} for item in body["items"]]

    def serves(self, resource: Resource) -> bool:
        """Whether the API server knows the resource."""
        return self.call("GET", path_of(resource, ""), params={"limit": "1"}).ok

    def apply(self, ref: Ref, **fields: Any) -> Obj:
        """Server-side apply of an object, as a person or a GitOps tool does it."""
        metadata = {"name": ref.name, **fields.pop("metadata", {})}
        body = {"apiVersion": ref.resource.api_version, "kind": ref.resource.kind, "metadata": metadata, **fields}
        path = path_of(ref.resource, ref.namespace, ref.name)
        kind = "application/apply-patch+yaml"
        params = {"fieldManager": MANAGER, "force": "true"}
        return body_of(self.call("PATCH", path, body, params=params, content_type=kind))

    def merge(self, ref: Ref, change: Obj) -> Obj:
        path = path_of(ref.resource, ref.namespace, ref.name)
        kind = "application/merge-patch+json"
        return body_of(self.call("PATCH", path, change, params={"fieldManager": MANAGER}, content_type=kind))

    def delete(self, ref: Ref) -> None:
        answer = self.call("DELETE", path_of(ref.resource, ref.namespace, ref.name))
        assert answer.status_code in (200, 202, 404), answer.text

    def until_gone(self, ref: Ref, timeout_s: float) -> None:
        until(f"{ref} is gone", lambda: self.get(ref) is None, timeout_s)

    def text(self, path: str) -> str:
        answer = self.call("GET", path)
        assert answer.ok, f"{path}: {answer.status_code} {answer.text[:500]}"
        return answer.text

    def namespace(self, name: str) -> str:
        """A namespace whose pods must be restricted."""
        self.apply(Ref(NAMESPACES, "", name), metadata={"labels": RESTRICTED})
        return name

    # --- the programs

    def kubectl(self, *arguments: str, stdin: str = "", check: bool = True, timeout_s: float = 60) -> Done:
        return front_door("kubectl", *arguments, stdin=stdin, check=check, timeout_s=timeout_s)

    def node(self, *command: str) -> str:
        return front_door("exec-node", *command).out

    def tag_image(self, name: str, other: str) -> None:
        """Give an image of the node another name."""
        self.node("ctr", "--namespace=k8s.io", "images", "tag", "--force", name, other)

    @contextmanager
    def in_node(self, *command: str) -> Iterator[Callable[[], None]]:
        """A command in the node that says a first line and goes on; what is yielded waits for its end."""
        started = [sys.executable, "-m", "dev.cluster", "exec-node", *command]
        with subprocess.Popen(
            started, cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline(), f"{command} did not start"

            def ended() -> None:
                assert process.wait(60) == 0, f"{command} ended with {process.returncode}"

            yield ended

    def helm(self, *arguments: str, stdin: str = "", timeout_s: float = 900) -> str:  # the first use builds helm
        command = (sys.executable, "-m", "dev.tools", "helm", *arguments, "--kubeconfig", self.kubeconfig)
        return run(*command, stdin=stdin, timeout_s=timeout_s).out

    def tell(self, figure: str) -> None:
        """A figure for the end of the run's report."""
        self.figures.append(figure)


@contextmanager
def opened() -> Iterator[Site]:
    """The cluster, with the images of this checkout in it. Whoever made it removes it."""
    if os.environ.get("CONTEXT"):
        pytest.skip("CONTEXT names your own cluster; these tests kill and uninstall operators in one where nobody is")
    _names.clear()
    usual = places.from_environment()
    if not (_is_up(usual) and _nobody_is_there()):
        _names.update(OWN)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _names.items():
            patch.setenv(name, value)
        place = places.from_environment()
    was_up = _is_up(place)
    front_door("up", timeout_s=UP_TIMEOUT_S)
    try:
        run(sys.executable, "-m", "dev.images", "build", timeout_s=UP_TIMEOUT_S)
        archives = [i["archive"] for i in platform.images() if not i["name"].startswith("localhost/")]
        front_door("load", *archives, timeout_s=300)
        configuration = pykube.KubeConfig.from_file(str(place.kubeconfig))
        yield Site(str(place.kubeconfig), pykube.HTTPClient(configuration, timeout=CALL_TIMEOUT_S), was_up)
    finally:
        if not was_up:
            front_door("down", timeout_s=300)
            for folder in (place.settings.folder, place.state):
                shutil.rmtree(folder, ignore_errors=True)  # its engine's images, 2 GB


def _is_up(place: places.Place) -> bool:
    return place.kubeconfig.is_file() and front_door("kubectl", "get", "--raw=/readyz", check=False).code == 0


def _nobody_is_there() -> bool:
    """Whether the cluster has no operator and no object of the platform's, but for what these tests left themselves."""
    said = [
        front_door("kubectl", "get", resource, "--all-namespaces", "--no-headers", *selector, check=False)
        for resource, *selector in (
            ("deployments", f"--selector=app.kubernetes.io/name={MANAGED_BY}"),
            *((f"{kind.resource.plural}.{API_GROUP}",) for kind in kinds(OperatorSettings.from_environment({}))),
        )
    ]
    return nobody(said)


def nobody(said: Sequence[Done]) -> bool:
    """Whether these lists, one line an object and its namespace first, name nothing but what these tests made.

    A resource that the API server does not know has no objects. A list that failed for another reason may have any.
    """
    if any(done.code != 0 and _UNKNOWN_RESOURCE not in done.err for done in said):
        return False
    lines = [line for done in said if done.code == 0 for line in done.out.splitlines()]
    return all(line.startswith(PREFIX) for line in lines if line.strip())
