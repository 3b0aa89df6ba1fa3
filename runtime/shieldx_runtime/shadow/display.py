"""An evaluation on a terminal: how far it is, and its answer as tables."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

_RATIOS: Final = (
    ("precision", "precision"),
    ("recall", "recall"),
    ("f1", "F1"),
    ("falsePositiveRate", "false positive rate"),
    ("precisionAtPrevalence", "precision at the prevalence"),
)
_STYLES: Final = {"PROMOTE": "bold green", "REJECT": "bold red", "INCONCLUSIVE": "bold yellow"}
_console: Final = Console()
_errors: Final = Console(stderr=True)


@contextmanager
def progress() -> Iterator[Callable[[int], None]]:
    """Tells on standard error how many samples were judged; nothing where that is no terminal."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=_errors, transient=True, disable=not _errors.is_terminal) as bar:
        shown = bar.add_task("reading", total=None)
        yield lambda samples: bar.update(shown, description=f"{samples:,} samples judged")


def show(document: Mapping[str, Any]) -> None:
    """The answer. Texts are shown as they are: nothing in a payload is markup."""
    result = document["result"]
    verdict = result["verdict"]
    _console.print(Text(verdict, _STYLES.get(verdict, "bold")))
    for reason in result["reasons"]:
        _console.print(Text(f"  {reason}"))
    _console.print(_matrix(result["matrix"]))
    _console.print(_ratios(result))
    for recommendation in result["recommendations"]:
        _console.print(Text(f"- {recommendation}"))
    told = f"{result['samples']:,} samples, {result['errors']:,} errors {result['errorsByReason'] or ''}".strip()
    _console.print(Text(f"{told}; seed {document['seed']}, {document['datasetDigest']}", "dim"))
    _console.print(Text(f"{document['engine']}; {document['seconds']:.2f} s", "dim"))


def _matrix(matrix: Mapping[str, int]) -> Table:
    table = Table("", "matches", "does not match")
    table.add_row("attack", f"{matrix['truePositives']:,}", f"{matrix['falseNegatives']:,}")
    table.add_row("benign", f"{matrix['falsePositives']:,}", f"{matrix['trueNegatives']:,}")
    return table


def _ratios(result: Mapping[str, Any]) -> Table:
    table = Table("", "estimate", "95% interval")
    for name, label in _RATIOS:
        estimate = result.get(name)
        if estimate is None:
            continue
        if "value" not in estimate:
            table.add_row(label, "undefined", "")
        else:
            table.add_row(label, f"{estimate['value']:.4f}", f"{estimate['low']:.4f} to {estimate['high']:.4f}")
    mcc = result.get("mcc")
    table.add_row("MCC", "undefined" if mcc is None else f"{mcc:.4f}", "")
    return table
