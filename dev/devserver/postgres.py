"""A PostgreSQL of our own in a folder: made at the first start, kept between starts."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from dev.devserver.binaries import postgres_bin, unprivileged
from dev.devserver.ports import free_port
from dev.devserver.process import Child, StartError

_USER = "credits"
_SERVICE_USER = "credits_service"


class Postgres:
    """`durable=False` skips fsync, for tests that never crash it. `parameters` are the server's, over those here."""

    def __init__(self, folder: Path, *, durable: bool = True, parameters: Mapping[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder.resolve()
        self._data = self._folder / "data"
        self._bin = postgres_bin()
        self._way = unprivileged(self._bin / "postgres")
        self._durable = durable
        self._parameters = parameters or {}
        self.port = free_port()
        os.chown(self._folder, self._way.owner, -1)
        # fast shutdown: open connections do not hold it up
        self._child = Child("PostgreSQL", self._folder / "postgres.log", stop_signal=signal.SIGINT)

    @property
    def password(self) -> str:
        return (self._folder / "password").read_text(encoding="ascii")

    @property
    def child(self) -> Child:
        return self._child

    def uri(self, database: str, *, password: str | None = None) -> str:
        """As the superuser, who owns every database here."""
        return f"postgresql://{_USER}:{password or self.password}@127.0.0.1:{self.port}/{database}"

    def service_uri(self, database: str) -> str:
        """As the role that a service connects with: `credits migrate` makes it, with this password."""
        return f"postgresql://{_SERVICE_USER}:{self._service_password()}@127.0.0.1:{self.port}/{database}"

    def _service_password(self) -> str:
        file = self._folder / "service-password"
        if not file.exists():
            file.touch(mode=0o600)
            file.write_text(secrets.token_urlsafe(32), encoding="ascii")
        return file.read_text(encoding="ascii")

    def start(self, timeout_s: float = 30) -> None:
        """Starts it, on the same port each time. Raises: StartError."""
        if not self._data.exists():
            self._make()
        self._refuse_other_version()
        options = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "shared_buffers": "64MB",
            "max_connections": "100",
            "fsync": "on" if self._durable else "off",
            "logging_collector": "off",
            **self._parameters,
        }
        command = [str(self._bin / "postgres"), "-D", str(self._data)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        self._child.start(command, prefix=self._way.prefix)
        self._child.wait_until(self._answers, timeout_s)

    def create_database(self, name: str) -> None:
        """Does nothing where it exists."""
        exists = self._psql(f"SELECT 1 FROM pg_database WHERE datname = '{name}'")  # noqa: S608 - a name of ours
        if not exists.strip():
            self._psql(f"CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING 'UTF8'")

    def stop(self) -> None:
        self._child.stop()

    def kill(self) -> None:
        """As a crash of the machine would end it: the server and each of its processes, which outlive it a little."""
        children = self._children()
        self._child.kill()
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)

    def freeze(self) -> None:
        """It goes on existing and answers nobody, as behind a network that loses everything."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        for pid in [str(self._child.pid), *self._children()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), number)

    def _children(self) -> list[str]:
        """Its processes: each a session of its own, so that no process group has them all."""
        pid = self._child.pid
        return Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()

    def _make(self) -> None:
        """Makes the data folder under another name first: a start that was cut off leaves no half of one."""
        fresh = self._folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        password_file = self._folder / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(secrets.token_urlsafe(32), encoding="ascii")
        os.chown(password_file, self._way.owner, -1)
        command = [
            *self._way.prefix,
            str(self._bin / "initdb"),
            f"--pgdata={fresh}",
            f"--username={_USER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ]
        run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if run.returncode != 0:
            raise StartError(f"initdb failed in {self._folder}:\n{run.stderr.strip()}")
        fresh.rename(self._data)

    def _refuse_other_version(self) -> None:
        made_by = (self._data / "PG_VERSION").read_text(encoding="ascii").strip()
        run = subprocess.run([str(self._bin / "postgres"), "--version"], capture_output=True, text=True, check=True)
        ours = run.stdout.split()[2].split(".")[0]
        if made_by != ours:
            raise StartError(
                f"{self._data} was made by PostgreSQL {made_by}, this is {ours}: "
                f"remove {self._folder} to begin anew, or name the other one's programs"
            )

    def _answers(self) -> bool:
        command = [str(self._bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, timeout=5, check=False).returncode == 0

    def _psql(self, statement: str) -> str:
        run = subprocess.run(
            [str(self._bin / "psql"), "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statement],
            env={
                **os.environ,
                "PGHOST": "127.0.0.1",
                "PGPORT": str(self.port),
                "PGUSER": _USER,
                "PGPASSWORD": self.password,
                "PGDATABASE": "postgres",
            },
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        if run.returncode != 0:
            raise StartError(f"PostgreSQL refused {statement!r}: {run.stderr.strip()}")
        return run.stdout
