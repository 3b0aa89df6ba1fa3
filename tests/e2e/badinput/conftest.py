"""The API server of the local cluster, asked the way `kubectl apply` asks: strict about fields, and without a trace."""

import copy
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pykube
import pytest
import requests
import yaml

from shieldx_operator.engine.types import Obj
from tests.e2e.calls import CALL_TIMEOUT_S, Calls

REPOSITORY = Path(__file__).parents[3]
GROUP_URL = "/apis/platform.shieldx.io/v1alpha1"
CRD_URL = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
PLURALS = {
    "CreditsService": "creditsservices",
    "Tenant": "tenants",
    "ShadowService": "shadowservices",
    "ShadowEvaluation": "shadowevaluations",
    "BackupPolicy": "backuppolicies",
    "Backup": "backups",
    "Restore": "restores",
}
DRY_RUN = {"dryRun": "All", "fieldValidation": "Strict"}
SERVED_WITHIN_S = 30


def merged(base: Any, change: Any) -> Any:
    """A JSON merge patch (RFC 7386): null removes a field."""
    if not isinstance(change, Mapping):
        return copy.deepcopy(change)
    result = dict(base) if isinstance(base, Mapping) else {}
    for name, value in change.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


@dataclass(frozen=True)
class ApiServer(Calls):
    """Calls about custom resources in one namespace."""

    client: pykube.HTTPClient
    namespace: str

    def url(self, obj: Obj, *, named: bool) -> str:
        collection = f"{GROUP_URL}/namespaces/{self.namespace}/{PLURALS[obj['kind']]}"
        return f"{collection}/{obj['metadata']['name']}" if named else collection

    def create(self, obj: Obj, *, dry_run: bool = True) -> requests.Response:
        return self.call("POST", self.url(obj, named=False), obj, params=DRY_RUN if dry_run else {})

    def patch(self, obj: Obj, change: Obj) -> requests.Response:
        kind = "application/merge-patch+json"
        return self.call("PATCH", self.url(obj, named=True), change, params=DRY_RUN, content_type=kind)

    def apply(self, obj: Obj, *, dry_run: bool = True) -> requests.Response:
        """Server-side apply, as Flux and Argo CD do it."""
        params = {"fieldManager": "badinput-test", "force": "true", **({"dryRun": "All"} if dry_run else {})}
        kind = "application/apply-patch+yaml"
        return self.call("PATCH", self.url(obj, named=True), obj, params=params, content_type=kind)

    def delete(self, obj: Obj) -> requests.Response:
        return self.call("DELETE", self.url(obj, named=True))


@pytest.fixture(scope="session")
def client() -> pykube.HTTPClient:
    """The cluster that KUBECONFIG names, else the one that `make cluster` made."""
    path = Path(os.environ.get("KUBECONFIG", REPOSITORY / ".state/kubeconfig"))
    if not path.is_file():
        pytest.fail(f"no cluster: {path} does not exist; run `make cluster`")
    return pykube.HTTPClient(pykube.KubeConfig.from_file(str(path)), timeout=CALL_TIMEOUT_S)


@pytest.fixture(scope="session")
def crds(client: pykube.HTTPClient) -> None:
    """The CRDs of this checkout, in the cluster and served."""
    server = ApiServer(client, "")
    for path in sorted((REPOSITORY / "crds").glob("*.yaml")):
        definition = yaml.safe_load(path.read_text(encoding="utf-8"))
        if definition["kind"] != "CustomResourceDefinition":
            continue  # the kustomization that lists them
        name = definition["metadata"]["name"]
        applied = server.call(
            "PATCH",
            f"{CRD_URL}/{name}",
            definition,
            params={"fieldManager": "badinput-test", "force": "true", "fieldValidation": "Strict"},
            content_type="application/apply-patch+yaml",
        )
        assert applied.ok, f"{path.name}: {applied.json()['message']}"
        wait_until_served(server, name)


def wait_until_served(server: ApiServer, name: str) -> None:
    """An API server takes a moment to serve a CRD that it has accepted."""
    plural, _, group = name.partition(".")
    deadline = time.monotonic() + SERVED_WITHIN_S
    while not server.call("GET", f"/apis/{group}/v1alpha1/{plural}?limit=1").ok:
        assert time.monotonic() < deadline, f"CustomResourceDefinition {name} is not served after {SERVED_WITHIN_S} s"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def api(client: pykube.HTTPClient, crds: None) -> Iterator[ApiServer]:  # noqa: ARG001
    """The API server, with a namespace of our own that is deleted afterwards."""
    server = ApiServer(client, f"badinput-{secrets.token_hex(4)}")
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": server.namespace}}
    made = server.call("POST", "/api/v1/namespaces", namespace)
    assert made.ok, made.text
    yield server
    server.call("DELETE", f"/api/v1/namespaces/{server.namespace}")
