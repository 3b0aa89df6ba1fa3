"""A managed database whose Secret has another password takes that one over, and shows it to nobody."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from dev.devserver.binaries import postgres_bin
from shieldx_operator.blocks.postgres import readiness
from tests.integration.harness import Stack, query

ROLE, QUOTED, DATABASE = 'owner of "one"', '"owner of ""one"""', "postgres"
FIRST, SECOND = "the first password", 'it\'s another, with \\ and "quotes"'


class Pod:
    """The probe as the kubelet runs it; where the owner needs no password on the pod's socket, here it has the old."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack = stack
        self.secret = folder / "password"
        self.run_dir = folder / "run"
        self.run_dir.mkdir()

    def is_ready(self, **changes: str) -> bool:
        port = str(self.stack.postgres.port)
        environ = {
            "PATH": f"{postgres_bin()}:{os.environ['PATH']}",
            "POSTGRES_USER": ROLE,
            "POSTGRES_DB": DATABASE,
            "POSTGRES_PASSWORD_FILE": str(self.secret),
            "PGHOST": "127.0.0.1",
            "PGPORT": port,
            "PGPASSWORD": FIRST,
            **changes,
        }
        command = readiness(str(self.run_dir))
        assert not [word for word in command if FIRST in word or SECOND in word]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30, check=False)
        assert SECOND not in done.stdout + done.stderr
        return done.returncode == 0

    def lets_in(self, password: str) -> bool:
        async def enter() -> bool:
            try:
                connection = await asyncpg.connect(
                    host="127.0.0.1", port=self.stack.postgres.port, user=ROLE, password=password, database=DATABASE
                )
            except asyncpg.InvalidPasswordError:
                return False
            await connection.close()
            return True

        return asyncio.run(enter())

    def sql(self, statement: str) -> None:
        query(self.stack.postgres.uri(DATABASE), statement)

    def log(self) -> str:
        (found,) = self.stack.folder.rglob("postgres.log")
        return found.read_text()


@pytest.fixture
def pod(stack: Stack, tmp_path: Path) -> Iterator[Pod]:
    made = Pod(stack, tmp_path)
    made.sql(f"CREATE ROLE {QUOTED} SUPERUSER LOGIN PASSWORD '{FIRST}'")
    made.secret.write_text(FIRST)
    assert made.is_ready()
    yield made
    made.sql(f"DROP ROLE {QUOTED}")


def test_the_owners_password_follows_its_secret(pod: Pod) -> None:
    pod.secret.write_text(SECOND)
    assert pod.is_ready()
    assert pod.lets_in(SECOND)
    assert not pod.lets_in(FIRST)
    assert SECOND not in pod.log()
    # done once: without a password it could not be done again, and so it is not tried
    assert pod.is_ready(PGPASSWORD="")


def test_a_database_that_refuses_the_password_is_ready_and_is_asked_again(pod: Pod) -> None:
    pod.sql(f"ALTER ROLE {QUOTED} SET default_transaction_read_only = on")
    pod.secret.write_text(SECOND)
    assert pod.is_ready()
    assert pod.lets_in(FIRST)
    assert "read-only transaction" in pod.log()
    assert SECOND.partition(",")[2] not in pod.log()
    pod.sql(f"ALTER ROLE {QUOTED} RESET default_transaction_read_only")
    assert pod.is_ready()
    assert pod.lets_in(SECOND)


def test_a_server_that_does_not_answer_is_not_ready(pod: Pod) -> None:
    assert not pod.is_ready(PGPORT="1")
