"""The rights of roles in the ledger's database: the credits service's own, and of a service beside it that reads keys.

A service that somebody has broken into can add entries, as it always could, and neither change nor remove one.
"""

from importlib import resources
from pathlib import Path
from typing import Final

from shieldx_runtime.core import roles
from shieldx_runtime.core.database import Connection
from shieldx_runtime.core.roles import Rights
from shieldx_runtime.credits.repository import SCHEMA

_HERE: Final = resources.files("shieldx_runtime.credits")
KEY_READER_GRANTS: Final = (_HERE / "key_reader_grants.sql").read_text(encoding="utf-8")
"""What a service needs that takes the keys of tenants and has a schema of its own, for its `Rights.grants`."""
RIGHTS: Final = Rights(
    schema=SCHEMA,
    grants=(_HERE / "grants.sql").read_text(encoding="utf-8"),
    mark="made by `shieldx credits migrate`",
    reader_grants=KEY_READER_GRANTS,
    reader_revokes=(_HERE / "key_reader_revokes.sql").read_text(encoding="utf-8"),
)


async def admit(uri_file: Path, service_uri_file: Path | None) -> tuple[str, ...]:
    """As `core.roles.admit`, for the credits service. Raises as it does."""
    return await roles.admit(uri_file, service_uri_file, RIGHTS)


async def grant(connection: Connection) -> tuple[str, ...]:
    """As `core.roles.grant`, for the credits service and for those that read its keys."""
    return await roles.grant(connection, RIGHTS)
