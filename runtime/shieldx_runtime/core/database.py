"""A bounded pool of connections to PostgreSQL that outlives its database.

The pool opens connections when they are asked for, so that a service starts, fails and recovers with its database
without any state of its own. Each new connection reads the URI file again: a rotated password is picked up.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from shieldx_contract import ENV_DATABASE_URI_FILE
from shieldx_runtime.core import log
from shieldx_runtime.core.breaker import Breaker
from shieldx_runtime.core.faults import (
    UNREADABLE_URI,
    DatabaseUnavailableError,
    InvalidUriError,
    Target,
    describe,
    is_away,
    is_unavailability,
    parse_target,
)
from shieldx_runtime.core.settings import DatabaseSettings, SettingsError, read_secret

_LIFETIME_S: Final = 300.0
_HEALTH_INTERVAL_S: Final = 30.0
_RELEASE_TIMEOUT_S: Final = 2.0
_CONNECT_SHARE: Final = 0.8
"""Of a caller's time: an unanswered connect has to fail before its caller gives up, which would say nothing."""
_THRESHOLD: Final = 5
_OPEN_S: Final = 1.0
_logger = log.get(__name__)

Record = asyncpg.Record
Connection: TypeAlias = "asyncpg.Connection[Record]"
_Pooled: TypeAlias = "PoolConnectionProxy[Record]"


def read_uri(uri_file: Path) -> str:
    try:
        return read_secret(uri_file, ENV_DATABASE_URI_FILE)
    except SettingsError as error:
        raise InvalidUriError(str(error)) from error


def target_of(uri_file: Path) -> Target | None:
    """Where the URI file leads; None where it cannot be read or used."""
    try:
        return parse_target(read_uri(uri_file))
    except InvalidUriError:
        return None


async def connect(uri_file: Path, *, timeout_s: float, statement_timeout_s: float, **options: Any) -> Connection:
    """One connection by the URI that the file holds now. Times are in seconds; a statement timeout of 0 is none.

    Raises:
        InvalidUriError: the file does not hold a usable URI.
        OSError, TimeoutError, asyncpg.PostgresError: as asyncpg raises them.
    """
    uri = read_uri(uri_file)
    parse_target(uri)
    session = {
        "application_name": "shieldx-runtime",
        "statement_timeout": str(int(statement_timeout_s * 1000)),
        "timezone": "UTC",
    }
    try:
        connection: Connection = await asyncpg.connect(uri, timeout=timeout_s, server_settings=session, **options)
    except ValueError:
        # from None: asyncpg repeats the part of the URI that it cannot read
        raise InvalidUriError(UNREADABLE_URI) from None
    return connection


async def _keep_session(_: Connection) -> None:
    """Nothing to reset: every statement is one autocommitted call that leaves no session state behind."""


class Database:
    """The pool. Its timeout bounds a connect and, in the server, each statement; callers bound the whole call."""

    def __init__(self, settings: DatabaseSettings, breaker: Breaker | None = None, *, probes: bool = False) -> None:
        """`breaker` refuses calls while the database is away; calls of one that `probes` it does not refuse."""
        self._breaker = breaker or Breaker("postgresql", threshold=_THRESHOLD, open_s=_OPEN_S)
        self._probes = probes
        self._uri_file = settings.uri_file
        self._timeout_s = settings.request_timeout_s
        self._size = settings.pool_max_size
        self._releases: set[asyncio.Task[None]] = set()
        self._pool: asyncpg.Pool[Record] | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Makes the pool, without waiting for the database."""
        self._pool = await asyncpg.create_pool(
            connect=self._connect,
            min_size=0,
            max_size=self._size,
            max_inactive_connection_lifetime=0,
            reset=_keep_session,
        )
        self._keeper = asyncio.create_task(self._keep_warm(), name="database-keeper")

    async def close(self) -> None:
        if self._keeper:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._pool:
            try:
                async with asyncio.timeout(_RELEASE_TIMEOUT_S):
                    await self._pool.close()
            except TimeoutError:
                self._pool.terminate()

    async def fetch(self, statement: str, *arguments: Any) -> list[Record]:
        """All rows of one autocommitted statement.

        Raises:
            DatabaseUnavailableError: no answer; whether a write took effect is unknown.
            asyncpg.PostgresError: the statement is wrong.
        """
        async with self._connection() as connection:
            rows: list[Record] = await connection.fetch(statement, *arguments)
            return rows

    async def fetch_one(self, statement: str, *arguments: Any) -> Record | None:
        """The first row of one autocommitted statement, or None. Raises as `fetch`."""
        async with self._connection() as connection:
            row: Record | None = await connection.fetchrow(statement, *arguments)
            return row

    async def fetch_row(self, statement: str, *arguments: Any) -> Record:
        """The first row of a statement that always has one. Raises as `fetch`."""
        row = await self.fetch_one(statement, *arguments)
        if row is None:
            raise RuntimeError("a statement that always gives a row gave none")
        return row

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[_Pooled]:
        if self._pool is None:
            raise DatabaseUnavailableError("the pool is not open")
        if not self._breaker.admit() and not self._probes:
            raise DatabaseUnavailableError("the database has been away: it is left alone for a moment")
        try:
            connection = await self._pool.acquire()
            try:
                yield connection
            except BaseException:
                # a connection that is being cancelled takes its time to come back; the caller has none left
                self._release_later(self._pool, connection)
                raise
            await self._pool.release(connection, timeout=_RELEASE_TIMEOUT_S)
            self._breaker.succeeded()
        except asyncio.CancelledError:
            # a lock or the database? `_release` finds out
            self._breaker.given_up()
            raise
        except Exception as error:
            if is_away(error):
                self._breaker.failed()
            else:
                self._breaker.succeeded()
            if is_unavailability(error):
                raise DatabaseUnavailableError(describe(error, target_of(self._uri_file))) from error
            raise

    def _release_later(self, pool: "asyncpg.Pool[Record]", connection: _Pooled) -> None:
        task = asyncio.create_task(self._release(pool, connection))
        self._releases.add(task)
        task.add_done_callback(self._releases.discard)

    async def _release(self, pool: "asyncpg.Pool[Record]", connection: _Pooled) -> None:
        try:
            await pool.release(connection, timeout=_RELEASE_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001 - the pool has closed the connection; the next one is new
            self._breaker.failed()
            _logger.debug("connection given up", error=type(error).__name__)

    async def _connect(self, *_: Any, **options: Any) -> Connection:
        timeout_s = self._timeout_s * _CONNECT_SHARE
        return await connect(self._uri_file, timeout_s=timeout_s, statement_timeout_s=self._timeout_s, **options)

    async def _keep_warm(self) -> None:
        """Keeps half of the pool connected and replaces all connections once in `_LIFETIME_S`."""
        loop = asyncio.get_running_loop()
        expires = loop.time() + _LIFETIME_S
        while True:
            if loop.time() >= expires and self._pool:
                await self._pool.expire_connections()
                expires = loop.time() + _LIFETIME_S
            results = await asyncio.gather(*[self._look() for _ in range((self._size + 1) // 2)])
            failures = [r for r in results if r]
            if failures:
                _logger.warning("database unavailable", problem=failures[0])
            # jitter, so that replicas do not look in step; sooner while the database is away
            pause_s = 2.0 if failures else _HEALTH_INTERVAL_S
            await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))  # noqa: S311 - no secret

    async def _look(self) -> str:
        """Uses one connection; the words for what was wrong, or nothing."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self.fetch_one("SELECT 1")
        except (DatabaseUnavailableError, TimeoutError) as error:
            return str(error) or "no answer in time"
        return ""
