"""Logs: one JSON line a decision, on stderr; only edges log (agency, seq, digest[:12]), never words, never a key."""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Final, Literal

import structlog

from sync_protocol.errors import SimpulError

Level = Literal["debug", "info", "warning", "error"]
_LEVELS: Final[dict[Level, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def configure_logs(level: Level) -> None:
    """For a serving process; other commands keep quiet and speak through their output."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        # One write a line: those of several processes must not get into each other.
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


def words_of(error: BaseException) -> str:
    """What may be logged of an error: our own words, the system's, the database's without statement and parameters.

    Of anything else only the kind: a KeyError shows its key, and that may be what somebody said.
    """
    if isinstance(error, SimpulError):
        return str(error)
    if isinstance(error, OSError):
        return f"{type(error).__name__}: {error.strerror}"
    cause = getattr(error, "orig", None)  # SQLAlchemy's errors hold the driver's
    if cause is None and type(error).__module__.startswith(("asyncpg.", "sqlite3")):
        cause = error
    # The first line alone: PostgreSQL adds the values that it did not like on a line of their own.
    return type(error).__name__ + (f": {str(cause).partition(chr(10))[0]}" if isinstance(cause, Exception) else "")


def places_of(error: BaseException) -> list[str]:
    """Where it was raised, innermost last: files and lines, without the values."""
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]


def wordless_logger(name: str, event: str) -> logging.Logger:
    """For aiohttp, which quotes what it could not read as HTTP, and that may be what a citizen said."""
    logger = logging.Logger(name, logging.WARNING)
    logger.addHandler(_Wordless(name, event))
    return logger


class _Wordless(logging.Handler):
    """Only the kind of error, in our own log."""

    def __init__(self, name: str, event: str) -> None:
        super().__init__()
        self._log = structlog.get_logger(name)
        self._event = event

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[0] if record.exc_info else None
        self._log.warning(self._event, error=error.__name__ if error else record.msg)
