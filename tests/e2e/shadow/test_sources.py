"""Samples in a volume and in a bucket, read by workers in the cluster."""

import asyncio
import gzip
from typing import Any

import pytest

from dev import objects, platform
from shieldx_operator.blocks.resources import POD, PVC, SECRET
from shieldx_operator.engine.types import Obj, Ref
from tests.e2e.shadow.conftest import LINK, NAME, Ground
from tests.e2e.shadow.samples import MATRIX, SPEC, ndjson
from tests.e2e.waiting import eventually

pytestmark = pytest.mark.timeout(600, func_only=True)
BUCKET, KEY = "samples", "2026/day.ndjson.gz"
COPY = """
import gzip, pathlib
place = pathlib.Path("/to/day/samples.ndjson.gz")
place.parent.mkdir(exist_ok=True)
place.write_bytes(gzip.compress(pathlib.Path("/from/samples.ndjson").read_bytes()))
"""


def writer(image: str) -> Obj:
    """A pod that fills the claim out of the ConfigMap, as somebody's pipeline would, and ends."""
    confined = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {
        "name": "copy",
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["python", "-c", COPY],
        "securityContext": confined,
        "volumeMounts": [{"name": "from", "mountPath": "/from"}, {"name": "to", "mountPath": "/to"}],
    }
    user = {"runAsNonRoot": True, "runAsUser": 10001, "fsGroup": 10001, "seccompProfile": {"type": "RuntimeDefault"}}
    volumes = [
        {"name": "from", "configMap": {"name": "samples"}},
        {"name": "to", "persistentVolumeClaim": {"claimName": "traffic"}},
    ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "writer"},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": user,
            "containers": [container],
            "volumes": volumes,
        },
    }


def question(data: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**SPEC, "data": data, "workers": 1, **more}


async def failed(ground: Ground, name: str) -> Obj | None:
    found = await ground.condition(name, "Stalled")
    return found if found.get("status") == "True" else None


async def test_samples_in_a_volume_give_the_numbers_of_those_in_a_config_map(ground: Ground) -> None:
    await ground.config_map("samples", {"samples.ndjson": ndjson()})
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}}
    body = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "traffic"}, "spec": claim}
    await ground.client.apply(Ref(PVC, ground.namespace, "traffic"), body)
    pod = Ref(POD, ground.namespace, "writer")
    await ground.client.apply(pod, writer(ground.image))

    async def written() -> bool:
        there = await ground.client.get(pod)
        return there is not None and there["status"].get("phase") == "Succeeded"

    await eventually(written, 120, "the volume is written")
    ground.start_operator()
    volume = {"claimName": "traffic", "path": "day/samples.ndjson.gz"}
    await ground.ask("one", **question({"persistentVolumeClaim": volume}, shards=2))
    status = await ground.answer("one")
    assert status["result"]["matrix"] == MATRIX
    await ground.ask("other", **question({"persistentVolumeClaim": {**volume, "path": "day/nothing.ndjson"}}))
    told = await eventually(lambda: failed(ground, "other"), 120, "a file that is not there")
    assert "day/nothing.ndjson" in told["message"]


async def test_samples_in_a_bucket_give_the_numbers_and_a_wrong_secret_says_so(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHIELDX_CLUSTER_NAME", NAME)
    monkeypatch.setenv("SHIELDX_CLUSTER_LINK", LINK)
    server = await asyncio.to_thread(filled_server, ground.namespace)
    stranger = objects.Keys(server.owner.access_key_id, "not-the-secret-of-that-key")
    for name, keys in (("reader", server.reader), ("stranger", stranger)):
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": keys.as_secret}
        await ground.client.apply(Ref(SECRET, ground.namespace, name), secret)
    ground.start_operator()
    bucket = {"endpoint": server.endpoint, "bucket": BUCKET, "key": KEY}
    await ground.ask("one", **question({"s3": {**bucket, "credentials": {"name": "reader"}}}, shards=2))
    status = await ground.answer("one")
    assert status["result"]["matrix"] == MATRIX
    await ground.ask("other", **question({"s3": {**bucket, "credentials": {"name": "stranger"}}}, rerun="2"))
    told = await eventually(lambda: failed(ground, "other"), 120, "a secret that the bucket does not know")
    assert f"s3://{BUCKET}/{KEY}" in told["message"]
    assert stranger.secret_access_key not in str(await ground.there("other"))


def filled_server(namespace: str) -> objects.Objects:
    objects.build_and_load()
    server = objects.install(namespace, BUCKET)
    with platform.port_forward(f"svc/{objects.NAME}", objects.PORT, namespace) as url:
        body = gzip.compress(ndjson().encode())
        objects.client(url, server.owner).put_object(Bucket=BUCKET, Key=KEY, Body=body)
    return server
