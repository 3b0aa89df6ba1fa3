"""Errors as RFC 9457 problem documents with stable `type` URIs."""

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

BASE_URI: Final = "https://shieldx.io/problems/"
MEDIA_TYPE: Final = "application/problem+json"
_MAX_ERRORS: Final = 20
_MAX_NAME: Final = 64


@dataclass(frozen=True, slots=True)
class Kind:
    """A sort of problem: the last part of its `type`, its HTTP status and its title."""

    slug: str
    status: int
    title: str

    @property
    def uri(self) -> str:
        return BASE_URI + self.slug


MALFORMED = Kind("malformed-request", 400, "Malformed request")
UNAUTHENTICATED = Kind("unauthenticated", 401, "Authentication required")
FORBIDDEN = Kind("missing-scope", 403, "Scope missing")
NOT_FOUND = Kind("not-found", 404, "Not found")
METHOD = Kind("method-not-allowed", 405, "Method not allowed")
SLOW_REQUEST = Kind("request-timeout", 408, "Request too slow")
TOO_LARGE = Kind("payload-too-large", 413, "Payload too large")
MEDIA = Kind("unsupported-media-type", 415, "Unsupported media type")
INVALID = Kind("validation-failed", 422, "Validation failed")
INTERNAL = Kind("internal-error", 500, "Internal error")
OVERLOADED = Kind("overloaded", 503, "Overloaded")
UNAVAILABLE = Kind("unavailable", 503, "Temporarily unavailable")

_RETRY_LATER: Final = {"Retry-After": "1"}
_STATUS_KINDS: Final = {k.status: k for k in (MALFORMED, NOT_FOUND, METHOD, TOO_LARGE, MEDIA)}


class ProblemError(Exception):
    """Ends a request with a problem document. `members` are extension members beside the standard ones."""

    def __init__(self, kind: Kind, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any) -> None:
        super().__init__(f"{kind.slug}: {detail}")
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = members

    def document(self) -> dict[str, Any]:
        return {
            **self.members,
            "type": self.kind.uri,
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
        }

    def response(self) -> Response:
        # ASCII: names out of a request may hold what cannot be written as UTF-8
        return Response(
            json.dumps(self.document()).encode(),
            status_code=self.kind.status,
            media_type=MEDIA_TYPE,
            headers=self.headers,
        )


def unavailable() -> ProblemError:
    return ProblemError(
        UNAVAILABLE,
        "the database did not answer in time; whether a change took effect is found out "
        "by sending the same request with the same idempotency key again",
        headers=_RETRY_LATER,
    )


def overloaded(limit: int) -> ProblemError:
    return ProblemError(
        OVERLOADED,
        f"{limit} requests are being answered already; nothing was changed: send this one again later",
        headers=_RETRY_LATER,
    )


def internal() -> ProblemError:
    return ProblemError(
        INTERNAL,
        "the service failed to answer; its log has the cause under `instance`",
        instance=f"urn:uuid:{uuid.uuid4()}",
    )


def from_http(request: Request, error: HTTPException) -> ProblemError:
    """The framework's own refusals: unknown path, method, unreadable body."""
    kind = _STATUS_KINDS.get(error.status_code) or Kind("http-error", error.status_code, "Request refused")
    if kind is METHOD:
        allowed = ", ".join(_allowed_methods(request))
        detail = f"{request.method} is not possible here: use {allowed}"
        return ProblemError(kind, detail, headers={"Allow": allowed})
    if kind is NOT_FOUND:
        return ProblemError(kind, "there is nothing at this path: see the API document for the calls there are")
    if kind is MALFORMED:
        return ProblemError(kind, "the body cannot be read as JSON: send one JSON object in UTF-8")
    return ProblemError(kind, str(error.detail), headers=error.headers)


def _allowed_methods(request: Request) -> list[str]:
    """Methods of all routes at this path: the framework itself names those of the first one only."""
    methods: set[str] = set()
    for route in request.app.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.methods or set()
    return sorted(methods)


def from_validation(request: Request, error: RequestValidationError) -> ProblemError:
    """Wrong fields: each named with its problem and the remedy. Values are never repeated."""
    errors = error.errors()
    if any(e["type"] == "json_invalid" for e in errors):
        return ProblemError(MALFORMED, "the body is no JSON: send one JSON object in UTF-8")
    whole_body_is_wrong = any(tuple(e["loc"]) == ("body",) and e["type"] != "missing" for e in errors)
    if whole_body_is_wrong and not _is_json(request):
        return ProblemError(MEDIA, "the body is not sent as JSON: set Content-Type: application/json")
    return _invalid([_field_error(e) for e in errors[:_MAX_ERRORS]])


def invalid_model(errors: Sequence[Mapping[str, Any]]) -> ProblemError:
    """Wrong fields of a part of a body, by pydantic's errors of that part alone."""
    return _invalid([_field_error({**e, "loc": ("body", *e["loc"])}) for e in errors[:_MAX_ERRORS]])


def invalid_field(field: str, problem: str, remedy: str) -> ProblemError:
    """One wrong field that only the service could see."""
    return _invalid([{"field": field, "problem": problem, "remedy": remedy}])


def _invalid(errors: list[dict[str, str]]) -> ProblemError:
    first = errors[0]
    return ProblemError(INVALID, f"{first['field']}: {first['problem']}: {first['remedy']}", errors=errors)


def _is_json(request: Request) -> bool:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return bool(re.fullmatch(r"application/([a-z0-9.+-]+\+)?json", media_type))


def _field_error(error: Mapping[str, Any]) -> dict[str, str]:
    place = [str(part)[:_MAX_NAME] for part in error["loc"]]
    name = ".".join(place[1:]) or place[0]
    problem, remedy = _words(error)
    return {"field": name, "problem": problem, "remedy": remedy}


_LOOK_UP: Final = "see the API document for what this field takes"
_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "missing": ("it is missing", "send it"),
    "extra_forbidden": ("this call has no such field", "remove it"),
    "greater_than_equal": ("it is less than {ge}", "send at least {ge}"),
    "less_than_equal": ("it is greater than {le}", "send at most {le}"),
    "int_type": ("it is not an integer", "send a JSON number without fraction, exponent or quotes"),
    "string_pattern_mismatch": ("it has a wrong form", "send text that matches {pattern}"),
    "string_too_long": ("it is too long", "send at most {max_length} characters"),
    "string_too_short": ("it is too short", "send at least {min_length} characters"),
    "too_long": ("it has too many entries", "send at most {max_length}"),
    "too_short": ("it has too few entries", "send at least {min_length}"),
    "greater_than": ("it is not greater than {gt}", "send more than {gt}"),
    "less_than": ("it is not less than {lt}", "send less than {lt}"),
    "int_parsing": ("it is not an integer", "send digits alone, such as 50"),
    "int_parsing_size": ("it is too large", "send a smaller number"),
    "float_type": ("it is not a number", "send a JSON number without quotes"),
    "string_type": ("it is no text", "send a JSON string"),
    "string_unicode": ("it holds half of a surrogate pair, which is no character", "send whole characters"),
    "list_type": ("it is no list", "send a JSON array"),
    "dict_type": ("it is no JSON object", "send one JSON object"),
    "model_type": ("it is no JSON object", "send one JSON object"),
    "model_attributes_type": ("it is no JSON object", "send one JSON object"),
    "literal_error": ("it is none of the values that it may have", "send one of {expected}"),
    "uuid_parsing": ("it is no UUID", "send one in its usual form, with hyphens"),
    "value_error": ("{error}", "leave the field out, or " + _LOOK_UP),
}
"""Words for pydantic's error types, over the context of the error."""


def _words(error: Mapping[str, Any]) -> tuple[str, str]:
    if error["type"] not in _WORDS:
        return str(error["msg"]), _LOOK_UP
    if error["type"] == "value_error":
        # words of our own validators: the problem, and mostly the remedy behind a colon
        told, _, what_to_do = str(error["ctx"]["error"]).partition(": ")
        return told, what_to_do or _WORDS["value_error"][1]
    problem, remedy = _WORDS[error["type"]]
    context = error.get("ctx", {})
    return problem.format(**context), remedy.format(**context)
