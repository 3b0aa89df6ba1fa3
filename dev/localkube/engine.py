"""The container engine in the sandbox: Debian's dockerd, and commands sent to it."""

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from dev.localkube import sandbox as sandboxes
from dev.localkube.process import StepError, run, tail, wait_until
from dev.localkube.runc_within_bounds import CAPABILITIES, bounding_set
from dev.localkube.sandbox import Sandbox
from dev.localkube.settings import ENGINE_BRIDGE, ENGINE_POOL, Settings
from dev.localkube.tools import Tools

SOCKET = "unix:///run/docker.sock"
START_TIMEOUT_S = 30
IMPORT_TIMEOUT_S = 180
RUNTIME = "runc-within-bounds"


class Engine:
    """Runs programs beside the engine, where ``docker`` and kind find it."""

    def __init__(self, settings: Settings, tools: Tools, sandbox: Sandbox) -> None:
        self._settings, self._tools, self._sandbox = settings, tools, sandbox

    def run(
        self,
        *argv: str,
        timeout_s: float,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        stdin_text: str | None = None,
        stdin: IO[Any] | None = None,
    ) -> str:
        """Run a program in the sandbox and return its output."""
        environment = {**self.environment(), **(env or {})}
        command = self._sandbox.enter(argv)
        return run(
            command, timeout_s=timeout_s, env=environment, check=check, stdin_text=stdin_text, stdin=stdin
        ).stdout

    def docker_command(self, *arguments: str) -> list[str]:
        """A command line for this machine's side that runs ``docker`` inside."""
        pairs = [f"{name}={value}" for name, value in self.environment().items()]
        return self._sandbox.enter(["env", "-i", *pairs, "docker", *arguments])

    def environment(self) -> dict[str, str]:
        return {
            **self._tools.environment(),
            "DOCKER_HOST": SOCKET,
            "DOCKER_CONFIG": str(self._settings.folder / "docker"),
        }

    def clear(self) -> None:
        """Remove every container and volume: of this run, or of one that was killed."""
        for listing, removal in (
            (("container", "ls", "--all", "--quiet"), ("container", "rm", "--force", "--volumes")),
            (("volume", "ls", "--quiet"), ("volume", "rm", "--force")),
        ):
            if found := self.run("docker", *listing, timeout_s=20).split():
                self.run("docker", *removal, *found, timeout_s=60)

    def import_node_image(self, tar: Path) -> bool:
        """Give the engine the node image, unless it has that very file already. True when it was imported."""
        name = self._settings.node_image
        label = tar.stem
        asked = ["docker", "image", "inspect", "--format", '{{index .Config.Labels "source"}}', name]
        if self.run(*asked, timeout_s=20, check=False).strip() == label:
            return False
        changes = [
            "--change=ENV container=docker",
            '--change=ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]',
            f"--change=LABEL source={label}",
        ]
        self.run("docker", "import", *changes, str(tar), name, timeout_s=IMPORT_TIMEOUT_S)
        self.run("docker", "image", "prune", "--force", timeout_s=60)
        return True


def start(settings: Settings, tools: Tools) -> Engine:
    """Start a sandbox with the engine and wait until it answers.

    Raises:
        StepError: it does not; the message holds the end of its log.
    """
    settings.engine_data.mkdir(parents=True, exist_ok=True)
    sandbox = sandboxes.start(settings, tools, _daemon_command(settings, tools), tools.environment())
    engine = Engine(settings, tools, sandbox)
    wait_until(
        "the container engine's first answer",
        lambda: _answers(engine, settings),
        timeout_s=START_TIMEOUT_S,
        explain=lambda: f"{settings.engine_log} ends with:\n{tail(settings.engine_log.read_text())}",
    )
    return engine


def find(settings: Settings, tools: Tools) -> Engine | None:
    """The engine that an earlier run started, if it is alive."""
    sandbox = sandboxes.find(settings)
    return Engine(settings, tools, sandbox) if sandbox else None


def _answers(engine: Engine, settings: Settings) -> bool:
    if sandboxes.find(settings) is None:
        raise StepError(f"the container engine ended; {settings.engine_log}:\n{tail(settings.engine_log.read_text())}")
    version = ["docker", "version", "--format", "{{.Server.Version}}"]
    return bool(engine.run(*version, timeout_s=10, check=False).strip())


def _daemon_command(settings: Settings, tools: Tools) -> list[str]:
    config = settings.folder / "daemon.json"
    # A file of our own, or the machine's /etc/docker/daemon.json would be read, and a key be written beside it.
    config.write_text(json.dumps({"deprecated-key-path": f"{settings.folder}/key.json"}))
    return [
        tools.program("dockerd"),
        f"--config-file={config}",
        f"--data-root={settings.engine_data}",
        "--exec-root=/run/docker",
        "--pidfile=/run/docker.pid",
        f"--host={SOCKET}",
        f"--bip={ENGINE_BRIDGE}",
        f"--default-address-pool=base={ENGINE_POOL},size=24",
        "--storage-driver=overlay2",
        "--exec-opt=native.cgroupdriver=cgroupfs",
        f"--cgroup-parent=/{settings.name}",
        "--oom-score-adjust=0",
        f"--userland-proxy-path={tools.program('docker-proxy')}",
        *_runtime_options(settings, tools),
    ]


def _runtime_options(settings: Settings, tools: Tools) -> list[str]:
    if len(bounding_set(Path("/proc/self/status").read_text())) == len(CAPABILITIES):
        return []
    wrapper = settings.folder / RUNTIME
    stand_in = Path(__file__).with_name("runc_within_bounds.py")
    words = [sys.executable, "-I", str(stand_in), tools.program("runc")]
    wrapper.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    wrapper.chmod(0o755)
    return [f"--add-runtime={RUNTIME}={wrapper}", f"--default-runtime={RUNTIME}"]
