import os
import shutil
import subprocess

import pytest

from dev.gomodules import GO_FLAGS, Program
from dev.localkube import binaries


@pytest.mark.skipif(shutil.which("go") is None, reason="Go is not on this machine; it builds and tests these programs")
@pytest.mark.parametrize("program", binaries.OWN, ids=lambda program: program.name)
def test_our_own_go_programs_pass_their_tests(program: Program) -> None:
    # The flags of the build, so that both share what is compiled.
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": GO_FLAGS}
    tested = subprocess.run(
        ["go", "test", "./..."],
        cwd=program.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr
