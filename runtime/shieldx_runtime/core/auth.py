"""API keys: how they look, what is stored of them, and who a request is from.

A key is `sxk_<key_id>_<secret>`. Only HMAC-SHA256(pepper, key) is stored, so that neither a copy of the database nor
the pepper alone gives a key away, and every comparison takes constant time.
"""

import base64
import hashlib
import hmac
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from shieldx_contract import API_KEY_PATTERN, DEFAULT_RATE_LIMIT
from shieldx_runtime.core.problems import FORBIDDEN, UNAUTHENTICATED, ProblemError
from shieldx_runtime.core.quota import Quota, Quotas

_KEY: Final = re.compile(API_KEY_PATTERN)
_CACHE_ENTRIES: Final = 10_000
_CACHE_TTL_S: Final = 4.0
"""A revocation acts everywhere within this time and the time of one lookup: less than 5 s."""


class Scope(StrEnum):
    CONSUME = "consume"
    READ = "read"
    PURCHASE = "purchase"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class KeyTerms:
    """What a key may do, for whom, until when, how often. As in `StoredKey`."""

    tenant_id: str | None
    scopes: frozenset[Scope]
    expires_at: datetime | None
    rate_limit: int | None


@dataclass(frozen=True, slots=True)
class StoredKey:
    """What is known of an issued key. `tenant_id` None binds it to the platform: every tenant.

    `rate_limit` is in requests within `quota.WINDOW_S`; None: the process's own.
    """

    key_id: str
    key_hash: bytes
    tenant_id: str | None
    scopes: frozenset[Scope]
    expires_at: datetime | None
    revoked: bool
    rate_limit: int | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a request is from."""

    key_id: str
    tenant_id: str | None
    scopes: frozenset[Scope]
    quota: Quota = field(repr=False, compare=False)

    def may_act_for(self, tenant_id: str) -> bool:
        return self.tenant_id is None or self.tenant_id == tenant_id

    def require(self, scope: Scope) -> None:
        """Raises: ProblemError 403, the key has not got `scope`."""
        if scope not in self.scopes:
            raise ProblemError(FORBIDDEN, f"the key lacks the scope {scope.value!r}: use a key that has it")


Lookup = Callable[[str], Awaitable[StoredKey | None]]


def key_id_of(key: str) -> str | None:
    """The id in a key, or None where the text has not got the form of one."""
    return key.split("_", 2)[1] if _KEY.fullmatch(key) else None


def new_key() -> tuple[str, str]:
    """A fresh key id and its key."""
    key_id = secrets.token_hex(8)
    secret = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    return key_id, f"sxk_{key_id}_{secret}"


def hash_key(pepper: bytes, key: str) -> bytes:
    return hmac.digest(pepper, key.encode(), hashlib.sha256)


def header_digest(header: bytes) -> bytes:
    """What an Authorization header's value is known by."""
    return hashlib.sha256(header).digest()


class Authenticator:
    """Turns an Authorization header into a principal. `lookup` finds an issued key by its id."""

    def __init__(self, *, pepper: bytes, admin_key: str, lookup: Lookup, rate_limit: int = DEFAULT_RATE_LIMIT) -> None:
        """`rate_limit` is for keys that have none of their own, the administrator's among them."""
        self._pepper = pepper
        self._quotas = Quotas(rate_limit)
        self._admin_hash = hash_key(pepper, admin_key)
        self._admin = Principal(f"bootstrap-{key_id_of(admin_key)}", None, frozenset(Scope), Quota(rate_limit))
        self._lookup = lookup
        self._cache: OrderedDict[str, tuple[float, StoredKey]] = OrderedDict()
        self._known: dict[bytes, tuple[float, Principal, StoredKey | None]] = {}

    async def authenticate(self, header: str | None) -> Principal:
        """The principal of an Authorization header's value.

        Raises:
            ProblemError: 401, the key is missing, malformed, unknown, revoked or expired.
            DatabaseUnavailableError: an issued key could not be looked up.
        """
        if header is None:
            raise _refusal("no key was sent: set Authorization: Bearer sxk_...", "")
        scheme, _, key = header.partition(" ")
        key_id = key_id_of(key.strip())
        if scheme.lower() != "bearer" or key_id is None:
            raise _refusal("this is no API key: set Authorization: Bearer sxk_<id>_<secret>", "invalid_request")
        presented = hash_key(self._pepper, key.strip())
        if hmac.compare_digest(presented, self._admin_hash):
            self._remember(header, self._admin, None, time.monotonic() + _CACHE_TTL_S)
            return self._admin
        until, stored = await self._find(key_id)
        known = stored.key_hash if stored else b"\0" * len(presented)
        if not hmac.compare_digest(presented, known) or stored is None or stored.revoked or _expired(stored):
            raise _refusal("the key is unknown, revoked or expired: use another one", "invalid_token")
        quota = self._quotas.of(stored.key_id, stored.rate_limit)
        principal = Principal(stored.key_id, stored.tenant_id, stored.scopes, quota)
        self._remember(header, principal, stored, until)
        return principal

    def known(self, digest: bytes) -> Principal | None:
        """The principal of a header that was found valid within the last `_CACHE_TTL_S`; None: authenticate it.

        Keys themselves are not kept: a header is known by its `header_digest`.
        """
        entry = self._known.get(digest)
        if entry is None or time.monotonic() >= entry[0]:
            return None
        stored = entry[2]
        return None if stored is not None and _expired(stored) else entry[1]

    def forget(self, key_id: str) -> None:
        """Drops what is cached of a key that has just changed."""
        self._cache.pop(key_id, None)
        for digest in [d for d, (_, principal, _) in self._known.items() if principal.key_id == key_id]:
            del self._known[digest]

    def _remember(self, header: str, principal: Principal, stored: StoredKey | None, until: float) -> None:
        if len(self._known) >= _CACHE_ENTRIES:
            self._known.clear()
        self._known[header_digest(header.encode("latin-1"))] = (until, principal, stored)

    async def _find(self, key_id: str) -> tuple[float, StoredKey | None]:
        """What is stored of a key, and until when that may be believed."""
        now = time.monotonic()
        cached = self._cache.get(key_id)
        if cached and now - cached[0] < _CACHE_TTL_S:
            return cached[0] + _CACHE_TTL_S, cached[1]
        stored = await self._lookup(key_id)
        if stored:
            self._cache[key_id] = (now, stored)
            self._cache.move_to_end(key_id)
            if len(self._cache) > _CACHE_ENTRIES:
                self._cache.popitem(last=False)
        return now + _CACHE_TTL_S, stored


def _expired(key: StoredKey) -> bool:
    return key.expires_at is not None and key.expires_at <= datetime.now(UTC)


def _refusal(detail: str, error: str) -> ProblemError:
    challenge = 'Bearer realm="shieldx"' + (f', error="{error}"' if error else "")
    return ProblemError(UNAUTHENTICATED, detail, headers={"WWW-Authenticate": challenge})
