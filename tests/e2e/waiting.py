"""Waiting for what another process does."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

Found = TypeVar("Found")


def until(what: str, holds: Callable[[], Found | None], timeout_s: float = 30, every_s: float = 0.1) -> Found:
    """The first true answer of `holds`. Raises: AssertionError: there was none in time."""
    deadline_s = time.monotonic() + timeout_s
    while not (answer := holds()):
        assert time.monotonic() < deadline_s, f"not within {timeout_s:g} s: {what}"
        time.sleep(every_s)
    return answer


async def eventually(holds: Callable[[], Awaitable[Found | None]], timeout_s: float, what: str) -> Found:
    """The same of what is awaited. Raises: AssertionError: there was none in time."""
    deadline_s = time.monotonic() + timeout_s
    while not (answer := await holds()):
        assert time.monotonic() < deadline_s, f"{what}: not within {timeout_s:g} s"
        await asyncio.sleep(0.1)
    return answer
