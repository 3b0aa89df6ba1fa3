"""The calls of the credits API that pay for evaluations: by its typed client, in bounded time, as plain outcomes."""

import asyncio
import uuid
from pathlib import Path
from typing import Final

import httpx

from shieldx_client import ApiError, AsyncCreditsClient, InsufficientCreditsError, NoAnswerError, RetryPolicy
from shieldx_runtime.core.settings import SettingsError, read_secret
from shieldx_runtime.shadow.service.charge import (
    Call,
    Charge,
    Closed,
    Failed,
    Held,
    Insufficient,
    Moved,
    Outcome,
    Unknown,
    key_of,
)

_TRY_TIMEOUT_S: Final = 2.0
_RETRY: Final = RetryPolicy(tries=3, first_pause_s=0.1, longest_pause_s=1.0)
LONGEST_CALL_S: Final = 3 * _TRY_TIMEOUT_S + 2 * 2.0
"""All tries and the pauses between them, at the most: also where an answer trickles in, which no phase's limit sees."""
_NOT_LET_IN: Final = frozenset({401, 403})
_UNKNOWN: Final = frozenset({"unknown-tenant", "unknown-reservation"})
_CLOSED: Final = "reservation-closed"


class Ledger:
    """The key is read from its file for each call, so that a new one in the Secret is taken up without a restart."""

    def __init__(self, url: str, key_file: Path, variable: str) -> None:
        self._url = url
        self._key_file = key_file
        self._variable = variable
        self._key = ""
        self._client: AsyncCreditsClient | None = None

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def make(self, charge: Charge, call: Call) -> Outcome:
        """Makes one call about a charge, within `LONGEST_CALL_S`. Never raises for what service or network say."""
        try:
            async with asyncio.timeout(LONGEST_CALL_S):
                return await self._asked(charge, call)
        except TimeoutError:
            return Failed(f"the credits service at {self._url} gave no answer within {LONGEST_CALL_S:g} s")
        except (httpx.HTTPError, httpx.InvalidURL, KeyError, TypeError, ValueError) as error:
            # of something in between that answered in its place
            return Failed(f"the credits service at {self._url} gave no answer of its own: {type(error).__name__}")

    async def _asked(self, charge: Charge, call: Call) -> Outcome:
        """Raises: KeyError, TypeError, ValueError: the answer is none of the credits API."""
        try:
            return await self._made(await self._current(), charge, call)
        except SettingsError as error:
            return Failed(str(error), sent=False)
        except NoAnswerError as error:
            return Failed(f"the credits service at {self._url}: {error}", sent=error.sent)
        except ApiError as error:
            return self._refusal(call, error)

    def _refusal(self, call: Call, error: ApiError) -> Outcome:
        """Raises: KeyError, TypeError, ValueError: as above."""
        if isinstance(error, InsufficientCreditsError):
            return Insufficient(error.available, error.required)
        if error.slug in _UNKNOWN:
            return Unknown()
        if error.slug == _CLOSED:
            return Closed(str(error.problem.get("state", "")))
        told = f"the credits service at {self._url} refused to {call}: {error}"
        return Failed(told, sent=error.unsure or error.status not in _NOT_LET_IN)

    async def _made(self, client: AsyncCreditsClient, charge: Charge, call: Call) -> Outcome:
        key = key_of(charge.eval_id, call)
        if call is Call.RESERVE:
            made = await client.reserve(charge.tenant_id, charge.most, expires_in_s=charge.hold_s, idempotency_key=key)
            return Held(uuid.UUID(made.reservation_id), made.expires_at)
        if call is Call.COMMIT:
            await client.commit(str(charge.reservation_id), charge.owed, idempotency_key=key)
        else:
            await client.cancel(str(charge.reservation_id), idempotency_key=key)
        return Moved()

    async def _current(self) -> AsyncCreditsClient:
        """Raises: SettingsError, the key cannot be read."""
        key = read_secret(self._key_file, self._variable)
        if self._client is None or key != self._key:
            # calls under way keep the one before: it is closed when nobody uses it
            self._client = AsyncCreditsClient(self._url, key, timeout_s=_TRY_TIMEOUT_S, retry=_RETRY)
            self._key = key
        return self._client
