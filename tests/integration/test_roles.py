"""The role that a service connects with: what it may do, what nobody but the owner may, and how it is made."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from shieldx_contract import CREDITS_MIGRATE, ENV_DATABASE_SERVICE_URI_FILE, ENV_DATABASE_URI_FILE
from shieldx_runtime.core.ledger import Change
from shieldx_runtime.credits.archive import CreditsLedger
from tests.integration.harness import Api, Stack, new_tenant_id, query, with_connection

ROLE = "credits_service"
FOR_EVER = ("ledger", "chain_links", "events", "draws", "hold_lots", "idempotency", "tree_segments", "checkpoints")
"""Tables whose rows are only ever added."""
REFUSED = (
    "UPDATE credits.ledger SET amount = 1",
    "UPDATE credits.ledger SET description = NULL",
    "DELETE FROM credits.ledger",
    "TRUNCATE credits.ledger",
    "DROP TABLE credits.ledger",
    "ALTER TABLE credits.ledger DISABLE TRIGGER ALL",
    "UPDATE credits.chain_links SET hash = hash",
    "DELETE FROM credits.chain_links",
    "DELETE FROM credits.chain_heads",
    "UPDATE credits.events SET entry = ''",
    "DELETE FROM credits.checkpoints",
    "UPDATE credits.idempotency SET outcome = 'done'",
    "DELETE FROM credits.idempotency",
    "DELETE FROM credits.accounts",
    "UPDATE credits.accounts SET tenant_id = 'somebody-else'",
    "UPDATE credits.api_keys SET tenant_id = NULL",
    "UPDATE credits.api_keys SET key_hash = sha256('mine')",
    "DELETE FROM credits.api_keys",
    "DELETE FROM credits.tenant_keys",
    "UPDATE credits.tree SET ledger_id = gen_random_uuid()",
    "SELECT FROM credits.audit",
    "SELECT FROM credits.service_roles",
    "INSERT INTO credits.service_roles (role_name) VALUES ('pg_monitor')",
    "INSERT INTO credits.schema_migrations (version, name, sha256) VALUES (99, 'x', 'x')",
    "CREATE TABLE credits.mine (x integer)",
    "CREATE TABLE public.mine (x integer)",
    "CREATE OR REPLACE FUNCTION credits.delta(p_kind text, p_amount bigint) RETURNS bigint LANGUAGE sql AS 'SELECT 0'",
    "ALTER FUNCTION credits.maintain_idempotency(integer) SECURITY INVOKER",
    "DROP FUNCTION credits.maintain_idempotency(integer)",
    "DROP SCHEMA credits CASCADE",
    "DROP DATABASE postgres",
    "CREATE DATABASE mine",
    "CREATE ROLE mine",
    f"ALTER ROLE {ROLE} SUPERUSER",
    "SET ROLE credits",
    "SELECT FROM pg_authid",
    "SELECT pg_read_file('PG_VERSION')",
    "COPY (SELECT 1) TO PROGRAM 'true'",
)
Migrate = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.parametrize("statement", REFUSED)
def test_a_service_that_was_broken_into_cannot(stack: Stack, api: Api, statement: str) -> None:
    api.tenant(5)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        query(stack.postgres.service_uri("credits"), statement)


def test_the_running_service_connects_as_that_role(stack: Stack, api: Api) -> None:
    api.tenant(5)
    rows = stack.sql(
        "SELECT DISTINCT usename FROM pg_stat_activity "
        "WHERE application_name = 'shieldx-runtime' AND datname = 'credits'"
    )
    assert ROLE in {row["usename"] for row in rows}


def test_no_table_of_the_ledger_can_lose_a_row_and_entries_cannot_change(stack: Stack) -> None:
    rows = stack.sql(
        "SELECT c.relname AS name, has_table_privilege($1, c.oid, 'DELETE, TRUNCATE, TRIGGER, REFERENCES') AS loses, "
        "has_any_column_privilege($1, c.oid, 'UPDATE') AS changes, relowner::regrole::text AS owner "
        "FROM pg_class c WHERE relnamespace = 'credits'::regnamespace AND relkind IN ('r', 'p')",
        ROLE,
    )
    assert len(rows) > 15
    assert {row["name"] for row in rows if row["loses"]} == {"alert_rules", "alerts"}, "which are no part of the ledger"
    assert {row["owner"] for row in rows} == {"credits"}
    changing = {row["name"] for row in rows if row["changes"]}
    assert not changing & set(FOR_EVER)
    assert {"accounts", "grants", "holds", "api_keys", "tenant_keys"} <= changing


def test_partitions_are_made_with_the_rights_of_the_owner_by_those_who_are_named_alone(stack: Stack) -> None:
    uri = stack.postgres.service_uri("credits")
    assert query(uri, "SELECT o_created FROM credits.maintain_idempotency(9)")
    partition = "credits.idempotency_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD'"
    (row,) = stack.sql(f"SELECT relowner::regrole::text AS owner FROM pg_class WHERE oid = ('{partition}))::regclass")  # noqa: S608
    assert row["owner"] == "credits"
    (function,) = stack.sql("SELECT proacl::text AS acl, prosecdef FROM pg_proc WHERE proname = 'maintain_idempotency'")
    assert function["prosecdef"]
    assert "=X" not in function["acl"].replace(f"{ROLE}=X", "").replace("credits=X", "")


@pytest.fixture
def owner_uri(stack: Stack) -> str:
    """Of an empty database of this test's own."""
    name = new_tenant_id().replace("-", "_")
    stack.postgres.create_database(name)
    return stack.postgres.uri(name)


@pytest.fixture
def migrate(owner_uri: str, tmp_path: Path) -> Migrate:
    """Runs the command as the owner, or by another URI, for a service that connects by the URI given."""

    def run(service_uri: str | None, by: str = owner_uri) -> "subprocess.CompletedProcess[str]":
        environ = dict(os.environ)
        for variable, uri in ((ENV_DATABASE_URI_FILE, by), (ENV_DATABASE_SERVICE_URI_FILE, service_uri)):
            if uri is not None:
                file = tmp_path / variable
                file.write_text(uri, encoding="utf-8")
                environ[variable] = str(file)
        return subprocess.run(
            [sys.executable, *CREDITS_MIGRATE[1:]], env=environ, capture_output=True, text=True, timeout=60, check=False
        )

    return run


@pytest.fixture
def role(stack: Stack, owner_uri: str) -> Iterator[str]:
    """A name for a role of this test's own, which is gone afterwards."""
    name = "svc_" + new_tenant_id().replace("-", "_")
    yield name
    query(stack.postgres.uri("postgres"), f'DROP DATABASE "{owner_uri.rpartition("/")[2]}" WITH (FORCE)')
    query(stack.postgres.uri("postgres"), f'DROP ROLE IF EXISTS "{name}"')


def as_role(uri: str, role: str, password: str) -> str:
    return f"postgresql://{role}:{password}@{uri.partition('@')[2]}"


def test_a_new_password_is_given_to_a_role_that_was_made_here(migrate: Migrate, owner_uri: str, role: str) -> None:
    for password in ("first", "second"):
        uri = as_role(owner_uri, role, password)
        done = migrate(uri)
        assert done.returncode == 0, done.stderr
        assert query(uri, "SELECT count(*) FROM credits.accounts")
        assert password not in done.stdout + done.stderr


def test_a_role_that_somebody_else_made_keeps_its_password(migrate: Migrate, owner_uri: str, role: str) -> None:
    query(owner_uri, f"CREATE ROLE \"{role}\" LOGIN PASSWORD 'theirs'")
    assert migrate(as_role(owner_uri, role, "another")).returncode == 0
    assert query(as_role(owner_uri, role, "theirs"), "SELECT count(*) FROM credits.ledger")


@pytest.mark.parametrize("much", ["SUPERUSER", "IN ROLE credits"])
def test_a_role_that_could_do_everything_is_refused(migrate: Migrate, owner_uri: str, role: str, much: str) -> None:
    query(owner_uri, f"CREATE ROLE \"{role}\" LOGIN {much} PASSWORD 'x'")
    done = migrate(as_role(owner_uri, role, "x"))
    assert done.returncode == 1
    assert f"role {role!r} of {ENV_DATABASE_SERVICE_URI_FILE} is a superuser or has the rights of" in done.stderr


def test_an_owner_that_may_make_no_role_says_who_must(
    migrate: Migrate, stack: Stack, owner_uri: str, role: str
) -> None:
    database = owner_uri.rpartition("/")[2]
    query(owner_uri, f"CREATE ROLE \"{role}\" LOGIN PASSWORD 'x'")
    query(owner_uri, f'ALTER DATABASE "{database}" OWNER TO "{role}"')
    by = as_role(owner_uri, role, "x")
    done = migrate(as_role(owner_uri, "nobody_made_me", "x"), by)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        f"role 'nobody_made_me' of {ENV_DATABASE_SERVICE_URI_FILE} does not exist and {role!r} may not create it: "
        f"as an administrator, CREATE ROLE \"nobody_made_me\" LOGIN PASSWORD '...', or let {role!r} CREATEROLE"
    )
    query(stack.postgres.uri("postgres"), f'ALTER DATABASE "{database}" OWNER TO credits')


def test_one_role_may_do_both(migrate: Migrate, owner_uri: str) -> None:
    for service_uri in (None, owner_uri):
        assert migrate(service_uri).returncode == 0
    assert query(owner_uri, "SELECT FROM credits.service_roles") == []


def test_rights_that_were_lost_or_added_are_put_right_by_a_migration_and_by_a_restore(
    migrate: Migrate, owner_uri: str, role: str, tmp_path: Path
) -> None:
    uri = as_role(owner_uri, role, "x")
    assert migrate(uri).returncode == 0
    file = tmp_path / "uri"
    file.write_text(owner_uri, encoding="utf-8")
    for mend in (lambda: migrate(None), lambda: asyncio.run(CreditsLedger().migrate(file))):
        query(owner_uri, f'REVOKE ALL ON SCHEMA credits FROM "{role}"')
        query(owner_uri, f'GRANT DELETE ON credits.ledger TO "{role}"')
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            query(uri, "SELECT FROM credits.ledger")
        mend()
        assert query(uri, "SELECT FROM credits.ledger") == []
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            query(uri, "DELETE FROM credits.ledger")


async def test_a_role_that_is_younger_than_the_copy_gets_its_rights_from_what_was_shipped_after_it(
    migrate: Migrate, owner_uri: str, role: str
) -> None:
    uri = as_role(owner_uri, role, "x")
    assert migrate(None).returncode == 0

    async def replay(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        await connection.execute(f"CREATE ROLE \"{role}\" LOGIN PASSWORD 'x'")
        row = {"role_name": role, "admitted_at": "2026-01-01T00:00:00Z"}
        await CreditsLedger().replay(connection, [Change("service_roles", {role: "digest"}, (row,))])

    await with_connection(owner_uri, replay)

    async def entries(connection: "asyncpg.Connection[asyncpg.Record]") -> list[asyncpg.Record]:
        return await connection.fetch("SELECT FROM credits.ledger")

    assert await with_connection(uri, entries) == []


def test_a_new_table_is_refused_until_it_is_granted(migrate: Migrate, owner_uri: str, role: str) -> None:
    uri = as_role(owner_uri, role, "x")
    assert migrate(uri).returncode == 0
    query(owner_uri, "CREATE TABLE credits.later (x integer)")
    assert migrate(uri).returncode == 0
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        query(uri, "SELECT FROM credits.later")
