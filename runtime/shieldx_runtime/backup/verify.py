"""The proof of a copy without a database: every byte read back, unsealed, read to its end by the tool that restores."""

import time
from collections.abc import Callable
from typing import Any

from shieldx_runtime.backup import artifacts, postgres, redis
from shieldx_runtime.backup.catalog import VERIFIED, Copy
from shieldx_runtime.backup.clock import now, text_of
from shieldx_runtime.backup.context import Context
from shieldx_runtime.backup.errors import DamagedError, ToolError
from shieldx_runtime.backup.manifest import Stream
from shieldx_runtime.core import log

_logger = log.get(__name__)


def verify_copy(context: Context, copy: Copy, check: Callable[[], None]) -> dict[str, Any]:
    """Verifies a copy and keeps the proof beside it.

    Raises:
        DamagedError, WrongKeyError: it is none; nothing is kept.
        DestinationError, DeadlineError.
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
            redis.check(content, context.programs, context.deadline)
    proof = {"verified_at": text_of(now()), "duration_s": round(time.monotonic() - began_s, 3)}
    context.catalog.record(copy, VERIFIED, proof)
    _logger.info("backup verified", backup=manifest.backup_id, stream=manifest.stream, duration_s=proof["duration_s"])
    return proof
