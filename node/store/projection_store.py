"""The projection in SQLite (`projection.db`): node/hub/ports.py ProjectionStore.

Bulk work is one statement for the whole batch: SQLite then walks the rows by itself, without the interpreter's lock,
which it would otherwise give up and ask for again at every row, against threads that verify and fold. Durability is
NORMAL: what a power cut takes from the end is folded again, from a cursor that went back with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Self

import msgspec
from sqlalchemy import delete, event, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from node.store.migration import check_revision, migrate, revision_of
from node.store.projection_reading import (
    COMPLAINT,
    CURSOR,
    GAP,
    HEARD,
    INBOX,
    REFUSED,
    TOTAL,
    TRACKED,
    TRACKED_TO,
    ProjectionReading,
)
from node.store.projection_records import POINTER_BYTES, Cursor, ProjectionStep, step_is_stale, tracking_is_stale
from node.store.projection_sums import DUTY, with_sums
from node.store.projection_tables import PROJECTION_REVISION
from node.store.sqlite import open_readers, open_writer, sqlite_url

# Changed complaints and their places lie all over the file; SQLite's own 2 MiB of pages would be read again and again.
WRITER_CACHE_KIB: Final = 32 * 1024
# Rows travel as one blob, each found by its place in it (a blob's bytes are counted from 1): a number of 63 bits,
# offset 23, key 7, state 17, pointers 16 (in units of 8 bytes). Key, state and pointers follow upon two numbers in
# decimal digits, because SQLite reads no others out of a blob. One statement carries 8 MiB; more rows make more.
BLOB_MAX_BYTES: Final = (1 << 23) - 1
_DIGITS: Final = 19  # of a number below 2^63
_LOAD: Final = """
SELECT group_concat(place.key || ' ' || hex(complaint.state), ',') FROM json_each(?2) AS place
JOIN complaint ON complaint.key = substr(?1, place.value >> 16, place.value & 65535)
"""
_UNPACKED: Final = """
SELECT CAST(substr(?1, at, 19) AS INTEGER) AS number, CAST(substr(?1, at + 19, 19) AS INTEGER) AS place,
       substr(?1, at + 38, key_bytes) AS key, substr(?1, at + 38 + key_bytes, state_bytes) AS state,
       substr(?1, at + 38 + key_bytes + state_bytes, pointer_bytes) AS pointers
FROM (SELECT value >> 40 AS at, value >> 33 & 127 AS key_bytes, value >> 16 & 131071 AS state_bytes,
             (value & 65535) * 8 AS pointer_bytes FROM json_each(?2))
"""
_BEAR: Final = f"INSERT INTO complaint (number, place, key, state, pointers) {_UNPACKED}"
_CHANGE: Final = f"""
UPDATE complaint SET place = new.place, state = new.state,
       pointers = CAST(complaint.pointers || new.pointers AS BLOB)
FROM ({_UNPACKED}) AS new WHERE complaint.key = new.key
"""  # noqa: S608 - put together from constants
_REFUSE: Final = """
INSERT INTO refused (idx, position, agency, seq, change_id, verdict)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5 FROM json_each(?1)
"""
_TELL: Final = "INSERT INTO inbox (agency, place, note, verdict, key) VALUES (?, ?, ?, ?, ?)"
_ADD_TOTALS: Final = """
INSERT INTO total (figure, agency, "key", class_, count)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM json_each(?1) WHERE true
ON CONFLICT (figure, agency, "key", class_) DO UPDATE SET count = total.count + excluded.count
"""
_HEAR: Final = """
INSERT INTO last_heard (agency, tick_ms) SELECT "key", value FROM json_each(?1) WHERE true
ON CONFLICT (agency) DO UPDATE SET tick_ms = excluded.tick_ms
"""
_MISS: Final = (
    "INSERT INTO gap (agency, from_ms, until_ms) SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?)"
)
TIDY: Final = delete(TOTAL).where(TOTAL.c.figure == DUTY, TOTAL.c["count"] == 0)

_TRACKED_TO: Final = "UPDATE tracked_to SET size = ? WHERE size = ?"
_TRACK: Final = "INSERT INTO tracked (hash, key) VALUES (?, ?) ON CONFLICT DO NOTHING"
PROJECTION_DATABASE: Final = "hub's projection database"
_json: Final = msgspec.json.Encoder(enc_hook=str).encode  # AgencyId and its like are text
_Rows = Sequence[tuple[bytes, int, bytes, bytes]]


def _pack_keys(keys: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Blob and JSON places for `_LOAD`."""
    places, at = [], 1
    for key in keys:
        places.append(at << 16 | len(key))
        at += len(key)
    return b"".join(keys), msgspec.json.encode(places)


def _pack_rows(rows: _Rows) -> list[tuple[bytes, bytes]]:
    """Blob and JSON places for `_BEAR` and `_CHANGE`, as many times as it takes."""
    packed: list[tuple[bytes, bytes]] = []
    parts: list[bytes] = []
    places: list[int] = []
    at = 1
    for key, place, state, pointers in rows:
        key_bytes, state_bytes, pointers_bytes = len(key), len(state), len(pointers)
        row_bytes = 2 * _DIGITS + key_bytes + state_bytes + pointers_bytes
        if at + row_bytes > BLOB_MAX_BYTES:
            packed.append((b"".join(parts), msgspec.json.encode(places)))
            parts, places, at = [], [], 1
        number = int.from_bytes(pointers[:POINTER_BYTES], "big")
        parts += (b"%019d%019d" % (number, place), key, state, pointers)
        places.append(at << 40 | key_bytes << 33 | state_bytes << 16 | pointers_bytes >> 3)
        at += row_bytes
    if places:
        packed.append((b"".join(parts), msgspec.json.encode(places)))
    return packed


class SqlProjectionStore(ProjectionReading):
    """See ProjectionStore."""

    def __init__(self, writer: AsyncEngine, readers: AsyncEngine) -> None:
        super().__init__(readers)
        self.writer = writer

    @classmethod
    async def create_or_open(cls, path: Path) -> Self:
        """Tables are made where there are none; those of an earlier version are emptied and folded again.

        Raises Corrupt if a later program made the database.
        """
        store = cls._open(path)
        try:
            await bring_projection_up_to_date(store.writer)
        except BaseException:
            await store.close()
            raise
        return store

    @classmethod
    def _open(cls, path: Path) -> Self:
        url = sqlite_url(path)
        writer = open_writer(url, durability="NORMAL")

        @event.listens_for(writer.sync_engine, "connect")
        def on_connect(connection: Any, _record: Any) -> None:
            connection.execute(f"PRAGMA cache_size=-{WRITER_CACHE_KIB}")

        return cls(writer, open_readers(url))

    async def close(self) -> None:
        await self.readers.dispose()
        await self.writer.dispose()

    async def load(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        packed = await asyncio.to_thread(_pack_keys, keys)
        async with self.readers.connect() as connection:
            text = (await connection.exec_driver_sql(_LOAD, packed)).scalar_one()
        return {} if text is None else await asyncio.to_thread(_read_states, keys, text)

    async def commit(self, step: ProjectionStep) -> None:
        born = await asyncio.to_thread(_pack_rows, step.born)
        changed = await asyncio.to_thread(_pack_rows, step.changed)
        async with self.writer.begin() as connection:
            await _move_cursor(connection, step)
            for packed in born:
                await connection.exec_driver_sql(_BEAR, packed)
            for packed in changed:
                await connection.exec_driver_sql(_CHANGE, packed)
            await _write_registers(connection, step)

    async def track(self, begins: int, size: int, numbers: Sequence[tuple[int, bytes]]) -> None:
        async with self.writer.begin() as connection:
            moved = await connection.exec_driver_sql(_TRACKED_TO, (size, begins))
            if moved.rowcount != 1:
                raise tracking_is_stale(begins)
            if numbers:
                await connection.exec_driver_sql(_TRACK, list(numbers))

    async def clear(self, tables_mark: bytes = b"") -> None:
        async with self.writer.begin() as connection:
            for table in (COMPLAINT, REFUSED, INBOX, TOTAL, HEARD, GAP, TRACKED):
                await connection.execute(delete(table))
            await connection.execute(update(TRACKED_TO).values(size=0))
            empty = asdict(Cursor()) | {"tables_mark": tables_mark}
            await connection.execute(update(CURSOR).values(empty))


async def bring_projection_up_to_date(engine: AsyncEngine) -> None:
    """Raises Corrupt for a schema that is newer than this program."""
    found = await revision_of(engine)
    if found is None or found < PROJECTION_REVISION:
        await migrate(engine, "projection")
    else:
        await check_revision(engine, PROJECTION_REVISION, PROJECTION_DATABASE)


def _read_states(keys: Sequence[bytes], text: str) -> dict[bytes, bytes]:
    """What `_LOAD` answered: `<number of the key> <hex of the state>`, joined by commas."""
    states = {}
    for part in text.split(","):
        number, _, state = part.partition(" ")
        states[keys[int(number)]] = bytes.fromhex(state)
    return states


async def _move_cursor(connection: AsyncConnection, step: ProjectionStep) -> None:
    """First of all: whoever comes from elsewhere writes nothing."""
    cursor = step.cursor
    moved = await connection.execute(
        update(CURSOR)
        .where(CURSOR.c.size == step.begins)
        .values(size=cursor.size, state_hash=cursor.state_hash, updated_at_ms=cursor.updated_at_ms)
    )
    if moved.rowcount != 1:
        raise step_is_stale(step)


async def _write_registers(connection: AsyncConnection, step: ProjectionStep) -> None:
    """Refused changes, what agencies are told, totals, ticks and absences."""
    if step.refused:
        refused = [(r.index, r.position, r.agency, r.seq, r.change_id, r.verdict) for r in step.refused]
        await connection.exec_driver_sql(_REFUSE, (_json(refused),))
    if step.inbox:
        await connection.exec_driver_sql(_TELL, [tuple(row) for row in step.inbox])
    if step.totals:
        await connection.exec_driver_sql(_ADD_TOTALS, (_json(with_sums(step.totals)),))
    if step.last_heard:
        await connection.exec_driver_sql(_HEAR, (_json(step.last_heard),))
    if step.gaps:
        await connection.exec_driver_sql(_MISS, (_json(step.gaps),))
    if step.has_tick:
        await connection.execute(TIDY)
