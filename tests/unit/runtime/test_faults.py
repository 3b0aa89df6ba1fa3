"""What went wrong with the database, in words; and what counts as its being away."""

import socket
import ssl
from typing import Any

import asyncpg
import pytest

from shieldx_runtime.core.faults import (
    InvalidUriError,
    Target,
    describe,
    is_settled,
    is_unavailability,
    parse_target,
)

TARGET = Target("credits-db", 5432, "credits", "credits")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            asyncpg.InvalidPasswordError("no"),
            'password authentication failed for user "credits": check the Secret\'s key "uri"',
        ),
        (asyncpg.InvalidAuthorizationSpecificationError("no pg_hba.conf entry"), "(no pg_hba.conf entry)"),
        (asyncpg.InvalidCatalogNameError("x"), 'database "credits" does not exist'),
        (asyncpg.InsufficientPrivilegeError("permission denied"), 'grant it CREATE on database "credits"'),
        (asyncpg.TooManyConnectionsError("sorry"), "no connection is left"),
        (asyncpg.CannotConnectNowError("the database system is starting up"), "the database system is starting up"),
        (socket.gaierror(-2, "Name or service not known"), "the name does not resolve"),
        (ConnectionRefusedError(111, "Connect call failed"), "connection refused"),
        (OSError("Multiple exceptions: [Errno 111] refused, [Errno 111] refused"), "connection refused"),
        (TimeoutError(), "no answer in time"),
        (ssl.SSLError(1, "bad certificate"), "TLS failed ("),
        (ConnectionResetError("reset\nby peer"), "database credits-db:5432: reset"),
        (ConnectionError(), "ConnectionError"),
    ],
)
def test_each_cause_has_its_words_in_one_line(error: Exception, words: str) -> None:
    line = describe(error, TARGET)
    assert line.startswith("database credits-db:5432: ")
    assert words in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "error",
    [
        OSError(),
        TimeoutError(),
        asyncpg.ConnectionDoesNotExistError("gone"),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.AdminShutdownError("bye"),
        asyncpg.CrashShutdownError("bye"),
        asyncpg.QueryCanceledError("statement timeout"),
        asyncpg.DiskFullError("full"),
        asyncpg.ReadOnlySQLTransactionError("standby"),
        asyncpg.InvalidPasswordError("rotating"),
        asyncpg.UndefinedTableError("not migrated"),
        InvalidUriError("x"),
    ],
)
def test_a_database_that_is_away_is_not_a_bug(error: Exception) -> None:
    assert is_unavailability(error)


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.DataError("wrong argument"),
        asyncpg.UniqueViolationError("x"),
        asyncpg.CheckViolationError("x"),
        asyncpg.PostgresSyntaxError("x"),
        ValueError(),
    ],
)
def test_a_bug_is_not_a_database_that_is_away(error: Exception) -> None:
    assert not is_unavailability(error)


def test_waiting_hardly_helps_a_wrong_password_but_a_start() -> None:
    assert is_settled(asyncpg.InvalidPasswordError("x"))
    assert is_settled(asyncpg.InvalidCatalogNameError("x"))
    assert not is_settled(asyncpg.CannotConnectNowError("x"))
    assert not is_settled(socket.gaierror())


def test_a_uri_gives_its_place_without_its_password() -> None:
    target = parse_target("postgresql://us%40er:se%2Fcret@[::1]/na%20me?sslmode=require")
    assert target == Target("::1", 5432, "na me", "us@er")
    assert "se" not in str(target).replace("database", "")


@pytest.mark.parametrize(
    "uri",
    [
        *("", "x", "mysql://u:secret@h/d", "postgresql://h/d", "postgresql://u:secret@h:x/d"),
        "postgresql://u:p@ss:secret@h/d",
    ],
)
def test_a_uri_of_no_use_is_refused_without_repeating_it(uri: Any) -> None:
    with pytest.raises(InvalidUriError) as caught:
        parse_target(uri)
    assert "secret@" not in str(caught.value)
    assert caught.value.__cause__ is None
