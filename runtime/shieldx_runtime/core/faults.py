"""Why the database, or a port, could not be used, in one line that names it and says what to check.

Pure: errors go in, words come out. Nothing of the URI but host, port, database and user is ever put into words.
"""

import socket
import ssl
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

import asyncpg

_WHERE: Final = 'the Secret\'s key "uri"'
_TRANSIENT_CLASSES: Final = ("08", "53", "57", "58")
"""SQLSTATE classes: connection, resources, operator intervention, system error."""
_TRANSIENT_STATES: Final = frozenset(
    {
        "25006",  # read-only: a standby that has not been promoted yet
        "28000",  # the role or pg_hba.conf says no: a rotation under way
        "28P01",  # wrong password: likewise
        "3D000",  # the database is not there (yet)
        "3F000",  # the schema is not there: not migrated yet
        "42P01",  # a table is not there: likewise
        "42883",  # a function is not there: likewise
        "42501",  # a permission is missing: likewise
        "40001",
        "40P01",
        "55P03",  # lock not available in time
    }
)


class DatabaseUnavailableError(Exception):
    """The database could not answer. Whether a write took effect is unknown; the same key finds out."""


class ListenError(Exception):
    """A port cannot be opened; the message says which and why. It is here so that no command waits for a server."""


class InvalidUriError(ValueError):
    """The database URI cannot be used. The message does not repeat it: it holds a password."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a database URI leads, without its password."""

    host: str
    port: int
    database: str
    user: str

    def __str__(self) -> str:
        return f"database {self.host}:{self.port}"


def parse_target(uri: str) -> Target:
    """Host, port, database and user of a PostgreSQL URI.

    Raises:
        InvalidUriError: it is not of the form postgresql://user:password@host:5432/name.
    """
    try:
        parts = urlsplit(uri)
        port = parts.port or 5432
    except ValueError:
        # from None: the original message may repeat parts of the URI
        raise InvalidUriError(UNREADABLE_URI) from None
    problem = _missing(parts)
    if problem:
        raise InvalidUriError(_uri_problem(problem))
    return Target(
        host=parts.hostname or "",
        port=port,
        database=unquote(parts.path[1:]),
        user=unquote(parts.username or ""),
    )


def _missing(parts: SplitResult) -> str:
    if parts.scheme not in ("postgresql", "postgres"):
        return "it does not begin with postgresql://"
    if "@" in parts.netloc.rpartition("@")[0]:
        # urllib takes the last one for the end of the password, asyncpg the first, and would tell what comes after it
        return "its password or user holds an '@': write that as %40"
    for name, value in (("host", parts.hostname), ("user", parts.username), ("database name", parts.path[1:])):
        if not value:
            return f"it names no {name}"
    return ""


def _uri_problem(problem: str) -> str:
    return f"database URI: {problem}: write postgresql://user:password@host:5432/name into {_WHERE}"


UNREADABLE_URI: Final = _uri_problem(
    "its host, port or parameters cannot be read (in user and password write '@', '/', '?', '#' and '[' as %40, %2F, "
    "%3F, %23 and %5B)"
)


def is_unavailability(error: BaseException) -> bool:
    """Whether `error` says that the database is away, rather than that a statement of ours is wrong."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return state[:2] in _TRANSIENT_CLASSES or state in _TRANSIENT_STATES
    if isinstance(error, asyncpg.DataError):
        return False
    return isinstance(
        error, OSError | TimeoutError | InvalidUriError | asyncpg.InterfaceError | asyncpg.InternalClientError
    )


def is_away(error: BaseException) -> bool:
    """Whether `error` says that the database itself does not answer, and not that this one statement failed.

    A lock that somebody holds or a statement that takes too long is no reason to leave the database alone.
    """
    if isinstance(error, asyncpg.PostgresError):
        return is_unavailability(error) and not isinstance(
            error,
            asyncpg.QueryCanceledError
            | asyncpg.LockNotAvailableError
            | asyncpg.SerializationError
            | asyncpg.DeadlockDetectedError
            | asyncpg.UndefinedTableError
            | asyncpg.UndefinedFunctionError,
        )
    return is_unavailability(error)


def is_settled(error: BaseException) -> bool:
    """Whether waiting will hardly help: credentials, database name or permission are wrong."""
    return isinstance(
        error,
        asyncpg.InvalidAuthorizationSpecificationError
        | asyncpg.InvalidCatalogNameError
        | asyncpg.InsufficientPrivilegeError
        | InvalidUriError,
    )


_WORDS: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (asyncpg.InvalidPasswordError, 'password authentication failed for user "{user}": check {where}'),
    (
        asyncpg.InvalidAuthorizationSpecificationError,
        'it does not let user "{user}" in ({reason}): check {where}',
    ),
    (asyncpg.InvalidCatalogNameError, 'database "{database}" does not exist: create it, or check {where}'),
    (
        asyncpg.InsufficientPrivilegeError,
        'user "{user}" may not do this ({reason}): grant it CREATE on database "{database}"',
    ),
    (
        asyncpg.TooManyConnectionsError,
        "no connection is left ({reason}): raise max_connections or use smaller pools",
    ),
    (asyncpg.PostgresError, "{reason}"),
    (
        socket.gaierror,
        "the name does not resolve: check the host in {where}, and that its Service exists",
    ),
    (ConnectionRefusedError, "connection refused: check that PostgreSQL runs and listens on port {port}"),
    (TimeoutError, "no answer in time: check that it runs and that NetworkPolicies let this pod reach it"),
    (ssl.SSLError, "TLS failed ({reason}): check sslmode and certificates of {where}"),
    (BaseException, "{reason}"),
)
"""The first that fits an error says it."""


def describe(error: BaseException, target: Target | None) -> str:
    """One line: which database, what is wrong, what to check."""
    if isinstance(error, InvalidUriError) or target is None:
        return str(error)
    if _all_refused(error):
        error = ConnectionRefusedError()
    words = next(words for kind, words in _WORDS if isinstance(error, kind))
    filled = words.format(
        user=target.user,
        database=target.database,
        port=target.port,
        where=_WHERE,
        reason=str(error).strip().partition("\n")[0] or type(error).__name__,
    )
    return f"{target}: {filled}"


def _all_refused(error: BaseException) -> bool:
    """A host name with several addresses gives one error that lists each address's own."""
    return isinstance(error, OSError) and "refused" in str(error).lower()
