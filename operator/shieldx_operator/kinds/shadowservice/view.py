"""A ShadowService as the other functions of this kind want to see it, and the CreditsService beside it."""

from dataclasses import dataclass, replace
from typing import Final

from shieldx_contract import API_GROUP, SECRET_URI_KEY
from shieldx_operator.api.shadowservice import ShadowServiceSpec
from shieldx_operator.api.shadowservicedefaults import EffectiveShadowService, effective_service
from shieldx_operator.blocks import postgres, redis
from shieldx_operator.blocks.meta import Service, auth_secret_name
from shieldx_operator.blocks.resources import CONFIG_MAP, DEPLOYMENT, PVC, SECRET
from shieldx_operator.blocks.spec import parse
from shieldx_operator.blocks.workload import digest
from shieldx_operator.engine.types import Obj, Observation, Ref, Resource
from shieldx_operator.settings import OperatorSettings

APP: Final = "shadow"
CREDITS_APP: Final = "credits"
CREDITS_RESOURCE: Final = Resource(API_GROUP, "v1alpha1", "CreditsService", "creditsservices")


@dataclass(frozen=True, slots=True)
class Store:
    """A store of the CreditsService: the Secret and key of its URI, and the component of its pod where it has one.

    `role` and `role_key`: the Secret and key of the URI that the API connects by, where that is not the owner's.
    """

    secret: Ref
    key: str
    component: str | None
    port: int
    role: Ref | None = None
    role_key: str = SECRET_URI_KEY


@dataclass(frozen=True, slots=True)
class View:
    """What one ShadowService asks for. `version` and `image` are those that must run now."""

    service: Service
    effective: EffectiveShadowService
    spec_digest: str
    generation: int
    version: str
    image: str

    @property
    def credits(self) -> Ref:
        return Ref(CREDITS_RESOURCE, self.service.namespace, self.effective.credits_ref.name)

    @property
    def credits_service(self) -> Service:
        return Service(self.service.namespace, self.effective.credits_ref.name, CREDITS_APP)

    @property
    def auth_secret(self) -> Ref:
        return Ref(SECRET, self.service.namespace, auth_secret_name(self.effective.credits_ref.name))

    @property
    def billing_secret(self) -> Ref | None:
        billing = self.effective.billing
        return None if billing is None else Ref(SECRET, self.service.namespace, billing.key_secret_ref.name)

    @property
    def role_secret(self) -> Ref:
        """Of the role that the API connects by, where the credits service runs its database."""
        return Ref(SECRET, self.service.namespace, f"{self.service.name}{postgres.SUFFIX}")

    @property
    def configuration(self) -> Ref:
        return Ref(CONFIG_MAP, self.service.namespace, f"{self.service.name}-config")

    @property
    def database_claim(self) -> Ref:
        """Of the database that the credits service runs: another claim is another database."""
        return Ref(PVC, self.service.namespace, f"{self.effective.credits_ref.name}{postgres.SUFFIX}")

    @property
    def deployment(self) -> Ref:
        return Ref(DEPLOYMENT, self.service.namespace, self.service.name)


def view(parent: Obj, settings: OperatorSettings) -> View:
    """Parses an object that the API server let through.

    Raises:
        Stall: see `blocks.spec.parse`.
    """
    meta = parent["metadata"]
    chosen = parse(lambda spec: effective_service(ShadowServiceSpec.from_json(spec)), parent)
    repository, _, default_version = settings.runtime_image.rpartition(":")
    version = chosen.version or (parent.get("status") or {}).get("version") or default_version
    return View(
        service=Service(meta["namespace"], meta["name"], APP),
        effective=chosen,
        spec_digest=digest({"spec": parent.get("spec", {}), "version": version}),
        generation=meta.get("generation", 0),
        version=version,
        image=f"{chosen.image.repository or repository}:{version}",
    )


def stores(v: View, seen: Observation) -> tuple[Store, Store] | None:
    """Database and cache of the CreditsService as its own status tells them; None while it tells nothing."""
    credits_object = seen.objects.get(v.credits) or {}
    told = (credits_object.get("status") or {}).get("effective") or {}
    if not told.get("database") or not told.get("cache"):
        return None
    return (
        _with_role(
            v, told["database"], _store(v, told["database"], postgres.SUFFIX, postgres.COMPONENT, postgres.PORT)
        ),
        _store(v, told["cache"], redis.SUFFIX, redis.COMPONENT, redis.PORT),
    )


def _with_role(v: View, told: Obj, owner: Store) -> Store:
    """The database with the role that serves: one of our own, or that of the credits service where the user made it."""
    external = told.get("external")
    if not external:
        return replace(owner, role=v.role_secret)
    reference = external["secretRef"]
    role, key = Ref(SECRET, v.service.namespace, reference["name"]), reference.get("key", SECRET_URI_KEY)
    return owner if (role, key) == (owner.secret, owner.key) else replace(owner, role=role, role_key=key)


def _store(v: View, told: Obj, suffix: str, component: str, port: int) -> Store:
    external = told.get("external")
    if external:
        # its schema is of its own making, which takes the owner
        reference = external.get("ownerSecretRef") or external["secretRef"]
        secret = Ref(SECRET, v.service.namespace, reference["name"])
        return Store(secret, reference.get("key", SECRET_URI_KEY), None, port)
    return Store(Ref(SECRET, v.service.namespace, f"{v.credits.name}{suffix}"), SECRET_URI_KEY, component, port)
