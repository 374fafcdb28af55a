"""The projection in SQLite (`projection.db`): node/hub/ports.py ProjectionStore.

Bulk work is one statement for the whole batch: SQLite then walks the rows by itself, without the interpreter's lock,
which it would otherwise give up and ask for again at every row, against threads that verify and fold. Durability is
NORMAL: what a power cut takes from the end is folded again, from a cursor that went back with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from node.store.hub_tables import table_of
from node.store.migration import check_revision, migrate
from node.store.projection_records import ComplaintRow, Cursor, ProjectionStep, RefusedChange
from node.store.projection_tables import (
    PROJECTION_REVISION,
    ComplaintTable,
    CursorTable,
    HeardTable,
    RefusedTable,
    TotalTable,
)
from node.store.sqlite import open_readers, open_writer, sqlite_url
from sync_protocol.errors import Unavailable

_COMPLAINT, _REFUSED, _TOTAL = table_of(ComplaintTable), table_of(RefusedTable), table_of(TotalTable)
_HEARD, _CURSOR = table_of(HeardTable), table_of(CursorTable)
_CURSOR_ID: Final = 1

# Rows travel as one blob, each found by its place in it (a blob's bytes are counted from 1): a number of 63 bits,
# offset 23, key 7, state 17, pointers 16 (in units of 8 bytes). So one statement carries 8 MiB; more rows make more.
BLOB_MAX_BYTES: Final = (1 << 23) - 1
_LOAD: Final = """
SELECT group_concat(place.key || ' ' || hex(complaint.state), ',') FROM json_each(?2) AS place
JOIN complaint ON complaint.key = substr(?1, place.value >> 16, place.value & 65535)
"""
_WRITE: Final = """
INSERT INTO complaint (key, state, pointers)
SELECT substr(?1, value >> 40, value >> 33 & 127),
       substr(?1, (value >> 40) + (value >> 33 & 127), value >> 16 & 131071),
       substr(?1, (value >> 40) + (value >> 33 & 127) + (value >> 16 & 131071), (value & 65535) * 8)
FROM json_each(?2) WHERE true
ON CONFLICT (key) DO UPDATE SET state = excluded.state, pointers = CAST(complaint.pointers || excluded.pointers AS BLOB)
"""


def _pack_keys(keys: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Blob and JSON places for `_LOAD`."""
    places, at = [], 1
    for key in keys:
        places.append(at << 16 | len(key))
        at += len(key)
    return b"".join(keys), msgspec.json.encode(places)


def _pack_rows(rows: Sequence[tuple[bytes, bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Blob and JSON places for `_WRITE`, as many times as it takes."""
    packed: list[tuple[bytes, bytes]] = []
    parts: list[bytes] = []
    places: list[int] = []
    at = 1
    for row in rows:
        key, state, pointers = row
        key_bytes, state_bytes, pointers_bytes = len(key), len(state), len(pointers)
        if at + key_bytes + state_bytes + pointers_bytes > BLOB_MAX_BYTES:
            packed.append((b"".join(parts), msgspec.json.encode(places)))
            parts, places, at = [], [], 1
        parts += row
        places.append(at << 40 | key_bytes << 33 | state_bytes << 16 | pointers_bytes >> 3)
        at += key_bytes + state_bytes + pointers_bytes
    if places:
        packed.append((b"".join(parts), msgspec.json.encode(places)))
    return packed


class SqlProjectionStore:
    """See ProjectionStore."""

    def __init__(self, writer: AsyncEngine, readers: AsyncEngine) -> None:
        self.writer = writer
        self.readers = readers

    @classmethod
    async def create(cls, path: Path) -> Self:
        """A new or older database brought to the newest schema."""
        store = cls._open(path)
        await migrate(store.writer, "projection")
        return store

    @classmethod
    async def create_or_open(cls, path: Path) -> Self:
        """The projection may have been deleted: then an empty one is made."""
        exists = await asyncio.to_thread(path.is_file)
        return await (cls.open(path) if exists else cls.create(path))

    @classmethod
    async def open(cls, path: Path) -> Self:
        """An existing database. Raises Corrupt if it has another schema."""
        store = cls._open(path)
        try:
            await check_revision(store.readers, PROJECTION_REVISION, "hub's projection database")
        except BaseException:
            await store.close()
            raise
        return store

    @classmethod
    def _open(cls, path: Path) -> Self:
        url = sqlite_url(path)
        return cls(open_writer(url, durability="NORMAL"), open_readers(url))

    async def close(self) -> None:
        await self.readers.dispose()
        await self.writer.dispose()

    async def cursor(self) -> Cursor:
        async with self.readers.connect() as connection:
            return await _read_cursor(connection)

    async def load(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        packed = await asyncio.to_thread(_pack_keys, keys)
        async with self.readers.connect() as connection:
            text = (await connection.exec_driver_sql(_LOAD, packed)).scalar_one()
        return {} if text is None else await asyncio.to_thread(_read_states, keys, text)

    async def commit(self, step: ProjectionStep) -> None:
        packed = await asyncio.to_thread(_pack_rows, step.complaints)
        async with self.writer.begin() as connection:
            size = (await connection.execute(select(_CURSOR.c.size))).scalar_one_or_none() or 0
            if size != step.begins:
                raise Unavailable(f"the projection stands at {size}, the step begins at {step.begins}", retry_after_s=1)
            for blob_and_places in packed:
                await connection.exec_driver_sql(_WRITE, blob_and_places)
            await _write_registers(connection, step)

    async def complaint(self, key: bytes) -> tuple[Cursor, ComplaintRow | None]:
        async with self.readers.connect() as connection:
            cursor = await _read_cursor(connection)
            row = (await connection.execute(select(_COMPLAINT).where(_COMPLAINT.c.key == key))).first()
        return cursor, None if row is None else ComplaintRow(row.key, row.state, row.pointers)

    async def totals(self) -> tuple[Cursor, dict[str, int]]:
        async with self.readers.connect() as connection:
            cursor = await _read_cursor(connection)
            rows = (await connection.execute(select(_TOTAL.c.name, _TOTAL.c["count"]))).all()
        return cursor, {row[0]: row[1] for row in rows}

    async def last_heard(self) -> dict[str, int | None]:
        async with self.readers.connect() as connection:
            return {row.agency: row.tick_ms for row in (await connection.execute(select(_HEARD)))}

    async def refused(self, agency: str, from_seq: int, to_seq: int) -> list[RefusedChange]:
        query = (
            select(_REFUSED)
            .where(_REFUSED.c.agency == agency, _REFUSED.c.seq >= from_seq, _REFUSED.c.seq <= to_seq)
            .order_by(_REFUSED.c.idx, _REFUSED.c.position)
        )
        async with self.readers.connect() as connection:
            rows = (await connection.execute(query)).all()
        return [RefusedChange(r.idx, r.position, r.agency, r.seq, r.change_id, r.verdict) for r in rows]

    async def clear(self) -> None:
        async with self.writer.begin() as connection:
            for table in (_COMPLAINT, _REFUSED, _TOTAL, _HEARD, _CURSOR):
                await connection.execute(delete(table))


async def _read_cursor(connection: AsyncConnection) -> Cursor:
    row = (await connection.execute(select(_CURSOR))).first()
    return Cursor() if row is None else Cursor(row.size, row.state_hash, row.updated_at_ms)


def _read_states(keys: Sequence[bytes], text: str) -> dict[bytes, bytes]:
    """What `_LOAD` answered: `<number of the key> <hex of the state>`, joined by commas."""
    states = {}
    for part in text.split(","):
        number, _, state = part.partition(" ")
        states[keys[int(number)]] = bytes.fromhex(state)
    return states


async def _write_registers(connection: AsyncConnection, step: ProjectionStep) -> None:
    """Refused changes, totals, ticks and the cursor."""
    if step.refused:
        rows = [
            {
                "idx": r.index,
                "position": r.position,
                "agency": r.agency,
                "seq": r.seq,
                "change_id": r.change_id,
                "verdict": r.verdict,
            }
            for r in step.refused
        ]
        await connection.execute(_REFUSED.insert(), rows)
    if step.totals:
        added = insert(_TOTAL)
        added = added.on_conflict_do_update(
            index_elements=["name"], set_={"count": _TOTAL.c["count"] + added.excluded["count"]}
        )
        await connection.execute(added, [{"name": name, "count": count} for name, count in step.totals.items()])
    if step.last_heard:
        heard = insert(_HEARD)
        heard = heard.on_conflict_do_update(index_elements=["agency"], set_={"tick_ms": heard.excluded.tick_ms})
        await connection.execute(heard, [{"agency": a, "tick_ms": tick} for a, tick in step.last_heard.items()])
    cursor = insert(_CURSOR).values(
        id=_CURSOR_ID,
        size=step.cursor.size,
        state_hash=step.cursor.state_hash,
        updated_at_ms=step.cursor.updated_at_ms,
    )
    moved = {name: cursor.excluded[name] for name in ("size", "state_hash", "updated_at_ms")}
    await connection.execute(cursor.on_conflict_do_update(index_elements=["id"], set_=moved))
