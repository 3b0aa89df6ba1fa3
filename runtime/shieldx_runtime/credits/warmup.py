"""Fills the memory of a new process with the balances that were moved most of late, before it is ready.

Without it each new replica would send its first readers to the database, all at once, in the middle of a rollout.
"""

import asyncio
import contextlib
from typing import Final

from shieldx_runtime.core import log
from shieldx_runtime.core.faults import DatabaseUnavailableError
from shieldx_runtime.credits.balances import L1_CAPACITY, BalanceCache
from shieldx_runtime.credits.repository import Repository

ENTRIES: Final = 20_000
"""Of the ledger, the last ones: those who have most of them are the busiest."""
_ATTEMPTS: Final = 30
_PAUSE_S: Final = 1.0
_logger = log.get(__name__)


class Warmup:
    """`pending` says what readiness waits for, or nothing."""

    def __init__(self, repository: Repository, balances: BalanceCache) -> None:
        self._repository = repository
        self._balances = balances
        self.pending = "the busiest balances are being read into memory"

    async def run(self) -> None:
        """Ends when they are there, or when it has been tried for half a minute: then readers fill it."""
        try:
            # what is read before others are heard would be dropped
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PAUSE_S):
                    await self._balances.listening.wait()
            for _ in range(_ATTEMPTS):
                try:
                    accounts = await self._repository.busiest(ENTRIES, L1_CAPACITY)
                except DatabaseUnavailableError:
                    await asyncio.sleep(_PAUSE_S)
                    continue
                # the busiest last: they are the last to be pushed out
                for account in reversed(accounts):
                    self._balances.remember(account)
                _logger.info("balances preloaded", accounts=len(accounts))
                return
            _logger.warning("balances not preloaded: readers will fetch them", attempts=_ATTEMPTS)
        except Exception:
            # a cache that stays empty is no reason to stay unready
            _logger.exception("balances not preloaded: readers will fetch them")
        finally:
            self.pending = ""
