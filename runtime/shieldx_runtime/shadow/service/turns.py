"""A bounded queue that serves tenants in turn, so that one with a hundred evaluations delays nobody else's first."""

import asyncio
from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")


class FullError(Exception):
    """No place is left; ask again later."""


class Turns(Generic[T]):
    """First come, first served among what one tenant asked; tenants one after the other."""

    def __init__(self, *, places: int, places_each: int) -> None:
        self._places = places
        self._places_each = places_each
        self._waiting: OrderedDict[str, deque[T]] = OrderedDict()
        self._size = 0
        self._arrived = asyncio.Event()

    def __len__(self) -> int:
        return self._size

    def require_place(self, tenant_id: str) -> None:
        """Raises: FullError, all places are taken, or all that one tenant may have."""
        if self._size >= self._places or len(self._waiting.get(tenant_id, ())) >= self._places_each:
            raise FullError

    def put(self, tenant_id: str, item: T) -> None:
        """Raises: FullError, as `require_place`."""
        self.require_place(tenant_id)
        self._waiting.setdefault(tenant_id, deque()).append(item)
        self._size += 1
        self._arrived.set()

    def drop(self, tenant_id: str, item: T) -> bool:
        """Takes one out that waits; False where it waits no more."""
        own = self._waiting.get(tenant_id)
        if own is None or item not in own:
            return False
        own.remove(item)
        self._size -= 1
        if not own:
            del self._waiting[tenant_id]
        return True

    async def get(self) -> T:
        """Waits for the next; its tenant then goes behind all others."""
        while not self._size:
            self._arrived.clear()
            await self._arrived.wait()
        tenant_id, own = next(iter(self._waiting.items()))
        item = own.popleft()
        self._size -= 1
        if own:
            self._waiting.move_to_end(tenant_id)
        else:
            del self._waiting[tenant_id]
        return item
