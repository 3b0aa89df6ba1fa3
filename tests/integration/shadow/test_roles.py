"""The shadow service connects by a role of its own: what a break-in could not do with it."""

from pathlib import Path

import asyncpg
import pytest

from tests.integration.harness import Api, Stack, query
from tests.integration.shadow.conftest import ROLE, admitted

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
