"""`shieldx backup ...`, for Jobs and for persons. The environment has the settings.

Exit codes: 0 done; 1 failed; 2 a setting is wrong; 3 a key that sealed a copy is missing; 4 a copy is damaged, or its
key's content was changed, which looks alike; 5 another run is at work; 6 the destination fails or does not answer;
7 deadline; 8 there is no such copy; 9 restored and does not add up; 10 the database does not continue the audit stream;
11 no space; 12 the destination refuses: its credentials, their permissions or the bucket's name are wrong.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from shieldx_contract.backup import ENV_BACKUP_RESULT_FILE
from shieldx_runtime.backup import display, settings
from shieldx_runtime.backup import run as runs
from shieldx_runtime.backup.catalog import Copy
from shieldx_runtime.backup.clock import Deadline, moment_of
from shieldx_runtime.backup.context import Context
from shieldx_runtime.backup.drill import covered_to, drill
from shieldx_runtime.backup.errors import BackupError, SettingError
from shieldx_runtime.backup.fetch import fetch
from shieldx_runtime.backup.manifest import Stream
from shieldx_runtime.backup.prune import as_data, prune, prune_audit
from shieldx_runtime.backup.restore import How, restore_in_place, restore_new, roll_back
from shieldx_runtime.backup.retention import Rules
from shieldx_runtime.backup.ship import INTERVAL_S, ship_for_ever
from shieldx_runtime.backup.verify import verify_copy
from shieldx_runtime.core import log
from shieldx_runtime.core.ledger import Ledger
from shieldx_runtime.core.settings import SettingsError, load_log

LATEST: Final = "latest"
_RESULT_MAX_BYTES: Final = 4096

Json = Annotated[bool, typer.Option("--json", help="Print the outcome as one JSON document.")]
StreamOption = Annotated[Stream, typer.Option("--stream", help="Whose copies.")]
BackupArgument = Annotated[str, typer.Argument(help="A backup's id, or `latest`: the newest verified one.")]
Until = Annotated[str | None, typer.Option(help="Replay nothing of the audit log that is later than this time.")]
NoReplay = Annotated[bool, typer.Option("--no-replay", help="The dump as it is, without what was shipped after it.")]


def build(make_ledger: Callable[[], Ledger]) -> typer.Typer:
    """The command group. `make_ledger` gives what knows the ledger: `backup` imports no slice."""
    app = typer.Typer(
        help="Backups: made, proved, restored.", no_args_is_help=True, epilog=(__doc__ or "").partition("\n\n")[2]
    )
    _copies(app, make_ledger)
    _restores(app, make_ledger)
    _upkeep(app, make_ledger)
    return app


def _copies(app: typer.Typer, make_ledger: Callable[[], Ledger]) -> None:
    """Commands that make copies, show them and read them back."""

    @app.command()
    def run(stream: StreamOption = Stream.DATABASE, *, as_json: Json = False) -> None:
        """Make a copy, read it back, and keep it."""
        _work(as_json, make_ledger, lambda c: runs.run(c, stream), display.outcome)

    @app.command("list")
    def list_(stream: StreamOption = Stream.DATABASE, *, as_json: Json = False) -> None:
        """Show the whole copies there are, and what cannot be used and why."""
        _work(as_json, make_ledger, lambda c: _listing(c, stream), display.listing)

    @app.command()
    def verify(
        backup: BackupArgument = LATEST, stream: StreamOption = Stream.DATABASE, *, as_json: Json = False
    ) -> None:
        """Read a copy back: digests, key, archive to its end."""
        _work(as_json, make_ledger, lambda c: _verify(c, stream, backup), display.outcome)

    @app.command("fetch")
    def fetch_(
        to: Annotated[Path, typer.Option(help="A file that does not exist yet.")],
        backup: BackupArgument = LATEST,
        stream: StreamOption = Stream.DATABASE,
        *,
        as_json: Json = False,
    ) -> None:
        """Unseal a copy into a file: the RDB of a cache, a dump for pg_restore."""

        def fetched(context: Context) -> dict[str, Any]:
            return fetch(context, _chosen(context, stream, backup, How()), to, context.deadline.check)

        _work(as_json, make_ledger, fetched, display.outcome)


def _restores(app: typer.Typer, make_ledger: Callable[[], Ledger]) -> None:
    """Commands that make a database out of a copy."""

    @app.command()
    def restore(  # noqa: PLR0913 - options of a command line
        backup: BackupArgument = LATEST,
        *,
        in_place: Annotated[bool, typer.Option("--in-place", help="Replace the service's database.")] = False,
        confirm: Annotated[str, typer.Option(help="The service's name, for a restore in place.")] = "",
        rollback: Annotated[bool, typer.Option("--rollback", help="Undo a restore in place that was cut off.")] = False,
        until: Until = None,
        no_replay: NoReplay = False,
        as_json: Json = False,
    ) -> None:
        """Restore into a new database (SHIELDX_BACKUP_TARGET_URI_FILE), or in place."""
        if rollback:
            _told(as_json, lambda: asyncio.run(roll_back(settings.database(os.environ))), display.timeline)
            return

        def restored(context: Context) -> dict[str, Any]:
            how = _how(until, no_replay=no_replay)
            copy = _chosen(context, Stream.DATABASE, backup, how)
            if in_place:
                return asyncio.run(restore_in_place(context, copy, how, confirm=confirm))
            return asyncio.run(restore_new(context, copy, settings.target(os.environ), how))

        _work(as_json, make_ledger, restored, display.timeline)

    @app.command("drill")
    def drill_(backup: BackupArgument = LATEST, *, no_replay: NoReplay = False, as_json: Json = False) -> None:
        """Restore into a scratch database (SHIELDX_BACKUP_SCRATCH_URI_FILE), prove it, drop it: the measured RTO."""

        def drilled(context: Context) -> dict[str, Any]:
            how = _how(None, no_replay=no_replay)
            copy = _chosen(context, Stream.DATABASE, backup, how)
            return asyncio.run(drill(context, copy, settings.scratch(os.environ), how))

        _work(as_json, make_ledger, drilled, display.timeline)


def _upkeep(app: typer.Typer, make_ledger: Callable[[], Ledger]) -> None:
    """Commands that keep the destination: what goes, and what comes all the time."""

    @app.command("prune")
    def prune_(
        stream: StreamOption = Stream.DATABASE,
        *,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed, and why.")] = False,
        as_json: Json = False,
    ) -> None:
        """Remove what retention lets go; every decision with its reason."""

        def pruned(context: Context) -> dict[str, Any]:
            if stream is Stream.AUDIT:
                keep = timedelta(days=context.keep_audit_days)
                return {"decisions": as_data(prune_audit(context, keep, dry_run=dry_run))}
            rules = Rules(timedelta(days=settings.keep_days(os.environ)))
            return {"decisions": as_data(prune(context, stream, rules, dry_run=dry_run))}

        _work(as_json, make_ledger, pruned, display.decisions)

    @app.command("ship-audit")
    def ship_audit(
        *,
        once: Annotated[bool, typer.Option("--once", help="Ship what there is, and end.")] = False,
        interval_s: Annotated[float, typer.Option(min=0.1, max=300, help="Seconds between two looks.")] = INTERVAL_S,
        as_json: Json = False,
    ) -> None:
        """Ship the audit log until SIGTERM."""

        def shipped(context: Context) -> dict[str, Any]:
            done = asyncio.run(ship_for_ever(context, interval_s=interval_s, once=once))
            return {"line": done.line, "segments": done.segments, "rows": done.rows, "snapshot_at": done.snapshot_at}

        _work(as_json, make_ledger, shipped, display.outcome, endless=not once)


def _listing(context: Context, stream: Stream) -> dict[str, Any]:
    if stream is Stream.AUDIT:
        return {"stream": str(stream), "covered_to": covered_to(context), "copies": [], "broken": {}}
    found = context.catalog.list(stream)
    return {
        "stream": str(stream),
        "copies": [runs.described(copy) for copy in found.copies],
        "broken": {backup_id: str(problem) for backup_id, problem in found.broken.items()},
        "leftovers": len(found.leftovers),
        "covered_to": covered_to(context),
    }


def _verify(context: Context, stream: Stream, backup: str) -> dict[str, Any]:
    if backup != LATEST:
        copy = context.catalog.get(stream, backup)
    else:
        found = context.catalog.list(stream)
        if not found.copies:
            raise found.why_none()
        copy = found.copies[-1]
    return {"id": copy.manifest.backup_id, **verify_copy(context, copy, context.deadline.check)}


def _chosen(context: Context, stream: Stream, backup: str, how: How) -> Copy:
    """The copy that is named; of `latest`, the newest that has been verified and is not younger than `how` asks."""
    if backup != LATEST:
        return context.catalog.get(stream, backup)
    found = context.catalog.list(stream)
    copies = [copy for copy in found.copies if copy.verified and (how.until is None or copy.taken_at <= how.until)]
    if not copies:
        raise found.why_none()
    return copies[-1]


def _how(until: str | None, *, no_replay: bool) -> How:
    try:
        return How(replayed=not no_replay, until=moment_of(until) if until else None)
    except ValueError as error:
        raise SettingError(f"--until: {error}: write it as 2026-01-31T12:00:00Z") from error


def _work(
    as_json: bool,
    make_ledger: Callable[[], Ledger],
    work: Callable[[Context], dict[str, Any]],
    show: Callable[[dict[str, Any]], None],
    *,
    endless: bool = False,
) -> None:
    """Runs a command that works on copies."""

    def worked() -> dict[str, Any]:
        context = settings.load(os.environ, make_ledger())
        return work(replace(context, deadline=Deadline(float("inf"))) if endless else context)

    _told(as_json, worked, show)


def _told(as_json: bool, work: Callable[[], dict[str, Any]], show: Callable[[dict[str, Any]], None]) -> None:
    """Log lines on standard error, the outcome on standard output, one last line for a failure."""
    try:
        log.configure(load_log(os.environ).level, stream="stderr")
        outcome = work()
    except (BackupError, SettingsError) as error:
        code = error.exit_code if isinstance(error, BackupError) else SettingError.exit_code
        reason = error.reason if isinstance(error, BackupError) else SettingError.reason
        failure = {"failed": reason, "message": str(error), "exit_code": code}
        _keep(failure)
        if as_json:
            sys.stdout.write(json.dumps(failure) + "\n")
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(code) from error
    _keep(outcome)
    if as_json:
        sys.stdout.write(json.dumps(outcome) + "\n")
    else:
        show(outcome)


def _keep(outcome: dict[str, Any]) -> None:
    """For whoever started us: a pod's termination message, which is bounded."""
    file = os.environ.get(ENV_BACKUP_RESULT_FILE)
    if not file:
        return
    text = json.dumps(outcome)
    if len(text) > _RESULT_MAX_BYTES:
        text = json.dumps({k: v for k, v in outcome.items() if not isinstance(v, list | dict)})[:_RESULT_MAX_BYTES]
    Path(file).write_text(text, encoding="utf-8")
