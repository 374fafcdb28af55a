"""SQLite engines with the settings that the guarantees rest on: WAL, one writer, chosen durability.

A writer engine has one connection and begins every transaction IMMEDIATE, so that a write waits for its turn at the
beginning and never fails in the middle. A reader engine sees one consistent snapshot for each transaction.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, Final, Literal

from sqlalchemy import event
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from node.store.sqlite_copy import in_file

BUSY_TIMEOUT_S: Final = 30  # longer than any write transaction of ours; then somebody else holds the file
READERS: Final = 3  # more would only queue for the same two cores
PAGE_BYTES: Final = 8_192  # rows of some hundred bytes: fewer levels than with 4 KiB pages
WAL_KEEP_BYTES: Final = 64 * 1024 * 1024  # a write-ahead log that grew in a rush is cut back to this

Durability = Literal["FULL", "NORMAL"]


def sqlite_url(path: Path) -> str:
    """The database URL of a file, with its driver named."""
    return URL.create("sqlite+aiosqlite", database=str(path)).render_as_string(hide_password=False)


def open_writer(url: str, *, durability: Durability) -> AsyncEngine:
    """The one connection that writes. FULL: a returned commit survives a power cut; NORMAL: it survives a crash.

    What is deleted or replaced is overwritten with zeros, so that an erased letter is not found in the file.
    """
    engine = _engine(url, connections=1)
    _prepare(engine, begin="BEGIN IMMEDIATE", pragmas=[*PRAGMAS, f"synchronous={durability}", "secure_delete=1"])
    return engine


def open_readers(url: str) -> AsyncEngine:
    """Connections that cannot write."""
    engine = _engine(url, connections=READERS)
    _prepare(engine, begin="BEGIN", pragmas=[*PRAGMAS, "query_only=1"])
    return engine


PRAGMAS: Final = (f"page_size={PAGE_BYTES}", "journal_mode=WAL", f"journal_size_limit={WAL_KEEP_BYTES}")


def _engine(url: str, *, connections: int) -> AsyncEngine:
    return create_async_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=BUSY_TIMEOUT_S * 2,
        connect_args={"timeout": BUSY_TIMEOUT_S},
        hide_parameters=True,  # an error is logged, and parameters are what citizens said
    )


def _prepare(engine: AsyncEngine, *, begin: str, pragmas: list[str]) -> None:
    """Transactions begin when we say so, not when the driver guesses; errors say of which file they are."""

    @event.listens_for(engine.sync_engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        try:
            for pragma in pragmas:
                cursor.execute(f"PRAGMA {pragma}")
        except sqlite3.DatabaseError as error:
            error.add_note(in_file(engine.url.database))
            raise
        cursor.close()

    @event.listens_for(engine.sync_engine, "handle_error")
    def on_error(context: ExceptionContext) -> None:
        context.original_exception.add_note(in_file(engine.url.database))

    @event.listens_for(engine.sync_engine, "begin")
    def on_begin(connection: Any) -> None:
        # One call to the driver's thread where a cursor of SQLAlchemy's would make three.
        connection.connection.dbapi_connection.run_async(lambda driver: driver.execute_fetchall(begin))
