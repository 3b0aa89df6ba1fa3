"""`shadow evaluate` and `shadow report`: for a person with a rule, a file of samples, and no cluster."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

_EXIT_FAILED: Final = 1
_EXIT_TASK: Final = 2
_EXIT_NOT_PROMOTED: Final = 3
_MAX_RULE_BYTES: Final = 1 << 20
_OTHER_PICTURES: Final = (".svg", ".jpg", ".jpeg", ".gif", ".webp", ".pdf")

_Gate = Annotated[float | None, typer.Option(min=0, max=1, help="A gate, held against a bound of the 95% interval.")]


def build(serve: Callable[[], None], migrate: Callable[[], None]) -> typer.Typer:
    """The commands; what they need is imported when one runs. Two of them need the keys of another slice."""
    app = typer.Typer(help="Shadow evaluation: may this rule go live?", no_args_is_help=True)
    app.command()(evaluate)
    app.command()(report)
    app.command("serve", help="Serve the shadow API until SIGTERM. The environment has the settings.")(serve)
    told = "Bring the shadow API's schema to this version, and its role to its rights. Safe to repeat."
    app.command("migrate", help=told)(migrate)
    return app


def evaluate(  # noqa: PLR0913 - the options of a command
    data: Annotated[Path, typer.Option(help="Labelled samples: NDJSON, CSV or Parquet, plain, .gz or .zst.")],
    rule: Annotated[Path, typer.Option(help="The rule, as JSON.")],
    *,
    baseline: Annotated[Path | None, typer.Option(help="The live rule, as JSON.")] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="ndjson, csv or parquet. Unset: by the name of the data.")
    ] = None,
    sample_size: Annotated[int | None, typer.Option(min=1, help="Draw so many, by label. Unset: all.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw.")] = 0,
    workers: Annotated[int, typer.Option(min=1, max=32, help="Processes; changes no number.")] = 2,
    batch_size: Annotated[int, typer.Option(min=1, max=100_000, help="Changes no number.")] = 1000,
    min_precision: _Gate = None,
    min_recall: _Gate = None,
    min_f1: _Gate = None,
    max_false_positive_rate: _Gate = None,
    prevalence: Annotated[float | None, typer.Option(help="Share of attacks in real traffic, such as 0.001.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write the whole answer here, as JSON.")] = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="End with 3 if the verdict is not PROMOTE: for a pipeline.")
    ] = False,
) -> None:
    """Judge a rule on labelled samples.

    Exit 2: the rule or an option is wrong; exit 1: the data cannot be read, or the answer not written.
    """
    from shieldx_runtime.shadow import display  # noqa: PLC0415 - a command's own
    from shieldx_runtime.shadow.document import document  # noqa: PLC0415 - as above
    from shieldx_runtime.shadow.errors import DataError, TaskError  # noqa: PLC0415 - as above
    from shieldx_runtime.shadow.evaluation import evaluate as run  # noqa: PLC0415 - as above
    from shieldx_runtime.shadow.task import Task  # noqa: PLC0415 - as above
    from shieldx_verdict import Gates, judge  # noqa: PLC0415 - as above

    if prevalence is not None and not 0 < prevalence < 1:
        raise _end(f"--prevalence is {prevalence:g}; it must be above 0 and below 1", _EXIT_TASK)
    if output is not None:
        _require_place(output)
    asked: dict[str, Any] = {
        "rule": _read(rule, "--rule"),
        "baseline": None if baseline is None else _read(baseline, "--baseline"),
        "data": {"path": str(data), "format": format_},
        "seed": seed,
        "workers": workers,
        "batchSize": batch_size,
        **({} if sample_size is None else {"sampleSize": sample_size}),
    }
    began = time.monotonic()
    try:
        task = Task.from_dict(asked)
        with display.progress() as told:
            found = run(task, progress=told)
    except TaskError as error:
        raise _end(str(error), _EXIT_TASK) from error
    except (DataError, RuntimeError) as error:
        raise _end(str(error), _EXIT_FAILED) from error
    result = judge(found.counts, Gates(min_precision, min_recall, min_f1, max_false_positive_rate), prevalence)
    answer = document(task, found, result, seconds=time.monotonic() - began)
    display.show(answer)
    if output is not None:
        _write(output, json.dumps(answer, indent=2) + "\n")
    if exit_code and result.verdict != "PROMOTE":
        raise typer.Exit(_EXIT_NOT_PROMOTED)


def report(
    result: Annotated[Path, typer.Argument(help="What `shadow evaluate --output` wrote.")],
    output: Annotated[Path, typer.Option(help="A page, or a picture where the name ends in .png.")] = Path(
        "report.html"
    ),
) -> None:
    """Write an evaluation as a page of HTML or as a PNG: matrix, intervals, missed attacks, threshold curve."""
    from shieldx_runtime.shadow import plots  # noqa: PLC0415 - a command's own
    from shieldx_runtime.shadow.report import render  # noqa: PLC0415 - as above

    _require_place(output)
    if output.suffix.lower() in _OTHER_PICTURES:
        raise _end(f"--output: {output}: pictures are PNG, pages HTML: let it end in .png or .html", _EXIT_TASK)
    try:
        answer = json.loads(result.read_bytes())
        page: str | bytes = render(answer)
        if output.suffix.lower() == ".png":
            page = plots.drawn(answer)
    except plots.LackingError as error:
        raise _end(str(error), _EXIT_FAILED) from error
    except OSError as error:
        raise _end(f"{result} cannot be read: {error.strerror}", _EXIT_FAILED) from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        told = f"{type(error).__name__}: {error}"
        raise _end(f"{result} is no answer of `shadow evaluate --output`: {told}", _EXIT_FAILED) from error
    _write(output, page)
    sys.stdout.write(f"{output}\n")


def _require_place(output: Path) -> None:
    """Says before the work that it would be for nothing. Raises: typer.Exit."""
    if output.is_dir() or not output.absolute().parent.is_dir():
        raise _end(f"--output: {output} is a folder, or lies in none: name a file in one that exists", _EXIT_TASK)


def _write(output: Path, content: str | bytes) -> None:
    """Raises: typer.Exit."""
    try:
        output.write_bytes(content if isinstance(content, bytes) else content.encode())
    except OSError as error:
        raise _end(f"--output: {output} cannot be written: {error.strerror}", _EXIT_FAILED) from error


def _read(path: Path, option: str) -> Any:
    try:
        text = path.read_bytes()
        if len(text) > _MAX_RULE_BYTES:
            raise _end(f"{option}: {path} has {len(text):,} bytes; a rule has at most {_MAX_RULE_BYTES:,}", _EXIT_TASK)
        return json.loads(text)
    except (OSError, ValueError) as error:
        raise _end(f"{option}: {path} cannot be read as JSON: {error}", _EXIT_TASK) from error


def _end(message: str, code: int) -> typer.Exit:
    sys.stderr.write(message + "\n")
    return typer.Exit(code)
