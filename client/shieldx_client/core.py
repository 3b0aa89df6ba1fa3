"""What both clients share: the calls as plain requests, their results, and when a request is sent again. No I/O."""

import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

RETRIED: Final = frozenset({408, 409, 429, 502, 503, 504})
"""Statuses after which the same request with the same key is right: of 409, only a request in flight."""
_IN_FLIGHT: Final = "request-in-flight"
_AVAILABLE: Final = "available"
_REQUIRED: Final = "required"
_OF_ANOTHER: Final = {
    "title": "No answer of the credits API",
    "detail": "something on the way answered in its place: check the URL; the same idempotency_key tells what happened",
}


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Full jitter: after the n-th try a pause from 0 to `first_pause_s` * 2^(n-1), at most `longest_pause_s`.

    `Retry-After` of an answer is waited for on top of it, if it is no longer than `longest_pause_s`.
    """

    tries: int = 6
    first_pause_s: float = 0.1
    longest_pause_s: float = 5.0

    def pause_s(self, tries: int, retry_after_s: float = 0.0) -> float | None:
        """How long to wait after so many tries; None: it is given up."""
        if tries >= self.tries or retry_after_s > self.longest_pause_s:
            return None
        jitter_s = random.uniform(0, min(self.longest_pause_s, self.first_pause_s * 2 ** (tries - 1)))  # noqa: S311 - no secret
        return retry_after_s + jitter_s


class NoAnswerError(Exception):
    """No answer came in all tries. Whether it took effect is found out with the same `idempotency_key`.

    `sent` False: no try found a connection, so it has taken no effect.
    """

    def __init__(self, problem: str, idempotency_key: str | None, *, sent: bool = True) -> None:
        super().__init__(f"no answer: {problem}")
        self.idempotency_key = idempotency_key
        self.sent = sent


class ApiError(Exception):
    """The service refused. `slug` is the last part of the problem's `type`: decide by it.

    `unsure`: a try before the one that was refused got no answer, and may have taken effect.
    """

    def __init__(
        self, status: int, problem: Mapping[str, Any], idempotency_key: str | None, *, unsure: bool = False
    ) -> None:
        super().__init__(f"{status} {problem.get('title', '')}: {problem.get('detail', '')}")
        self.unsure = unsure
        self.status = status
        self.problem = dict(problem)
        self.slug = str(problem.get("type", "")).rpartition("/")[2]
        self.idempotency_key = idempotency_key


class InsufficientCreditsError(ApiError):
    """402: the call that was to be paid must not go on."""

    @property
    def available(self) -> int:
        return int(self.problem[_AVAILABLE])

    @property
    def required(self) -> int:
        return int(self.problem[_REQUIRED])


@dataclass(frozen=True, slots=True)
class Movement:
    """Credits that were moved. `replayed`: by an earlier request with this key."""

    transaction_id: str
    balance: int
    replayed: bool
    idempotency_key: str


@dataclass(frozen=True, slots=True)
class Reservation:
    reservation_id: str
    amount: int
    balance: int
    available: int
    expires_at: datetime
    replayed: bool
    idempotency_key: str


@dataclass(frozen=True, slots=True)
class Balance:
    tenant_id: str
    balance: int
    reserved_funds: int
    available: int
    total_spent: int
    total_purchased: int


@dataclass(frozen=True, slots=True)
class Request:
    """One call. `key` is that of a call that moves credits."""

    method: str
    path: str
    body: dict[str, Any] | None = None
    key: str | None = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """`unsure`: a try before it may have taken effect."""

    status: int
    headers: Mapping[str, str]
    document: dict[str, Any]
    unsure: bool = False

    @property
    def replayed(self) -> bool:
        return self.headers.get("idempotency-replayed") == "true"

    @property
    def retry_after_s(self) -> float:
        text = self.headers.get("retry-after", "")
        return float(text) if text.isascii() and text.isdigit() else 0.0

    @property
    def may_be_retried(self) -> bool:
        in_flight = str(self.document.get("type", "")).endswith(_IN_FLIGHT)
        return self.status in RETRIED and (self.status != 409 or in_flight)  # noqa: PLR2004 - a conflict


def moving(path: str, members: Mapping[str, Any], idempotency_key: str | None) -> Request:
    """A call that moves credits, with a key of its own. Members that are None are left out."""
    # an empty key is no key that was left out: a new one for each retry would charge each time
    key = str(uuid.uuid4()) if idempotency_key is None else idempotency_key
    body = {name: value for name, value in members.items() if value is not None}
    return Request("POST", path, {**body, "idempotency_key": key}, key)


def checked(request: Request, answer: Answer, *members: str) -> dict[str, Any]:
    """The members of the answer, if the service did what it was asked. Raises: ApiError."""
    document = answer.document
    if answer.status < 300 and all(name in document for name in members):  # noqa: PLR2004 - success
        return document
    if answer.status < 300:  # noqa: PLR2004 - as above
        raise ApiError(answer.status, _OF_ANOTHER, request.key, unsure=True)
    insufficient = answer.status == 402 and _AVAILABLE in document and _REQUIRED in document  # noqa: PLR2004 - payment required
    kind = InsufficientCreditsError if insufficient else ApiError
    raise kind(answer.status, document, request.key, unsure=answer.unsure)


def movement(request: Request, answer: Answer) -> Movement:
    document = checked(request, answer, "transaction_id", "balance")
    return Movement(document["transaction_id"], document["balance"], answer.replayed, request.key or "")


def reservation(request: Request, answer: Answer) -> Reservation:
    members = ("reservation_id", "amount", "balance", "available", "expires_at")
    document = checked(request, answer, *members)
    return Reservation(
        reservation_id=document["reservation_id"],
        amount=document["amount"],
        balance=document["balance"],
        available=document["available"],
        expires_at=datetime.fromisoformat(document["expires_at"]),
        replayed=answer.replayed,
        idempotency_key=request.key or "",
    )


def balance(request: Request, answer: Answer) -> Balance:
    document = checked(request, answer, *Balance.__slots__)
    return Balance(**{name: document[name] for name in Balance.__slots__})
