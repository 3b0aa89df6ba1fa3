"""The role that a service connects with: made once, given what its `grants.sql` says, and no owner of anything.

The owner of the database brings a schema up and hands out the rights; what they are, the slice of the schema says.
"""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import asyncpg

from shieldx_contract import ENV_DATABASE_SERVICE_URI_FILE
from shieldx_runtime.core import log
from shieldx_runtime.core.database import Connection, connect, target_of
from shieldx_runtime.core.faults import InvalidUriError, describe, parse_target
from shieldx_runtime.core.migrations import MigrationError, lock
from shieldx_runtime.core.settings import SettingsError, read_secret

KEY_READER: Final = "reads the API keys of {database}"
"""The end of the mark of roles that need a part of another schema: it gives them that part again after a restore."""
_CONNECT_TIMEOUT_S: Final = 10.0
_STATEMENT_TIMEOUT_S: Final = 60.0
_SCRAM_ROUNDS: Final = 4096
_logger = log.get(__name__)

_ROLE: Final = """
SELECT r.rolsuper AS superuser, pg_has_role(r.oid, d.datdba, 'MEMBER') AS owner,
       shobj_description(r.oid, 'pg_authid') = $2 AS ours
FROM pg_roles r, pg_database d
WHERE r.rolname = $1 AND d.datname = current_database()
"""

_REGISTERS: Final = """
SELECT format('%I.%I', n.nspname, c.relname) AS name
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = 'service_roles' AND c.relkind = 'r'
  AND c.relowner IN ((SELECT relowner FROM pg_class WHERE oid = to_regclass($1)), current_user::regrole)
"""

_STRAY: Final = """
SELECT r.rolname
FROM pg_roles r, pg_namespace n
WHERE n.nspname = $1 AND r.rolname <> ALL ($3)
  AND right(shobj_description(r.oid, 'pg_authid'), length($2)) = $2
  AND EXISTS (SELECT FROM aclexplode(n.nspacl) a WHERE a.grantee = r.oid)
ORDER BY 1
"""
"""Roles of that mark that have been given something of a schema, others than those named."""


@dataclass(frozen=True, slots=True)
class Rights:
    """What roles of a schema's services may do.

    `grants` is SQL in which `<role>` stands for a quoted name. `mark` is the comment by which a role is known that was
    made here, with `{database}` for the name of the database where roles of another must not be taken for it.
    `reader_grants` are for roles of other services of this database whose mark ends with `KEY_READER`, and
    `reader_revokes` for those of that mark that are of none. `grants_in` are other schemas of which `grants` give
    something.
    """

    schema: str
    grants: str
    mark: str
    reader_grants: str = ""
    reader_revokes: str = ""
    grants_in: tuple[str, ...] = ()


async def admit(uri_file: Path, service_uri_file: Path | None, rights: Rights) -> tuple[str, ...]:
    """Makes the role of `service_uri_file` if it is missing, and gives every role of a service its rights.

    None, or the owner's own role: one role does both. Gives the names of the roles that have their rights now.

    Raises:
        MigrationError: with one line that names the role, the cause and the remedy.
        InvalidUriError: the file holds no usable URI.
    """
    service = _login(service_uri_file) if service_uri_file else None
    try:
        connection = await connect(uri_file, timeout_s=_CONNECT_TIMEOUT_S, statement_timeout_s=_STATEMENT_TIMEOUT_S)
        try:
            async with connection.transaction():
                # two that grant in one schema at a time end with "tuple concurrently updated"; sorted: no deadlock
                for schema in sorted({rights.schema, *rights.grants_in}):
                    await lock(connection, schema)
                if service:
                    await _register(connection, rights, *service)
                return await grant(connection, rights)
        finally:
            await connection.close(timeout=5)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise MigrationError(describe(error, target_of(uri_file))) from error


async def admit_where_known(uri_file: Path, rights: Rights) -> tuple[str, ...]:
    """The same for roles that are registered already; nothing where the database has no such schema, or an older one.

    Raises:
        MigrationError: as `admit`.
    """
    try:
        connection = await connect(uri_file, timeout_s=_CONNECT_TIMEOUT_S, statement_timeout_s=_STATEMENT_TIMEOUT_S)
        try:
            known = await connection.fetchval("SELECT to_regclass($1)", f"{rights.schema}.service_roles")
        finally:
            await connection.close(timeout=5)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise MigrationError(describe(error, target_of(uri_file))) from error
    return await admit(uri_file, None, rights) if known else ()


def _login(uri_file: Path) -> tuple[str, str]:
    """User and password of a URI."""
    try:
        uri = read_secret(uri_file, ENV_DATABASE_SERVICE_URI_FILE)
    except SettingsError as error:
        raise InvalidUriError(str(error)) from error
    return parse_target(uri).user, unquote(urlsplit(uri).password or "")


async def _register(connection: Connection, rights: Rights, role: str, password: str) -> None:
    if role == await connection.fetchval("SELECT current_user"):
        return
    mark = await _marked(connection, rights)
    found = await connection.fetchrow(_ROLE, role, mark)
    if found is None:
        await _create(connection, role, password, mark)
    elif found["superuser"] or found["owner"]:
        raise MigrationError(
            f"role {role!r} of {ENV_DATABASE_SERVICE_URI_FILE} is a superuser or has the rights of the "
            "database's owner: name a role that is neither, or the owner's own URI if one role is to do both"
        )
    elif found["ours"]:
        await connection.execute(f"ALTER ROLE {_quoted(role)} LOGIN PASSWORD '{_verifier(password)}'")
    await connection.execute(
        f"INSERT INTO {rights.schema}.service_roles (role_name) VALUES ($1) ON CONFLICT DO NOTHING",  # noqa: S608 - a name of ours
        role,
    )


async def _create(connection: Connection, role: str, password: str, mark: str) -> None:
    may = await connection.fetchval("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")
    if not may:
        owner = await connection.fetchval("SELECT current_user")
        raise MigrationError(
            f"role {role!r} of {ENV_DATABASE_SERVICE_URI_FILE} does not exist and {owner!r} may not create it: "
            f"as an administrator, CREATE ROLE {_quoted(role)} LOGIN PASSWORD '...', or let {owner!r} CREATEROLE"
        )
    if not password:
        raise MigrationError(f"{ENV_DATABASE_SERVICE_URI_FILE} has no password for the new role {role!r}: write one")
    await connection.execute(
        f"CREATE ROLE {_quoted(role)} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION "
        f"PASSWORD '{_verifier(password)}'"
    )
    literal = await connection.fetchval("SELECT quote_literal($1::text)", mark)
    await connection.execute(f"COMMENT ON ROLE {_quoted(role)} IS {literal}")
    _logger.info("role of the service created", role=role)


async def grant(connection: Connection, rights: Rights) -> tuple[str, ...]:
    """Gives the roles of services their rights: those that this server has. The rest are of where a copy was made."""
    rows = await connection.fetch(
        f"SELECT role_name FROM {rights.schema}.service_roles JOIN pg_roles ON rolname = role_name ORDER BY 1"  # noqa: S608
    )
    names = tuple(row["role_name"] for row in rows)
    for name in names:
        await connection.execute(rights.grants.replace("<role>", _quoted(name)))
    if rights.reader_grants:
        readers = await _readers(connection, rights.schema)
        for name in readers:
            await connection.execute(rights.reader_grants.replace("<role>", _quoted(name)))
        await _take_back(connection, rights, [*names, *readers])
    return names


async def _take_back(connection: Connection, rights: Rights, named: list[str]) -> None:
    """Takes from roles what they were given for their mark, and what is no longer theirs: no service here has them."""
    mark = KEY_READER.format(database=await connection.fetchval("SELECT current_database()"))
    for row in await connection.fetch(_STRAY, rights.schema, mark, named):
        await connection.execute(rights.reader_revokes.replace("<role>", _quoted(row["rolname"])))
        _logger.warning("a role of no service here may read the API keys no longer", role=row["rolname"])


async def _marked(connection: Connection, rights: Rights) -> str:
    """The comment of roles that were made for this schema of this database."""
    return rights.mark.format(database=await connection.fetchval("SELECT current_database()"))


async def _readers(connection: Connection, schema: str) -> list[str]:
    """Roles of other services that look up keys, as their marks say.

    Whoever may make a role of this server may give it any mark: it counts for those alone that the owner of `schema`,
    the former or the present, has registered in this database.
    """
    registers = await connection.fetch(_REGISTERS, f"{schema}.service_roles")
    mark = KEY_READER.format(database=await connection.fetchval("SELECT current_database()"))
    found: set[str] = set()
    for register in registers:
        rows = await connection.fetch(
            f"SELECT rolname FROM {register['name']} JOIN pg_roles ON rolname = role_name "  # noqa: S608 - quoted
            "WHERE right(shobj_description(oid, 'pg_authid'), length($1)) = $1",
            mark,
        )
        found.update(row["rolname"] for row in rows)
    return sorted(found)


def _verifier(password: str) -> str:
    """What PostgreSQL stores of a password (RFC 5803), so that no statement, which may be logged, has the password."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _SCRAM_ROUNDS)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    stored, server = (base64.b64encode(k).decode() for k in (hashlib.sha256(client_key).digest(), server_key))
    return f"SCRAM-SHA-256${_SCRAM_ROUNDS}:{base64.b64encode(salt).decode()}${stored}:{server}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
