"""The cache: its RDB file, as a replica would get it, and the check of one."""

from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import unquote, urlsplit

from shieldx_contract.backup import ENV_BACKUP_REDIS_CHECK_RDB, ENV_BACKUP_REDIS_CLI
from shieldx_runtime.backup import tools
from shieldx_runtime.backup.clock import Deadline
from shieldx_runtime.backup.errors import DamagedError, SettingError, ToolError
from shieldx_runtime.backup.tools import Tools

_MAGIC: Final = (b"REDIS", b"VALKEY")
_DEFAULT_PORT: Final = 6379


def dump(uri: str, programs: Tools, deadline: Deadline) -> Iterator[bytes]:
    """The RDB of a Redis, streamed by `redis-cli --rdb`; nothing is written on either side.

    Raises (also while reading):
        SettingError: the URI cannot be used, or redis-cli is missing.
        ToolError: Redis refused, or the stream ended early.
    """
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port or _DEFAULT_PORT
    except ValueError:
        host, port = None, 0
    if parts.scheme not in ("redis", "rediss") or not host:
        raise SettingError(
            "cache URI: it is not of the form redis://:password@host:6379/0: write it so into the Secret"
        )
    command = [tools.required(programs.redis_cli, "redis-cli", ENV_BACKUP_REDIS_CLI), "-h", host, "-p", str(port)]
    if parts.username:
        command += ["--user", unquote(parts.username)]
    if parts.scheme == "rediss":
        command.append("--tls")
    # an argument would show the password to everyone on the node
    secrets = {"REDISCLI_AUTH": unquote(parts.password)} if parts.password else {}
    return _whole(tools.output_of([*command, "--rdb", "-"], deadline, secrets=secrets))


def check(chunks: Iterable[bytes], programs: Tools, deadline: Deadline) -> None:
    """Makes redis-check-rdb read a whole RDB.

    Raises:
        DamagedError: it is none.
    """
    program = tools.required(programs.check_rdb, "redis-check-rdb", ENV_BACKUP_REDIS_CHECK_RDB)
    try:
        # the checker is the server under another name
        tools.feed([program, "/dev/stdin"], chunks, deadline, secrets={}, called="redis-check-rdb")
    except ToolError as error:
        raise DamagedError(f"redis-check-rdb refuses the copy: {error}") from error


def _whole(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """redis-cli has been seen to end with status 0 and no RDB: its first bytes say what it is."""
    first = True
    for chunk in chunks:
        if first and not chunk.startswith(_MAGIC):
            raise ToolError("redis-cli sent no RDB: check the password of the cache and that it allows SYNC")
        first = False
        yield chunk
    if first:
        raise ToolError("redis-cli sent nothing: check the cache's address, its password and that it allows SYNC")
