"""Logs as one JSON object a line, the libraries' included."""

import logging
import sys
from typing import Final

import structlog
from structlog.typing import Processor

_QUIET: Final = {
    "kopf": logging.WARNING,
    "kubernetes": logging.WARNING,
    "asyncio": logging.WARNING,
    "aiohttp.access": logging.WARNING,
}
_UNTRUE: Final = "OS signals are ignored"
"""kopf warns of this outside the main thread; signals are handled by `run.py`."""
_TO_COME_AGAIN: Final = "will retry"
"""kopf calls each failed attempt an error, also where its own bounded retry mends it, as after a CRD's change."""


def _fit(record: logging.LogRecord) -> bool:
    """Whether to show it; an attempt that is made again becomes a warning, the last one of them stays an error."""
    message = record.getMessage()
    if record.name.startswith("kopf.") and record.levelno == logging.ERROR and _TO_COME_AGAIN in message:
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return _UNTRUE not in message


def configure(level: str) -> None:
    """Everything from `level` upwards goes to standard output."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(),
        ],
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(max(least, root.level))
    handler.addFilter(_fit)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
