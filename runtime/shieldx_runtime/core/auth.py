"""API keys: how they look, what is stored of them, and who a request is from.

A key is `sxk_<key_id>_<secret>`. Only HMAC-SHA256(pepper, key) is stored, so that neither a copy of the database nor
the pepper alone gives a key away, and every comparison takes constant time.
"""

import asyncio
import base64
import hashlib
import hmac
import math
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
from shieldx_runtime.core import log
from shieldx_runtime.core.faults import DatabaseUnavailableError
from shieldx_runtime.core.problems import FORBIDDEN, UNAUTHENTICATED, ProblemError
from shieldx_runtime.core.quota import Quota, Quotas

_KEY: Final = re.compile(API_KEY_PATTERN)
_CACHE_ENTRIES: Final = 10_000
_CACHE_TTL_S: Final = 4.0
"""A revocation acts everywhere within this time and the time of one lookup: less than 5 s."""
_LOOK_AGAIN_S: Final = 2.0
"""So old, a key in use is looked up beside its requests: were it to end first, all of them would wait for that."""
_RETRY_S: Final = 1.0
_logger = log.get(__name__)


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


class _Found:
    """What is stored of a key, until when that may be believed, and when to look again. Times of `time.monotonic`."""

    __slots__ = ("again_at", "stored", "until")

    def __init__(self, stored: StoredKey | None, *, looked_at: float) -> None:
        self.stored = stored
        self.until = looked_at + _CACHE_TTL_S
        self.again_at = looked_at + _LOOK_AGAIN_S

    def end(self) -> None:
        self.until = self.again_at = -math.inf


class Authenticator:
    """Turns an Authorization header into a principal. `lookup` finds an issued key by its id."""

    def __init__(self, *, pepper: bytes, admin_key: str, lookup: Lookup, rate_limit: int = DEFAULT_RATE_LIMIT) -> None:
        """`rate_limit` is for keys that have none of their own, the administrator's among them."""
        self._pepper = pepper
        self.quotas = Quotas(rate_limit)
        self._admin_hash = hash_key(pepper, admin_key)
        self._admin = Principal(f"bootstrap-{key_id_of(admin_key)}", None, frozenset(Scope), Quota(rate_limit))
        self._lookup = lookup
        self._cache: OrderedDict[str, _Found] = OrderedDict()
        self._lookups: dict[str, asyncio.Task[_Found]] = {}
        self._known: dict[bytes, tuple[_Found, Principal]] = {}
        self._always = _Found(None, looked_at=math.inf)

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
            self._remember(header, self._admin, self._always)
            return self._admin
        found = await self._find(key_id)
        stored = found.stored
        known = stored.key_hash if stored else b"\0" * len(presented)
        if not hmac.compare_digest(presented, known) or stored is None or stored.revoked or _expired(stored):
            raise _refusal("the key is unknown, revoked or expired: use another one", "invalid_token")
        quota = self.quotas.of(stored.key_id, stored.rate_limit)
        principal = Principal(stored.key_id, stored.tenant_id, stored.scopes, quota)
        self._remember(header, principal, found)
        return principal

    def known(self, digest: bytes) -> Principal | None:
        """The principal of a header that was found valid within the last `_CACHE_TTL_S`; None: authenticate it.

        Keys themselves are not kept: a header is known by its `header_digest`. To be called in the event loop.
        """
        entry = self._known.get(digest)
        if entry is None:
            return None
        found, principal = entry
        now = time.monotonic()
        if now >= found.again_at:
            if now >= found.until:
                return None
            found.again_at = min(now + _RETRY_S, found.until)
            self._look_up_once(principal.key_id)
        return None if found.stored is not None and _expired(found.stored) else principal

    def forget(self, key_id: str) -> None:
        """Drops what is cached of a key that has just changed."""
        found = self._cache.pop(key_id, None)
        if found:
            found.end()
        # what is being looked up may be from before the change
        self._lookups.pop(key_id, None)

    def _remember(self, header: str, principal: Principal, found: _Found) -> None:
        if len(self._known) >= _CACHE_ENTRIES:
            self._known.clear()
        self._known[header_digest(header.encode("latin-1"))] = (found, principal)

    async def _find(self, key_id: str) -> _Found:
        cached = self._cache.get(key_id)
        if cached and time.monotonic() < cached.until:
            return cached
        return await asyncio.shield(self._look_up_once(key_id))

    def _look_up_once(self, key_id: str) -> "asyncio.Task[_Found]":
        """The lookup of a key, which is one however many ask for it."""
        task = self._lookups.get(key_id)
        if task is None:
            task = self._lookups[key_id] = asyncio.create_task(self._look_up(key_id), name="lookup of a key")
            task.add_done_callback(_tell)
        return task

    async def _look_up(self, key_id: str) -> _Found:
        found = _Found(None, looked_at=time.monotonic())
        try:
            found.stored = await self._lookup(key_id)
        finally:
            current = self._lookups.get(key_id) is asyncio.current_task()
            if current:
                del self._lookups[key_id]
        if not current:
            # the key was changed meanwhile: good for those who have waited, and for nobody after them
            found.end()
            return found
        known = self._cache.pop(key_id, None)
        if known and known.stored == found.stored:
            known.until, known.again_at = found.until, found.again_at
            found = known
        elif known:
            known.end()
        if found.stored:
            self._cache[key_id] = found
            if len(self._cache) > _CACHE_ENTRIES:
                self._cache.popitem(last=False)[1].end()
        return found


def _tell(lookup: "asyncio.Task[_Found]") -> None:
    """Nobody may wait for a lookup's end: what is wrong with the database is said by its pool's keeper."""
    error = None if lookup.cancelled() else lookup.exception()
    if error and not isinstance(error, DatabaseUnavailableError):
        _logger.error("a key could not be looked up", exc_info=error)


def _expired(key: StoredKey) -> bool:
    return key.expires_at is not None and key.expires_at <= datetime.now(UTC)


def _refusal(detail: str, error: str) -> ProblemError:
    challenge = 'Bearer realm="shieldx"' + (f', error="{error}"' if error else "")
    return ProblemError(UNAUTHENTICATED, detail, headers={"WWW-Authenticate": challenge})
