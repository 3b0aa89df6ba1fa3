"""The rights of the shadow service's role in its own schema."""

from importlib import resources
from typing import Final

from shieldx_runtime.core.roles import KEY_READER, Rights
from shieldx_runtime.shadow.service.store import SCHEMA

_GRANTS: Final = (resources.files("shieldx_runtime.shadow") / "grants.sql").read_text(encoding="utf-8")


def rights(keys: str, keys_schema: str) -> Rights:
    """With `keys`, the grants in `keys_schema` by which the role looks up keys: the slice that has them says which."""
    return Rights(
        schema=SCHEMA,
        grants=f"{_GRANTS}\n{keys}",
        mark=f"made by `shieldx shadow migrate`; {KEY_READER}",
        grants_in=(keys_schema,),
    )
