"""An S3 server in the cluster for trying backups out: one pod, its data gone with it, the example's bucket in it."""

import base64
import json
import secrets
import time
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from dev import platform
from dev.platform import PlatformError

NAME = "objects"
PORT = 9000
IMAGE = "localhost/shieldx-objects:1"
READY_TIMEOUT_S = 120
_SECRET = "objects-identities"  # noqa: S105 - a name
_CONFIG_DIR = "/etc/objects"
_LABELS = {"app.kubernetes.io/name": NAME}


@dataclass(frozen=True)
class Keys:
    """Credentials of one identity of the server."""

    access_key_id: str
    secret_access_key: str

    @property
    def as_secret(self) -> dict[str, str]:
        """What a policy's `destination.s3.credentials` names holds this."""
        return {"access-key-id": self.access_key_id, "secret-access-key": self.secret_access_key}


@dataclass(frozen=True)
class Objects:
    """The server as its clients in the cluster know it. `owner` may do everything, `reader` may write nothing."""

    namespace: str
    owner: Keys
    reader: Keys

    @property
    def endpoint(self) -> str:
        return f"http://{NAME}.{self.namespace}.svc:{PORT}"


def build_and_load() -> None:
    platform.shown("python3", "-m", "dev.images", "build", NAME)
    archive = next(image["archive"] for image in platform.images() if image["name"] == IMAGE)
    platform.shown("python3", "-m", "dev.cluster", "load", archive)


def install(namespace: str, *buckets: str) -> Objects:
    """The server in a namespace that exists, ready, with these buckets. What is there already stays, with its keys.

    Raises:
        PlatformError: it did not get ready, or refuses a bucket.
    """
    owner, reader = _keys(namespace)
    for manifest in _manifests(namespace, owner, reader):
        platform.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(manifest))
    platform.kubectl(
        *("-n", namespace, "rollout", "status", f"deployment/{NAME}", f"--timeout={READY_TIMEOUT_S}s"),
        timeout_s=READY_TIMEOUT_S + 10,
    )
    made = Objects(namespace, owner, reader)
    with platform.port_forward(f"svc/{NAME}", PORT, namespace) as url:
        for bucket in buckets:
            _make_bucket(client(url, owner), bucket)
    return made


def client(url: str, keys: Keys) -> Any:
    """An S3 client of the server at `url`."""
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=keys.access_key_id,
        aws_secret_access_key=keys.secret_access_key,
        config=Config(s3={"addressing_style": "path"}, connect_timeout=5, read_timeout=20),
    )


def _make_bucket(s3: Any, bucket: str) -> None:
    """The gateway listens before the parts behind it are up."""
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    while True:
        try:
            s3.create_bucket(Bucket=bucket)
        except (ClientError, BotoCoreError) as error:
            code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
            if code in ("BucketAlreadyExists", "BucketAlreadyOwnedByYou"):
                return
            if time.monotonic() > deadline_s:
                raise PlatformError(f"the S3 server makes no bucket {bucket!r}: {error}") from error
            time.sleep(0.5)
        else:
            return


def _keys(namespace: str) -> tuple[Keys, Keys]:
    """Those that the server has, or new ones."""
    listed = json.loads(platform.kubectl("-n", namespace, "get", "secrets", "-o", "json"))["items"]
    held = next((s for s in listed if s["metadata"]["name"] == _SECRET), None)
    if held is None:
        return _new_keys(), _new_keys()
    pairs = [i["credentials"][0] for i in json.loads(base64.b64decode(held["data"]["s3.json"]))["identities"]]
    owner, reader = (Keys(pair["accessKey"], pair["secretKey"]) for pair in pairs)
    return owner, reader


def _new_keys() -> Keys:
    return Keys("AKIA" + secrets.token_hex(6).upper(), secrets.token_urlsafe(24))


def _manifests(namespace: str, owner: Keys, reader: Keys) -> list[dict[str, Any]]:
    actions = ((owner, ["Admin", "Read", "Write", "List"]), (reader, ["Read", "List"]))
    identities = [
        {
            "name": name,
            "credentials": [{"accessKey": keys.access_key_id, "secretKey": keys.secret_access_key}],
            "actions": may,
        }
        for name, (keys, may) in zip(("owner", "reader"), actions, strict=True)
    ]
    metadata = {"name": NAME, "namespace": namespace, "labels": _LABELS}
    config = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {**metadata, "name": _SECRET},
        "stringData": {"s3.json": json.dumps({"identities": identities})},
    }
    ports = [{"name": "s3", "port": PORT, "targetPort": PORT}]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"selector": _LABELS, "ports": ports},
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": _LABELS},
            "template": {"metadata": {"labels": _LABELS}, "spec": _pod()},
        },
    }
    return [config, service, deployment]


def _pod() -> dict[str, Any]:
    container = {
        "name": "weed",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": [
            *("weed", "server", "-dir=/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false"),
            *("-filer", "-s3", f"-s3.port={PORT}", "-s3.ip.bind=0.0.0.0", f"-s3.config={_CONFIG_DIR}/s3.json"),
            # each bucket takes several volumes
            *("-volume.max=50", "-master.volumeSizeLimitMB=256", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        ],
        "ports": [{"containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": PORT}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a mount point in the pod
            {"name": "config", "mountPath": _CONFIG_DIR, "readOnly": True},
        ],
    }
    return {
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "data", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "config", "secret": {"secretName": _SECRET}},
        ],
    }
