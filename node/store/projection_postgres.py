"""The projection in PostgreSQL (schema `simpul_projection`): node/hub/ports.py ProjectionStore.

A step is one statement over arrays, and one round trip; only many new complaints go in by COPY. The cursor's row is
moved first and holds off whoever else would move it: of two that commit the same step, the second waits, finds it moved
and writes nothing. Durability is NORMAL: what a power cut takes from the end is folded again, from a cursor that went
back with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final, Self

from sqlalchemy.ext.asyncio import AsyncEngine

from node.store.postgres import PROJECTION_SCHEMA, create_schema, open_for_migration, open_readers
from node.store.postgres_pool import BY_INDEX, DriverPool, open_pools
from node.store.projection_reading import ProjectionReading
from node.store.projection_records import POINTER_BYTES, Cursor, ProjectionStep, step_is_stale, tracking_is_stale
from node.store.projection_store import bring_projection_up_to_date
from node.store.projection_sums import DUTY, with_sums

COMMITTERS: Final = 1  # one projector is at work at a time
LOADERS: Final = 2  # it loads, and somebody asks how far it came
READERS: Final = 3  # for people's queries; more would only queue for the same cores
COPY_FROM_ROWS: Final = 100  # fewer go in with the rest of the step, in one round trip where COPY takes four

_CURSOR: Final = "SELECT size, state_hash, updated_at_ms FROM cursor WHERE id = 1"
_LOAD: Final = "SELECT key, state FROM complaint WHERE key = ANY($1::bytea[])"
_COLUMNS: Final = ("number", "key", "place", "state", "pointers")
# All parts wait for the cursor's row and then for having found it. They see the tables as they were before any of
# them: no complaint stands in two. PostgreSQL commits the statement as a whole, in one round trip.
_STEP: Final = """
WITH moved AS (
  UPDATE cursor SET size = $2, state_hash = $3, updated_at_ms = $4 WHERE id = 1 AND size = $1 RETURNING size),
changed AS (
  UPDATE complaint SET place = new.place, state = new.state, pointers = complaint.pointers || new.pointers
  FROM moved, unnest($5::bytea[], $6::bigint[], $7::bytea[], $8::bytea[]) AS new (key, place, state, pointers)
  WHERE complaint.key = new.key),
born AS (
  INSERT INTO complaint (number, key, place, state, pointers)
  SELECT new.* FROM moved, unnest($9::bigint[], $10::bytea[], $11::bigint[], $12::bytea[], $13::bytea[]) AS new),
refusals AS (
  INSERT INTO refused (idx, position, agency, seq, change_id, verdict)
  SELECT new.* FROM moved,
    unnest($14::bigint[], $15::int[], $16::text[], $17::bigint[], $18::text[], $19::int[]) AS new),
totals AS (
  INSERT INTO total (figure, agency, key, class_, count)
  SELECT new.* FROM moved, unnest($20::text[], $21::text[], $22::text[], $23::text[], $24::bigint[]) AS new
  ON CONFLICT (figure, agency, key, class_) DO UPDATE SET count = total.count + excluded.count),
ticks AS (
  INSERT INTO last_heard (agency, tick_ms) SELECT new.* FROM moved, unnest($25::text[], $26::bigint[]) AS new
  ON CONFLICT (agency) DO UPDATE SET tick_ms = excluded.tick_ms),
told AS (
  INSERT INTO inbox (agency, place, note, verdict, key)
  SELECT new.* FROM moved, unnest($27::text[], $28::bigint[], $29::int[], $30::int[], $31::bytea[]) AS new),
absences AS (
  INSERT INTO gap (agency, from_ms, until_ms)
  SELECT new.* FROM moved, unnest($32::text[], $33::bigint[], $34::bigint[]) AS new)
SELECT size FROM moved
"""
_TRACK: Final = """
WITH moved AS (UPDATE tracked_to SET size = $2 WHERE size = $1 RETURNING size),
added AS (
  INSERT INTO tracked (hash, key) SELECT new.* FROM moved, unnest($3::bigint[], $4::bytea[]) AS new
  ON CONFLICT DO NOTHING)
SELECT count(*) FROM moved
"""
_REWIND: Final = "UPDATE cursor SET size = $1, state_hash = $2, updated_at_ms = $3, tables_mark = $4"
_TIDY: Final = "DELETE FROM total WHERE figure = $1 AND count = 0"

_Rows = Sequence[tuple[bytes, int, bytes, bytes]]


class PostgresProjectionStore(ProjectionReading):
    """See ProjectionStore."""

    def __init__(self, readers: AsyncEngine, committing: DriverPool, loading: DriverPool) -> None:
        super().__init__(readers)
        self.committing = committing
        self.loading = loading

    @classmethod
    async def create_or_open(cls, url: str) -> Self:
        """Schema and tables are made where there are none; those of an earlier version are emptied and folded again.

        Raises Refused(configuration) for a wrong URL or missing rights, Corrupt if a later program made the schema.
        """
        store = cls(
            open_readers(url, PROJECTION_SCHEMA, connections=READERS, settings=BY_INDEX),
            *open_pools(url, PROJECTION_SCHEMA, writers=COMMITTERS, readers=LOADERS, durability="NORMAL"),
        )
        try:
            await create_schema(url, PROJECTION_SCHEMA)
            await _bring_up_to_date(url)
        except BaseException:
            await store.close()
            raise
        return store

    async def close(self) -> None:
        await self.loading.close()
        await self.committing.close()
        await self.readers.dispose()

    async def cursor(self) -> Cursor:
        return Cursor(*await self.loading.read(lambda driver: driver.fetchrow(_CURSOR)))

    async def load(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        return dict(await self.loading.read(lambda driver: driver.fetch(_LOAD, keys)))

    async def commit(self, step: ProjectionStep) -> None:
        work = _write_at_once if len(step.born) < COPY_FROM_ROWS else _write_with_copy
        if not await self.committing.write(partial(work, step=step)):
            raise step_is_stale(step)
        if step.has_tick:  # afterwards, on its own: rows of zero say nothing
            await self.committing.write(lambda driver: driver.execute(_TIDY, DUTY))

    async def track(self, begins: int, size: int, numbers: Sequence[tuple[int, bytes]]) -> None:
        if not await self.committing.write(lambda driver: driver.fetchval(_TRACK, begins, size, *_columns(2, numbers))):
            raise tracking_is_stale(begins)

    async def clear(self, tables_mark: bytes = b"") -> None:
        """A query that is under way may see the tables empty already."""
        await self.committing.write(partial(_clear, tables_mark=tables_mark))


async def _bring_up_to_date(url: str) -> None:
    engine = open_for_migration(url, PROJECTION_SCHEMA)
    try:
        await bring_projection_up_to_date(engine)
    finally:
        await engine.dispose()


async def _write_at_once(driver: Any, step: ProjectionStep) -> bool:
    """False if the cursor is elsewhere; nothing was written then."""
    return await driver.fetchval(_STEP, *_arguments(step, _numbered(step.born))) is not None


async def _write_with_copy(driver: Any, step: ProjectionStep) -> bool:
    async with driver.transaction():
        has_moved = await driver.fetchval(_STEP, *_arguments(step, [])) is not None
        if has_moved:
            await driver.copy_records_to_table("complaint", records=_numbered(step.born), columns=_COLUMNS)
    return has_moved


async def _clear(driver: Any, tables_mark: bytes) -> None:
    empty = Cursor()
    async with driver.transaction():
        # A step locks its tables before it comes to the cursor's row: it shall wait before the first of them.
        await driver.execute("LOCK TABLE cursor IN SHARE ROW EXCLUSIVE MODE")
        await driver.execute(_REWIND, empty.size, empty.state_hash, empty.updated_at_ms, tables_mark)
        await driver.execute("TRUNCATE complaint, refused, inbox, total, last_heard, gap, tracked")
        await driver.execute("UPDATE tracked_to SET size = 0")


def _numbered(born: _Rows) -> list[tuple[int, bytes, int, bytes, bytes]]:
    return [
        (int.from_bytes(pointers[:POINTER_BYTES], "big"), key, place, state, pointers)
        for key, place, state, pointers in born
    ]


def _arguments(step: ProjectionStep, born: Sequence[tuple[int, bytes, int, bytes, bytes]]) -> list[Any]:
    """Of `_STEP`: where the cursor is and shall be, then columns of each part."""
    cursor = step.cursor
    refused = [(r.index, r.position, r.agency, r.seq, r.change_id, r.verdict) for r in step.refused]
    return [
        *(step.begins, cursor.size, cursor.state_hash, cursor.updated_at_ms),
        *_columns(4, step.changed),
        *_columns(5, born),
        *_columns(6, refused),
        *_columns(5, with_sums(step.totals)),
        *(list(step.last_heard), list(step.last_heard.values())),
        *_columns(5, step.inbox),
        *_columns(3, step.gaps),
    ]


def _columns(width: int, rows: Sequence[tuple[Any, ...]]) -> Iterable[Sequence[Any]]:
    return zip(*rows, strict=True) if rows else [()] * width
