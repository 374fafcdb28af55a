"""The projection in PostgreSQL (schema `simpul_projection`): node/hub/ports.py ProjectionStore.

New complaints go in by COPY, changed ones by one UPDATE over arrays. The cursor's row is moved first and holds off
whoever else would move it: of two that commit the same step, the second waits, finds it moved and writes nothing.
Durability is NORMAL: what a power cut takes from the end is folded again, from a cursor that went back with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Self

from sqlalchemy.ext.asyncio import AsyncEngine

from node.store.postgres import (
    PROJECTION_SCHEMA,
    create_schema,
    driver_connection,
    open_for_migration,
    open_postgres,
)
from node.store.projection_reading import ProjectionReading
from node.store.projection_records import POINTER_BYTES, Cursor, ProjectionStep, step_is_stale
from node.store.projection_store import bring_projection_up_to_date
from node.store.projection_sums import with_sums

COPY_FROM_ROWS: Final = 100  # fewer go in by one prepared statement, which asks the server once where COPY asks thrice
# Every statement of ours finds its rows by an index. Without these the server, which does not know how long an array
# will be, now and then reads a whole table instead.
_BY_INDEX: Final = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"}

_MOVE: Final = "UPDATE cursor SET size = $2, state_hash = $3, updated_at_ms = $4 WHERE size = $1 RETURNING size"
_LOAD: Final = "SELECT key, state FROM complaint WHERE key = ANY($1::bytea[])"
_COLUMNS: Final = ("number", "key", "place", "state", "pointers")
_BEAR: Final = """
INSERT INTO complaint (number, key, place, state, pointers)
SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bigint[], $4::bytea[], $5::bytea[])
"""
_CHANGE: Final = """
UPDATE complaint SET place = new.place, state = new.state, pointers = complaint.pointers || new.pointers
FROM unnest($1::bytea[], $2::bigint[], $3::bytea[], $4::bytea[]) AS new (key, place, state, pointers)
WHERE complaint.key = new.key
"""
_REFUSE: Final = """
INSERT INTO refused (idx, position, agency, seq, change_id, verdict)
SELECT * FROM unnest($1::bigint[], $2::int[], $3::text[], $4::bigint[], $5::text[], $6::int[])
"""
_ADD_TOTALS: Final = """
INSERT INTO total (figure, agency, key, class_, count)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[])
ON CONFLICT (figure, agency, key, class_) DO UPDATE SET count = total.count + excluded.count
"""
_HEAR: Final = """
INSERT INTO last_heard (agency, tick_ms) SELECT * FROM unnest($1::text[], $2::bigint[])
ON CONFLICT (agency) DO UPDATE SET tick_ms = excluded.tick_ms
"""

_Rows = Sequence[tuple[bytes, int, bytes, bytes]]


class PostgresProjectionStore(ProjectionReading):
    """See ProjectionStore."""

    def __init__(self, writer: AsyncEngine, readers: AsyncEngine) -> None:
        super().__init__(readers)
        self.writer = writer

    @classmethod
    async def create_or_open(cls, url: str) -> Self:
        """Schema and tables are made where there are none; those of an earlier version are emptied and folded again.

        Raises Refused(configuration) for a wrong URL or missing rights, Corrupt if a later program made the schema.
        """
        writer, readers = open_postgres(url, PROJECTION_SCHEMA, durability="NORMAL", settings=_BY_INDEX)
        store = cls(writer, readers)
        try:
            await create_schema(url, PROJECTION_SCHEMA)
            await _bring_up_to_date(url)
        except BaseException:
            await store.close()
            raise
        return store

    async def close(self) -> None:
        await self.readers.dispose()
        await self.writer.dispose()

    async def load(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        async with self.readers.connect() as connection:
            driver = await driver_connection(connection)
            return dict(await driver.fetch(_LOAD, keys))

    async def commit(self, step: ProjectionStep) -> None:
        cursor = step.cursor
        async with self.writer.connect() as connection:
            driver = await driver_connection(connection)
            async with driver.transaction():
                moved = await driver.fetchval(_MOVE, step.begins, cursor.size, cursor.state_hash, cursor.updated_at_ms)
                if moved is None:
                    raise step_is_stale(step)
                if step.born:
                    await _bear(driver, step.born)
                if step.changed:
                    await driver.execute(_CHANGE, *zip(*step.changed, strict=True))
                await _write_registers(driver, step)

    async def clear(self) -> None:
        """A query that is under way may see the tables empty already."""
        empty = Cursor()
        async with self.writer.connect() as connection:
            driver = await driver_connection(connection)
            async with driver.transaction():
                await driver.execute(
                    "UPDATE cursor SET size = $1, state_hash = $2, updated_at_ms = $3",
                    empty.size,
                    empty.state_hash,
                    empty.updated_at_ms,
                )
                await driver.execute("TRUNCATE complaint, refused, total, last_heard")


async def _bring_up_to_date(url: str) -> None:
    engine = open_for_migration(url, PROJECTION_SCHEMA)
    try:
        await bring_projection_up_to_date(engine)
    finally:
        await engine.dispose()


async def _bear(driver: Any, born: _Rows) -> None:
    rows = [
        (int.from_bytes(pointers[:POINTER_BYTES], "big"), key, place, state, pointers)
        for key, place, state, pointers in born
    ]
    if len(rows) < COPY_FROM_ROWS:
        await driver.execute(_BEAR, *zip(*rows, strict=True))
    else:
        await driver.copy_records_to_table("complaint", records=rows, columns=_COLUMNS)


async def _write_registers(driver: Any, step: ProjectionStep) -> None:
    """Refused changes, totals and ticks."""
    if step.refused:
        columns = [(r.index, r.position, r.agency, r.seq, r.change_id, r.verdict) for r in step.refused]
        await driver.execute(_REFUSE, *zip(*columns, strict=True))
    if step.totals:
        await driver.execute(_ADD_TOTALS, *zip(*with_sums(step.totals), strict=True))
    if step.last_heard:
        await driver.execute(_HEAR, list(step.last_heard), list(step.last_heard.values()))
