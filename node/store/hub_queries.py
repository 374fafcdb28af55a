"""What every database is asked in the same words: the reading half of HubStore, and what is written seldom
(node/hub/ports.py; protocol §6, §8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import and_, func, select, update

from node.store.hub_append import insert_unless_there
from node.store.hub_records import (
    GrownLeaf,
    LogLeaf,
    StoredCheckpoint,
    StoredHead,
    StoredSet,
    StoredStatement,
)
from node.store.hub_recovery import SqlHubRecovery
from node.store.hub_tables import (
    TILE_LEVEL_SHIFT,
    ChangeSetRow,
    CheckpointRow,
    ErasedLineRow,
    HashTileRow,
    HeadRow,
    LogEntryRow,
    SetChangesRow,
    SetContentsRow,
    StatementRow,
    table_of,
)

IN_MAX: Final = 500  # parameters of one query; SQLite takes 32,766, other databases fewer

_ENTRY, _STATEMENT, _SET = table_of(LogEntryRow), table_of(StatementRow), table_of(ChangeSetRow)
_CHANGES, _CONTENTS, _HEAD = table_of(SetChangesRow), table_of(SetContentsRow), table_of(HeadRow)
_TILE, _CHECKPOINT, _ERASED = table_of(HashTileRow), table_of(CheckpointRow), table_of(ErasedLineRow)

_OF_A_HEAD = (_SET.c.agency, _SET.c.epoch, _SET.c.seq, _SET.c.digest, _SET.c.received_at_ms)


class SqlHubQueries(SqlHubRecovery):
    """See HubStore, but for `append`, which each database does in its own way."""

    async def newest_checkpoint(self) -> StoredCheckpoint | None:
        return await self._checkpoint(select(_CHECKPOINT).order_by(_CHECKPOINT.c.size.desc()).limit(1))

    async def checkpoint_of(self, size: int) -> StoredCheckpoint | None:
        return await self._checkpoint(select(_CHECKPOINT).where(_CHECKPOINT.c.size == size))

    async def checkpoint_covering(self, index: int) -> StoredCheckpoint | None:
        query = select(_CHECKPOINT).where(_CHECKPOINT.c.size > index).order_by(_CHECKPOINT.c.size).limit(1)
        return await self._checkpoint(query)

    async def _checkpoint(self, query: Any) -> StoredCheckpoint | None:
        rows = await self.read_rows(query)
        row = rows[0] if rows else None
        return None if row is None else StoredCheckpoint(row.size, row.follows, row.root, row.note, row.at_ms)

    async def entries(self, start: int, end: int) -> list[bytes]:
        query = select(_ENTRY.c.entry).where(_ENTRY.c.idx >= start, _ENTRY.c.idx < end).order_by(_ENTRY.c.idx)
        return [row.entry for row in await self.read_rows(query)]

    async def entries_at(self, indices: Sequence[int]) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        for start in range(0, len(indices), IN_MAX):
            query = select(_ENTRY.c.idx, _ENTRY.c.entry).where(_ENTRY.c.idx.in_(indices[start : start + IN_MAX]))
            found.update({row.idx: row.entry for row in await self.read_rows(query)})
        return found

    async def grown(self, start: int, end: int) -> list[GrownLeaf]:
        query = (
            select(_ENTRY.c.idx, _ENTRY.c.entry, *_OF_A_HEAD, _CHECKPOINT)
            .outerjoin(_SET, and_(_SET.c.idx == _ENTRY.c.idx, _SET.c.idx >= start, _SET.c.idx < end))
            .outerjoin(
                _CHECKPOINT,
                and_(_CHECKPOINT.c.size == _ENTRY.c.idx + 1, _CHECKPOINT.c.size > start, _CHECKPOINT.c.size <= end),
            )
            .where(_ENTRY.c.idx >= start, _ENTRY.c.idx < end)
            .order_by(_ENTRY.c.idx)
        )
        return [_grown(row) for row in await self.read_rows(query)]

    async def tiles(self, places: Sequence[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
        wanted = {level << TILE_LEVEL_SHIFT | number: (level, number) for level, number in places}
        rows = await self.read_rows(select(_TILE).where(_TILE.c.place.in_(wanted)))
        return {wanted[row.place]: row.hashes for row in rows}

    async def statements(self, start: int = 0) -> list[StoredStatement]:
        query = (
            select(_STATEMENT, _ENTRY.c.entry)
            .join(_ENTRY, _ENTRY.c.idx == _STATEMENT.c.idx)
            .where(_STATEMENT.c.idx >= start)
            .order_by(_STATEMENT.c.idx)
        )
        return [StoredStatement(r.idx, r.typ, r.agency, r.digest, r.entry) for r in await self.read_rows(query)]

    async def statement_of(self, digest: bytes) -> int | None:
        rows = await self.read_rows(select(_STATEMENT.c.idx).where(_STATEMENT.c.digest == digest))
        return rows[0].idx if rows else None

    async def heads(self, since: int = 0) -> list[StoredHead]:
        query = select(_HEAD).where(_HEAD.c.idx >= since).order_by(_HEAD.c.agency)
        return [_head(row) for row in await self.read_rows(query)]

    async def head(self, agency: str) -> StoredHead | None:
        rows = await self.read_rows(select(_HEAD).where(_HEAD.c.agency == agency))
        return _head(rows[0]) if rows else None

    async def find_sets(self, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], StoredSet]:
        found: dict[tuple[str, int], StoredSet] = {}
        async with self.readers.connect() as connection:
            for agency, seq in dict.fromkeys(places):
                query = select(_SET).where(_SET.c.agency == agency, _SET.c.seq == seq)
                row = (await connection.execute(query)).first()
                if row is not None:
                    found[agency, seq] = _set(row)
        return found

    async def sets_of(self, agency: str, from_seq: int, limit: int) -> list[StoredSet]:
        query = select(_SET).where(_SET.c.agency == agency, _SET.c.seq >= from_seq).order_by(_SET.c.seq).limit(limit)
        return [_set(row) for row in await self.read_rows(query)]

    async def sets_from(
        self, agency: str, from_seq: int, sets_max: int, bytes_max: int
    ) -> list[tuple[StoredSet, tuple[bytes, bytes] | None]]:
        query = (
            select(_SET, _CHANGES.c.frame, _CONTENTS.c.frame.label("contents"))
            .outerjoin(_CHANGES, _CHANGES.c.idx == _SET.c.idx)
            .outerjoin(_CONTENTS, _CONTENTS.c.idx == _SET.c.idx)
            .where(_SET.c.agency == agency, _SET.c.seq >= from_seq)
            .order_by(_SET.c.seq)
            .limit(sets_max)
        )
        found: list[tuple[StoredSet, tuple[bytes, bytes] | None]] = []
        total = 0
        async with self.readers.connect() as connection:
            rows = await connection.stream(query)
            async for row in rows:
                parts = None if row.frame is None or row.contents is None else (row.frame, row.contents)
                found.append((_set(row), parts))
                total += sum(map(len, parts or ()))
                if total >= bytes_max:
                    break
            await rows.close()
        return found

    async def sets_after(self, size: int) -> dict[str, int]:
        query = select(_SET.c.agency, func.count()).where(_SET.c.idx >= size).group_by(_SET.c.agency)
        rows: Sequence[Any] = await self.read_rows(query)
        return {row.agency: row[1] for row in rows}

    async def set_at(self, index: int) -> StoredSet | None:
        rows = await self.read_rows(select(_SET).where(_SET.c.idx == index))
        return _set(rows[0]) if rows else None

    async def set_parts(self, index: int) -> tuple[bytes, bytes] | None:
        query = (
            select(_CHANGES.c.frame, _CONTENTS.c.frame.label("contents"))
            .join(_CONTENTS, _CONTENTS.c.idx == _CHANGES.c.idx)
            .where(_CHANGES.c.idx == index)
        )
        rows = await self.read_rows(query)
        return (rows[0].frame, rows[0].contents) if rows else None

    async def replace_contents(
        self, before: StoredSet, after: StoredSet, frame: bytes, erased: Sequence[bytes]
    ) -> bool:
        unchanged = (_SET.c.idx == before.index, _SET.c.hidden == before.hidden, _SET.c.erased == before.erased)
        async with self.writer.begin() as connection:
            counted = update(_SET).where(*unchanged).values(hidden=after.hidden, erased=after.erased)
            if (await connection.execute(counted)).rowcount != 1:
                return False
            await connection.execute(update(_CONTENTS).where(_CONTENTS.c.idx == before.index).values(frame=frame))
            rows = [{"idx": before.index, "leaf": leaf, "at_ms": after.received_at_ms} for leaf in erased]
            if rows:
                await connection.execute(insert_unless_there(connection, _ERASED), rows)
        return True

    async def erased_leaves(self, index: int) -> set[bytes]:
        return {row.leaf for row in await self.read_rows(select(_ERASED.c.leaf).where(_ERASED.c.idx == index))}

    async def erased_lines(self) -> set[tuple[int, bytes]]:
        return {(row.idx, row.leaf) for row in await self.read_rows(select(_ERASED.c.idx, _ERASED.c.leaf))}

    async def leaves(self, start: int, end: int, bytes_max: int) -> list[LogLeaf]:
        query = (
            select(_ENTRY.c.idx, _ENTRY.c.entry, _CHANGES.c.frame)
            .outerjoin(_CHANGES, _CHANGES.c.idx == _ENTRY.c.idx)
            .where(_ENTRY.c.idx >= start, _ENTRY.c.idx < end)
            .order_by(_ENTRY.c.idx)
        )
        found: list[LogLeaf] = []
        total = 0
        async with self.readers.connect() as connection:
            rows = await connection.stream(query)
            async for row in rows:
                found.append(LogLeaf(row.idx, row.entry, row.frame))
                total += len(row.entry) + len(row.frame or b"")
                if total >= bytes_max:
                    break
            await rows.close()
        return found


def _grown(row: Any) -> GrownLeaf:
    checkpoint = None
    if row.size is not None:
        checkpoint = StoredCheckpoint(row.size, row.follows, row.root, row.note, row.at_ms)
    return GrownLeaf(row.idx, row.entry, _head(row) if row.agency is not None else None, checkpoint)


def _head(row: Any) -> StoredHead:
    return StoredHead(row.agency, row.epoch, row.seq, row.digest, row.idx, row.received_at_ms)


def _set(row: Any) -> StoredSet:
    return StoredSet(
        index=row.idx,
        agency=row.agency,
        seq=row.seq,
        epoch=row.epoch,
        digest=row.digest,
        changes=row.changes,
        size=row.size,
        hidden=row.hidden,
        erased=row.erased,
        received_at_ms=row.received_at_ms,
    )
