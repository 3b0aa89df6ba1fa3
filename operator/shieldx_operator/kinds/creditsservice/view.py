"""A CreditsService as the other functions of this kind want to see it: parsed, defaulted, named."""

from dataclasses import dataclass
from typing import Final

from shieldx_operator.api.creditsservice import CreditsServiceSpec
from shieldx_operator.api.defaults import EffectiveCreditsService, effective
from shieldx_operator.blocks import postgres, redis
from shieldx_operator.blocks.meta import Service, auth_secret_name
from shieldx_operator.blocks.resources import SECRET
from shieldx_operator.blocks.spec import parse
from shieldx_operator.blocks.workload import digest
from shieldx_operator.engine.types import Obj, Ref
from shieldx_operator.settings import OperatorSettings

APP: Final = "credits"
API_COMPONENT: Final = "api"
MIGRATION_COMPONENT: Final = "migration"
RECONCILIATION_COMPONENT: Final = "reconciliation"


@dataclass(frozen=True, slots=True)
class View:
    """What one CreditsService asks for. `version` and `image` are those that must run now."""

    service: Service
    effective: EffectiveCreditsService
    spec_digest: str
    generation: int
    version: str
    image: str

    @property
    def database_secret(self) -> Ref:
        """The Secret that the API connects to the database by."""
        external = self.effective.database.external
        name = external.secret_ref.name if external else f"{self.service.name}{postgres.SERVICE_SUFFIX}"
        return Ref(SECRET, self.service.namespace, name)

    @property
    def database_key(self) -> str:
        external = self.effective.database.external
        return external.secret_ref.key if external else "uri"

    @property
    def owner_secret(self) -> Ref:
        """The Secret of the database's owner, who brings up the schema: the API's own where one role does both."""
        external = self.effective.database.external
        if external is None:
            return Ref(SECRET, self.service.namespace, f"{self.service.name}{postgres.SUFFIX}")
        return Ref(SECRET, self.service.namespace, (external.owner_secret_ref or external.secret_ref).name)

    @property
    def owner_key(self) -> str:
        external = self.effective.database.external
        return (external.owner_secret_ref or external.secret_ref).key if external else "uri"

    @property
    def has_own_role(self) -> bool:
        return (self.owner_secret, self.owner_key) != (self.database_secret, self.database_key)

    @property
    def cache_secret(self) -> Ref:
        external = self.effective.cache.external
        name = external.secret_ref.name if external else f"{self.service.name}{redis.SUFFIX}"
        return Ref(SECRET, self.service.namespace, name)

    @property
    def cache_key(self) -> str:
        external = self.effective.cache.external
        return external.secret_ref.key if external else "uri"

    @property
    def auth_secret(self) -> Ref:
        return Ref(SECRET, self.service.namespace, auth_secret_name(self.service.name))

    @property
    def audit_secret(self) -> Ref:
        return Ref(SECRET, self.service.namespace, f"{self.service.name}-audit")


def view(parent: Obj, settings: OperatorSettings) -> View:
    """Parses an object that the API server let through.

    Raises:
        Stall: see `blocks.spec.parse`.
    """
    meta = parent["metadata"]
    chosen = parse(lambda spec: effective(CreditsServiceSpec.from_json(spec)), parent)
    repository, _, default_version = settings.runtime_image.rpartition(":")
    version = chosen.version or parent.get("status", {}).get("version") or default_version
    return View(
        service=Service(meta["namespace"], meta["name"], APP),
        effective=chosen,
        spec_digest=digest({"spec": parent.get("spec", {}), "version": version}),
        generation=meta.get("generation", 0),
        version=version,
        image=f"{chosen.image.repository or repository}:{version}",
    )
