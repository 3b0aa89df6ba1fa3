"""Child processes that are started, watched, and never left behind."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

_POLL_S: Final = 0.05
_TAIL_LINES: Final = 15


class StartError(Exception):
    """Something could not be started; the message says what and what to do."""


class Child:
    """One process in a session of its own, so that Ctrl-C reaches us alone. `stop_signal` ends it in order."""

    def __init__(self, name: str, log_file: Path, *, stop_signal: signal.Signals = signal.SIGTERM) -> None:
        self.name = name
        self.log_file = log_file
        self._stop_signal = stop_signal
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise StartError(f"{self.name} has not been started")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(
        self,
        command: Sequence[str],
        *,
        prefix: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        stdin: str = "",
    ) -> None:
        """Starts the command, its output in the log file. `stdin` carries what must not stand in arguments.

        To be called by the main thread: the kernel stops the child when the thread that started it is gone.
        """
        # so that nothing is left even if we are killed
        leash = (
            ("setpriv", "--pdeathsig", self._stop_signal.name.removeprefix("SIG")) if shutil.which("setpriv") else ()
        )
        with self.log_file.open("ab") as log:
            self._process = process = subprocess.Popen(
                [*prefix, *leash, *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(os.environ) if environ is None else dict(environ),
                start_new_session=True,
            )
        if process.stdin:
            with process.stdin as pipe:
                pipe.write(stdin.encode())

    def wait_until(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Returns when `ready` says so.

        Raises:
            StartError: the process ended or was not ready in time; with the end of its log.
        """
        deadline = time.monotonic() + timeout_s
        while not ready():
            if not self.running:
                raise StartError(f"{self.name} ended at its start:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise StartError(f"{self.name} was not ready within {timeout_s:g} s:\n{self.log_tail()}")
            time.sleep(_POLL_S)

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.running:
            self._process.send_signal(number)

    def wait(self, timeout_s: float) -> int:
        """The exit status. Raises: subprocess.TimeoutExpired."""
        if self._process is None:
            raise StartError(f"{self.name} has not been started")
        return self._process.wait(timeout_s)

    def stop(self, timeout_s: float = 15) -> None:
        """Ends the process in order, or by force when it takes too long."""
        if self._process is None or not self.running:
            return
        self.signal(self._stop_signal)
        try:
            self.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """As a crash would end it."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(10)

    def log_tail(self) -> str:
        lines = self.log_file.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:])
