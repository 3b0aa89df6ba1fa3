"""The command of a rotation of the master key. Exit 1: something is left under another key; 2: a wrong setting."""

import asyncio
import os
import sys
from typing import Final, NoReturn

import typer

from shieldx_contract import ENV_MASTER_KEYS_FILE
from shieldx_runtime.core.database import Database, read_uri
from shieldx_runtime.core.faults import DatabaseUnavailableError, InvalidUriError, parse_target
from shieldx_runtime.core.settings import DatabaseSettings, SettingsError, load_database
from shieldx_runtime.credits.sealing_settings import MasterKeysFile, load_audit

_EXIT_FAILED: Final = 1
_EXIT_SETTINGS: Final = 2
_IDLE_TURNS: Final = 3


def rewrap_keys() -> None:
    """Bring all keys of tenants' texts under the active master key, the first line of the file. Safe to repeat.

    Says how many are under which master key: one that wraps none may be taken out of the file.
    """
    try:
        settings = load_database(os.environ)
        parse_target(read_uri(settings.uri_file))
        masters = load_audit(os.environ).masters
        keys = masters.current()
    except (SettingsError, InvalidUriError) as error:
        _end(str(error), _EXIT_SETTINGS)
    if keys is None:
        _end(f"{ENV_MASTER_KEYS_FILE}: not set: name the file that holds the master keys", _EXIT_SETTINGS)
    try:
        done, in_use = asyncio.run(_rewrap(settings, masters))
    except DatabaseUnavailableError as error:
        _end(str(error), _EXIT_FAILED)
    told = ", ".join(f"{master_id}: {count}" for master_id, count in in_use.items()) or "none"
    sys.stdout.write(f"{done} keys were brought under {keys.active_id}; keys by master key: {told}\n")
    left = sorted(set(in_use) - {keys.active_id})
    if left:
        _end(
            f"keys are left under {', '.join(left)}: put these lines back into the file, behind the first", _EXIT_FAILED
        )


async def _rewrap(settings: DatabaseSettings, masters: MasterKeysFile) -> tuple[int, dict[str, int]]:
    from prometheus_client import CollectorRegistry  # noqa: PLC0415 - other commands need not wait for it

    from shieldx_runtime.credits.privacy_texts import Texts  # noqa: PLC0415 - as above

    database = Database(settings)
    await database.open()
    try:
        texts = Texts(database, masters, CollectorRegistry())
        done = idle = 0
        # a replica that does the same takes some away: what it takes is done, too
        while idle < _IDLE_TURNS:
            count = await texts.rewrap()
            done, idle = done + count, 0 if count else idle + 1
        return done, await texts.in_use()
    finally:
        await database.close()


def _end(message: str, code: int) -> NoReturn:
    sys.stderr.write(message + "\n")
    raise typer.Exit(code)


def add_to(app: typer.Typer) -> None:
    app.command(name="rewrap-keys")(rewrap_keys)
