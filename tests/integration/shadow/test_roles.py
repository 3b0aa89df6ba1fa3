"""The shadow service connects by a role of its own: what a break-in could not do with it."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from tests.integration.harness import Api, Stack, query
from tests.integration.shadow.conftest import ROLE, admitted, migrate

REFUSED = (
    "SELECT FROM credits.accounts",
    "SELECT FROM credits.ledger",
    "UPDATE credits.accounts SET balance = 1",
    "INSERT INTO credits.api_keys DEFAULT VALUES",
    "UPDATE credits.api_keys SET revoked_at = NULL",
    "DELETE FROM credits.api_keys",
    "SELECT FROM credits.tenant_keys",
    "UPDATE shadow.samples SET line = ''",
    "UPDATE shadow.evaluations SET tenant_id = 'somebody-else'",
    "DELETE FROM shadow.charges",
    "UPDATE shadow.charges SET most = 1",
    "TRUNCATE shadow.samples CASCADE",
    "CREATE TABLE shadow.mine (x integer)",
    "DROP SCHEMA shadow CASCADE",
    "SELECT FROM shadow.service_roles",
    "INSERT INTO shadow.schema_migrations (version, name, sha256) VALUES (99, 'x', 'x')",
    "CREATE ROLE mine",
    "SET ROLE credits",
    "SELECT FROM pg_authid",
    "COPY (SELECT 1) TO PROGRAM 'true'",
)

WAITING = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"


@pytest.fixture(scope="module")
def uri(stack: Stack) -> str:
    file: Path = admitted(stack)
    return file.read_text(encoding="utf-8")


@pytest.mark.parametrize("statement", REFUSED)
def test_a_shadow_service_that_was_broken_into_cannot(uri: str, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        query(uri, statement)


def test_the_running_service_connects_as_that_role(shadow: Api, stack: Stack) -> None:
    assert shadow.http.get("/shadow/results/6ba7b810-9dad-41d1-80b4-00c04fd430c8").status_code == 404
    rows = stack.sql("SELECT usename FROM pg_stat_activity WHERE application_name = 'shieldx-runtime'")
    assert ROLE in {row["usename"] for row in rows}


def test_a_restore_of_the_ledger_takes_no_right_for_long(uri: str, stack: Stack) -> None:
    stack.sql(f"REVOKE ALL ON credits.api_keys FROM {ROLE}")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        query(uri, "SELECT FROM credits.api_keys")
    assert stack.service.migrate().returncode == 0, "with which every restore ends"
    assert query(uri, "SELECT count(*) FROM credits.api_keys")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        query(uri, "SELECT FROM credits.ledger")


async def test_migrations_of_both_services_at_once_wait_for_each_other(uri: str, stack: Stack) -> None:
    """Both change what may be done in the ledger's schema."""
    assert uri
    owner = await asyncpg.connect(stack.postgres.uri("credits"))
    try:
        async with owner.transaction():
            await owner.execute("SELECT pg_advisory_xact_lock(hashtextextended('migrate credits', 2))")
            await owner.execute(f"GRANT SELECT ON credits.api_keys TO {ROLE}")
            other = asyncio.create_task(asyncio.to_thread(migrate, stack, admitted(stack)))
            async with asyncio.timeout(20):
                while not await owner.fetchval(WAITING):
                    assert not other.done(), other.result().stderr
                    await asyncio.sleep(0.05)
        done = await other
    finally:
        await owner.close()
    assert done.returncode == 0, done.stderr


def test_a_mark_alone_gives_no_role_of_the_server_the_keys(uri: str, stack: Stack) -> None:
    """Whoever may make roles may write any comment on them."""
    stack.sql("CREATE ROLE impostor LOGIN PASSWORD 'x'")
    try:
        stack.sql("COMMENT ON ROLE impostor IS 'reads the API keys of credits'")
        assert stack.service.migrate().returncode == 0
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            query(f"postgresql://impostor:x@{uri.partition('@')[2]}", "SELECT FROM credits.api_keys")
    finally:
        stack.sql("DROP OWNED BY impostor")
        stack.sql("DROP ROLE impostor")


def test_a_role_that_has_the_keys_for_its_mark_alone_loses_them_and_no_other_does(uri: str, stack: Stack) -> None:
    """As the release gave them that went by marks, or of a service that is gone; an auditor's role is its owner's."""
    marked, auditor = "of_no_service", "auditor"
    for role in (marked, auditor):
        stack.sql(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
        stack.sql(f"GRANT USAGE ON SCHEMA credits TO {role}")
        stack.sql(f"GRANT SELECT ON credits.api_keys TO {role}")
    stack.sql(f"COMMENT ON ROLE {marked} IS 'made by `shieldx shadow migrate`; reads the API keys of credits'")
    try:
        for _ in range(2):
            assert stack.service.migrate().returncode == 0
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                query(f"postgresql://{marked}:x@{uri.partition('@')[2]}", "SELECT FROM credits.api_keys")
            for known in (f"postgresql://{auditor}:x@{uri.partition('@')[2]}", uri):
                assert query(known, "SELECT count(*) FROM credits.api_keys")
    finally:
        for role in (marked, auditor):
            stack.sql(f"DROP OWNED BY {role}")
            stack.sql(f"DROP ROLE {role}")
