"""From a rule's JSON form to a compiled rule. A wrong one is refused with the path of the field."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Final

import re2

from shieldx_runtime.shadow.errors import TaskError
from shieldx_runtime.shadow.pace import Pace
from shieldx_runtime.shadow.rules import (
    AllOf,
    Anomaly,
    AnyOf,
    Blacklist,
    Libinjection,
    Literal,
    Not,
    RateLimit,
    Regex,
    Rule,
)
from shieldx_runtime.shadow.samples import numbered

MAX_DEPTH: Final = 8
MAX_PARTS: Final = 64
MAX_ALL_PARTS: Final = 256
"""Of a rule with all that is in it."""
MAX_STEPS: Final = 150_000
"""Of all expressions of a rule together: a quarter of a second to compile, a dozen MiB to keep."""
MAX_PATTERN_CHARS: Final = 4096
MAX_NETWORKS: Final = 10_000
MAX_REQUESTS: Final = 1_000_000
MAX_WINDOW_S: Final = 86_400
MAX_THRESHOLD: Final = 1_000_000
_V4_BITS: Final = 96
_NAMES: Final = ("id", "name")
"""Of a rule, for people: they decide nothing."""
MAX_NAME_CHARS: Final = 256

Document = Mapping[str, Any]


@dataclass(slots=True)
class _Room:
    """What is left for the parts of one rule: the length of an expression bounds neither time nor memory."""

    parts: int = MAX_ALL_PARTS
    steps: int = MAX_STEPS


@dataclass(frozen=True, slots=True)
class _Level:
    room: _Room
    depth: int = 1

    def deeper(self) -> "_Level":
        return _Level(self.room, self.depth + 1)


def parse(document: Any, path: str = "rule") -> Rule:
    """The rule that `document` describes, as the HTTP API and the custom resource write it.

    Raises:
        TaskError: a type or field is unknown, missing, or has a value that its type does not take.
    """
    return _parse(document, path, _Level(_Room()))


def _parse(document: Any, path: str, level: _Level) -> Rule:
    if not isinstance(document, Mapping):
        raise TaskError(path, "must be an object with a type")
    if level.depth > MAX_DEPTH:
        raise TaskError(path, f"is nested deeper than {MAX_DEPTH} levels; write a flatter rule")
    level.room.parts -= 1
    if level.room.parts < 0:
        raise TaskError(path, f"is one part too many: a rule has at most {MAX_ALL_PARTS} in all; write fewer")
    kind = document.get("type")
    if not isinstance(kind, str) or kind not in _TYPES:
        raise TaskError(f"{path}.type", f"is {kind!r}; it must be one of {', '.join(_TYPES)}")
    fields, build = _TYPES[kind]
    named = {_FIELDS.get(name, str(name)): value for name, value in document.items()}
    for name, value in named.items():
        if name in _NAMES:
            _require_name(value, f"{path}.{name}")
        elif name not in fields and name != "type":
            known = ", ".join(fields)
            raise TaskError(
                f"{path}.{name[:MAX_NAME_CHARS]}", f"is no field of a rule of type {kind}; there are {known}"
            )
    given = {name: value for name, value in named.items() if value is not None}
    return build(given, path, level)


def _require_name(value: Any, path: str) -> None:
    if value is None:
        return
    if not isinstance(value, str) or len(value) > MAX_NAME_CHARS or not value.isprintable():
        raise TaskError(path, f"must be a text of at most {MAX_NAME_CHARS} printable characters")


def _needed(given: Document, path: str, field: str) -> Any:
    if field not in given:
        raise TaskError(f"{path}.{field}", f"is missing; a rule of type {given['type']} needs it")
    return given[field]


def _signature(given: Document, path: str, level: _Level) -> Rule:
    pattern = _needed(given, path, "pattern")
    syntax = given.get("syntax", "literal")
    if not isinstance(pattern, str) or not 1 <= len(pattern) <= MAX_PATTERN_CHARS:
        raise TaskError(f"{path}.pattern", f"must be a text of 1 to {MAX_PATTERN_CHARS} characters")
    if syntax not in ("literal", "regex"):
        raise TaskError(f"{path}.syntax", f"is {syntax!r}; it must be literal or regex")
    try:
        pattern.encode()
        return Literal(pattern) if syntax == "literal" else _regex(pattern, f"{path}.pattern", level.room)
    except UnicodeEncodeError:
        raise TaskError(f"{path}.pattern", "holds half of a surrogate pair, which is no character") from None
    except re2.error as error:
        raise TaskError(f"{path}.pattern", _explained(pattern, error)) from None


def _regex(pattern: str, path: str, room: _Room) -> Regex:
    rule = Regex(pattern)
    room.steps -= rule.steps
    if room.steps < 0:
        raise TaskError(
            path,
            f"takes {rule.steps:,} steps when it is compiled, and all expressions of a rule may take {MAX_STEPS:,} "
            f"together{_SMALLER}",
        )
    return rule


_SMALLER: Final = ": repeat less, or name smaller classes of characters"


def _explained(pattern: str, error: Exception) -> str:
    told = error.args[0] if error.args else str(error)
    told = told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told)
    if told.startswith("pattern too large"):
        return f"becomes too large when it is compiled{_SMALLER}"
    _, _, piece = told.partition(": ")
    place = pattern.find(piece) if piece else -1
    where = f" at character {place + 1}" if place >= 0 else ""
    return (
        f"cannot be matched in linear time or is no expression{where}: {told}. The dialect is RE2: no lookaround, no "
        "backreferences; say it with all_of, any_of and not"
    )


def _blacklist(given: Document, path: str, _: _Level) -> Rule:
    networks = _needed(given, path, "networks")
    if not isinstance(networks, list) or not 1 <= len(networks) <= MAX_NETWORKS:
        raise TaskError(f"{path}.networks", f"must be a list of 1 to {MAX_NETWORKS:,} networks in CIDR form")
    prefixes: dict[int, set[int]] = {}
    for place, text in enumerate(networks):
        network = _network(text, f"{path}.networks[{place}]")
        bits = network.prefixlen + (_V4_BITS if network.version == 4 else 0)  # noqa: PLR2004 - a version
        prefixes.setdefault(bits, set()).add(numbered(network.network_address) >> (128 - bits))
    return Blacklist({bits: frozenset(found) for bits, found in prefixes.items()})


def _network(text: Any, path: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text if isinstance(text, str) else "")
    except ValueError as error:
        raise TaskError(path, f"is {text!r}, no network such as 203.0.113.0/24 or 2001:db8::/32: {error}") from None


def _whole(given: Document, path: str, field: str, most: int) -> int:
    value = _needed(given, path, field)
    if isinstance(value, bool) or not isinstance(value, int | float) or value % 1 or not 1 <= value <= most:
        raise TaskError(f"{path}.{field}", f"is {value!r}; it must be a whole number from 1 to {most:,}")
    return int(value)


def _rate(given: Document, path: str, _: _Level) -> Rule:
    requests = _whole(given, path, "requests", MAX_REQUESTS)
    given = {**given, "window_seconds": given.get("window_seconds", 60)}
    return RateLimit(Pace(requests, _whole(given, path, "window_seconds", MAX_WINDOW_S)))


def _anomaly(given: Document, path: str, _: _Level) -> Rule:
    threshold = _needed(given, path, "threshold")
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not abs(threshold) <= MAX_THRESHOLD:
        raise TaskError(f"{path}.threshold", f"is {threshold!r}; it must be a number of bits a byte, such as 5.5")
    return Anomaly(float(threshold))


def _libinjection(given: Document, path: str, _: _Level) -> Rule:
    injections = _needed(given, path, "injections")
    known = ("sqli", "xss")
    if not isinstance(injections, list) or not injections or any(name not in known for name in injections):
        raise TaskError(f"{path}.injections", f"is {injections!r}; it must be a list of sqli, xss or both")
    try:
        return Libinjection(list(dict.fromkeys(injections)))
    except ImportError:
        lacking = "is libinjection, which this installation lacks; install libinjection-python"
        raise TaskError(f"{path}.type", lacking) from None


def _all_of(given: Document, path: str, level: _Level) -> Rule:
    return AllOf(_parts(given, path, level))


def _any_of(given: Document, path: str, level: _Level) -> Rule:
    return AnyOf(_parts(given, path, level))


def _parts(given: Document, path: str, level: _Level) -> list[Rule]:
    rules = _needed(given, path, "rules")
    if not isinstance(rules, list) or not 1 <= len(rules) <= MAX_PARTS:
        raise TaskError(f"{path}.rules", f"must be a list of 1 to {MAX_PARTS} rules")
    return [_parse(rule, f"{path}.rules[{place}]", level.deeper()) for place, rule in enumerate(rules)]


def _not(given: Document, path: str, level: _Level) -> Rule:
    return Not(_parse(_needed(given, path, "rule"), f"{path}.rule", level.deeper()))


_FIELDS: Final = {"windowSeconds": "window_seconds"}
"""As custom resources write them."""

_TYPES: Final[dict[str, tuple[tuple[str, ...], Callable[[Document, str, _Level], Rule]]]] = {
    "signature": (("pattern", "syntax"), _signature),
    "ip_blacklist": (("networks",), _blacklist),
    "rate_limiting": (("requests", "window_seconds"), _rate),
    "anomaly_detection": (("threshold",), _anomaly),
    "libinjection": (("injections",), _libinjection),
    "all_of": (("rules",), _all_of),
    "any_of": (("rules",), _any_of),
    "not": (("rule",), _not),
}
