"""The stores of a CreditsService, for kinds that work with them: found in its status, reached through policies."""

from typing import Any, Final

from shieldx_contract import API_GROUP, SECRET_URI_KEY
from shieldx_operator.api.backupparts import StoreAddress, Stores
from shieldx_operator.blocks import postgres, redis
from shieldx_operator.blocks.meta import Service, obj
from shieldx_operator.blocks.network import Rule, egress, ingress, peers_in_namespace
from shieldx_operator.blocks.resources import NETWORK_POLICY, SECRET
from shieldx_operator.blocks.uri import secret_value, uri_port
from shieldx_operator.engine.types import Obj, Observation, Ref, Resource

CREDITS_RESOURCE: Final = Resource(API_GROUP, "v1alpha1", "CreditsService", "creditsservices")
CREDITS_APP: Final = "credits"
_COMPONENTS: Final = {
    "database": (postgres.SUFFIX, postgres.COMPONENT, postgres.PORT),
    "cache": (redis.SUFFIX, redis.COMPONENT, redis.PORT),
}


def found(service: Obj | None) -> Stores | None:
    """Database and cache as the CreditsService's own status tells them; None while it tells nothing."""
    told = ((service or {}).get("status") or {}).get("effective") or {}
    if not told.get("database") or not told.get("cache"):
        return None
    name = (service or {})["metadata"]["name"]
    return Stores(database=_address(name, "database", told), cache=_address(name, "cache", told))


def told(status: Any) -> Stores | None:
    """As the last look told them: what a read names cannot depend on what it finds."""
    stores = (status or {}).get("stores")
    return Stores.from_json(stores) if stores else None


def _address(name: str, store: str, told: Obj) -> StoreAddress:
    external = told[store].get("external")
    if external:
        # copies are made and restored by the owner
        reference = external.get("ownerSecretRef") or external["secretRef"]
        return StoreAddress(secret_name=reference["name"], key=reference.get("key", SECRET_URI_KEY), managed=False)
    return StoreAddress(secret_name=f"{name}{_COMPONENTS[store][0]}", key=SECRET_URI_KEY, managed=True)


def address(stores: Stores, store: str) -> StoreAddress:
    return stores.database if store == "database" else stores.cache


def secret(namespace: str, stores: Stores, store: str) -> Ref:
    return Ref(SECRET, namespace, address(stores, store).secret_name)


def way_out(service: Service, stores: Stores, store: str, seen: Observation) -> Rule:
    """Egress to the managed pod; or to the port of an external URI, at any address: a policy knows no host names."""
    _, component, port = _COMPONENTS[store]
    place = address(stores, store)
    if place.managed:
        return egress(peers_in_namespace(service.selector(component)), port)
    uri = secret_value(seen.objects.get(secret(service.namespace, stores, store)), place.key)
    return egress((), uri_port(uri, port))


def way_in(metadata: Obj, service: Service, store: str, pods: dict[str, str]) -> Obj:
    """A policy that lets `pods` in at a managed store, whose own policy names the service's pods alone: they add up."""
    _, component, port = _COMPONENTS[store]
    return obj(
        NETWORK_POLICY,
        metadata,
        spec={
            "podSelector": {"matchLabels": service.selector(component)},
            "policyTypes": ["Ingress"],
            "ingress": [ingress(peers_in_namespace(pods), port)],
        },
    )
