"""What is said of a rollback when only a part of it could be done."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from shieldx_runtime.backup import postgres, restore
from shieldx_runtime.backup.postgres import Address, DatabaseError

DATABASE = Address("postgresql://owner:p@db.example:5432/credits")
ASIDE, SIDE = "credits_before_1", "credits_restoring_1"


class Server:
    """The names of its databases; each action fails that is told to."""

    def __init__(self, *names: str, fails: Callable[[str], BaseException | None] = lambda _: None) -> None:
        self.names = set(names)
        self._fails = fails

    async def databases(self, _: Any) -> set[str]:
        return set(self.names)

    async def rename(self, _: Any, name: str, to: str) -> None:
        self._act("rename")
        self.names = self.names - {name} | {to}

    async def discard(self, _: Any, address: Address) -> None:
        self._act("discard")
        self.names.discard(address.database)

    def _act(self, action: str) -> None:
        error = self._fails(action)
        if error:
            raise error


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[[Server], None]:
    @contextlib.asynccontextmanager
    async def maintenance(_: Address) -> AsyncIterator[None]:
        yield

    def use(server: Server) -> None:
        for name in ("databases", "rename", "discard"):
            monkeypatch.setattr(postgres, name, getattr(server, name))
        monkeypatch.setattr(restore, "_maintenance", maintenance)

    return use


def failing(action: str, error: BaseException) -> Callable[[str], BaseException | None]:
    return lambda asked: error if asked == action else None


FAULTS = [DatabaseError("the volume is full"), TimeoutError("60 s"), ConnectionResetError("gone")]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
@pytest.mark.parametrize(("there", "rolled_back"), [((ASIDE,), True), (("credits", ASIDE), False)])
def test_a_leftover_that_stays_is_told_and_the_rollback_is_done(
    serve: Callable[[Server], None], fault: Exception, there: tuple[str, ...], rolled_back: bool
) -> None:
    server = Server(*there, SIDE, fails=failing("discard", fault))
    serve(server)
    told = asyncio.run(restore.roll_back(DATABASE))
    assert told["rolled_back"] is rolled_back
    assert "credits" in server.names
    assert str(fault) in told["message"]
    assert "could not be dropped" in told["message"]


def test_a_rollback_that_left_nothing_says_nothing_more(serve: Callable[[Server], None]) -> None:
    serve(Server(ASIDE, SIDE))
    told = asyncio.run(restore.roll_back(DATABASE))
    assert told == {"rolled_back": True, "restored_database": ASIDE}


@pytest.mark.parametrize(
    ("fails", "said", "steps"),
    [
        (None, "", ["rolled back"]),
        ("discard", "the service has its database", ["rolled back"]),
        ("rename", "the rollback failed", ["rollback failed"]),
    ],
)
def test_a_restore_that_failed_says_what_became_of_the_database(
    serve: Callable[[Server], None], fails: str | None, said: str, steps: list[str]
) -> None:
    serve(Server(ASIDE, SIDE, fails=failing(fails or "nothing", DatabaseError("the volume is full"))))
    timeline = restore.Timeline()
    connection: Any = None
    told = asyncio.run(restore._rolled_back(connection, DATABASE, SIDE, ASIDE, timeline))
    assert (told or "").startswith(said)
    assert bool(told) is bool(fails)
    assert [step["step"] for step in timeline.steps] == steps
