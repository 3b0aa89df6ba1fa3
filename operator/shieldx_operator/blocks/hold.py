"""The hold of a restore: while it is there, a service's pods stay down, and no copy of it is made or shipped.

It is an object and not a field of the service: nobody's spec changes, one Restore alone can have it, and it goes with
the Restore that owns it, so that no crash and no deletion leaves a service down (docs/decisions/0063).
"""

from typing import Final

from shieldx_contract import API_GROUP
from shieldx_operator.blocks.meta import obj
from shieldx_operator.blocks.resources import CONFIG_MAP
from shieldx_operator.engine.types import Obj, Observation, Ref

SUFFIX: Final = "-restore-hold"
CONCERNS_KIND: Final = f"{API_GROUP}/concerns-kind"
CONCERNS_NAME: Final = f"{API_GROUP}/concerns-name"
_KEY: Final = "restore"


def ref(namespace: str, service: str) -> Ref:
    """`service` is the name of the CreditsService."""
    return Ref(CONFIG_MAP, namespace, f"{service}{SUFFIX}")


def build(metadata: Obj, namespace: str, service: str, restore: str) -> Obj:
    """The hold of `restore`. A second Restore of the same service finds it taken and waits."""
    place = ref(namespace, service)
    return obj(CONFIG_MAP, {**metadata, "name": place.name}, data={_KEY: restore})


def holder(seen: Observation, namespace: str, service: str) -> str | None:
    """The Restore that holds a service; None where nobody does."""
    found = seen.objects.get(ref(namespace, service))
    if found is None or "deletionTimestamp" in found["metadata"]:
        return None
    return str((found.get("data") or {}).get(_KEY, "a Restore"))
