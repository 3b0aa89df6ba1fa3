"""Programs of PostgreSQL and Redis at the ends of a stream. Their exit status is part of the stream."""

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from shieldx_contract.backup import ENV_BACKUP_POSTGRES_BIN, ENV_BACKUP_REDIS_CHECK_RDB, ENV_BACKUP_REDIS_CLI
from shieldx_runtime.backup.clock import Deadline
from shieldx_runtime.backup.errors import SettingError, ToolError
from shieldx_runtime.backup.streams import CHUNK_BYTES

_SAID_MAX_CHARS: Final = 600
_VERSION_TIMEOUT_S: Final = 10


@dataclass(frozen=True, slots=True)
class Tools:
    """Where the programs are. `check_rdb` may be a Redis server: it becomes the checker by the name it is called."""

    pg_dump: str
    pg_restore: str
    redis_cli: str | None
    check_rdb: str | None


def find(environ: Mapping[str, str]) -> Tools:
    """The programs that the environment names, or those on the path.

    Raises:
        SettingError: PostgreSQL's are missing. Redis's are asked for when they are used.
    """
    folder = environ.get(ENV_BACKUP_POSTGRES_BIN)
    found = {}
    for name in ("pg_dump", "pg_restore"):
        path = shutil.which(name, path=folder or environ.get("PATH"))
        if path is None:
            raise SettingError(
                f"{name} is not in {folder or 'any folder of PATH'}: install postgresql-client "
                f"of the server's version, or set {ENV_BACKUP_POSTGRES_BIN} to its folder"
            )
        found[name] = path
    check_rdb = environ.get(ENV_BACKUP_REDIS_CHECK_RDB) or _first(environ, "redis-check-rdb", "valkey-check-rdb")
    redis_cli = environ.get(ENV_BACKUP_REDIS_CLI) or _first(environ, "redis-cli", "valkey-cli")
    return Tools(found["pg_dump"], found["pg_restore"], redis_cli, check_rdb)


def required(program: str | None, name: str, variable: str) -> str:
    """Raises: SettingError."""
    if program is None:
        raise SettingError(f"{name} is not on PATH: install redis-tools, or set {variable} to its path")
    return program


def version(program: str) -> str:
    """The program's own line about its version."""
    run = subprocess.run(  # noqa: S603 - a program of the settings, no shell
        [program, "--version"], capture_output=True, text=True, timeout=_VERSION_TIMEOUT_S, check=False
    )
    return run.stdout.strip().partition("\n")[0]


def output_of(command: Sequence[str], deadline: Deadline, *, secrets: Mapping[str, str]) -> Iterator[bytes]:
    """What a program writes, in pieces. The end comes only if it ended well: whatever reads this sees its failure.

    `secrets` are added to its environment.

    Raises (while reading):
        ToolError, DeadlineError.
    """
    with _running(command, deadline, secrets=secrets, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        if process.child.stdout is None:
            raise ToolError(f"{process.name} has no output")
        while chunk := process.child.stdout.read(CHUNK_BYTES):
            yield chunk
        process.finish()


def feed(
    command: Sequence[str],
    chunks: Iterable[bytes],
    deadline: Deadline,
    *,
    secrets: Mapping[str, str],
    called: str | None = None,
) -> None:
    """Gives a program all of `chunks` to read. They are read to their end even if it stops reading earlier.

    `called` is its argv[0].

    Raises:
        ToolError, DeadlineError; and whatever `chunks` raises, before anything of the program.
    """
    with (
        tempfile.TemporaryFile() as out,
        _running(command, deadline, secrets=secrets, stdin=subprocess.PIPE, stdout=out, called=called) as process,
    ):
        listening = process.child.stdin
        if listening is None:
            raise ToolError(f"{process.name} has no input")
        reads = True
        for chunk in chunks:
            if reads:
                try:
                    listening.write(chunk)
                except BrokenPipeError:
                    reads = False  # it has enough or has failed: its exit status tells
        try:
            listening.close()
        except BrokenPipeError:
            reads = False
        process.finish(out)


def run(command: Sequence[str], deadline: Deadline, *, secrets: Mapping[str, str], called: str | None = None) -> str:
    """Runs a program to its end; what it wrote. `called` is its argv[0]. Raises: ToolError, DeadlineError."""
    with (
        tempfile.TemporaryFile() as out,
        _running(command, deadline, secrets=secrets, stdin=subprocess.DEVNULL, stdout=out, called=called) as process,
    ):
        process.finish(out)
        return _tail(out)


class _Process:
    def __init__(self, child: "subprocess.Popen[bytes]", name: str, said: IO[bytes], deadline: Deadline) -> None:
        self.child = child
        self.name = name
        self._said = said
        self._deadline = deadline

    def finish(self, out: IO[bytes] | None = None) -> None:
        """Waits for its end; where that was a failure, raises with its own words."""
        code = self.child.wait()
        self._deadline.check()
        if code != 0:
            words = _tail(self._said) or (_tail(out) if out else "")
            raise ToolError(f"{self.name} ended with status {code}: {words or 'it said nothing'}")


@contextmanager
def _running(
    command: Sequence[str],
    deadline: Deadline,
    *,
    secrets: Mapping[str, str],
    stdin: int,
    stdout: int | IO[bytes],
    called: str | None = None,
) -> Iterator[_Process]:
    """A process that does not outlive the block, nor the deadline."""
    deadline.check()
    name = called or Path(command[0]).name
    with tempfile.TemporaryFile() as said:
        try:
            child = subprocess.Popen(  # noqa: S603 - programs of the settings, no shell
                [called or command[0], *command[1:]],
                executable=command[0],
                stdin=stdin,
                stdout=stdout,
                stderr=said,
                env={**os.environ, **secrets},
            )
        except OSError as error:
            raise ToolError(f"{command[0]} cannot be started: {error.strerror}") from error
        end = threading.Timer(deadline.remaining_s, child.kill)
        end.daemon = True
        end.start()
        try:
            yield _Process(child, name, said, deadline)
        finally:
            end.cancel()
            child.kill()
            for pipe in (child.stdin, child.stdout):
                if pipe:
                    try:
                        pipe.close()
                    except BrokenPipeError:
                        continue  # what was still to be written, nobody will read
            child.wait()


def _tail(stream: IO[bytes]) -> str:
    stream.seek(0, os.SEEK_END)
    stream.seek(max(0, stream.tell() - 4096))
    lines = stream.read().decode(errors="replace").strip().splitlines()
    return " | ".join(line.strip() for line in lines[-4:])[-_SAID_MAX_CHARS:]


def _first(environ: Mapping[str, str], *names: str) -> str | None:
    return next((path for name in names if (path := shutil.which(name, path=environ.get("PATH")))), None)
