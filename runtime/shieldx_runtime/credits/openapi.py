"""The API document of the credits service, made from the routes and their types."""

from collections.abc import Iterable
from typing import Any, Final

from fastapi import FastAPI

from shieldx_runtime.core import postman
from shieldx_runtime.core.openapi import described, with_rates, written

_KEYED: Final = (
    "/credits/consume",
    "/credits/purchase",
    "/credits/refund",
    "/credits/reserve",
    "/credits/reservations/{reservation_id}/commit",
    "/credits/reservations/{reservation_id}/cancel",
)
_DEVELOPMENT_URL: Final = "http://127.0.0.1:8080"
"""Where `make dev` serves it."""
_REPLAYED_HEADER: Final = {
    "Idempotency-Replayed": {
        "description": "`true` where this is the first answer to the key, told again.",
        "schema": {"type": "string", "const": "true"},
    }
}


def document(app: FastAPI) -> dict[str, Any]:
    """The document as plain data."""
    summary = "A prepaid ledger: every call to the protected platform consumes credits."
    made = described(app, "ShieldX credits", summary)
    for operation in _operations(made, _KEYED):
        # a refusal for want of credits is an outcome as a success is: told again with the same field
        for status in {"200", "201", "402"} & set(operation["responses"]):
            operation["responses"][status]["headers"] = _REPLAYED_HEADER
        operation.setdefault("parameters", []).append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "The idempotency key, where it is not in the body.",
                "schema": {"type": "string", "format": "uuid"},
            }
        )
    for operation in _operations(made, ("/credits/balance/{tenant_id}",)):
        for status in ("200", "304"):
            operation["responses"][status]["headers"] = {
                "ETag": {"description": "The account's version in quotes.", "schema": {"type": "string"}}
            }
        operation["parameters"].append(
            {"name": "If-None-Match", "in": "header", "required": False, "schema": {"type": "string"}}
        )
    return with_rates(made)


def _operations(made: dict[str, Any], paths: Iterable[str]) -> Iterable[dict[str, Any]]:
    for path in paths:
        yield from made["paths"][path].values()


def render(app: FastAPI) -> str:
    return written(document(app))


def render_collection(app: FastAPI) -> str:
    return postman.written(postman.collection(document(app), _DEVELOPMENT_URL))
