"""One JSON object a line, on standard output unless that carries an outcome, for structlog and for libraries alike."""

import logging
import logging.config
import time

import structlog

_SHARED: tuple[structlog.typing.Processor, ...] = (
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def configure(level: str, *, stream: str = "stdout") -> None:
    """Sends every log line through one formatter. `level`: one of `settings.LOG_LEVELS`; `stream`: stdout or stderr."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": [*_SHARED, structlog.stdlib.PositionalArgumentsFormatter()],
        "processors": [
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(),
        ],
    }
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"json": formatter},
            "handlers": {
                "output": {"class": "logging.StreamHandler", "stream": f"ext://sys.{stream}", "formatter": "json"}
            },
            "root": {"handlers": ["output"], "level": level.upper()},
            "loggers": {
                # a line for each connection and start-up step says nothing that our own lines do not
                "uvicorn": {"level": "WARNING"},
                "asyncio": {"level": "WARNING"},
            },
        }
    )


class Seldom:
    """Keeps a fault that meets every request from filling the log: `due` at most once in `interval_s`."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._next = 0.0
        self.passed_over = 0

    def due(self) -> bool:
        now = time.monotonic()
        if now < self._next:
            self.passed_over += 1
            return False
        self._next = now + self._interval_s
        return True

    def take_passed_over(self) -> int:
        """How many were passed over since the last time this was asked."""
        count, self.passed_over = self.passed_over, 0
        return count


def get(name: str) -> structlog.stdlib.BoundLogger:
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
