"""A typed client of the credits API, for threads and for asyncio.

    from shieldx_client import CreditsClient

    with CreditsClient("https://credits.example.com", "sxk_...") as credits:
        credits.consume("org-123", 100)

A call that moves credits makes its idempotency key once and keeps it through all of its tries, so that an answer that
was lost is found and nothing is paid twice. Give `idempotency_key` to keep it beyond the life of the process.
"""

from shieldx_client.clients import AsyncCreditsClient, CreditsClient
from shieldx_client.core import (
    ApiError,
    Balance,
    InsufficientCreditsError,
    Movement,
    NoAnswerError,
    Reservation,
    RetryPolicy,
)

__all__ = [
    "ApiError",
    "AsyncCreditsClient",
    "Balance",
    "CreditsClient",
    "InsufficientCreditsError",
    "Movement",
    "NoAnswerError",
    "Reservation",
    "RetryPolicy",
]
