"""Detection rules as custom resources hold them: one type at each level, nested three levels deep.

A CRD's schema cannot refer to itself, so that the depth has an end; three levels say "all of these, but not that one".
The names of types are those of the HTTP API.
"""

from typing import Final, Literal, TypeAlias

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from shieldx_operator.api.base import Model
from shieldx_operator.api.common import ATOMIC_LIST, SET_LIST
from shieldx_operator.api.fields import VALIDATIONS, Cidr, RuleId, cel_text

PlainType: TypeAlias = Literal["signature", "ip_blacklist", "rate_limiting", "anomaly_detection", "libinjection"]
RuleType: TypeAlias = Literal[
    "signature", "ip_blacklist", "rate_limiting", "anomaly_detection", "libinjection", "all_of", "any_of", "not"
]
Syntax: TypeAlias = Literal["literal", "regex"]
Injection: TypeAlias = Literal["sqli", "xss"]

MAX_PATTERN_CHARS: Final = 4096
MAX_NETWORKS: Final = 256
MAX_PARTS: Final = 8

_NEEDED: Final = {
    "signature": ("pattern", "the text to look for, or with syntax regex an expression in the dialect of RE2"),
    "ip_blacklist": ("networks", "addresses in CIDR form, such as 203.0.113.0/24"),
    "rate_limiting": ("requests", "how many requests of one client within windowSeconds are let through"),
    "anomaly_detection": ("threshold", "the score from which on a sample is taken for an attack"),
    "libinjection": ("injections", "sqli, xss or both"),
    "all_of": ("rules", "the rules that must all match"),
    "any_of": ("rules", "the rules of which one must match"),
    "not": ("rule", "the rule that must not match"),
}
"""The field without which a type means nothing, and what it holds."""

_OPTIONAL: Final = {"syntax": "signature", "windowSeconds": "rate_limiting"}
"""Further fields, and the one type that they belong to."""


def _complete(types: tuple[str, ...]) -> JsonDict:
    """The field of the type is there."""
    there = ", ".join(f"'{kind}': has(self.{_NEEDED[kind][0]})" for kind in types)
    asked = ", ".join(
        f"'{kind}': {cel_text(f'type {kind} needs {field}: {what}')}" for kind, (field, what) in _of(types)
    )
    return {
        "rule": f"{{{there}}}[self.type]",
        "message": "the field that the type needs is missing: "
        + "; ".join(f"{kind} needs {field}" for kind, (field, _) in _of(types)),
        "messageExpression": f"{{{asked}}}[self.type]",
    }


def _unmixed(types: tuple[str, ...]) -> JsonDict:
    """No field of another type is there: it would be ignored, and somebody would believe in it."""
    owners: dict[str, list[str]] = {}
    for kind, (field, _) in _of(types):
        owners.setdefault(field, []).append(kind)
    owners |= {field: [kind] for field, kind in _OPTIONAL.items()}
    fits = {field: f"(!has(self.{field}) || self.type in [{_listed(kinds)}])" for field, kinds in owners.items()}
    told = "''"
    for field, kinds in owners.items():
        message = f"{field} belongs to type {' or '.join(kinds)}: remove it, or change type"
        told = f"!{fits[field]} ? {cel_text(message)} : ({told})"
    return {
        "rule": " && ".join(fits.values()),
        "message": "a field of another type is set: remove it, or change type",
        "messageExpression": told,
    }


def _listed(kinds: list[str]) -> str:
    return ", ".join(f"'{kind}'" for kind in kinds)


def _of(types: tuple[str, ...]) -> list[tuple[str, tuple[str, str]]]:
    return [(kind, _NEEDED[kind]) for kind in types]


def _one_type(*types: str) -> ConfigDict:
    return ConfigDict(json_schema_extra={VALIDATIONS: [_complete(types), _unmixed(types)]})


_PLAIN: Final = ("signature", "ip_blacklist", "rate_limiting", "anomaly_detection", "libinjection")
_ALL: Final = (*_PLAIN, "all_of", "any_of", "not")


class _Fields(Model):
    """What every level of a rule may hold."""

    pattern: str | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_PATTERN_CHARS,
        description="Of type signature: what is looked for in the payload.",
    )
    syntax: Syntax | None = Field(
        default=None,
        description="Of type signature: how pattern is read. literal: these very characters. regex: an expression "
        "in the dialect of RE2, whose matching takes linear time; lookaround and backreferences are refused. "
        "Unset: literal.",
    )
    networks: list[Cidr] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_NETWORKS,
        description="Of type ip_blacklist: client addresses that match, in CIDR form.",
        json_schema_extra=SET_LIST,
    )
    requests: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Of type rate_limiting: how many requests of one client within windowSeconds are let through; "
        "those beyond match.",
    )
    window_seconds: int | None = Field(
        default=None, ge=1, le=86_400, description="Of type rate_limiting: length of the sliding window. Unset: 60."
    )
    threshold: float | None = Field(
        default=None,
        ge=-1_000_000,
        le=1_000_000,
        description="Of type anomaly_detection: the score, in bits a byte such as 5.5, from which on a sample is taken "
        "for an attack.",
    )
    injections: list[Injection] | None = Field(
        default=None,
        min_length=1,
        max_length=2,
        description="Of type libinjection: which injections are looked for.",
        json_schema_extra=SET_LIST,
    )


class PlainRule(_Fields):
    """A rule that holds no other."""

    model_config = _one_type(*_PLAIN)

    type: PlainType = Field(description="How it decides. Here, at the third level, no type that holds rules.")


class InnerRule(_Fields):
    """A rule within a rule."""

    model_config = _one_type(*_ALL)

    type: RuleType = Field(description="How it decides.")
    rules: list[PlainRule] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_PARTS,
        description="Of type all_of and any_of: the rules that it is made of.",
        json_schema_extra=ATOMIC_LIST,
    )
    rule: PlainRule | None = Field(default=None, description="Of type not: the rule that must not match.")


class DetectionRule(_Fields):
    """A rule as a person names it."""

    model_config = _one_type(*_ALL)

    id: RuleId = Field(description="Id of the rule, such as rule-001.")
    name: str | None = Field(default=None, min_length=1, max_length=128, description="Name of the rule, for people.")
    type: RuleType = Field(
        description="How it decides: by a signature in the payload, by the client's address (ip_blacklist), by the "
        "client's pace (rate_limiting), by a score (anomaly_detection), by libinjection, or by other rules (all_of, "
        "any_of, not)."
    )
    rules: list[InnerRule] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_PARTS,
        description="Of type all_of and any_of: the rules that it is made of.",
        json_schema_extra=ATOMIC_LIST,
    )
    rule: InnerRule | None = Field(default=None, description="Of type not: the rule that must not match.")
