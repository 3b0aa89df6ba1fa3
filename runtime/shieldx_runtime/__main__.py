"""`shieldx ...`, which is `python -m shieldx_runtime ...`."""

import sys

from shieldx_contract.process import end_on_sigterm


def main() -> None:
    """Runs the command that the process was started with, and ends the process."""
    end_on_sigterm()
    if sys.argv[1:] == ["shadow", "work"]:
        # a worker's whole work may last a tenth of a second: the command line alone takes ten times as long to import
        from shieldx_runtime.shadow.worker import main as work  # noqa: PLC0415 - as above

        sys.exit(work())

    from shieldx_runtime.cli import app  # noqa: PLC0415 - as above

    app()


if __name__ == "__main__":
    main()
