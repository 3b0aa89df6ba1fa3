"""The content of a copy as a file: an RDB that a Redis starts from, a dump for pg_restore and tools of one's own."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shieldx_runtime.backup import artifacts
from shieldx_runtime.backup.catalog import Copy
from shieldx_runtime.backup.context import Context
from shieldx_runtime.backup.errors import NoSpaceError, SettingError


def fetch(context: Context, copy: Copy, to: Path, check: Callable[[], None]) -> dict[str, Any]:
    """Unseals a copy into a file, readable for its owner alone; there only when every byte was found whole.

    Raises:
        SettingError: something is there already, or the folder cannot be written to.
        NoSpaceError: its disk is full.
        DamagedError, WrongKeyError, DestinationError, DeadlineError: no file is left.
    """
    manifest = copy.manifest
    part = to.with_name(f".{to.name}.part")
    content = artifacts.load(context.catalog, context.ring, manifest, manifest.artifacts[0], check)
    try:
        if to.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            for chunk in content:
                file.write(chunk)
        part.rename(to)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpaceError(f"the disk of {to} is full: it needs {manifest.plain_size_bytes} bytes") from error
        raise SettingError(f"--to: {to}: {error.strerror}: name a new file in a folder that can be written") from error
    finally:
        part.unlink(missing_ok=True)
    return {"id": manifest.backup_id, "file": str(to), "size_bytes": manifest.plain_size_bytes}
