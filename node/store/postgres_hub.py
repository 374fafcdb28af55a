"""The log plane in PostgreSQL: node/hub/ports.py HubStore. Durable whatever the server's default for commits is.

An append is one statement, one round trip, one flush: PostgreSQL commits it as a whole. The compare-and-swap is made of
two things in it. What follows a checkpoint that is not the newest finds no row to build on; and of two that follow the
same one at once, the second meets the first at the primary key of the log's next index, waits for it, and fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Self

import asyncpg
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from node.store.hub_append import CHANGE_SET_KIND, STATEMENT_KIND, has_rest, write_rest
from node.store.hub_queries import SqlHubQueries
from node.store.hub_records import Commit, GrownLeaf, LogLeaf, StoredCheckpoint, StoredHead, StoredSet
from node.store.hub_store import HUB_DATABASE, not_the_newest
from node.store.hub_tables import HUB_REVISION, TILE_LEVEL_SHIFT, CheckpointRow, table_of
from node.store.postgres import (
    HUB_SCHEMA,
    LOST,
    check_schema,
    driver_connection,
    has_tables,
    make_schema,
    open_postgres,
)
from node.store.postgres_pool import DriverPool, open_pools

APPENDERS: Final = 1  # appends of one process stand in line anyway
FINDERS: Final = 2  # one reads leaves for the projector while the other finds sets; the engine's readers do the rest
COPY_MIN_BYTES: Final = 1024 * 1024  # frames of a commit beyond which COPY is worth its four round trips
LEAVES_MAX: Final = 4_096  # of one read, however small they are: the server adds up the sizes of that many

_CHECKPOINT = table_of(CheckpointRow)

_SET_COLUMNS: Final = "idx, agency, seq, epoch, digest, changes, size, hidden, erased, received_at_ms"
_APPEND: Final = f"""
WITH newest AS MATERIALIZED (SELECT 1 FROM (SELECT coalesce(max(size), 0) AS size FROM checkpoint) n WHERE size = $1),
entries AS (
  INSERT INTO log_entry (idx, kind, entry)
  SELECT u.* FROM newest, unnest($6::bigint[], $7::int[], $8::bytea[]) u),
tiles AS (
  INSERT INTO hash_tile (place, hashes) SELECT u.* FROM newest, unnest($9::bigint[], $10::bytea[]) u
  ON CONFLICT (place) DO UPDATE SET hashes = excluded.hashes),
sets AS (
  INSERT INTO change_set ({_SET_COLUMNS})
  SELECT u.* FROM newest, unnest($11::bigint[], $12::text[], $13::bigint[], $14::bigint[], $15::bytea[],
    $16::int[], $17::int[], $18::int[], $19::int[], $20::bigint[]) u),
heads AS (
  INSERT INTO head (agency, epoch, seq, digest, idx, received_at_ms)
  SELECT DISTINCT ON (u.agency) u.agency, u.epoch, u.seq, u.digest, u.idx, u.at
  FROM newest, unnest($11::bigint[], $12::text[], $13::bigint[], $14::bigint[], $15::bytea[], $20::bigint[])
    u (idx, agency, seq, epoch, digest, at) ORDER BY u.agency, u.idx DESC
  ON CONFLICT (agency) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq, digest = excluded.digest,
    idx = excluded.idx, received_at_ms = excluded.received_at_ms),
first_parts AS (
  INSERT INTO set_changes (idx, frame) SELECT u.* FROM newest, unnest($21::bigint[], $22::bytea[]) u),
second_parts AS (
  INSERT INTO set_contents (idx, frame) SELECT u.* FROM newest, unnest($21::bigint[], $23::bytea[]) u)
INSERT INTO checkpoint (size, follows, root, note, at_ms) SELECT $2, $1, $3, $4, $5 FROM newest
"""  # noqa: S608 - our own names of columns
_NOTHING_INSERTED: Final = "INSERT 0 0"

_LEAVES: Final = """
SELECT idx, entry, frame FROM (
  SELECT e.idx, e.entry, c.frame, sum(octet_length(e.entry) + coalesce(octet_length(c.frame), 0))
    OVER (ORDER BY e.idx ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
  FROM log_entry e LEFT JOIN set_changes c ON c.idx = e.idx
  WHERE e.idx >= $1 AND e.idx < $2) AS leaf
WHERE coalesce(before, 0) < $3 ORDER BY idx
"""
_GROWN: Final = """
SELECT e.idx, e.entry, s.agency, s.epoch, s.seq, s.digest, s.received_at_ms, c.size, c.follows, c.root, c.note, c.at_ms
FROM log_entry e LEFT JOIN change_set s ON s.idx = e.idx LEFT JOIN checkpoint c ON c.size = e.idx + 1
WHERE e.idx >= $1 AND e.idx < $2 ORDER BY e.idx
"""
_FIND_SETS: Final = f"""
SELECT {_SET_COLUMNS} FROM unnest($1::text[], $2::bigint[]) AS wanted (agency, seq) JOIN change_set USING (agency, seq)
"""  # noqa: S608


class PostgresHubStore(SqlHubQueries):
    """See HubStore. Any number of processes, on any number of machines, on the same database."""

    def __init__(self, writer: AsyncEngine, readers: AsyncEngine, appending: DriverPool, finding: DriverPool) -> None:
        super().__init__(writer, readers)
        # A query that is its own snapshot needs no BEGIN and no COMMIT: one round trip instead of three.
        self.single = readers.execution_options(isolation_level="AUTOCOMMIT")
        # What is done for every set goes over these.
        self.appending = appending
        self.finding = finding

    async def close(self) -> None:
        await self.finding.close()
        await self.appending.close()
        await super().close()

    @classmethod
    async def create(cls, url: str) -> Self:
        """A new or older database brought to the newest schema. Raises Refused(configuration), Unavailable."""
        await make_schema(url, HUB_SCHEMA, "hub")
        return cls._open(url)

    @classmethod
    async def open(cls, url: str) -> Self:
        """An existing one; an older schema is brought forward. Raises also Corrupt if it has another schema."""
        await check_schema(url, HUB_SCHEMA, "hub", HUB_REVISION, HUB_DATABASE)
        return cls._open(url)

    @classmethod
    def _open(cls, url: str) -> Self:
        return cls(
            *open_postgres(url, HUB_SCHEMA),
            *open_pools(url, HUB_SCHEMA, writers=APPENDERS, readers=FINDERS),
        )

    @staticmethod
    async def exists(url: str) -> bool:
        """Whether there is a log plane in that database. Raises Refused(configuration), Unavailable."""
        return await has_tables(url, HUB_SCHEMA)

    async def append(self, commit: Commit) -> None:
        try:
            if has_rest(commit) or _frame_bytes(commit) >= COPY_MIN_BYTES:
                await self._append_in_steps(commit)
            else:
                await self._append_at_once(commit)
        except (asyncpg.UniqueViolationError, IntegrityError):
            newest = await self.newest_checkpoint()
            if newest is not None and newest.size != commit.follows:
                raise not_the_newest(newest.size, commit.follows) from None
            raise

    async def _append_at_once(self, commit: Commit) -> None:
        arguments = _arguments(commit, with_frames=True)
        told = await self.appending.write(lambda driver: driver.execute(_APPEND, *arguments))
        if told == _NOTHING_INSERTED:
            newest = await self.newest_checkpoint()
            raise not_the_newest(newest.size if newest else 0, commit.follows)

    async def _append_in_steps(self, commit: Commit) -> None:
        """One transaction of several statements, for what is large or seldom."""
        async with self.writer.begin() as connection:
            newest = (await connection.execute(select(func.max(_CHECKPOINT.c.size)))).scalar_one() or 0
            if newest != commit.follows:
                raise not_the_newest(newest, commit.follows)
            driver = await driver_connection(connection)
            told = await driver.execute(_APPEND, *_arguments(commit, with_frames=False))
            if told == _NOTHING_INSERTED:
                raise not_the_newest(newest, commit.follows)
            there = [new for new in commit.sets if not new.is_missing]
            changes = [(new.stored.index, new.changes_frame) for new in there]
            contents = [(new.stored.index, new.contents_frame) for new in there]
            for table, records in (("set_changes", changes), ("set_contents", contents)):
                await driver.copy_records_to_table(table, records=records, columns=("idx", "frame"))
            await write_rest(connection, commit)

    async def read_rows(self, query: Any) -> Sequence[Any]:
        """Asked once more if the connection at hand was dead, as all are after a restart."""
        try:
            async with self.single.connect() as connection:
                return (await connection.execute(query)).all()
        except (DBAPIError, *LOST) as error:
            if isinstance(error, DBAPIError) and not error.connection_invalidated:
                raise
        async with self.single.connect() as connection:
            return (await connection.execute(query)).all()

    async def find_sets(self, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], StoredSet]:
        rows = await self._fetch(_FIND_SETS, [agency for agency, _ in places], [seq for _, seq in places])
        return {(row["agency"], row["seq"]): StoredSet(*row.values()) for row in rows}

    async def leaves(self, start: int, end: int, bytes_max: int) -> list[LogLeaf]:
        rows = await self._fetch(_LEAVES, start, min(end, start + LEAVES_MAX), bytes_max)
        return [LogLeaf(*row.values()) for row in rows]

    async def grown(self, start: int, end: int) -> list[GrownLeaf]:
        return [_grown(*row.values()) for row in await self._fetch(_GROWN, start, end)]

    async def _fetch(self, query: str, *arguments: Any) -> Sequence[Any]:
        found: Sequence[Any] = await self.finding.read(lambda driver: driver.fetch(query, *arguments))
        return found


def _grown(index: int, entry: bytes, agency: str | None, *columns: Any) -> GrownLeaf:
    """A row of `_GROWN`."""
    of_set, of_checkpoint = columns[:4], columns[4:]
    epoch, seq, digest, at_ms = of_set
    return GrownLeaf(
        index,
        entry,
        None if agency is None else StoredHead(agency, epoch, seq, digest, index, at_ms),
        None if of_checkpoint[0] is None else StoredCheckpoint(*of_checkpoint),
    )


def _frame_bytes(commit: Commit) -> int:
    return sum(len(new.changes_frame) + len(new.contents_frame) for new in commit.sets)


def _arguments(commit: Commit, *, with_frames: bool) -> list[Any]:
    """Of `_APPEND`: the checkpoint, then columns of entries, tiles, sets and frames."""
    checkpoint = commit.checkpoint
    statements = {statement.index for statement in commit.statements}
    indices = list(range(commit.follows, checkpoint.size))
    stored = [new.stored for new in commit.sets]
    framed = commit.sets if with_frames else ()
    return [
        *(commit.follows, checkpoint.size, checkpoint.root, checkpoint.note, checkpoint.at_ms),
        *(indices, [STATEMENT_KIND if index in statements else CHANGE_SET_KIND for index in indices], commit.entries),
        *([level << TILE_LEVEL_SHIFT | number for level, number in commit.tiles], list(commit.tiles.values())),
        *([s.index for s in stored], [s.agency for s in stored], [s.seq for s in stored], [s.epoch for s in stored]),
        *([s.digest for s in stored], [s.changes for s in stored], [s.size for s in stored]),
        *([s.hidden for s in stored], [s.erased for s in stored], [s.received_at_ms for s in stored]),
        *([n.stored.index for n in framed], [n.changes_frame for n in framed], [n.contents_frame for n in framed]),
    ]
