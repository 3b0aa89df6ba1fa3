import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dev.devserver.ports import LOOPBACK, free_port
from dev.devserver.process import Child
from shieldx_contract import (
    ENV_DATABASE_SERVICE_URI_FILE,
    ENV_DATABASE_URI_FILE,
    ENV_HEALTH_PORT,
    ENV_HTTP_PORT,
    ENV_SHADOW_BILLING_KEY_FILE,
    ENV_SHADOW_BILLING_PRICE,
    ENV_SHADOW_BILLING_URL,
    READINESS_PATH,
    SHADOW_MIGRATE,
    SHADOW_SERVE,
)
from tests.integration.harness import Api, Stack

PRICE = 5
ROLE = "shadow_service"


def start(stack: Stack, exits: ExitStack, name: str, **settings: str) -> Api:
    """A process of the shadow API beside the credits service, as a pod runs it, and a client of it."""
    return launch(stack, exits, name, **settings)[1]


def launch(stack: Stack, exits: ExitStack, name: str, **settings: str) -> tuple[Child, Api]:
    """As `start`, with the process."""
    port, health_port = free_port(), free_port()
    child = Child("the shadow service", stack.folder / f"{name}.log")
    exits.callback(child.stop)
    ports = {ENV_HTTP_PORT: str(port), ENV_HEALTH_PORT: str(health_port)}
    environ = {**stack.service.environ, ENV_DATABASE_URI_FILE: str(admitted(stack)), **ports, **settings}
    child.start([sys.executable, *SHADOW_SERVE[1:]], environ=environ)
    probe = Api(f"http://{LOOPBACK}:{health_port}", None)
    exits.callback(probe.close)

    def ready() -> bool:
        import httpx  # noqa: PLC0415

        try:
            return probe.http.get(READINESS_PATH).status_code == 200
        except httpx.HTTPError:
            return False

    child.wait_until(ready, 60)
    api = Api(f"http://{LOOPBACK}:{port}", stack.admin_key)
    api.http.timeout = 60
    exits.callback(api.close)
    return child, api


def admitted(stack: Stack) -> Path:
    """The file with the URI of the shadow service's own role, which its migration has made."""
    file = stack.folder / "shadow-uri"
    if not file.exists():
        uri = stack.postgres.service_uri("credits").replace("//credits_service:", f"//{ROLE}:")
        file.touch(mode=0o600)
        file.write_text(uri, encoding="utf-8")
        run = migrate(stack, file)
        assert run.returncode == 0, run.stderr
    return file


def migrate(stack: Stack, service_uri_file: Path) -> "subprocess.CompletedProcess[str]":
    """`shieldx shadow migrate`, as the owner, for a service that connects by that file."""
    return subprocess.run(
        [sys.executable, *SHADOW_MIGRATE[1:]],
        env={**stack.service.owner_environ, ENV_DATABASE_SERVICE_URI_FILE: str(service_uri_file)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def billing(stack: Stack, url: str) -> dict[str, str]:
    """Settings by which evaluations are paid through the credits API at `url`: 5 credits for 1,000 samples."""
    key_file = stack.folder / "billing-key"
    if not key_file.exists():
        key_file.write_text(stack.api.issue(None, "consume"), encoding="utf-8")
    return {
        ENV_SHADOW_BILLING_URL: url,
        ENV_SHADOW_BILLING_KEY_FILE: str(key_file),
        ENV_SHADOW_BILLING_PRICE: str(PRICE),
    }


@pytest.fixture(scope="session")
def shadow(stack: Stack) -> Iterator[Api]:
    with ExitStack() as exits:
        yield start(stack, exits, "shadow")
