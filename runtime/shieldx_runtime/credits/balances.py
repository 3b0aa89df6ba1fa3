"""Balances that may be read from the cache, without a client ever missing its own write.

Every write goes through to the cache under its version, and is remembered here as the floor of that tenant: an older
cached balance is passed over, even if the write never reached Redis. Other replicas may answer with a balance that is
at most as old as the cache's lifetime; its version, the ETag, says which it is.
"""

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import msgspec

from shieldx_runtime.core.cache import Cache
from shieldx_runtime.credits.model import Account

_MAX_FLOORS: Final = 100_000


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


@dataclass(frozen=True, slots=True)
class BalanceCache:
    """`namespace` keeps services that share one Redis apart."""

    cache: Cache
    floors: Floors
    namespace: str

    async def get(self, tenant_id: str) -> Account | None:
        entry = await self.cache.get(self._key(tenant_id))
        if entry is None or entry[0] < self.floors.of(tenant_id):
            return None
        try:
            return msgspec.json.decode(entry[1], type=Account)
        except msgspec.DecodeError:
            return None

    async def put(self, account: Account) -> None:
        await self.cache.put(self._key(account.tenant_id), account.version, msgspec.json.encode(account))

    async def written(self, account: Account) -> None:
        """Takes note of a write of this process. Awaited before its answer is sent."""
        self.floors.raise_to(account.tenant_id, account.version)
        await self.put(account)

    def _key(self, tenant_id: str) -> str:
        return f"shieldx:credits:{self.namespace}:balance:{tenant_id}"
