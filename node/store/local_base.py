"""What all parts of a local node's store stand on: its two engines, and the spelling of rows (node/local/ports.py)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from node.deadlines.clocks import Clocks
from node.store.local_records import HeldComplaint, HeldSet, SetStatus
from node.store.plain_connection import PlainConnection
from sync_protocol.complaint import ComplaintState
from sync_protocol.values import Digest

VARIABLES_MAX: Final = 500  # values of one IN (…): far below SQLite's limit, and the statement stays readable in a log

#: What `held_set` reads.
SET_COLUMNS: Final = (
    "id, epoch, seq, digest, kid, first_no, last_no, changes, size, status,"
    " at_ms, attempts, idx, hidden, erased, manifest"
)

T = TypeVar("T")

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(ComplaintState).decode
_unpack_clocks = msgspec.msgpack.Decoder(Clocks).decode


class LocalBase:
    """One writer connection, some readers, and plain ones for the hot paths; any number of processes on one file."""

    def __init__(self, writer: AsyncEngine, readers: AsyncEngine) -> None:
        self.writer = writer
        self.readers = readers
        self.plain = PlainConnection(writer.url.database or "")
        self.turn = asyncio.Lock()  # to write, among all of this process

    async def fetch(self, query: str, *values: Any) -> list[Any]:
        """Plain rows of one statement as of the newest commit, by one change of threads."""
        return await self.plain.fetch(query, *values)

    async def read_rows(self, query: Any) -> Sequence[Row[Any]]:
        """All rows of a query, in a snapshot of its own."""
        async with self.readers.connect() as connection:
            return (await connection.execute(query)).all()

    async def read_scalar(self, query: Any) -> Any:
        """The one value of a query, None without a row."""
        async with self.readers.connect() as connection:
            return (await connection.execute(query)).scalar()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction on the one connection that writes; waits for its turn."""
        async with self.turn, self.writer.begin() as connection:
            yield connection

    async def close(self) -> None:
        """See LocalStore."""
        await self.plain.close()
        await self.readers.dispose()
        await self.writer.dispose()


async def fetch(connection: AsyncConnection, query: str, values: Sequence[Any] = ()) -> list[Any]:
    """Plain rows of one statement (it may write), in one call to the driver.

    Each call costs two changes of threads, and SQLAlchemy's cursors make three or four calls of one statement.
    """
    return list(await driver_of(await connection.get_raw_connection()).execute_fetchall(query, values))


def driver_of(connection: Any) -> Any:
    """The driver's own connection (aiosqlite): for bulk calls that must not become one object per row."""
    driver = connection.driver_connection
    assert driver is not None
    return driver


def in_bunches(items: Iterable[T], size: int = VARIABLES_MAX) -> Iterable[list[T]]:
    """Lists of at most `size` items."""
    remaining = iter(items)
    while bunch := list(islice(remaining, size)):
        yield bunch


def pack_state(state: ComplaintState) -> bytes:
    """A complaint's state as it is stored."""
    return _pack(state)


def unpack_state(packed: bytes) -> ComplaintState:
    """The state that `pack_state` stored."""
    return _unpack(packed)


def pack_clocks(clocks: Clocks | None) -> bytes | None:
    """Clocks as they are stored."""
    return None if clocks is None else _pack(clocks)


def unpack_clocks(packed: bytes | None) -> Clocks | None:
    """What `pack_clocks` stored."""
    return None if packed is None else _unpack_clocks(packed)


def held_complaint(row: Any) -> HeldComplaint:
    """From a row with no, key, packed, changed_at_ms, clocks, slot."""
    return HeldComplaint(
        row.no, row.key, unpack_state(row.packed), row.changed_at_ms, unpack_clocks(row.clocks), row.slot
    )


def held_set(row: Any) -> HeldSet:
    """From a row of SET_COLUMNS."""
    (number, epoch, seq, digest, kid, first_no, last_no, changes, size, status) = row[:10]
    at_ms, attempts, index, hidden, erased, manifest = row[10:]
    return HeldSet(
        id=number,
        epoch=epoch,
        seq=seq,
        digest=Digest(digest),
        kid=kid,
        first_no=first_no,
        last_no=last_no,
        changes=changes,
        size=size,
        status=SetStatus(status),
        at_ms=at_ms,
        attempts=attempts,
        index=index,
        hidden=hidden,
        erased=erased,
        manifest=manifest.decode("ascii"),
    )
