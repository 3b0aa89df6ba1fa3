"""`credits migrate`: what it does, and the one line that it ends with when it cannot."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dev.devserver.ports import free_port
from shieldx_contract import CREDITS_MIGRATE, ENV_DATABASE_URI_FILE
from shieldx_runtime.core.migrations import Migration, MigrationError, run
from shieldx_runtime.credits.repository import migrations
from tests.integration.harness import Stack, query

UriFile = Callable[[str], Path]


@pytest.fixture
def uri_file(tmp_path: Path) -> UriFile:
    def write(uri: str) -> Path:
        path = tmp_path / "uri"
        path.write_text(uri + "\n", encoding="utf-8")
        return path

    return write


@pytest.fixture
def empty(stack: Stack, request: pytest.FixtureRequest) -> str:
    """The URI of an empty database of this test's own."""
    name = f"empty_{abs(hash(request.node.name))}"
    stack.postgres.create_database(name)
    return stack.postgres.uri(name)


def start(uri_file: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *CREDITS_MIGRATE[1:]],
        env={**os.environ, ENV_DATABASE_URI_FILE: str(uri_file)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def last_words(uri_file: Path, *, code: int = 1) -> str:
    """What a failing `migrate` says on standard error: exactly one line."""
    with start(uri_file) as process:
        _, stderr = process.communicate(timeout=40)
    assert process.returncode == code
    assert stderr.count("\n") == 1
    return stderr.strip()


def in_process(uri_file: Path, *, wait_s: float = 1) -> str:
    with pytest.raises(MigrationError) as caught:
        asyncio.run(run(uri_file, "credits", migrations(), wait_s=wait_s))
    return str(caught.value)


def test_two_at_once_are_safe_and_a_third_finds_nothing_to_do(empty: str, uri_file: UriFile) -> None:
    path = uri_file(empty)
    processes = [start(path) for _ in range(2)]
    results = [process.communicate(timeout=40) for process in processes]
    assert [p.returncode for p in processes] == [0, 0], results
    assert sum(out.count("migration applied") for out, _ in results) == len(migrations())
    assert asyncio.run(run(path, "credits", migrations())) == 0
    rows = query(empty, "SELECT version, name, sha256 FROM credits.schema_migrations ORDER BY version")
    assert [tuple(r) for r in rows] == [(m.version, m.name, m.sha256) for m in migrations()]


def test_an_edited_migration_is_refused(empty: str, uri_file: UriFile) -> None:
    path = uri_file(empty)
    asyncio.run(run(path, "credits", migrations()))
    query(empty, "UPDATE credits.schema_migrations SET sha256 = 'deadbeefdeadbeef' WHERE version = 1")
    message = in_process(path)
    assert message.startswith("migration 0001_ledger.sql is not the one that was applied to this database")
    assert "never edit an applied migration" in message


def test_a_database_of_the_next_release_is_fine(empty: str, uri_file: UriFile) -> None:
    path = uri_file(empty)
    asyncio.run(run(path, "credits", migrations()))
    query(empty, "INSERT INTO credits.schema_migrations VALUES (99, '0099_next.sql', 'x')")
    assert asyncio.run(run(path, "credits", migrations())) == 0


def test_a_failing_migration_says_what_postgresql_says_and_leaves_nothing(empty: str, uri_file: UriFile) -> None:
    broken = Migration(2, "0002_broken.sql", "CREATE TABLE credits.half (x int);\nSELECT nonsense FROM nowhere;\n")
    with pytest.raises(MigrationError) as caught:
        asyncio.run(run(uri_file(empty), "credits", [migrations()[0], broken], wait_s=1))
    assert str(caught.value) == ('migration 0002_broken.sql line 2: relation "nowhere" does not exist (SQLSTATE 42P01)')
    assert query(empty, "SELECT to_regclass('credits.half') AS found")[0]["found"] is None
    assert [r["version"] for r in query(empty, "SELECT version FROM credits.schema_migrations")] == [1]


def test_a_wrong_password(stack: Stack, uri_file: UriFile) -> None:
    began = time.monotonic()
    assert last_words(uri_file(stack.postgres.uri("credits", password="not-this-one"))) == (
        f'database 127.0.0.1:{stack.postgres.port}: password authentication failed for user "credits": '
        'check the Secret\'s key "uri"'
    )
    assert time.monotonic() - began < 15


def test_a_database_that_does_not_exist(stack: Stack, uri_file: UriFile) -> None:
    message = in_process(uri_file(stack.postgres.uri("nowhere")))
    assert message == (
        f'database 127.0.0.1:{stack.postgres.port}: database "nowhere" does not exist: '
        'create it, or check the Secret\'s key "uri"'
    )


def test_a_user_without_permission(stack: Stack, empty: str, uri_file: UriFile) -> None:
    query(empty, "DROP ROLE IF EXISTS guest")
    query(empty, "CREATE ROLE guest LOGIN PASSWORD 'guest'")
    uri = empty.replace(f"credits:{stack.postgres.password}", "guest:guest")
    message = in_process(uri_file(uri))
    assert 'user "guest" may not do this (permission denied for database' in message
    assert "grant it CREATE" in message


def test_nobody_listens(uri_file: UriFile) -> None:
    port = free_port()
    message = in_process(uri_file(f"postgresql://u:secret@127.0.0.1:{port}/d"))
    assert message == (
        f"database 127.0.0.1:{port}: connection refused: check that PostgreSQL runs and listens on port {port}"
    )


def test_a_name_that_does_not_resolve(uri_file: UriFile) -> None:
    message = in_process(uri_file("postgresql://u:secret@no-such-host.invalid/d"))
    assert message.startswith("database no-such-host.invalid:5432: the name does not resolve: ")


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("mysql://u:secret@h/d", "it does not begin with postgresql://"),
        ("postgresql://u:secret@/d", "it names no host"),
        ("postgresql://u:secret@h", "it names no database name"),
        ("postgresql://u:p@ss:secret@h/d", "write that as %40"),
        ("postgresql://u:secret@h:port/d", "its host, port or parameters cannot be read"),
    ],
)
def test_a_uri_of_no_use_exits_2_and_is_not_repeated(uri_file: UriFile, uri: str, problem: str) -> None:
    message = last_words(uri_file(uri), code=2)
    assert problem in message
    assert "secret@" not in message


def test_it_waits_for_a_database_that_comes_late(empty: str, uri_file: UriFile) -> None:
    async def late() -> int:
        path = uri_file(f"postgresql://credits:x@127.0.0.1:{free_port()}/late")
        task = asyncio.create_task(run(path, "credits", migrations(), wait_s=15))
        await asyncio.sleep(1)
        path.write_text(empty, encoding="utf-8")
        return await task

    assert asyncio.run(late()) == len(migrations())
