"""A worker's account without its pod's work: a token as the kubelet would hand it out, and the worker's own client."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shieldx_contract import API_GROUP, SHADOW_WORKER_SUFFIX
from shieldx_operator.blocks.access import account, rule
from shieldx_operator.blocks.resources import POD
from shieldx_operator.engine.connection import Cluster
from shieldx_operator.engine.types import Obj, Ref, Resource
from shieldx_runtime.shadow.cluster.apiserver import Answer, Evaluation, PodTransport
from tests.e2e.shadow.conftest import Ground

ROLES = Resource("rbac.authorization.k8s.io", "v1", "Role", "roles")
ROLE_BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings")
SERVICE_ACCOUNTS = Resource("", "v1", "ServiceAccount", "serviceaccounts")


@dataclass
class Worker:
    """Calls the API server with the token of a pod, or with one that is bound to none."""

    transport: PodTransport
    evaluation: Evaluation

    def apply(self, index: int, *entries: Obj, **status: Any) -> Answer:
        """The status with these entries, under the manager of shard `index`."""
        return self.send(index, {"shards": list(entries), **status})

    def send(self, index: int, status: Obj) -> Answer:
        body = json.loads(self.evaluation.body({}))
        return self.transport(self.evaluation.path(index), json.dumps({**body, "status": status}).encode())


async def make_account(ground: Ground, evaluation: str, question: str, *, names: tuple[str, ...] = ()) -> str:
    """The account of an evaluation's workers with the rights that the operator gives; `names`: further objects."""
    name = f"{evaluation}-{question}{SHADOW_WORKER_SUFFIX}"
    allowed = rule(API_GROUP, "shadowevaluations/status", ("patch",), names=(evaluation, *names))
    resources = (SERVICE_ACCOUNTS, ROLES, ROLE_BINDINGS)
    for body, resource in zip(
        account({"name": name, "namespace": ground.namespace}, [allowed]), resources, strict=True
    ):
        await ground.client.apply(Ref(resource, ground.namespace, name), body)
    return name


async def token(ground: Ground, account_name: str, pod: Obj | None) -> str:
    """A token of the account, bound to `pod` where there is one, as the kubelet asks for it."""
    request: Obj = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": 3600},
    }
    if pod is not None:
        metadata = pod["metadata"]
        request["spec"]["boundObjectRef"] = {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": metadata["name"],
            "uid": metadata["uid"],
        }
    tokens = Resource("", "v1", "TokenRequest", f"serviceaccounts/{account_name}/token")
    answer = await ground.client.create(tokens, ground.namespace, request)
    return str(answer["status"]["token"])


async def idle_pod(ground: Ground, name: str, account_name: str) -> Obj:
    """A pod of that name and account that no node takes: only its identity is wanted."""
    container = {
        "name": "worker",
        "image": ground.image,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {
        "serviceAccountName": account_name,
        "nodeSelector": {"shieldx.io/nowhere": "true"},
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    return await ground.client.create(POD, ground.namespace, body)


async def worker(ground: Ground, folder: Path, evaluation: Obj, account_name: str, pod: Obj | None) -> Worker:
    """A worker with the identity of `pod`, or with a token that is bound to none."""
    configuration = await Cluster(kubeconfig=ground.kubeconfig).configuration()
    server = urlsplit(configuration.host)
    directory = folder / (pod["metadata"]["name"] if pod else f"{account_name}-unbound")
    directory.mkdir()
    assert configuration.ssl_ca_cert is not None
    shutil.copyfile(configuration.ssl_ca_cert, directory / "ca.crt")
    (directory / "token").write_text(await token(ground, account_name, pod))
    metadata = evaluation["metadata"]
    return Worker(
        PodTransport(str(server.hostname), server.port or 443, directory),
        Evaluation(metadata["namespace"], metadata["name"], metadata["uid"]),
    )
