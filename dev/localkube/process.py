"""Starting programs: each with a time limit, each failure told with the program's own last words."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

ERROR_TAIL_LINES = 15


class StepError(RuntimeError):
    """A step failed. The message names the object, what is wrong with it and the remedy."""


def run(  # noqa: PLR0913 -- one place for what a child process needs
    argv: Sequence[str],
    *,
    timeout_s: float,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    stdin_text: str | None = None,
    stdin: IO[Any] | None = None,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and return what it wrote.

    Raises:
        StepError: it is missing, took longer than ``timeout_s`` seconds, or (with ``check``) exited with an error.
    """
    given: dict[str, Any] = {"input": stdin_text} if stdin_text is not None else {"stdin": stdin or subprocess.DEVNULL}
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            env=env,
            cwd=cwd,
            check=False,
            **given,
        )
    except FileNotFoundError as error:
        raise StepError(f"the program {argv[0]!r} is not on this machine; install it and run again") from error
    except subprocess.TimeoutExpired as error:
        raise StepError(f"{spoken(argv)} took longer than {timeout_s:g} s and was ended") from error
    if check and done.returncode != 0:
        raise StepError(f"{spoken(argv)} exited with {done.returncode}:\n{tail(done.stderr or done.stdout)}")
    return done


def spoken(argv: Sequence[str], words: int = 12) -> str:
    """The command as a person reads it, cut after ``words`` words."""
    return "`" + " ".join(argv[:words]) + (" ..." if len(argv) > words else "") + "`"


def tail(text: str, lines: int = ERROR_TAIL_LINES) -> str:
    return "\n".join("    " + line for line in text.strip().splitlines()[-lines:])


def wait_until(
    what: str,
    probe: Callable[[], bool],
    *,
    timeout_s: float,
    every_s: float = 0.2,
    explain: Callable[[], str] = str,
) -> None:
    """Ask ``probe`` until it is true.

    Raises:
        StepError: not within ``timeout_s`` seconds; ``explain()`` is added to the message.
    """
    deadline_s = time.monotonic() + timeout_s
    while not probe():
        if time.monotonic() > deadline_s:
            raise StepError(f"{what}: not within {timeout_s:g} s. {explain()}".rstrip())
        time.sleep(every_s)
