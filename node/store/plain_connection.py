"""Plain SQLite connections for what every complaint costs (node/local/ports.py).

Recording one, and each step of the pusher, is some tiny statements. The asynchronous driver changes threads for each of
them and for each beginning and end of a transaction, which costs many times what SQLite does. Here a question, or a
whole transaction, is one change of threads; and what is small is none at all: on a disk that answers at once it is done
on the event loop, in less time than a thread takes to wake up. The settings are the writer's (sqlite.py); who writes
holds the process's turn to write, so that within one process nobody waits by polling.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from node.store.sqlite import BUSY_TIMEOUT_S, PRAGMAS

#: What a small piece of work may take on the event loop, usually. A slower disk is waited for in a thread.
AT_ONCE_MAX_S: Final = 0.003
_WEIGHT: Final = 0.1  # of the newest piece of work in what they usually take
_ERROR_CODE: Final = 0xFF  # SQLite's extended codes say the code in their last byte

T = TypeVar("T")


class PlainConnection:
    """Opens at the first question. Belongs to one event loop, and has a thread of its own.

    Raises what sqlite3 raises, and what the work raises; then the transaction is undone. `small`: the work is a few
    statements, and may be done at once.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="plain")
        self._in_thread: sqlite3.Connection | None = None
        self._at_hand: sqlite3.Connection | None = None
        self._usual_s = 0.0

    async def read(self, work: Callable[[sqlite3.Connection], T], *, small: bool = False) -> T:
        """What `work` answers; each of its statements sees the newest commit."""
        return await self._done(work, writes=False, small=small)

    async def fetch(self, query: str, *values: Any) -> list[Any]:
        """All rows of one statement, which are few."""
        return await self.read(lambda connection: connection.execute(query, values).fetchall(), small=True)

    async def write(self, work: Callable[[sqlite3.Connection], T], *, small: bool = False) -> T:
        """What `work` answers, after the commit of all that it wrote. Waits for other processes' transactions."""
        return await self._done(work, writes=True, small=small)

    async def close(self) -> None:
        """Lets go of file and thread."""
        await self._run(self._close)
        self._thread.shutdown()
        if self._at_hand is not None:
            self._at_hand.close()
            self._at_hand = None

    async def _done(self, work: Callable[[sqlite3.Connection], T], *, writes: bool, small: bool) -> T:
        now_s = asyncio.get_running_loop().time
        if small and self._usual_s < AT_ONCE_MAX_S and self._begin_at_once(writes=writes):
            assert self._at_hand is not None
            begun_s = now_s()
            try:
                return _finish(self._at_hand, work, writes=writes)
            finally:
                self._note(now_s() - begun_s)
        took_s = 0.0

        def in_thread() -> T:
            nonlocal took_s
            connection = self._open()
            if writes:
                connection.execute("BEGIN IMMEDIATE")
            begun_s = now_s()
            answer = _finish(connection, work, writes=writes)
            took_s = now_s() - begun_s
            return answer

        answer = await self._run(in_thread)
        if small:
            self._note(took_s)
        return answer

    def _begin_at_once(self, *, writes: bool) -> bool:
        """False if another process writes just now: who waits for it must not keep the event loop waiting."""
        if self._at_hand is None:
            self._at_hand = _connect(self._path, timeout_s=0)
        try:
            if writes:
                self._at_hand.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & _ERROR_CODE != sqlite3.SQLITE_BUSY:
                raise
            return False
        return True

    def _note(self, took_s: float) -> None:
        self._usual_s += (took_s - self._usual_s) * _WEIGHT

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _open(self) -> sqlite3.Connection:
        if self._in_thread is None:
            self._in_thread = _connect(self._path, timeout_s=BUSY_TIMEOUT_S)
        return self._in_thread

    def _close(self) -> None:
        if self._in_thread is not None:
            self._in_thread.close()


def _connect(path: str, *, timeout_s: float) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=timeout_s, isolation_level=None)
    for pragma in (*PRAGMAS, "synchronous=FULL", "secure_delete=1"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _finish(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T], *, writes: bool) -> T:
    """Does the work; a transaction that was begun is committed, or undone."""
    try:
        answer = work(connection)
        if writes:
            connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    return answer
