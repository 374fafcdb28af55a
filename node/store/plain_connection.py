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
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, TypeVar

import structlog

from node.logs import words_of
from node.pace import Pace
from node.store.sqlite import BUSY_TIMEOUT_S, PRAGMAS

#: What a small piece of work may take on the event loop, usually. A slower disk is waited for in a thread.
AT_ONCE_MAX_S: Final = 0.003
_ERROR_CODE: Final = 0xFF  # SQLite's extended codes say the code in their last byte

#: Commits on the event loop between two times that the write-ahead log is written back: some 10 MiB of it.
WRITE_BACK_EVERY: Final = 256
RESTART_WAIT_MS: Final = 50
LOG_MAX_FRAMES: Final = 4_096  # pages of 8 KiB in it, beyond which writing back stops the writers for a moment

T = TypeVar("T")

_logger = structlog.get_logger("simpul.node.store")


class _Busy(Exception):
    """Another process holds what is wanted."""


class PlainConnection:
    """Opens at the first question. Belongs to one event loop, and has a thread of its own.

    Raises what sqlite3 raises, and what the work raises; then the transaction is undone. `small`: the work is a few
    statements, and may be done at once.
    """

    def __init__(self, path: str, *, at_once_max_s: float = AT_ONCE_MAX_S) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="plain")
        self._in_thread: sqlite3.Connection | None = None
        self._at_hand: sqlite3.Connection | None = None
        self._pace = {writes: Pace(at_once_max_s) for writes in (False, True)}  # a commit waits for the disk
        self._is_full = False  # the log is to begin anew: writers stand in line behind that
        self._commits = 0  # on the event loop since the log was last written back

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
        if small and self._pace[writes].is_quick and not (writes and self._is_full):
            with suppress(_Busy):
                return self._at_once(work, now_s, writes=writes)
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
            self._pace[writes].note(took_s)
        return answer

    def _at_once(self, work: Callable[[sqlite3.Connection], T], now_s: Callable[[], float], *, writes: bool) -> T:
        """Raises _Busy, having done nothing, if another process is in the way: a thread waits for that."""
        begun_s = now_s()
        try:
            if self._at_hand is None:
                self._at_hand = _connect(self._path, timeout_s=0)
                # Writing the log back into the file is long; it is done in the thread.
                self._at_hand.execute("PRAGMA wal_autocheckpoint = 0")
            if writes:
                self._at_hand.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise _busy_or(error) from None
        try:
            answer = _finish(self._at_hand, work, writes=writes)
        except sqlite3.OperationalError as error:
            raise (error if writes else _busy_or(error)) from None
        finally:
            self._pace[writes].note(now_s() - begun_s)
        if writes:
            self._count_commit()
        return answer

    def _count_commit(self) -> None:
        """Now and then the log is written back, without waiting for it: commits go on meanwhile."""
        self._commits += 1
        if self._commits >= WRITE_BACK_EVERY:
            self._commits = 0
            self._thread.submit(self._write_back).add_done_callback(_tell_failure)

    def _write_back(self) -> None:
        """Beside the writers. A log that they never give time to begin anew is written back while they wait in line;
        where somebody is reading, that is given up at once: it would hold all of them up."""
        connection = self._open()
        _, frames, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if frames <= LOG_MAX_FRAMES:
            return
        self._is_full = True
        try:
            connection.execute(f"PRAGMA busy_timeout = {RESTART_WAIT_MS}")
            connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        finally:
            connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000}")
            self._is_full = False

    async def _run(self, work: Callable[[], T]) -> T:
        """Whoever is cancelled meanwhile waits for the end of it: nobody else may take the turn before."""
        running = asyncio.get_running_loop().run_in_executor(self._thread, work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            raise

    def _open(self) -> sqlite3.Connection:
        if self._in_thread is None:
            self._in_thread = _connect(self._path, timeout_s=BUSY_TIMEOUT_S)
        return self._in_thread

    def _close(self) -> None:
        if self._in_thread is not None:
            self._in_thread.close()


def _tell_failure(done: Future[None]) -> None:
    """The next time may mend it; a log that grows for ever is to be heard of."""
    error = done.exception() if not done.cancelled() else None
    if error is not None:
        _logger.warning("writing back failed", error=words_of(error))


def _busy_or(error: sqlite3.OperationalError) -> Exception:
    code = getattr(error, "sqlite_errorcode", 0)  # some are of the module, not of SQLite
    return _Busy() if code & _ERROR_CODE == sqlite3.SQLITE_BUSY else error


def _connect(path: str, *, timeout_s: float) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=timeout_s, isolation_level=None)
    try:
        for pragma in (*PRAGMAS, "synchronous=FULL", "secure_delete=1"):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
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
