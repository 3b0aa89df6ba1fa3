"""The credits service as a pod runs it: the same command lines, the same environment, secrets in files."""

import json
import os
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from dev.devserver.ports import LOOPBACK
from dev.devserver.process import Child
from shieldx_contract import (
    CREDITS_MIGRATE,
    CREDITS_SERVE,
    ENV_ADMIN_KEY_FILE,
    ENV_AUDIT_SIGNING_KEY_FILE,
    ENV_CACHE_URI_FILE,
    ENV_DATABASE_SERVICE_URI_FILE,
    ENV_DATABASE_URI_FILE,
    ENV_DRAIN_DELAY_S,
    ENV_HEALTH_PORT,
    ENV_HTTP_HOST,
    ENV_HTTP_PORT,
    ENV_KEY_PEPPER_FILE,
    ENV_LOG_LEVEL,
    ENV_MASTER_KEYS_FILE,
    METRICS_PATH,
    READINESS_PATH,
)

_MIGRATE_TIMEOUT_S: Final = 60


def new_admin_key() -> str:
    return f"sxk_{secrets.token_hex(8)}_{secrets.token_urlsafe(32)}"


class CreditsProcess:
    """One process of the service. Its folder holds its secrets (readable for us alone) and its log.

    `owner_uri`: who brings up the schema, where that is not the role of `database_uri`.
    """

    def __init__(  # noqa: PLR0913 - what a pod is given
        self,
        folder: Path,
        *,
        database_uri: str,
        owner_uri: str | None = None,
        cache_uri: str,
        admin_key: str,
        http_port: int,
        health_port: int,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder.resolve()
        self.http_port = http_port
        self.health_port = health_port
        self.database_uri_file = self._secret("database-uri", database_uri)
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SHIELDX_")},
            ENV_DATABASE_URI_FILE: str(self.database_uri_file),
            ENV_CACHE_URI_FILE: str(self._secret("cache-uri", cache_uri)),
            ENV_ADMIN_KEY_FILE: str(self._secret("admin-key", admin_key)),
            # kept: the keys in the database are hashed under the pepper, the texts sealed under the master key
            ENV_KEY_PEPPER_FILE: str(self._kept_secret("pepper", "{}")),
            ENV_MASTER_KEYS_FILE: str(self._kept_secret("master-keys", "k1 {}")),
            ENV_AUDIT_SIGNING_KEY_FILE: str(self._kept_secret("signing-key", "{}")),
            ENV_HTTP_HOST: LOOPBACK,
            ENV_HTTP_PORT: str(http_port),
            ENV_HEALTH_PORT: str(health_port),
            ENV_LOG_LEVEL: "info",
            ENV_DRAIN_DELAY_S: "0",
            **(settings or {}),
        }
        self._migration: dict[str, str] = {}
        if owner_uri is not None:
            owner_file = self._secret("owner-uri", owner_uri)
            self._migration = {
                ENV_DATABASE_URI_FILE: str(owner_file),
                ENV_DATABASE_SERVICE_URI_FILE: str(self.database_uri_file),
            }
        self._child = Child("the credits service", self._folder / "credits.log")

    @property
    def child(self) -> Child:
        return self._child

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.http_port}"

    @property
    def health_url(self) -> str:
        return f"http://{LOOPBACK}:{self.health_port}"

    @property
    def owner_environ(self) -> dict[str, str]:
        """Of what the database's owner runs: the migration, and services that keep a schema of their own beside."""
        return {**self.environ, **self._migration}

    def migrate(self) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, *CREDITS_MIGRATE[1:]],
            env=self.owner_environ,
            capture_output=True,
            text=True,
            timeout=_MIGRATE_TIMEOUT_S,
            check=False,
        )

    def start(self, *, wait_ready_s: float = 20) -> None:
        """Starts it and waits until it is ready; 0 does not wait. Raises: StartError."""
        self._child.start([sys.executable, *CREDITS_SERVE[1:]], environ=self.environ)
        if wait_ready_s:
            self._child.wait_until(self.ready, wait_ready_s)

    def ready(self) -> bool:
        return self.readiness()[0] == 200  # noqa: PLR2004 - OK

    def readiness(self) -> tuple[int, dict[str, Any]]:
        """Status and document of the readiness path; status 0 while nothing listens."""
        try:
            with urllib.request.urlopen(self.health_url + READINESS_PATH, timeout=3) as answer:  # noqa: S310 - http to loopback
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)
        except OSError:
            return 0, {}

    def metrics(self) -> str:
        with urllib.request.urlopen(self.health_url + METRICS_PATH, timeout=3) as answer:  # noqa: S310 - loopback
            text: str = answer.read().decode()
            return text

    def stop(self) -> None:
        self._child.stop()

    def _kept_secret(self, name: str, form: str) -> Path:
        """32 random bytes, made once."""
        path = self._folder / name
        return path if path.exists() else self._secret(name, form.format(secrets.token_urlsafe(32)))

    def _secret(self, name: str, value: str) -> Path:
        path = self._folder / name
        path.touch(mode=0o600)
        path.write_text(value, encoding="utf-8")
        return path
