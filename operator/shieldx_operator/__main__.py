"""`python -m shieldx_operator ...`."""

from shieldx_contract.process import end_on_sigterm


def main() -> None:
    """Runs the command that the process was started with, and ends the process."""
    end_on_sigterm()
    from shieldx_operator.cli import app  # noqa: PLC0415 - it takes seconds, in which the process must hear already

    app()


if __name__ == "__main__":
    main()
