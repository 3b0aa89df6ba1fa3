"""A credits service with rows in its ledger, a volume for copies and their keys, in a namespace of their own."""

import base64
import secrets
from collections.abc import Iterator

import pykube
import pytest

from shieldx_operator.blocks.resources import PVC, SECRET
from shieldx_operator.engine.types import Obj, Ref
from tests.e2e.platform.world import CLIENT_LABELS, NAMESPACES, SERVICES, TENANTS, World
from tests.e2e.waiting import until

PREFIX = "shieldx-backup"
LABEL = "shieldx.io/e2e"
READY_WITHIN_S = 600


@pytest.fixture(scope="session")
def world(installed: str) -> Iterator[World]:
    """An own namespace whose pods must be restricted. What an earlier run left goes first."""
    client = pykube.HTTPClient(pykube.KubeConfig.from_file(installed), timeout=20)
    made = World(client, f"{PREFIX}-{secrets.token_hex(3)}")
    for left in made.all(NAMESPACES, f"{LABEL}=backup"):
        made.delete(Ref(NAMESPACES, "", left["metadata"]["name"]))
    labels = {"pod-security.kubernetes.io/enforce": "restricted", LABEL: "backup"}
    made.apply(Ref(NAMESPACES, "", made.namespace), metadata={"labels": labels})
    yield made
    made.delete(Ref(NAMESPACES, "", made.namespace))


@pytest.fixture(scope="session")
def service(world: World) -> World:
    """The world with a service, a tenant, and a place for copies."""
    network = {"allowFrom": [{"podSelector": {"matchLabels": CLIENT_LABELS}}]}
    spec = {"profile": "Development", "database": {"managed": {}}, "cache": {"managed": {}}, "network": network}
    world.apply(world.ref(SERVICES, "credits"), spec=spec)
    room = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    world.apply(world.ref(PVC, "copies"), spec=room)
    sealed_by = base64.b64encode(secrets.token_bytes(32)).decode()
    world.apply(world.ref(SECRET, "keys"), stringData={"k1": sealed_by})
    world.wait_ready(world.ref(SERVICES, "credits"), READY_WITHIN_S)
    key = {"scopes": ["consume", "read", "purchase"]}
    world.apply(world.ref(TENANTS, "org-1"), spec={"serviceRef": {"name": "credits"}, "key": key})
    world.wait_ready(world.ref(TENANTS, "org-1"), READY_WITHIN_S)
    return world


def ended(world: World, ref: Ref, timeout_s: float = READY_WITHIN_S) -> Obj:
    """A Backup or a Restore at its end, whichever."""

    def found() -> Obj | None:
        live = world.get(ref)
        return live if (live.get("status") or {}).get("phase") in ("Succeeded", "Failed") else None

    return until(f"{ref} has ended", found, timeout_s, 1.0)
