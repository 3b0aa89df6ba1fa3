"""The API document of shadow evaluation, made from the routes and their types."""

from typing import Any

from fastapi import FastAPI

from shieldx_runtime.core.openapi import described, with_rates, written
from shieldx_runtime.shadow.service.traffic import MAX_INGEST_BYTES


def document(app: FastAPI) -> dict[str, Any]:
    """The document as plain data."""
    summary = "Labelled traffic comes in; a detection rule is judged on it before it may go live."
    made = described(app, "ShieldX shadow evaluation", summary)
    # the route reads the body by itself, line by line
    made["paths"]["/shadow/samples"]["post"]["requestBody"] = {
        "required": True,
        "description": f"One JSON object a line, at most {MAX_INGEST_BYTES >> 20} MiB.",
        "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
    }
    replayed = {
        "Idempotency-Replayed": {
            "description": "`true` where it had been asked for before, under this key.",
            "schema": {"type": "string", "enum": ["true"]},
        }
    }
    for path in ("/shadow/evaluations", "/shadow/evaluate"):
        responses = made["paths"][path]["post"]["responses"]
        responses["202"]["headers"] = {
            "Location": {"description": "Where the result will be.", "schema": {"type": "string"}},
            **replayed,
        }
        if "200" in responses:
            responses["200"]["headers"] = dict(replayed)
    return with_rates(made)


def render(app: FastAPI) -> str:
    return written(document(app))
