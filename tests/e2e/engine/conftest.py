"""The engine on a real API server, with the Widget kind of the benchmark; each test has a namespace of its own."""

import asyncio
import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bench.operator.arena import Arena
from shieldx_operator.engine.client import Client
from shieldx_operator.engine.connection import Cluster
from shieldx_operator.engine.metrics import Metrics

ROOT = Path(__file__).parents[3]
GROUP = f"t{secrets.token_hex(3)}.test.shieldx.io"


@pytest.fixture(scope="session")
def kubeconfig() -> str:
    """Of the cluster that KUBECONFIG names, else of this checkout's."""
    if path := os.environ.get("KUBECONFIG"):
        return path
    done = subprocess.run(
        [sys.executable, "-m", "dev.cluster", "env"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    found = re.search(r"^export KUBECONFIG=(\S+)$", done.stdout, re.MULTILINE)
    assert found, f"no cluster for these tests; `make cluster` makes one: {done.stderr[-500:]}"
    return found.group(1)


@contextlib.asynccontextmanager
async def connected(kubeconfig: str, namespace: str) -> AsyncIterator[Arena]:
    async with await Cluster(kubeconfig=kubeconfig).client() as api:
        yield Arena(Client(api, Metrics()), GROUP, namespace)


@pytest.fixture(scope="session")
def widgets(kubeconfig: str) -> Iterator[None]:
    """The CRD, for the whole session."""

    async def each(do: Callable[[Arena], Awaitable[None]]) -> None:
        async with connected(kubeconfig, "default") as arena:
            await do(arena)

    asyncio.run(each(Arena.install))
    yield
    asyncio.run(each(Arena.uninstall))


@pytest_asyncio.fixture
async def ground(kubeconfig: str, widgets: None) -> AsyncIterator[Arena]:  # noqa: ARG001 - the CRD must be there
    async with connected(kubeconfig, f"sx-engine-{secrets.token_hex(3)}") as arena:
        await arena.open()
        yield arena
        await arena.close()


@dataclass
class OperatorProcess:
    """An operator as a process of its own."""

    process: subprocess.Popen[str]
    port: int
    output: Path

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self, timeout_s: float) -> int:
        return await asyncio.to_thread(self.process.wait, timeout_s)

    async def get(self, path: str) -> tuple[int, str]:
        """Status and body of a probe; status 0 while nobody listens."""

        def ask() -> tuple[int, str]:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode()
            except OSError:
                return 0, ""

        return await asyncio.to_thread(ask)

    async def healthy(self) -> bool:
        return (await self.get("/healthz"))[0] == 200

    async def metric(self, name: str) -> float:
        _, text = await self.get("/metrics")
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if re.match(rf"{name}[ {{]", line))

    async def leads(self) -> bool:
        return await self.metric("shieldx_operator_leader") == 1

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.read_text().splitlines() if line.startswith("{")]


@dataclass
class Operators:
    """Starts operator processes and leaves none behind."""

    kubeconfig: str
    folder: Path
    started: list[OperatorProcess] = field(default_factory=list)

    def start(
        self, ground: Arena, *, name: str = "op-0", kubeconfig: str | None = None, **options: object
    ) -> OperatorProcess:
        port = 20000 + secrets.randbelow(10000)
        output = self.folder / f"{name}-{len(self.started)}.log"
        command = [sys.executable, "-m", "bench.operator.process", "--kubeconfig", kubeconfig or self.kubeconfig]
        command += ["--group", ground.group, "--namespace", ground.namespace, "--port", str(port), "--name", name]
        for option, value in options.items():
            command += [f"--{option.replace('_', '-')}", str(value)]
        with output.open("w") as sink:
            process = subprocess.Popen(command, cwd=ROOT, stdout=sink, stderr=subprocess.STDOUT, text=True)
        made = OperatorProcess(process, port, output)
        self.started.append(made)
        return made

    def stop_all(self) -> None:
        for operator in self.started:
            if operator.process.poll() is None:
                operator.process.send_signal(signal.SIGCONT)
                operator.process.kill()
            operator.process.wait(10)


@pytest.fixture
def operators(kubeconfig: str, tmp_path: Path) -> Iterator[Operators]:
    made = Operators(kubeconfig, tmp_path)
    yield made
    made.stop_all()
