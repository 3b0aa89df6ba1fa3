"""The scheduled form of reconciliation: all tenants, or one, in the database.

Exit 20: something does not agree; 2: a setting is wrong; 3: nothing was compared. A crash is no difference.
"""

import asyncio
import json
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import asyncpg
import typer

from shieldx_contract import CREDITS_DIFFER_EXIT_CODE
from shieldx_runtime.core.database import connect, read_uri, target_of
from shieldx_runtime.core.faults import InvalidUriError, describe, parse_target
from shieldx_runtime.core.settings import SettingsError, load_database

if TYPE_CHECKING:
    from shieldx_runtime.credits.reconcile import Difference

_EXIT_SETTINGS: Final = 2
_EXIT_NOT_COMPARED: Final = 3
_TENANT_TIMEOUT_S: Final = 300
_TOLD: Final = 1000
"""Tenants that are named; more are counted."""


def reconcile(
    tenant: Annotated[str | None, typer.Option(help="One tenant; without it, all.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Say it as JSON.")] = False,
) -> None:
    """Recompute accounts out of the ledger and compare grants, holds and audit log. Mends nothing."""
    try:
        uri_file = load_database(os.environ).uri_file
        parse_target(read_uri(uri_file))
        count, wrong = asyncio.run(_compare(uri_file, tenant))
    except (SettingsError, InvalidUriError) as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(_EXIT_SETTINGS) from error
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        sys.stderr.write(f"{describe(error, target_of(uri_file))}\n")
        raise typer.Exit(_EXIT_NOT_COMPARED) from error
    except Exception as error:
        # a fault of ours: whoever reads the exit code must not take it for one of the books
        traceback.print_exc()
        sys.stderr.write(f"not compared, by a fault of this command: {type(error).__name__}: {error}\n")
        raise typer.Exit(_EXIT_NOT_COMPARED) from error
    if tenant and not count and not wrong:
        sys.stderr.write(f"--tenant: there is no tenant {tenant!r}: check the id\n")
        raise typer.Exit(_EXIT_NOT_COMPARED)
    told = dict(list(wrong.items())[:_TOLD])
    if as_json:
        found = {
            tenant_id: [{"what": d.what, "found": d.found, "expected": d.expected} for d in some]
            for tenant_id, some in told.items()
        }
        sys.stdout.write(json.dumps({"tenants": count, "differing": len(wrong), "differences": found}) + "\n")
    else:
        for tenant_id, some in told.items():
            for difference in some:
                sys.stdout.write(f"tenant {tenant_id}: {difference}\n")
        sys.stdout.write(f"{count} tenants compared, {len(wrong)} differ\n")
    if wrong:
        raise typer.Exit(CREDITS_DIFFER_EXIT_CODE)


async def _compare(uri_file: Path, tenant: str | None) -> tuple[int, dict[str, list["Difference"]]]:
    """How many were compared, and what differs, by tenant."""
    # what it stands on is half of the service: the other commands need not wait for that
    from shieldx_runtime.credits.reconcile import differences, tenants  # noqa: PLC0415

    connection = await connect(uri_file, timeout_s=10, statement_timeout_s=_TENANT_TIMEOUT_S)
    count, wrong = 0, {}
    try:
        if tenant is not None:
            known = await connection.fetchval("SELECT count(*) FROM credits.accounts WHERE tenant_id = $1", tenant)
            found = await differences(connection, tenant)
            return known, {tenant: found} if found else {}
        async for tenant_id in tenants(connection):
            count += 1
            found = await differences(connection, tenant_id)
            if found:
                wrong[tenant_id] = found
    finally:
        await connection.close(timeout=5)
    return count, wrong


def add_to(app: typer.Typer) -> None:
    app.command()(reconcile)
