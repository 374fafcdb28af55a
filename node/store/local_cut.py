"""Cutting on a plain connection in a thread of its own (node/local/ports.py LocalStore `cuttable`, `cut`).

A cut reads a thousand lines and writes two rows; done with the asynchronous driver, half of its time would be spent on
changing threads for each statement. The connection has the same settings as the writer's, and the caller holds the
writer's turn while it writes, so that within one process nobody waits by polling.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from node.store.local_records import ChainEnd, Cuttable, Seen, SignedSet
from node.store.local_transaction import INSERT_FRAMES, INSERT_SET, not_enrolled, set_values, signed_before
from node.store.sqlite import BUSY_TIMEOUT_S
from sync_protocol.values import Digest

T = TypeVar("T")

_END: Final = (
    "coalesce(newest.seq, 0), coalesce(newest.epoch, 1), coalesce(newest.digest, node.enrolment),"
    " coalesce(newest.last_no, 0) FROM node LEFT JOIN"
    " (SELECT seq, epoch, digest, last_no FROM change_set WHERE status <> 2 ORDER BY seq DESC LIMIT 1) AS newest"
)
_CUTTABLE: Final = f"SELECT seen_size, seen_root, seen_sig, seen_note, {_END}"
_PLACE: Final = (
    "SELECT node.epoch, EXISTS (SELECT 1 FROM change_set WHERE epoch = ? AND seq = ?), "  # noqa: S608 - constants
    f"{_END}"
)
_UNSENT: Final = "SELECT no, line, content FROM change WHERE no > ? ORDER BY no LIMIT ?"


class CutConnection:
    """Opens its connection at the first cut. Everything runs in its one thread, one call after the other."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cut")
        self._connection: sqlite3.Connection | None = None

    async def read(self, limit: int) -> Cuttable:
        """See LocalStore.cuttable."""
        return await self._run(lambda: self._read(limit))

    async def write(self, end: ChainEnd, epoch: int, last_no: int, sign: Callable[[], SignedSet]) -> bool:
        """See LocalStore.cut."""
        return await self._run(lambda: self._write(end, epoch, last_no, sign))

    async def close(self) -> None:
        """Lets go of file and thread."""
        await self._run(self._close)
        self._thread.shutdown()

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            self._connection.execute("PRAGMA synchronous=FULL")
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _read(self, limit: int) -> Cuttable:
        connection = self._open()
        found = connection.execute(_CUTTABLE).fetchone()
        if found is None:
            raise not_enrolled()
        size, root, signature, note, seq, epoch, digest, last_no = found
        # Changes recorded since the first query only make the set larger; whether the chain moved on is for `write`.
        lines = connection.execute(_UNSENT, (last_no, limit)).fetchall() if limit else []
        return Cuttable(ChainEnd(seq, epoch, Digest(digest), last_no), Seen(size, Digest(root), signature, note), lines)

    def _write(self, end: ChainEnd, epoch: int, last_no: int, sign: Callable[[], SignedSet]) -> bool:
        connection = self._open()
        connection.execute("BEGIN IMMEDIATE")
        try:
            is_cut = self._cut(connection, end, epoch, last_no, sign)
            connection.execute("COMMIT" if is_cut else "ROLLBACK")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        return is_cut

    def _cut(
        self, connection: sqlite3.Connection, end: ChainEnd, epoch: int, last_no: int, sign: Callable[[], SignedSet]
    ) -> bool:
        own_epoch, is_taken, *place = connection.execute(_PLACE, (epoch, end.seq + 1)).fetchone()
        if (own_epoch, *place) != (epoch, end.seq, end.epoch, end.digest, end.last_no):
            return False
        if is_taken:
            raise signed_before(epoch, end.seq + 1)
        # A crash from here to the commit leaves nothing: what was signed never left this process.
        signed = sign()
        ((number,),) = connection.execute(INSERT_SET, set_values(signed, end.last_no + 1, last_no)).fetchall()
        connection.execute(INSERT_FRAMES, (number, signed.head_frame, signed.contents_frame))
        return True
