"""Outcomes for persons: tables instead of JSON."""

from typing import Any

from rich.console import Console
from rich.table import Table

_KIB = 1024


def listing(outcome: dict[str, Any]) -> None:
    table = Table("backup", "taken at", "size", "unpacked", "verified", "drilled (RTO)", title=outcome["stream"])
    for copy in outcome["copies"]:
        drilled = copy["drilled"]
        table.add_row(
            copy["id"],
            copy["taken_at"],
            size(copy["size_bytes"]),
            size(copy["plain_size_bytes"]),
            copy["verified"]["verified_at"] if copy["verified"] else "no",
            f"{drilled['drilled_at']} ({drilled['rto_s']:.1f} s)" if drilled else "no",
        )
    console = Console()
    console.print(table if outcome["copies"] else f"no whole copy of: {outcome['stream']}")
    for backup_id, problem in outcome["broken"].items():
        console.print(f"{backup_id} cannot be used: {problem}", style="red", markup=False)
    if outcome.get("covered_to"):
        console.print(f"audit log shipped to {outcome['covered_to']}", markup=False)


def decisions(outcome: dict[str, Any]) -> None:
    table = Table("backup", "goes", "because")
    for decision in outcome["decisions"]:
        table.add_row(decision["backup_id"], "yes" if decision["prune"] else "no", decision["reason"])
    Console().print(table)


def timeline(outcome: dict[str, Any]) -> None:
    console = Console()
    steps = outcome.get("timeline", [])
    if steps:
        table = Table("seconds", "step", "details")
        for step in steps:
            details = ", ".join(f"{k} {v}" for k, v in step.items() if k not in ("at_s", "step"))
            table.add_row(f"{step['at_s']:.1f}", step["step"], details)
        console.print(table)
    _fields(console, {k: v for k, v in outcome.items() if k != "timeline"})


def outcome(outcome: dict[str, Any]) -> None:  # - the same word for what it shows
    _fields(Console(), outcome)


def size(size_bytes: int) -> str:
    value = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < _KIB:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= _KIB
    return f"{value:.1f} TiB"


def _fields(console: Console, fields: dict[str, Any]) -> None:
    table = Table(show_header=False)
    for name, value in fields.items():
        table.add_row(name, str(value))
    console.print(table)
