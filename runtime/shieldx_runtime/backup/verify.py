"""The proof of a copy without a database: every byte read back, unsealed, read to its end by the tool that restores."""

import contextlib
import errno
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from shieldx_runtime.backup import artifacts, postgres, redis
from shieldx_runtime.backup.catalog import VERIFIED, Copy
from shieldx_runtime.backup.clock import now, text_of
from shieldx_runtime.backup.context import Context
from shieldx_runtime.backup.errors import DamagedError, NoSpaceError, ToolError
from shieldx_runtime.backup.manifest import Stream
from shieldx_runtime.core import log

_logger = log.get(__name__)


def verify_copy(context: Context, copy: Copy, check: Callable[[], None]) -> dict[str, Any]:
    """Verifies a copy and keeps the proof beside it.

    Raises:
        DamagedError, WrongKeyError: it is none; nothing is kept.
        DestinationError, DeadlineError, NoSpaceError.
    """
    began_s = time.monotonic()
    manifest = copy.manifest
    for artifact in manifest.artifacts:
        content = artifacts.load(context.catalog, context.ring, manifest, artifact, check)
        if manifest.stream is Stream.DATABASE:
            try:
                postgres.read_through(content, context.programs, context.deadline)
            except ToolError as error:
                raise DamagedError(f"backup {manifest.backup_id} cannot be restored: {error}") from error
        else:
            with spilled(content, context.scratch_dir) as file:
                redis.check(file, context.programs, context.deadline)
    proof = {"verified_at": text_of(now()), "duration_s": round(time.monotonic() - began_s, 3)}
    context.catalog.record(copy, VERIFIED, proof)
    _logger.info("backup verified", backup=manifest.backup_id, stream=manifest.stream, duration_s=proof["duration_s"])
    return proof


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
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise NoSpaceError(f"scratch folder {folder} is full: give it room for one unpacked dump") from error
