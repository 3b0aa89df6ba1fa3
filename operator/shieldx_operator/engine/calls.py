"""Calls to the platform's own services. Neither bearer nor body is ever logged or told."""

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import aiohttp

from shieldx_operator.engine.types import Failure, HttpCall, Obj

_PLACE: Final = re.compile(r"\{secret:([^{}]+)\}")
_MAX_BODY_BYTES: Final = 1 << 20
_MAX_TOLD_CHARS: Final = 300


async def call(
    session: aiohttp.ClientSession, wanted: HttpCall, secret: Mapping[str, str]
) -> tuple[int, Obj] | Failure:
    """Make one call. `secret` holds the values of the call's Secret as text."""
    where = f"{wanted.method} {wanted.url} ({wanted.name})"
    try:
        url = _PLACE.sub(lambda m: quote(secret[m[1]], safe=""), wanted.url)
        body = filled(wanted.json, secret)
    except KeyError as missing:
        return Failure(where, "SecretKeyMissing", f"{wanted.secret} has no key {missing.args[0]!r}")
    try:
        async with (
            asyncio.timeout(wanted.timeout_s),
            session.request(
                wanted.method,
                url,
                json=body,
                headers={"Authorization": f"Bearer {wanted.bearer}"},
                allow_redirects=False,
            ) as response,
        ):
            data = await response.content.read(_MAX_BODY_BYTES)
    except TimeoutError:
        return Failure(where, "Timeout", f"no answer within {wanted.timeout_s:g} s; is the service running?")
    except (aiohttp.ClientError, OSError) as error:
        return Failure(where, "Unreachable", f"the service cannot be reached: {_told(str(error), secret)}")
    parsed = _parsed(data)
    if response.status in wanted.expected:
        return response.status, parsed
    said = parsed.get("detail") or parsed.get("title") or ""
    message = f"the service answered {response.status}" + (f": {_told(str(said), secret)}" if said else "")
    return Failure(where, f"HTTP{response.status}", message)


def filled(value: Any, secret: Mapping[str, str]) -> Any:
    """`value` with each `{secret:KEY}` in its strings replaced.

    Raises:
        KeyError: the Secret has no such key.
    """
    if isinstance(value, str):
        return _PLACE.sub(lambda m: secret[m[1]], value)
    if isinstance(value, Mapping):
        return {k: filled(v, secret) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [filled(v, secret) for v in value]
    return value


def _told(text: str, secret: Mapping[str, str]) -> str:
    """What may be shown of a text from outside: short, and without the values that were sent."""
    for value in secret.values():
        if value:
            text = text.replace(value, "***").replace(quote(value, safe=""), "***")
    return text[:_MAX_TOLD_CHARS]


def _parsed(data: bytes) -> Obj:
    try:
        body = json.loads(data) if data else {}
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {"value": body}
