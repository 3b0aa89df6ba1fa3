"""The first process of a container, where the kernel drops signals that it has no handler for."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shieldx_contract.process import TERMINATED

IMPORTING = """
import sys, time, types
from {package}.__main__ import main
def importing():
    print("importing", flush=True)
    time.sleep(60)
sys.modules["{package}.cli"] = types.SimpleNamespace(app=importing)
main()
"""


@pytest.mark.parametrize("package", ["shieldx_operator", "shieldx_runtime"])
def test_it_ends_by_sigterm_while_it_still_starts(package: str) -> None:
    command = ["unshare", "--map-root-user", "--pid", "--fork", "--kill-child", sys.executable, "-c"]
    with subprocess.Popen([*command, IMPORTING.format(package=package)], stdout=subprocess.PIPE, text=True) as outer:
        try:
            assert outer.stdout is not None
            assert outer.stdout.readline() == "importing\n"
            children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text(encoding="ascii").split()
            (first,) = (int(child) for child in children)
            subprocess.run(["kill", f"-{signal.SIGTERM.value}", str(first)], check=True, timeout=5)
            assert outer.wait(10) == TERMINATED
        finally:
            outer.kill()
