"""The two clients, by httpx: the same calls, one waiting and one awaited."""

import asyncio
import ssl
import time
from datetime import datetime
from typing import Final, Self, TypeAlias

import httpx

from shieldx_client import calls, core
from shieldx_client.core import Answer, Balance, Movement, NoAnswerError, Request, Reservation, RetryPolicy

_RETRY: Final = RetryPolicy()
Verify: TypeAlias = "bool | ssl.SSLContext"


_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


def _answer(response: httpx.Response, *, unsure: bool) -> Answer:
    try:
        document = response.json()
    except ValueError:
        # of something in between, such as a proxy
        document = {}
    return Answer(response.status_code, response.headers, document if isinstance(document, dict) else {}, unsure)


class CreditsClient:
    """For threads: safe to share among them. `timeout_s` bounds each try; `retry` says when it is tried again."""

    def __init__(
        self, url: str, key: str, *, timeout_s: float = 5.0, retry: RetryPolicy = _RETRY, verify: Verify = True
    ) -> None:
        """`verify`: False, or a TLS context that knows your authority."""
        self._retry = retry
        self._http = httpx.Client(
            base_url=url, timeout=timeout_s, headers={"Authorization": f"Bearer {key}"}, verify=verify
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def consume(
        self,
        tenant_id: str,
        amount: int,
        *,
        description: str | None = None,
        reference: str | None = None,
        idempotency_key: str | None = None,
    ) -> Movement:
        """Takes credits. Raises: InsufficientCreditsError, ApiError, NoAnswerError."""
        request = calls.consume(tenant_id, amount, description, reference, idempotency_key)
        return core.movement(request, self._ask(request))

    def purchase(  # noqa: PLR0913 - the members of the call
        self,
        tenant_id: str,
        amount: int,
        *,
        source: str | None = None,
        reference: str | None = None,
        priority: int | None = None,
        expires_at: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> Movement:
        """Adds a grant; `expires_at` with an offset. Raises: ApiError, NoAnswerError."""
        request = calls.purchase(tenant_id, amount, source, reference, priority, expires_at, idempotency_key)
        return core.movement(request, self._ask(request))

    def refund(self, transaction_id: str, amount: int, *, idempotency_key: str | None = None) -> Movement:
        """Gives (part of) a consume or commit back. Raises: ApiError, NoAnswerError."""
        request = calls.refund(transaction_id, amount, idempotency_key)
        return core.movement(request, self._ask(request))

    def reserve(
        self, tenant_id: str, amount: int, *, expires_in_s: int, idempotency_key: str | None = None
    ) -> Reservation:
        """Holds credits. Raises: InsufficientCreditsError, ApiError, NoAnswerError."""
        request = calls.reserve(tenant_id, amount, expires_in_s, idempotency_key)
        return core.reservation(request, self._ask(request))

    def commit(self, reservation_id: str, amount: int, *, idempotency_key: str | None = None) -> Movement:
        """Consumes held credits. Raises: ApiError, NoAnswerError."""
        request = calls.commit(reservation_id, amount, idempotency_key)
        return core.movement(request, self._ask(request))

    def cancel(self, reservation_id: str, *, idempotency_key: str | None = None) -> Movement:
        """Releases held credits. Raises: ApiError, NoAnswerError."""
        request = calls.cancel(reservation_id, idempotency_key)
        return core.movement(request, self._ask(request))

    def balance(self, tenant_id: str) -> Balance:
        """What a tenant has. Raises: ApiError, NoAnswerError."""
        request = calls.balance(tenant_id)
        return core.balance(request, self._ask(request))

    def _ask(self, request: Request) -> Answer:
        """The answer, after as many tries as the policy allows. Raises: NoAnswerError."""
        tries, sent = 0, False
        while True:
            tries += 1
            answer, problem = None, ""
            try:
                response = self._http.request(request.method, request.path, json=request.body)
                answer = _answer(response, unsure=sent)
                sent = True
            except httpx.TransportError as error:
                problem = f"{type(error).__name__}: {error}"
                sent = sent or not isinstance(error, _NOT_SENT)
            if answer is not None and not answer.may_be_retried:
                return answer
            pause_s = self._retry.pause_s(tries, answer.retry_after_s if answer else 0.0)
            if pause_s is None:
                if answer is None:
                    raise NoAnswerError(problem, request.key, sent=sent)
                return answer
            time.sleep(pause_s)


class AsyncCreditsClient:
    """For asyncio. `timeout_s` bounds each try; `retry` says when it is tried again."""

    def __init__(
        self, url: str, key: str, *, timeout_s: float = 5.0, retry: RetryPolicy = _RETRY, verify: Verify = True
    ) -> None:
        """`verify`: False, or a TLS context that knows your authority."""
        self._retry = retry
        self._http = httpx.AsyncClient(
            base_url=url, timeout=timeout_s, headers={"Authorization": f"Bearer {key}"}, verify=verify
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def consume(
        self,
        tenant_id: str,
        amount: int,
        *,
        description: str | None = None,
        reference: str | None = None,
        idempotency_key: str | None = None,
    ) -> Movement:
        """Takes credits. Raises: InsufficientCreditsError, ApiError, NoAnswerError."""
        request = calls.consume(tenant_id, amount, description, reference, idempotency_key)
        return core.movement(request, await self._ask(request))

    async def purchase(  # noqa: PLR0913 - the members of the call
        self,
        tenant_id: str,
        amount: int,
        *,
        source: str | None = None,
        reference: str | None = None,
        priority: int | None = None,
        expires_at: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> Movement:
        """Adds a grant; `expires_at` with an offset. Raises: ApiError, NoAnswerError."""
        request = calls.purchase(tenant_id, amount, source, reference, priority, expires_at, idempotency_key)
        return core.movement(request, await self._ask(request))

    async def refund(self, transaction_id: str, amount: int, *, idempotency_key: str | None = None) -> Movement:
        """Gives (part of) a consume or commit back. Raises: ApiError, NoAnswerError."""
        request = calls.refund(transaction_id, amount, idempotency_key)
        return core.movement(request, await self._ask(request))

    async def reserve(
        self, tenant_id: str, amount: int, *, expires_in_s: int, idempotency_key: str | None = None
    ) -> Reservation:
        """Holds credits. Raises: InsufficientCreditsError, ApiError, NoAnswerError."""
        request = calls.reserve(tenant_id, amount, expires_in_s, idempotency_key)
        return core.reservation(request, await self._ask(request))

    async def commit(self, reservation_id: str, amount: int, *, idempotency_key: str | None = None) -> Movement:
        """Consumes held credits. Raises: ApiError, NoAnswerError."""
        request = calls.commit(reservation_id, amount, idempotency_key)
        return core.movement(request, await self._ask(request))

    async def cancel(self, reservation_id: str, *, idempotency_key: str | None = None) -> Movement:
        """Releases held credits. Raises: ApiError, NoAnswerError."""
        request = calls.cancel(reservation_id, idempotency_key)
        return core.movement(request, await self._ask(request))

    async def balance(self, tenant_id: str) -> Balance:
        """What a tenant has. Raises: ApiError, NoAnswerError."""
        request = calls.balance(tenant_id)
        return core.balance(request, await self._ask(request))

    async def _ask(self, request: Request) -> Answer:
        """The answer, after as many tries as the policy allows. Raises: NoAnswerError."""
        tries, sent = 0, False
        while True:
            tries += 1
            answer, problem = None, ""
            try:
                response = await self._http.request(request.method, request.path, json=request.body)
                answer = _answer(response, unsure=sent)
                sent = True
            except httpx.TransportError as error:
                problem = f"{type(error).__name__}: {error}"
                sent = sent or not isinstance(error, _NOT_SENT)
            if answer is not None and not answer.may_be_retried:
                return answer
            pause_s = self._retry.pause_s(tries, answer.retry_after_s if answer else 0.0)
            if pause_s is None:
                if answer is None:
                    raise NoAnswerError(problem, request.key, sent=sent)
                return answer
            await asyncio.sleep(pause_s)
