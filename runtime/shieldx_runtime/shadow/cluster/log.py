"""One JSON object a line, in the shape of `core.log`, without the fifth of a second that structlog takes to import."""

import json
import sys
from datetime import UTC, datetime
from typing import Any, Final, TextIO

_LOGGER: Final = "shieldx_runtime.shadow.cluster"


def say(message: str, *, level: str = "info", to: TextIO | None = None, **fields: Any) -> None:
    """Writes one line to standard output, at once: a pod that is killed must not take its last lines along."""
    moment = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    line = {**fields, "level": level, "logger": _LOGGER, "timestamp": moment, "message": message}
    out = to or sys.stdout
    out.write(json.dumps(line) + "\n")
    out.flush()
