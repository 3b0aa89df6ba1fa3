"""The two hottest calls before FastAPI: consume, and the balance that this process has in its memory."""

import re
import time
from collections.abc import Callable
from typing import Annotated, Final

import msgspec

from shieldx_contract import TENANT_ID_PATTERN
from shieldx_runtime.core.auth import Authenticator, Principal, Scope
from shieldx_runtime.core.edge import Admission, failure
from shieldx_runtime.core.faults import DatabaseUnavailableError
from shieldx_runtime.core.front import Head, Reply
from shieldx_runtime.core.metrics import Metrics
from shieldx_runtime.core.problems import ProblemError
from shieldx_runtime.core.quota import Quota
from shieldx_runtime.credits.balances import Local
from shieldx_runtime.credits.batcher import Batcher
from shieldx_runtime.credits.model import MAX_AMOUNT, Account, Consume, Outcome, Result
from shieldx_runtime.credits.routes import BALANCE_PATH, CONSUME_PATH, balance_headers, consumed_message
from shieldx_runtime.credits.schemas import MAX_TEXT, is_idempotency_key
from shieldx_runtime.credits.service import receipt_of

_CONSUME_LINE: Final = f"POST {CONSUME_PATH} HTTP/1.1".encode()
_BALANCE_LINE: Final = re.compile(
    (r"GET " + BALANCE_PATH.replace("{tenant_id}", f"({TENANT_ID_PATTERN})") + r" HTTP/1\.1").encode()
)
_tenant_id_fits = re.compile(TENANT_ID_PATTERN).fullmatch


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    """`ConsumeBody`, read faster. What it does not take, the route looks at again and refuses in its own words."""

    tenant_id: str
    amount: Annotated[int, msgspec.Meta(ge=1, le=MAX_AMOUNT)]
    idempotency_key: str
    description: Annotated[str, msgspec.Meta(max_length=MAX_TEXT)] | None = None
    reference: Annotated[str, msgspec.Meta(max_length=MAX_TEXT)] | None = None


_read_body = msgspec.json.Decoder(_Body).decode


class CreditsFront:
    """See `core.front`. `draining` says that this process will stop."""

    shunned = frozenset({b"idempotency-key", b"if-none-match"})

    def __init__(
        self,
        *,
        batcher: Batcher,
        local: Local,
        authenticator: Authenticator,
        admission: Admission,
        metrics: Metrics,
        draining: Callable[[], bool],
    ) -> None:
        self._batcher = batcher
        self._local = local
        self._authenticator = authenticator
        self._admission = admission
        self._metrics = metrics
        self._draining = draining

    @property
    def closing(self) -> bool:
        return self._draining()

    def knows(self, key: bytes) -> bool:
        return self._authenticator.known(key) is not None

    def offer(self, line: bytes, head: Head, body: bytes, reply: Reply) -> bool:
        if self._admission.full:
            return False
        principal = self._authenticator.known(head.key)
        if principal is None:
            return False
        tenant_id = None
        if line == _CONSUME_LINE:
            reply.method, reply.route = "POST", CONSUME_PATH
        else:
            match = _BALANCE_LINE.fullmatch(line)
            if match is None:
                return False
            tenant_id = match[1].decode()
            reply.method, reply.route = "GET", BALANCE_PATH
        quota = reply.quota = principal.quota
        if not quota.admits(reply.began):
            return self._refuse(quota, reply)
        if tenant_id is None:
            return head.is_json and self._consume(principal, body, reply)
        return head.body_bytes == 0 and self._balance(principal, tenant_id, reply)

    def _consume(self, principal: Principal, body: bytes, reply: Reply) -> bool:
        if Scope.CONSUME not in principal.scopes:
            return False
        try:
            wish = _read_body(body)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return False
        if not (
            is_idempotency_key(wish.idempotency_key)
            and _tenant_id_fits(wish.tenant_id)
            and principal.may_act_for(wish.tenant_id)
            and "\0" not in (wish.description or "")
            and "\0" not in (wish.reference or "")
        ):
            return False
        consume = Consume(
            wish.tenant_id,
            wish.amount,
            wish.idempotency_key.lower(),
            principal.key_id,
            wish.description,
            wish.reference,
        )
        try:
            self._batcher.submit(consume, _Waiter(self, consume, reply))
        except ProblemError:
            return False
        principal.quota.count()
        self._admission.in_flight += 1
        return True

    def _balance(self, principal: Principal, tenant_id: str, reply: Reply) -> bool:
        if Scope.READ not in principal.scopes or not principal.may_act_for(tenant_id):
            return False
        account = self._local.get(tenant_id)
        if account is None:
            return False
        self._metrics.cache_read("l1", hit=True)
        self._metrics.operation("balance", "ok")
        principal.quota.count()
        self._admission.in_flight += 1
        fields, body = balance_bytes(account)
        reply.give(200, fields, body)
        return True

    def _refuse(self, quota: Quota, reply: Reply) -> bool:
        self._admission.in_flight += 1
        reply.give_response(quota.refusal(reply.began).response())
        return True

    def answered(self, reply: Reply, status: int) -> None:
        self._admission.in_flight -= 1
        self._metrics.fronted()
        self._metrics.request(reply.method, reply.route, status, time.perf_counter() - reply.began)

    def count_consume(self, result: str) -> None:
        self._metrics.operation("consume", result)


class _Waiter:
    """Answers one consume when it has been decided."""

    __slots__ = ("_consume", "_front", "_reply")

    def __init__(self, front: CreditsFront, consume: Consume, reply: Reply) -> None:
        self._front = front
        self._consume = consume
        self._reply = reply

    def decided(self, result: Result) -> None:
        consume = self._consume
        if result.outcome is Outcome.DONE:
            self._front.count_consume("replayed" if result.replayed else "ok")
            fields, body = consumed_bytes(consume.amount, result)
            self._reply.give(200, fields, body)
            return
        try:
            receipt_of(consume.tenant_id, consume.amount, result)
        except ProblemError as error:
            self._front.count_consume(error.kind.slug)
            self._reply.give_response(error.response())

    def failed(self, error: Exception) -> None:
        self._front.count_consume("unavailable" if isinstance(error, DatabaseUnavailableError) else "error")
        self._reply.give_response(failure(error, CONSUME_PATH))


def consumed_bytes(amount: int, result: Result) -> tuple[bytes, bytes]:
    """Header fields and body as the route writes them."""
    body = (
        f'{{"success":true,"transaction_id":"{result.transaction_id}","balance":{result.balance},'
        f'"message":"{consumed_message(amount)}"}}'
    ).encode("ascii")
    replayed = b"idempotency-replayed: true\r\n" if result.replayed else b""
    return b"%bcontent-length: %d\r\ncontent-type: application/json\r\n" % (replayed, len(body)), body


def balance_bytes(account: Account) -> tuple[bytes, bytes]:
    """Header fields and body as the route writes them."""
    body = (
        f'{{"tenant_id":"{account.tenant_id}","balance":{account.balance},'
        f'"reserved_funds":{account.reserved_funds},"available":{account.available},'
        f'"total_spent":{account.total_spent},"total_purchased":{account.total_purchased}}}'
    ).encode("ascii")
    fields = "".join(f"{name.lower()}: {value}\r\n" for name, value in balance_headers(account).items())
    return b"%bcontent-length: %d\r\ncontent-type: application/json\r\n" % (fields.encode("ascii"), len(body)), body
