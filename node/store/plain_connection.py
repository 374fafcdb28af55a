"""A plain SQLite connection in a thread of its own, for what every complaint costs (node/local/ports.py).

Recording one, and each step of the pusher, is some tiny statements. The asynchronous driver changes threads for each of
them and for each beginning and end of a transaction, which costs many times what SQLite does; here a question, or a
whole transaction, is one change of threads. The settings are the writer's (sqlite.py); who writes holds the process's
turn to write, so that within one process nobody waits by polling.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from node.store.sqlite import BUSY_TIMEOUT_S, PRAGMAS

T = TypeVar("T")


class PlainConnection:
    """Opens at the first question. Everything runs in its one thread, one call after the other.

    Raises what sqlite3 raises, and what the work raises; then the transaction is undone.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="plain")
        self._connection: sqlite3.Connection | None = None

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` answers; each of its statements sees the newest commit."""
        return await self._run(lambda: work(self._open()))

    async def fetch(self, query: str, *values: Any) -> list[Any]:
        """All rows of one statement."""
        return await self.read(lambda connection: connection.execute(query, values).fetchall())

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` answers, after the commit of all that it wrote. Waits for other processes' transactions."""
        return await self._run(lambda: self._write(work))

    async def close(self) -> None:
        """Lets go of file and thread."""
        await self._run(self._close)
        self._thread.shutdown()

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            for pragma in (*PRAGMAS, "synchronous=FULL", "secure_delete=1"):
                self._connection.execute(f"PRAGMA {pragma}")
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._open()
        connection.execute("BEGIN IMMEDIATE")
        try:
            answer = work(connection)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        return answer
