"""The S3 server of the tests, and what is asked of it."""

from dev import objects, platform
from dev.objects import Keys, Objects
from shieldx_operator.blocks.resources import SECRET
from shieldx_operator.engine.types import Obj
from shieldx_operator.kinds.backup.view import RESOURCE as BACKUPS
from tests.e2e.backup.conftest import ended
from tests.e2e.platform.world import Ref, World

BUCKET = "copies"
OWNER, READER, STRANGER = "s3-owner", "s3-reader", "s3-stranger"
"""Secrets: may do everything, may write nothing, is nobody that the server knows."""


def install(world: World) -> Objects:
    server = objects.install(world.namespace, BUCKET)
    stranger = Keys(server.owner.access_key_id, "not-the-secret-of-that-key")
    for name, keys in ((OWNER, server.owner), (READER, server.reader), (STRANGER, stranger)):
        world.apply(world.ref(SECRET, name), stringData=keys.as_secret)
    return server


def destination(server: Objects, prefix: str, credentials: str = OWNER, bucket: str = BUCKET) -> Obj:
    return {
        "s3": {
            "endpoint": server.endpoint,
            "bucket": bucket,
            "prefix": prefix,
            "credentials": {"name": credentials},
        }
    }


def copy(world: World, name: str, where: Obj, keys: str = "keys") -> Ref:
    """A Backup on demand that names everything itself, at its end."""
    ref = world.ref(BACKUPS, name)
    world.apply(
        ref,
        spec={
            "serviceRef": {"name": "credits"},
            "destination": where,
            "encryption": {"secretRef": {"name": keys}},
            "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
        },
    )
    ended(world, ref)
    return ref


def keys_below(world: World, server: Objects, prefix: str) -> list[str]:
    """Every object that is there, leases aside."""
    with platform.port_forward(f"svc/{objects.NAME}", objects.PORT, world.namespace) as url:
        listed = objects.client(url, server.owner).list_objects_v2(Bucket=BUCKET, Prefix=prefix)
    return [o["Key"] for o in listed.get("Contents", []) if "/leases/" not in o["Key"]]
