"""Generated Secrets: which values are kept, carried, drawn and derived. Pure but for the injected source of bytes."""

import base64
from collections.abc import Callable
from string import Formatter

from shieldx_operator.engine.types import GeneratedSecret, Obj

RandomBytes = Callable[[int], bytes]


def materialize(wanted: GeneratedSecret, existing: Obj | None, random_bytes: RandomBytes) -> Obj:
    """The Secret that `wanted` asks for, given the one that is there.

    In this order: a carried key takes another key's present value (and is absent where that one is); a present value
    stays unless its key is in `renew`; what is still missing of `random` is drawn; `listed` and `derived` are computed
    anew over all of these.

    Raises:
        ValueError: a template names a key that has no value; the message names both.
    """
    old = {k: base64.b64decode(v) for k, v in ((existing or {}).get("data") or {}).items()}
    made_anew = {*wanted.derived, *wanted.listed, *wanted.carry}
    values = {k: v for k, v in old.items() if k not in made_anew}
    for key, source in wanted.carry.items():
        if source in old:
            values[key] = old[source]
    for key, size in wanted.random.items():
        if key not in values or key in wanted.renew:
            values[key] = token(size, random_bytes)
    for key, (prefix, template) in wanted.listed.items():
        values[key] = _listed(prefix, template, values).encode()
    for key, template in wanted.derived.items():
        values[key] = _render(template, values, key).encode()
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": wanted.metadata,
        "type": wanted.type,
        "data": {k: base64.b64encode(v).decode() for k, v in sorted(values.items())},
    }


def token(size: int, random_bytes: RandomBytes) -> bytes:
    """`size` random bytes as base64url without padding, or `-size` bytes as hexadecimal if `size` is negative."""
    if size < 0:
        return random_bytes(-size).hex().encode()
    return base64.urlsafe_b64encode(random_bytes(size)).rstrip(b"=")


def decoded(secret: Obj) -> dict[str, str]:
    """A Secret's values as text; what is not UTF-8 is left out."""
    values = {}
    for key, value in (secret.get("data") or {}).items():
        try:
            values[key] = base64.b64decode(value).decode()
        except UnicodeDecodeError:
            continue
    return values


def _listed(prefix: str, template: str, values: dict[str, bytes]) -> str:
    numbers = [k.removeprefix(prefix) for k, value in values.items() if k.startswith(prefix) and value]
    found = sorted((int(n) for n in numbers if n.isascii() and n.isdecimal()), reverse=True)
    return "".join(template.format(n, values[f"{prefix}{n}"].decode()) for n in found if f"{prefix}{n}" in values)


def _render(template: str, values: dict[str, bytes], key: str) -> str:
    """Only whole values can be named: no attribute, no index, no conversion."""
    parts = []
    for literal, field, _, _ in Formatter().parse(template):
        parts.append(literal)
        if field is None:
            continue
        if field not in values:
            raise ValueError(f"derived key {key!r} of a generated Secret names {field!r}, which has no value")
        parts.append(values[field].decode())
    return "".join(parts)
