"""Logs: one JSON line a decision, on stderr; only edges log (agency, seq, digest[:12]), never words, never a key."""

from __future__ import annotations

import logging
import sys
from typing import Final, Literal

import structlog

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
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
