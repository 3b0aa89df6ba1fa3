"""The peer of the benchmark: an operator as kopf's own documentation writes it, with handlers for create and update.

It makes the same ConfigMap as the Widget kind. It runs as `kopf run` would, with kopf's own settings.
"""

import argparse
import asyncio
import time
from http import HTTPStatus
from typing import Any, cast

import aiohttp
import kopf
from kubernetes.aio.client.api.core_v1_api import CoreV1Api
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.client.models.v1_config_map import V1ConfigMap
from kubernetes.aio.config.kube_config import new_client_from_config

_api: dict[str, ApiClient] = {}


async def _hold(spec: kopf.Spec, name: str, namespace: str | None, **_: Any) -> dict[str, int]:
    assert namespace is not None  # a widget has one
    data = dict(spec.get("data") or {})
    body: dict[str, Any] = {"metadata": {"name": name, "namespace": namespace}, "data": data}
    kopf.adopt(body)
    core = CoreV1Api(_api["api"])
    try:
        await core.create_namespaced_config_map(namespace, cast("V1ConfigMap", body))
    except ApiException as error:
        if error.status != HTTPStatus.CONFLICT:
            raise
        await core.patch_namespaced_config_map(name, namespace, body)
    if "call" in spec:
        async with aiohttp.ClientSession() as session:
            await session.put(spec["call"], json={"name": name})
    return {"size": len(data)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kubeconfig", required=True)
    parser.add_argument("--group", required=True)
    parser.add_argument("--namespace", required=True)
    args = parser.parse_args()

    @kopf.on.startup()
    async def start(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False
        _api["api"] = await new_client_from_config(  # type: ignore[no-untyped-call]
            config_file=args.kubeconfig
        )

    for decorator in (kopf.on.create, kopf.on.update, kopf.on.resume):
        decorator(args.group, "v1", "widgets")(_hold)
    print("started", time.time(), flush=True)
    asyncio.run(kopf.operator(standalone=True, namespaces=[args.namespace]))


if __name__ == "__main__":
    main()
