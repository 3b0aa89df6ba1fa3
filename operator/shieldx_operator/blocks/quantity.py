"""Kubernetes' quantities of bytes as numbers, for programs that must know what their pod is given."""

from decimal import Decimal
from typing import Final

_UNITS: Final = {
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 1 << 10,
    "Mi": 1 << 20,
    "Gi": 1 << 30,
    "Ti": 1 << 40,
}


def size_bytes(quantity: str) -> int:
    """`1.5Gi` is 1610612736. The API server let only such forms through: see `fields.ByteQuantity`."""
    number = quantity.rstrip("kKMGTi")
    return int(Decimal(number) * _UNITS.get(quantity.removeprefix(number), 1))
