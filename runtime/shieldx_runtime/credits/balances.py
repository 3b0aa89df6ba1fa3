"""Balances that may be read from a cache, without a client ever missing its own write.

Three tiers: this process (L1), Redis (L2), the database (L3). Every write is put into L1 and goes through to L2 under
its version, and is remembered as the floor of that tenant: an older cached balance is passed over, even if the write
never reached Redis. With the write, L2 tells all other processes, which drop what they have of that tenant. Should
they miss it, they answer with a balance that is at most as old as the lifetime of an entry; its version, the ETag,
says which it is. No entry is told after a grant or a hold of its tenant has expired.
"""

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from shieldx_runtime.core.cache import Cache, Entry
from shieldx_runtime.core.metrics import Metrics
from shieldx_runtime.credits.model import Account

L1_CAPACITY: Final = 10_000
L1_TTL_S: Final = 30.0
_MAX_FLOORS: Final = 100_000
_MAX_UNTOLD: Final = 10_000
_TOLD_AT_ONCE: Final = 128
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Account).decode


class Floors:
    """The newest version that this process knows of each tenant, for as long as an older one may be cached."""

    def __init__(self, lifetime_s: float, capacity: int = _MAX_FLOORS) -> None:
        self._lifetime_s = lifetime_s
        self._capacity = capacity
        self._floors: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def raise_to(self, tenant_id: str, version: int) -> None:
        now = time.monotonic()
        known = self._floors.pop(tenant_id, (now, version))[1]
        self._floors[tenant_id] = (now, max(known, version))
        while self._floors:
            oldest, (since, _) = next(iter(self._floors.items()))
            if len(self._floors) <= self._capacity and now - since <= self._lifetime_s:
                break
            del self._floors[oldest]

    def of(self, tenant_id: str) -> int:
        return self._floors.get(tenant_id, (0.0, 0))[1]


class Local:
    """L1: the balances used last, each for at most `ttl_s`. A newer version is never replaced by an older one."""

    def __init__(self, ttl_s: float = L1_TTL_S, capacity: int = L1_CAPACITY) -> None:
        self._ttl_s = ttl_s
        self._capacity = capacity
        self._entries: OrderedDict[str, tuple[float, Account]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, tenant_id: str) -> Account | None:
        entry = self._entries.get(tenant_id)
        if entry is None:
            return None
        until, account = entry
        if time.monotonic() >= until or is_due(account):
            del self._entries[tenant_id]
            return None
        self._entries.move_to_end(tenant_id)
        return account

    def put(self, account: Account) -> None:
        if self._ttl_s <= 0:
            return
        known = self._entries.get(account.tenant_id)
        if known is not None and known[1].version > account.version:
            return
        self._entries[account.tenant_id] = (time.monotonic() + self._ttl_s, account)
        self._entries.move_to_end(account.tenant_id)
        if len(self._entries) > self._capacity:
            self._entries.popitem(last=False)

    def drop_below(self, tenant_id: str, version: int) -> None:
        entry = self._entries.get(tenant_id)
        if entry is not None and entry[1].version < version:
            del self._entries[tenant_id]

    def clear(self) -> None:
        self._entries.clear()


def is_due(account: Account) -> bool:
    """Whether a grant or a hold has expired since: the account must be settled before it is told."""
    return account.next_event_at is not None and account.next_event_at <= time.time()


class BalanceCache:
    """`namespace` keeps services that share one Redis apart."""

    def __init__(self, cache: Cache, local: Local, floors: Floors, namespace: str, metrics: Metrics) -> None:
        self.local = local
        self._cache = cache
        self._floors = floors
        self._prefix = f"shieldx:credits:{namespace}:balance:"
        self._channel = f"shieldx:credits:{namespace}:written"
        self._process = secrets.token_hex(8)
        self._metrics = metrics
        self.listening = asyncio.Event()
        """Set when it hears others for the first time, or cannot."""
        self._untold: OrderedDict[str, Account] = OrderedDict()
        self._loading: dict[str, asyncio.Task[Account | None]] = {}

    async def read(self, tenant_id: str, load: Callable[[str], Awaitable[Account | None]]) -> Account | None:
        """The balance from the nearest tier that has it; `load` asks the database. None: no such tenant.

        Of many who miss at once, one asks, and all get its answer.
        """
        account = self.local.get(tenant_id)
        self._metrics.cache_read("l1", hit=account is not None)
        if account is not None:
            return account
        task = self._loading.get(tenant_id)
        if task is None:
            task = asyncio.create_task(self._load(tenant_id, load))
            self._loading[tenant_id] = task
            task.add_done_callback(lambda _: self._loading.pop(tenant_id, None))
        # a caller that gives up must not take the others' answer with it
        account = await asyncio.shield(task)
        if account is not None and account.version < self._floors.of(tenant_id):
            # it was asked for before a write that this caller may know of
            return self.local.get(tenant_id) or await load(tenant_id)
        return account

    async def _load(self, tenant_id: str, load: Callable[[str], Awaitable[Account | None]]) -> Account | None:
        account = await self._from_redis(tenant_id)
        self._metrics.cache_read("l2", hit=account is not None)
        if account is None:
            account = await load(tenant_id)
            if account is None:
                return None
            await self._cache.put([self._entry(account)])
        self.remember(account)
        return account

    def remember(self, account: Account) -> None:
        """Keeps what was read, unless something newer is known of that tenant."""
        if account.version >= self._floors.of(account.tenant_id):
            self.local.put(account)

    async def _from_redis(self, tenant_id: str) -> Account | None:
        entry = await self._cache.get(self._prefix + tenant_id)
        if entry is None or entry[0] < self._floors.of(tenant_id):
            return None
        try:
            account = _decode(entry[1])
        except msgspec.DecodeError:
            return None
        return None if account.tenant_id != tenant_id or is_due(account) else account

    async def peek(self, tenant_id: str) -> dict[str, Account | None]:
        """What each tier has of a tenant at this moment, without filling any."""
        return {"l1": self.local.get(tenant_id), "l2": await self._from_redis(tenant_id)}

    async def written(self, accounts: Sequence[Account]) -> None:
        """Takes note of writes of this process. Awaited before their answers are sent."""
        for account in accounts:
            self._floors.raise_to(account.tenant_id, account.version)
            self.local.put(account)
        await self._tell(accounts)

    async def tell_again(self) -> None:
        """Tells others what could not be told while Redis was away."""
        while self._untold:
            some = [self._untold.popitem()[1] for _ in range(min(_TOLD_AT_ONCE, len(self._untold)))]
            if not await self._tell(some):
                break

    async def _tell(self, accounts: Sequence[Account]) -> bool:
        news = " ".join([self._process, *(f"{a.tenant_id}={a.version}" for a in accounts)])
        if await self._cache.put([self._entry(a) for a in accounts], channel=self._channel, message=news):
            return True
        for account in accounts:
            known = self._untold.get(account.tenant_id)
            if known is None or known.version < account.version:
                self._untold[account.tenant_id] = account
        while len(self._untold) > _MAX_UNTOLD:
            # who has it in memory still drops it when its time is over
            self._untold.popitem(last=False)
        return False

    async def listen(self) -> None:
        """Drops what other processes have changed, for ever. What was missed meanwhile is unknown: all is dropped."""
        await self._cache.listen(self._channel, self.hear, self._missed)

    def _missed(self) -> None:
        self.local.clear()
        self.listening.set()

    def hear(self, message: bytes) -> None:
        process, *news = message.decode("ascii", "replace").split(" ")
        if process == self._process:
            return
        for item in news:
            tenant_id, _, version = item.partition("=")
            if version.isdigit():
                self._floors.raise_to(tenant_id, int(version))
                self.local.drop_below(tenant_id, int(version))

    def _entry(self, account: Account) -> Entry:
        return Entry(self._prefix + account.tenant_id, account.version, _encode(account).decode())
