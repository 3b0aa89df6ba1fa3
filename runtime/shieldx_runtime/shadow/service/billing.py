"""Evaluations are paid: credits are held before, taken by the samples judged, released otherwise.

What is to be done is decided in `charge`, kept by `charges`, and done by `ledger`; here they meet. `Billing.keep` goes
on with whatever this process or another has left behind.
"""

import asyncio
import contextlib
import random
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from shieldx_runtime.core import log
from shieldx_runtime.core.faults import DatabaseUnavailableError
from shieldx_runtime.shadow.service.charge import (
    ENDS,
    Call,
    Charge,
    Failed,
    Insufficient,
    State,
    Unknown,
    after,
    given_up,
    next_call,
    price_of,
)
from shieldx_runtime.shadow.service.charges import Charges, Claimed
from shieldx_runtime.shadow.service.ledger import LONGEST_CALL_S, Ledger
from shieldx_runtime.shadow.service.terms import Terms

AT_ONCE: Final = 32
"""Charges that a process settles at a time."""
KEEP_S: Final = 1.0
SWEEP_S: Final = 5.0
_SWEPT: Final = 1000
_LEASE_S: Final = 2 * LONGEST_CALL_S + 5.0
"""Longer than a reserve and a cancel may take."""
_LONGEST_PAUSE_S: Final = 300.0
_FAREWELL_S: Final = 5.0
MARGIN_S: Final = 15.0
"""Of a hold, what is left for the commit when the judging must be done."""
LOST: Final = "the process that worked on it is gone: ask again"
_logger = log.get(__name__)


class PaymentError(Exception):
    """Nobody pays for the evaluation, so it must not go on."""


class InsufficientCreditsError(PaymentError):
    """The tenant has not what the evaluation may cost."""

    def __init__(self, tenant_id: str, available: int, required: int) -> None:
        super().__init__(
            f"tenant {tenant_id!r} has {available} credits available, {required} are required: "
            f"purchase at least {required - available} more, or ask for fewer samples"
        )
        self.available, self.required = available, required


class UnknownTenantError(PaymentError):
    """The credits service has no such tenant."""


class BillingUnavailableError(PaymentError):
    """Whether credits are held is unknown. If they are, they will be released."""

    def __init__(self) -> None:
        super().__init__("the credits service did not hold the credits for it: ask again later")


class Billing:
    """`told` counts how charges end; `lost_after_s` as of evaluations nobody tells about."""

    def __init__(
        self, terms: Terms, charges: Charges, ledger: Ledger, told: Callable[[str, int], None], *, lost_after_s: float
    ) -> None:
        self._terms = terms
        self._charges = charges
        self._ledger = ledger
        self._told = told
        self._lost_after_s = lost_after_s
        self._wake = asyncio.Event()
        self._settling: dict[uuid.UUID, asyncio.Task[None]] = {}

    def owed(self, judged: int) -> int:
        """Credits for so many judged samples."""
        return price_of(judged, self._terms.credits_per_1000)

    async def hold(
        self, eval_id: uuid.UUID, tenant_id: str, samples: int, question: dict[str, Any], key: uuid.UUID | None
    ) -> Charge | None:
        """Writes the evaluation down and holds what it may cost at the most. None: the tenant has used the key.

        Raises:
            PaymentError: the evaluation must not go on.
            DatabaseUnavailableError: it could not be written down.
        """
        wanted = Charge(eval_id, tenant_id, State.RESERVING, self.owed(samples), self._terms.hold_s)
        if not await self._charges.open(wanted, question, key):
            return None
        outcome = await self._ledger.make(wanted, Call.RESERVE)
        now = after(wanted, Call.RESERVE, outcome)
        recorded = await self._charges.record(wanted, now)
        self._note(now)
        if now.state is State.HELD and recorded:
            return now
        match outcome:
            case Insufficient(available, required):
                raise InsufficientCreditsError(tenant_id, available, required)
            case Unknown():
                raise UnknownTenantError(f"the credits service has no tenant {tenant_id!r}: create it there first")
            case Failed(problem):
                _logger.warning("credits not held", eval_id=str(eval_id), problem=problem)
        self.wake()
        raise BillingUnavailableError

    def wake(self) -> None:
        """There may be something to settle."""
        self._wake.set()

    async def keep(self) -> None:
        """Settles what is due, until it is cancelled."""
        swept_s = float("-inf")
        clock = asyncio.get_running_loop().time
        try:
            while True:
                self._wake.clear()
                pause_s = KEEP_S
                try:
                    if clock() - swept_s >= SWEEP_S:
                        await self._sweep()
                        swept_s = clock()
                    await self._settle_due()
                except DatabaseUnavailableError:
                    pause_s = 5.0  # the pool's keeper says what is wrong with the database
                except Exception:
                    # it must never end: credits would stay held
                    _logger.exception("settling failed", next_try_s=pause_s)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause_s * random.uniform(0.8, 1.2)):  # noqa: S311 - no secret
                        await self._wake.wait()
        finally:
            await self._say_farewell()

    async def _sweep(self) -> None:
        """Brings what nobody works on any more to its end."""
        lost = await self._charges.end_lost(self._lost_after_s, LOST, _SWEPT)
        if lost:
            _logger.warning("evaluations of processes that are gone have failed", evaluations=lost)
        await self._charges.cancel_ended(_SWEPT)

    async def _settle_due(self) -> None:
        free = AT_ONCE - len(self._settling)
        if free <= 0:
            return
        for claimed in await self._charges.claim(_LEASE_S, free):
            eval_id = claimed.charge.eval_id
            if eval_id in self._settling:
                continue  # its lease has ended before its calls did: one task for it is enough
            task = asyncio.create_task(self._settle(claimed), name=f"charge {eval_id}")
            self._settling[eval_id] = task
            alone = next_call(claimed.charge) is Call.RESERVE
            task.add_done_callback(partial(self._settled, eval_id, alone))

    def _settled(self, eval_id: uuid.UUID, alone: bool, _: "asyncio.Task[None]") -> None:
        self._settling.pop(eval_id, None)
        if alone or len(self._settling) == AT_ONCE - 1:
            self.wake()  # there may be more than fitted, or the tenant's next that had to wait for this one

    async def _settle(self, claimed: Claimed) -> None:
        """Makes the calls of one charge, until it ends or one fails."""
        charge = claimed.charge
        try:
            while (call := next_call(charge)) is not None:
                now = given_up(charge) if claimed.over else after(charge, call, await self._ledger.make(charge, call))
                stuck = now.state not in ENDS and bool(now.problem)
                if not await self._charges.record(charge, now, _pause_s(claimed.tries) if stuck else 0.0):
                    return
                self._note(now)
                if stuck:
                    _logger.warning("charge not settled", eval_id=str(now.eval_id), call=call, problem=now.problem)
                    return
                charge = now
        except DatabaseUnavailableError:
            return  # its lease ends, and then it is tried again
        except Exception:
            _logger.exception("charge not settled", eval_id=str(charge.eval_id))

    def _note(self, charge: Charge) -> None:
        if charge.state in ENDS:
            self._told(charge.state, charge.owed if charge.state is State.COMMITTED else 0)
        if charge.state is State.LAPSED:
            _logger.error("evaluation not paid", eval_id=str(charge.eval_id), owed=charge.owed, problem=charge.problem)

    async def _say_farewell(self) -> None:
        """What is under way gets its time; another process goes on with the rest."""
        tasks = list(self._settling.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_FAREWELL_S)
            for task in late:
                task.cancel()
        await self._ledger.close()


def time_left_s(charge: Charge | None, most_s: float) -> float:
    """How long the judging may take: at most `most_s`, and no longer than its credits are held; 0: not at all."""
    if charge is None or charge.hold_until is None:
        return most_s
    held_s = (charge.hold_until - datetime.now(UTC)).total_seconds() - MARGIN_S
    return max(0.0, min(most_s, held_s))


def _pause_s(tries: int) -> float:
    return random.uniform(0.5, 1.0) * min(_LONGEST_PAUSE_S, 2.0 ** min(tries, 16))  # noqa: S311 - no secret
