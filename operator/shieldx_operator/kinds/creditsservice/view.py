"""A CreditsService as the other functions of this kind want to see it: parsed, defaulted, named."""

import base64
import binascii
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from shieldx_operator.api.creditsservice import CreditsServiceSpec
from shieldx_operator.api.defaults import EffectiveCreditsService, effective
from shieldx_operator.blocks import postgres, redis
from shieldx_operator.blocks.meta import Service, auth_secret_name
from shieldx_operator.blocks.resources import SECRET
from shieldx_operator.blocks.spec import parse
from shieldx_operator.blocks.workload import digest
from shieldx_operator.engine.types import Obj, Observation, Ref
from shieldx_operator.settings import OperatorSettings

APP: Final = "credits"
API_COMPONENT: Final = "api"
MIGRATION_COMPONENT: Final = "migration"


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
        external = self.effective.database.external
        name = external.secret_ref.name if external else f"{self.service.name}{postgres.SUFFIX}"
        return Ref(SECRET, self.service.namespace, name)

    @property
    def database_key(self) -> str:
        external = self.effective.database.external
        return external.secret_ref.key if external else "uri"

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


def secret_value(secret: Obj | None, key: str) -> str | None:
    """A value of a Secret as text; None where it is missing or no text."""
    encoded = (secret or {}).get("data", {}).get(key)
    if encoded is None:
        return None
    try:
        return base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def uri_port(uri: str | None, default: int) -> int:
    """The port of a connection URI, for the egress rule; a URI that cannot be read gets the default."""
    try:
        return urlsplit(uri or "").port or default
    except ValueError:
        return default


def uri_problem(seen: Observation, ref: Ref, key: str, schemes: tuple[str, ...]) -> tuple[str, str] | None:
    """Reason and message where a Secret of the user's can't give a connection URI; never a part of the value."""
    secret = seen.objects.get(ref)
    if secret is None:
        return "SecretNotFound", f"{ref} does not exist; create it with the key {key!r} holding the connection URI"
    value = secret_value(secret, key)
    if value is None:
        return "SecretKeyMissing", f"{ref} has no key {key!r}; add it with the connection URI as its value"
    if urlsplit(value).scheme not in schemes:
        return (
            "SecretInvalid",
            f"{ref}, key {key!r}: the value is no URI that starts with {' or '.join(f'{s}://' for s in schemes)}",
        )
    return None
