"""The command line: `shieldx ...`. Exit 2: a setting is wrong; exit 1: it could not be done."""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import asyncpg
import typer
import uvloop

from shieldx_contract import ENV_DATABASE_SERVICE_URI_FILE, ENV_REQUEST_TIMEOUT_S
from shieldx_runtime.backup import commands as backup
from shieldx_runtime.core import log
from shieldx_runtime.core.database import connect, read_uri, target_of
from shieldx_runtime.core.faults import InvalidUriError, ListenError, describe, parse_target
from shieldx_runtime.core.ledger import Ledger
from shieldx_runtime.core.migrations import Migration, MigrationError
from shieldx_runtime.core.migrations import run as run_migrations
from shieldx_runtime.core.settings import SettingsError, load_database, load_log, load_serve
from shieldx_runtime.credits import export_commands, privacy_commands, reconcile_commands
from shieldx_runtime.shadow import commands as shadow

_TERMINATION_LOG: Final = Path("/dev/termination-log")
"""What a container writes here, Kubernetes shows as the reason of its end."""
_EVALUATE_TIMEOUT_S: Final = "30"
"""Of a request to the shadow API where the environment says nothing; one to the ledger is answered sooner."""
Admit = Callable[[Path, Path | None], Coroutine[Any, Any, tuple[str, ...]]]
"""Gives roles their rights: by the owner's URI file, and that of the role which a service connects with."""
_EXIT_FAILED: Final = 1
_EXIT_SETTINGS: Final = 2

app = typer.Typer(
    help="The runtime of ShieldX Platform.",
    no_args_is_help=True,
    add_completion=False,
    # tracebacks with local variables would show secrets
    pretty_exceptions_enable=False,
)
credits_app = typer.Typer(help="The credits service.", no_args_is_help=True)
app.add_typer(credits_app, name="credits")
export_commands.add_to(app)
reconcile_commands.add_to(credits_app)
privacy_commands.add_to(credits_app)
# where they were before there was a command of our own: logs and notes of people name them so
export_commands.add_to(credits_app, hidden=True)


def _ledger() -> Ledger:
    from shieldx_runtime.credits.archive import CreditsLedger  # noqa: PLC0415 - only a command of backups needs it
    from shieldx_runtime.credits.roles import KEY_READER_GRANTS, RIGHTS  # noqa: PLC0415 - as above
    from shieldx_runtime.shadow.roles import rights  # noqa: PLC0415 - as above

    # a shadow service keeps its samples beside the ledger, and a dump brings no privileges along
    return CreditsLedger(beside=(rights(KEY_READER_GRANTS, RIGHTS.schema),))


# here the two meet: neither slice imports the other
app.add_typer(backup.build(_ledger), name="backup")


def _serve_shadow() -> None:
    from shieldx_runtime.credits.repository import Repository  # noqa: PLC0415 - the keys are the credits service's
    from shieldx_runtime.shadow.service.app import run  # noqa: PLC0415 - as above
    from shieldx_runtime.shadow.service.terms import load as load_terms  # noqa: PLC0415 - as above

    try:
        settings = load_serve({ENV_REQUEST_TIMEOUT_S: _EVALUATE_TIMEOUT_S, **os.environ})
        log.configure(load_log(os.environ).level)
        uvloop.run(run(settings, lambda database: Repository(database).key, load_terms(os.environ)))
    except SettingsError as error:
        raise _end(str(error), _EXIT_SETTINGS) from error
    except (ListenError, MigrationError) as error:
        raise _end(str(error), _EXIT_FAILED) from error


def _migrate_shadow() -> None:
    from shieldx_runtime.core.roles import admit  # noqa: PLC0415 - as above
    from shieldx_runtime.credits.roles import KEY_READER_GRANTS, RIGHTS  # noqa: PLC0415 - as above
    from shieldx_runtime.shadow.roles import rights  # noqa: PLC0415 - as above
    from shieldx_runtime.shadow.service.store import SCHEMA, migrations  # noqa: PLC0415 - as above

    given = rights(KEY_READER_GRANTS, RIGHTS.schema)
    _migrate(SCHEMA, migrations(), lambda uri_file, service: admit(uri_file, service, given))


app.add_typer(shadow.build(_serve_shadow, _migrate_shadow), name="shadow")


@credits_app.command()
def serve() -> None:
    """Serve the credits API until SIGTERM. The environment has the settings."""
    from shieldx_runtime.credits.app import run  # noqa: PLC0415 - `migrate` need not wait for FastAPI's import
    from shieldx_runtime.credits.sealing_settings import load_audit  # noqa: PLC0415 - as above

    try:
        settings = load_serve(os.environ)
        log.configure(load_log(os.environ).level)
        uvloop.run(run(settings, load_audit(os.environ)))
    except SettingsError as error:
        raise _end(str(error), _EXIT_SETTINGS) from error
    except ListenError as error:
        raise _end(str(error), _EXIT_FAILED) from error


@credits_app.command()
def migrate() -> None:
    """Bring the schema to this version, and the service's role to its rights. Safe to repeat, and to run at once."""
    from shieldx_runtime.credits.repository import SCHEMA, migrations  # noqa: PLC0415 - as above
    from shieldx_runtime.credits.roles import admit  # noqa: PLC0415 - as above

    _migrate(SCHEMA, migrations(), admit)


def _migrate(schema: str, shipped: Sequence[Migration], admit: Admit) -> None:
    """Raises: typer.Exit, with the last word said."""
    try:
        settings = load_database(os.environ)
        log.configure(load_log(os.environ).level)
        parse_target(read_uri(settings.uri_file))
        service_uri = os.environ.get(ENV_DATABASE_SERVICE_URI_FILE, "")
        applied = asyncio.run(run_migrations(settings.uri_file, schema, shipped))
        admitted = asyncio.run(admit(settings.uri_file, Path(service_uri) if service_uri else None))
    except (SettingsError, InvalidUriError) as error:
        raise _end(str(error), _EXIT_SETTINGS) from error
    except MigrationError as error:
        raise _end(str(error), _EXIT_FAILED) from error
    log.get(__name__).info("schema is current", applied=applied, roles=admitted)


@credits_app.command()
def verify() -> None:
    """Check that sums equal balances and that every audit chain verifies. Exit 1 and a line for each fault if not."""
    from shieldx_runtime.credits import verify as books  # noqa: PLC0415 - as above

    async def faults(uri_file: Path) -> list[str]:
        connection = await connect(uri_file, timeout_s=10, statement_timeout_s=0)
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                return await books.verify(connection)
        finally:
            await connection.close(timeout=5)

    try:
        settings = load_database(os.environ)
        parse_target(read_uri(settings.uri_file))
        problems = asyncio.run(faults(settings.uri_file))
    except (SettingsError, InvalidUriError) as error:
        raise _end(str(error), _EXIT_SETTINGS) from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise _end(describe(error, target_of(settings.uri_file)), _EXIT_FAILED) from error
    if problems:
        raise _end("\n".join(problems), _EXIT_FAILED)
    sys.stdout.write("the books add up\n")


@app.command()
def openapi(
    folder: Annotated[Path, typer.Option(help="Where the API documents are.")] = Path("api"),
    *,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 if one is not up to date.")] = False,
) -> None:
    """Write the API documents and the Postman collection from the code."""
    from shieldx_runtime.credits import openapi as credits_document  # noqa: PLC0415 - as above
    from shieldx_runtime.credits import routes as credits_routes  # noqa: PLC0415 - as above
    from shieldx_runtime.shadow.service import openapi as shadow_document  # noqa: PLC0415 - as above
    from shieldx_runtime.shadow.service import routes as shadow_routes  # noqa: PLC0415 - as above

    credits_api = credits_routes.build_api(None)
    texts = {
        "openapi.yaml": credits_document.render(credits_api),
        "credits.postman_collection.json": credits_document.render_collection(credits_api),
        "shadow-openapi.yaml": shadow_document.render(shadow_routes.build_api(None)),
    }
    for name, text in texts.items():
        file = folder / name
        if not check:
            folder.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        elif not file.exists() or file.read_text(encoding="utf-8") != text:
            raise _end(f"{file} is not what the code says: run `make generate`", _EXIT_FAILED)


def _end(message: str, code: int) -> typer.Exit:
    """Says the last word, also where Kubernetes looks for it."""
    sys.stderr.write(message + "\n")
    if _TERMINATION_LOG.exists() and os.access(_TERMINATION_LOG, os.W_OK):
        _TERMINATION_LOG.write_text(message, encoding="utf-8")
    return typer.Exit(code)
