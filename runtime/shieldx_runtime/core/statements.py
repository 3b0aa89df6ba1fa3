"""SQL lives in .sql files; this finds a statement by its name."""

import re
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Final

_MARK: Final = re.compile(r"^-- name:", re.MULTILINE)


def load(file: Traversable) -> Mapping[str, str]:
    """The statements of a file, each under the name that its `-- name:` line gives.

    Raises:
        ValueError: a name stands twice, or a statement is empty.
    """
    found: dict[str, str] = {}
    for part in _MARK.split(file.read_text(encoding="utf-8"))[1:]:
        name, _, text = part.partition("\n")
        name, text = name.strip(), text.strip().removesuffix(";")
        if not text or name in found:
            raise ValueError(f"{file.name}: statement {name!r} is empty or stands twice")
        found[name] = text
    return MappingProxyType(found)
