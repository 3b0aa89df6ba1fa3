"""`make dev`: up, its examples work as printed, down without a trace."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from dev.devserver.ports import free_port, listens
from dev.devserver.service import new_admin_key
from shieldx_contract import ENV_HEALTH_PORT, ENV_HTTP_PORT


@contextmanager
def dev_server(state: Path, **environ: str) -> Iterator["subprocess.Popen[str]"]:
    ports = {ENV_HTTP_PORT: str(free_port()), ENV_HEALTH_PORT: str(free_port())}
    inherited = {n: v for n, v in os.environ.items() if not n.startswith("SHIELDX_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "dev.devserver"],
        env={**inherited, "SHIELDX_DEV_STATE": str(state), **ports, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=20)


def _banner(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("Ctrl-C"):
            break
    return "".join(lines)


def _end(process: "subprocess.Popen[str]", number: signal.Signals) -> None:
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, ""), out


def _processes_of(state: Path) -> list[str]:
    """Command lines of processes that use files of that folder."""
    found = []
    for proc in Path("/proc").glob("[0-9]*"):
        try:
            line = (proc / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environ = (proc / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(state) in line + environ:
            found.append(line)
    return found


def test_the_examples_work_as_printed_and_sigterm_ends_everything(tmp_path: Path) -> None:
    with dev_server(tmp_path) as process:
        banner = _banner(process)
        # told and not held to a bar: how long it takes is the machine's matter
        assert float(re.findall(r"ready after ([\d.]+) s", banner)[0]) > 0
        assert len(set(re.findall(r"sxk_[0-9a-f]{16}_[\w-]{43}", banner))) == 1
        script = "\n".join(line for line in banner.partition("terminal:")[2].splitlines()[:-1])
        run = subprocess.run(
            ["bash", "-euc", script.replace("curl ", "curl -sS --fail-with-body -w '\\n' ")],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        assert '"balance":9900' in run.stdout
        _end(process, signal.SIGTERM)
    assert _processes_of(tmp_path) == []


def test_a_given_key_is_used_and_never_shown_and_the_data_stays(tmp_path: Path) -> None:
    key = new_admin_key()
    for expected in (201, 200):
        port = str(free_port())
        with dev_server(tmp_path, SHIELDX_ADMIN_KEY=key, **{ENV_HTTP_PORT: port}) as process:
            assert key.split("_", 2)[2] not in _banner(process)
            answer = httpx.put(
                f"http://127.0.0.1:{port}/credits/tenants/kept", headers={"Authorization": f"Bearer {key}"}
            )
            assert answer.status_code == expected
            _end(process, signal.SIGINT)
            assert _processes_of(tmp_path) == []


def test_killed_with_9_it_leaves_no_process_and_starts_again(tmp_path: Path) -> None:
    with dev_server(tmp_path) as process:
        _banner(process)
        process.kill()
        process.wait(10)
        deadline = time.monotonic() + 15
        while _processes_of(tmp_path):
            assert time.monotonic() < deadline, _processes_of(tmp_path)
            time.sleep(0.1)
    with dev_server(tmp_path) as process:
        assert "ready after" in _banner(process)


def test_a_busy_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        assert listens(port)
        with dev_server(tmp_path, **{ENV_HTTP_PORT: str(port)}) as process:
            _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert err.startswith(f"port {port} of 127.0.0.1 is busy")
    assert ENV_HTTP_PORT in err


def test_a_wrong_admin_key_is_refused(tmp_path: Path) -> None:
    with dev_server(tmp_path, SHIELDX_ADMIN_KEY="letmein") as process:
        _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert err.startswith("SHIELDX_ADMIN_KEY is no key")
    assert "letmein" not in err
