"""Room on disks: asked for before anything is stopped or fetched, and a full one told in words that say what to do."""

import contextlib
import errno
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from shieldx_runtime.backup.context import Context
from shieldx_runtime.backup.errors import NoSpaceError
from shieldx_runtime.backup.manifest import Manifest

DATABASE_BYTES: Final = "database_bytes"
"""In a manifest's details: the size of the database that was dumped."""
SERVER_BYTES: Final = 256 << 20
"""What a PostgreSQL has beside a database: its own tables, and its log of changes as the drill's server bounds it."""
_REMEDY: Final = "raise scratchSize (of the Restore, or of the policy's drill)"
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_MIB: Final = 1 << 20


def require_scratch(context: Context, manifest: Manifest) -> None:
    """Raises: NoSpaceError, the copy unpacked is larger than the scratch folder may hold or its disk has free."""
    needed = manifest.plain_size_bytes
    free = shutil.disk_usage(context.scratch_dir).free
    room = free if context.scratch_bytes is None else min(free, context.scratch_bytes)
    if needed > room:
        why = "its disk has no more free" if room == free else "it is given no more"
        raise NoSpaceError(
            f"backup {manifest.backup_id} unpacks to {_mib(needed)}, scratch folder {context.scratch_dir} has room for "
            f"{_mib(room)} ({why}): {_REMEDY}"
        )


def require_scratch_database(context: Context, manifest: Manifest) -> None:
    """Raises: NoSpaceError, the volume of the drill's server is smaller than the database was."""
    held = manifest.details.get(DATABASE_BYTES)
    needed = (held if isinstance(held, int) else manifest.plain_size_bytes) + SERVER_BYTES
    room = context.scratch_database_bytes
    if room is not None and needed > room:
        raise NoSpaceError(
            f"backup {manifest.backup_id} needs {_mib(needed)} as a database, the scratch server has room for "
            f"{_mib(room)}: {_REMEDY}"
        )


@contextlib.contextmanager
def spilled(chunks: Iterable[bytes], folder: Path) -> Iterator[Path]:
    """The content as a file of the scratch folder, readable for us alone, gone after the block.

    Raises:
        NoSpaceError: the folder is full.
    """
    try:
        # closing, and not the file's own block: that leaves the file behind where the disk is too full to flush it
        with contextlib.closing(tempfile.NamedTemporaryFile(dir=folder, prefix="shieldx-")) as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            yield Path(file.name)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise NoSpaceError(f"scratch folder {folder} is full: {_REMEDY}") from error


def _mib(size_bytes: int) -> str:
    return f"{-(-size_bytes // _MIB)} MiB"
