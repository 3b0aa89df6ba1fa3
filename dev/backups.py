"""What `make up` shows of backups: the example's policy against an S3 server in the cluster, one copy and its proof."""

import base64
import json
import secrets

from rich.console import Console

from dev import objects, platform

POLICY = "credits"
BUCKET = "shieldx-backups"
STORAGE_NAMESPACE = "storage"
KEYS_SECRET, S3_SECRET = "credits-backup-keys", "credits-backup-s3"
READY_TIMEOUT_S = 420
"""A first copy of both stores, a restore for a test and a pruning, one after the other."""


def apply_example(namespace: str) -> None:
    """examples/backuppolicy.yaml with all that it names: the S3 server and its bucket, credentials, keys."""
    platform.ensure_namespace(STORAGE_NAMESPACE)
    server = objects.install(STORAGE_NAMESPACE, BUCKET)
    apply_secret(namespace, S3_SECRET, server.owner.as_secret)
    if not platform.kubectl("-n", namespace, "get", "secret", KEYS_SECRET, "--ignore-not-found", "-o", "name"):
        # never replaced: what it sealed could not be read any more
        apply_secret(namespace, KEYS_SECRET, {"k1": base64.b64encode(secrets.token_bytes(32)).decode()})
    platform.kubectl("-n", namespace, "apply", "--server-side", "-f", "examples/backuppolicy.yaml")


def apply_secret(namespace: str, name: str, values: dict[str, str]) -> None:
    manifest = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "stringData": values,
    }
    platform.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(manifest))


def show(console: Console, namespace: str) -> None:
    """The policy's columns, its copies, and by what it counts as met or missed."""
    for kind in ("backuppolicies", "backups"):
        console.print(platform.kubectl("-n", namespace, "get", kind).rstrip(), soft_wrap=True, markup=False)
    status = platform.get("backuppolicy", POLICY, namespace)["status"]
    for condition in status["conditions"]:
        if condition["type"] in ("Restorable", "ObjectivesMet"):
            console.print(f"  - {condition['message']}", soft_wrap=True, markup=False)
