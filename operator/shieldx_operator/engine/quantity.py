"""Kubernetes quantities by value: "1000m" is "1", "1Gi" is "1024Mi"."""

import re
from decimal import Decimal
from typing import Final

_FORM: Final = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d{1,3})|(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E))?")
_SUFFIX: Final = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10) ** 3,
    "M": Decimal(10) ** 6,
    "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12,
    "P": Decimal(10) ** 15,
    "E": Decimal(10) ** 18,
    "Ki": Decimal(2) ** 10,
    "Mi": Decimal(2) ** 20,
    "Gi": Decimal(2) ** 30,
    "Ti": Decimal(2) ** 40,
    "Pi": Decimal(2) ** 50,
    "Ei": Decimal(2) ** 60,
}


def parse(text: object) -> Decimal | None:
    """The value of a quantity, or None if `text` is not one.

    Form: k8s.io/apimachinery/pkg/api/resource, a signed number with a binary, decimal or exponent suffix.
    """
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        return None
    match = _FORM.fullmatch(str(text))
    if match is None:
        return None
    number, exponent, suffix = match.groups()
    return Decimal(number + (exponent or "")) * _SUFFIX[suffix or ""]


def equal(one: object, other: object) -> bool:
    """Whether both are quantities of the same value."""
    a, b = parse(one), parse(other)
    return a is not None and a == b
