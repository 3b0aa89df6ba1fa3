"""Redis as a place for values that can be found again elsewhere. Losing it is never an error.

Every call is bounded to a fraction of a request. After some failed calls a breaker leaves Redis alone for a moment, so
that one that does not answer costs one wait a second and not one a request.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import RedisError, ResponseError

from shieldx_contract import ENV_CACHE_URI_FILE
from shieldx_runtime.core import log
from shieldx_runtime.core.breaker import Breaker, State
from shieldx_runtime.core.metrics import Metrics
from shieldx_runtime.core.settings import SettingsError, read_secret

_CALL_TIMEOUT_S: Final = 0.1
_REST_S: Final = 1.0
_THRESHOLD: Final = 3
_MAX_CONNECTIONS: Final = 64
_LISTEN_TIMEOUT_S: Final = 5.0
_SET_IF_NEWER: Final = """
for _, entry in ipairs(cmsgpack.unpack(ARGV[4])) do
  local key, version, value = entry[1], entry[2], entry[3]
  local old = redis.pcall('GET', key)
  local known = type(old) == 'string' and string.match(old, '^%d+') or '-1'
  if tonumber(known) <= version then
    redis.call('SET', key, string.format('%.0f|', version) .. value, 'EX', ARGV[1])
  end
end
if ARGV[2] ~= '' then redis.call('PUBLISH', ARGV[2], ARGV[3]) end
return 1
"""
_ADD_UP: Final = """
local time, window, all = redis.call('TIME'), tonumber(ARGV[1]), {}
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, count in ipairs(cmsgpack.unpack(ARGV[2])) do
  local key, used, limit, ends = count[1], count[2], count[3], now + count[4]
  local was = redis.pcall('HMGET', key, 'used', 'ends')
  if was.err then redis.call('DEL', key) end
  local before, ended = tonumber(was[1]), tonumber(was[2])
  if before and ended then
    if now < ended then
      used, ends = used + before, ended
    else
      local windows = math.floor((now - ended) / window) + 1
      local beyond = before - windows * limit
      if beyond > 0 then used, ends = used + beyond, ended + windows * window end
    end
  end
  local left = ends - now + math.max(0, math.floor(used / limit) - 1) * window
  if used > 0 then
    redis.call('HSET', key, 'used', string.format('%.0f', used), 'ends', string.format('%.0f', ends))
    redis.call('PEXPIRE', key, left + window)
  end
  table.insert(all, {used, left})
end
return all
"""
"""What is beyond a window's limit counts in the next ones, and who is told of it is told when those are over, too."""
_pack: Final = msgspec.msgpack.Encoder().encode
_logger = log.get(__name__)
_outages: Final = log.Seldom(1.0)
_refusals: Final = log.Seldom(60.0)


class Entry(msgspec.Struct, frozen=True, gc=False, array_like=True):
    key: str
    version: int
    value: str


class _FileCredentials(CredentialProvider):
    """Reads user and password anew for each connection: a rotated password is picked up."""

    def __init__(self, uri_file: Path) -> None:
        self._uri_file = uri_file

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        try:
            parts = urlsplit(read_secret(self._uri_file, ENV_CACHE_URI_FILE))
        except SettingsError as error:
            raise RedisError(str(error)) from error
        password = parts.password or ""
        return (parts.username, password) if parts.username else (password,)


class Cache:
    """Versioned values: an older version never replaces a newer one. `ttl_s` 0 switches the cache off."""

    def __init__(self, uri_file: Path, *, ttl_s: int, metrics: Metrics) -> None:
        """Raises: SettingsError, the file does not hold a redis:// URI."""
        self._ttl_s = ttl_s
        self._metrics = metrics
        self._breaker = Breaker("redis", threshold=_THRESHOLD, open_s=_REST_S)
        metrics.watch(self._breaker)
        self._redis = _client(uri_file)
        self._set_if_newer = self._redis.register_script(_SET_IF_NEWER)
        self._add_up = self._redis.register_script(_ADD_UP)

    @property
    def breaker(self) -> Breaker:
        return self._breaker

    async def get(self, key: str) -> tuple[int, bytes] | None:
        """Version and value, or None: not there, unreadable, or Redis is away."""
        if self._ttl_s == 0 or not self._breaker.admit():
            return None
        try:
            async with asyncio.timeout(_CALL_TIMEOUT_S):
                entry = await self._redis.get(key)
        except ResponseError:
            # something else stands at that key
            self._breaker.succeeded()
            return None
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error)
            return None
        except asyncio.CancelledError:
            self._breaker.given_up()
            raise
        self._breaker.succeeded()
        if not isinstance(entry, bytes):
            return None
        version, bar, value = entry.partition(b"|")
        return (int(version), value) if bar and version.isdigit() else None

    async def put(self, entries: Sequence[Entry], *, channel: str = "", message: str = "") -> bool:
        """Stores each entry unless a newer version is there, and tells `message` to who listens at `channel`.

        False: Redis was not reached.
        """
        if self._ttl_s == 0:
            return True
        if not self._breaker.admit():
            return False
        # as one argument: the client takes longer over several hundred than Redis over all else
        args: list[str | bytes | int] = [self._ttl_s, channel, message, _pack(entries)]
        try:
            async with asyncio.timeout(_CALL_TIMEOUT_S):
                await self._set_if_newer(args=args)
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error)
            return False
        except asyncio.CancelledError:
            self._breaker.given_up()
            raise
        self._breaker.succeeded()
        return True

    async def add_up(
        self, prefix: str, counts: Sequence[tuple[str, int, int, float]], window_s: int
    ) -> list[tuple[int, float]] | None:
        """Adds what was used of limits to what others have used of them.

        Each is a name, an amount, the limit, and how many seconds are left of the window if it is the first to tell.

        Gives for each what all have used of the window that is open, and in how many seconds there is something left
        again, or the window ends. What goes beyond a limit counts in the windows that follow. None: Redis was not
        reached; what was used may have been added.
        """
        if self._ttl_s == 0 or not self._breaker.admit():
            return None
        named = [(prefix + name, used, limit, int(left_s * 1000)) for name, used, limit, left_s in counts]
        try:
            async with asyncio.timeout(_CALL_TIMEOUT_S):
                told = await self._add_up(args=[window_s * 1000, _pack(named)])
        except ResponseError as error:
            # it is there, and will not have this: balances need not suffer from it
            self._breaker.succeeded()
            if _refusals.due():
                _logger.warning("rate limits are not shared: Redis refuses it", problem=_words(error))
            return None
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error)
            return None
        except asyncio.CancelledError:
            self._breaker.given_up()
            raise
        self._breaker.succeeded()
        return [(used, left_ms / 1000) for used, left_ms in told]

    async def listen(self, channel: str, hear: Callable[[bytes], None], lost: Callable[[], None]) -> None:
        """Hands every message of `channel` to `hear`, for ever; `lost` is called where some may have been missed."""
        while self._ttl_s:
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as subscription:
                    await subscription.subscribe(channel)
                    lost()
                    while True:
                        said = await subscription.get_message(timeout=_LISTEN_TIMEOUT_S)
                        if said is not None:
                            hear(said["data"])
                        elif self._breaker.state is not State.CLOSED:
                            # nothing heard, and others have found Redis away: a connection that hangs is a lost one
                            raise RedisError("silent")  # noqa: TRY301 - as if it had said so itself
            except (RedisError, OSError, TimeoutError) as error:
                _logger.debug("not listening to other processes", problem=_words(error))
            lost()
            await asyncio.sleep(_REST_S * random.uniform(0.5, 1.5))  # noqa: S311 - no secret

    async def check(self) -> str:
        """What is wrong with Redis, or nothing."""
        try:
            async with asyncio.timeout(_CALL_TIMEOUT_S * 2):
                await self._redis.ping()
        except (RedisError, OSError, TimeoutError) as error:
            return _words(error)
        return ""

    async def close(self) -> None:
        try:
            async with asyncio.timeout(1):
                await self._redis.aclose(close_connection_pool=True)
        except (RedisError, OSError, TimeoutError) as error:
            _logger.debug("cache connection not closed in order", problem=_words(error))

    def _failed(self, error: BaseException) -> None:
        self._metrics.cache_error()
        self._breaker.failed()
        if _outages.due():
            _logger.warning("cache unavailable", problem=_words(error), others=_outages.take_passed_over())


def _client(uri_file: Path) -> Redis:
    uri = read_secret(uri_file, ENV_CACHE_URI_FILE)
    try:
        parts = urlsplit(uri)
        host = parts.hostname or ""
        address = f"[{host}]" if ":" in host else host
        without_password = parts._replace(netloc=f"{address}:{parts.port or 6379}").geturl()
        if not host or parts.scheme not in ("redis", "rediss"):
            raise ValueError  # noqa: TRY301 - one message for all that can be wrong
        pool = BlockingConnectionPool.from_url(
            without_password,
            credential_provider=_FileCredentials(uri_file) if parts.password else None,
            max_connections=_MAX_CONNECTIONS,
            timeout=_CALL_TIMEOUT_S,
            socket_timeout=_CALL_TIMEOUT_S,
            socket_connect_timeout=_CALL_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError:
        # from None: the original message may repeat the URI
        raise SettingsError(
            f"{ENV_CACHE_URI_FILE}: {uri_file} holds no Redis URI: write redis://:password@host:6379/0 into it"
        ) from None
    return Redis(connection_pool=pool)


def _words(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or f"no answer in {_CALL_TIMEOUT_S} s"
