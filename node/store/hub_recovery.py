"""What a recovering hub gathers, and sets whose lines are missing (node/hub/recovery_ports.py; protocol §10.6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import bindparam, delete, func, not_, or_, select, update

from node.store.hub_append import insert_unless_there
from node.store.hub_files import SqlHubFiles
from node.store.hub_records import MissingSet, RecoveredLeaf, StoredSet
from node.store.hub_tables import (
    ChangeSetRow,
    CheckpointRow,
    ErasedLineRow,
    MissingSetRow,
    RecoveredCheckpointRow,
    RecoveredLeafRow,
    SetChangesRow,
    SetContentsRow,
    table_of,
)

ROWS_AT_ONCE: Final = 500  # of one statement; SQLite takes 32,766 parameters

_LEAF, _NOTE, _MISSING = table_of(RecoveredLeafRow), table_of(RecoveredCheckpointRow), table_of(MissingSetRow)
_CHECKPOINT = table_of(CheckpointRow)
_SET, _CHANGES, _CONTENTS = table_of(ChangeSetRow), table_of(SetChangesRow), table_of(SetContentsRow)
_ERASED = table_of(ErasedLineRow)

_LACKS_LINES: Final = or_(_LEAF.c.changes_frame.is_(None), _LEAF.c.hidden > 0)


class SqlHubRecovery(SqlHubFiles):
    """See RecoveryStore, the same for every database."""

    async def keep_leaves(self, leaves: Sequence[RecoveredLeaf], *, instead: bool = False) -> None:
        rows = [_row(leaf) for leaf in leaves]
        other = delete(_LEAF).where(_LEAF.c.idx == bindparam("at"), _LEAF.c.entry != bindparam("other"))
        async with self.writer.begin() as connection:
            for start in range(0, len(rows), ROWS_AT_ONCE):
                page = rows[start : start + ROWS_AT_ONCE]
                if instead:
                    await connection.execute(other, [{"at": row["idx"], "other": row["entry"]} for row in page])
                await connection.execute(insert_unless_there(connection, _LEAF), page)

    async def keep_checkpoints(self, notes: Mapping[int, bytes]) -> None:
        rows = [{"size": size, "note": note} for size, note in notes.items()]
        async with self.writer.begin() as connection:
            for start in range(0, len(rows), ROWS_AT_ONCE):
                await connection.execute(insert_unless_there(connection, _NOTE), rows[start : start + ROWS_AT_ONCE])

    async def recovered_checkpoints(self, after: int) -> list[tuple[int, bytes]]:
        rows = await self.read_rows(select(_NOTE).where(_NOTE.c.size > after).order_by(_NOTE.c.size))
        return [(row.size, row.note) for row in rows]

    async def recovered_set(self, agency: str, seq: int) -> RecoveredLeaf | None:
        rows = await self.read_rows(select(_LEAF).where(_LEAF.c.agency == agency, _LEAF.c.seq == seq))
        return _leaf(rows[0]) if rows else None

    async def keep_lines(self, index: int, changes_frame: bytes, contents_frame: bytes, hidden: int) -> None:
        lacks = or_(_LEAF.c.changes_frame.is_(None), _LEAF.c.hidden > hidden)
        is_lost = _LEAF.c.idx >= select(func.coalesce(func.max(_CHECKPOINT.c.size), 0)).scalar_subquery()
        lines = {"changes_frame": changes_frame, "contents_frame": contents_frame, "hidden": hidden}
        async with self.writer.begin() as connection:
            await connection.execute(update(_LEAF).where(_LEAF.c.idx == index, lacks, is_lost).values(lines))

    async def recovered_places(self, start: int, end: int) -> list[int]:
        query = select(_LEAF.c.idx).where(_LEAF.c.idx >= start, _LEAF.c.idx < end).order_by(_LEAF.c.idx)
        return [row.idx for row in await self.read_rows(query)]

    async def recovered_entries(self, start: int, end: int) -> dict[int, bytes]:
        query = select(_LEAF.c.idx, _LEAF.c.entry).where(_LEAF.c.idx >= start, _LEAF.c.idx < end)
        return {row.idx: row.entry for row in await self.read_rows(query)}

    async def recovered_leaves(self, start: int, end: int) -> list[RecoveredLeaf]:
        query = select(_LEAF).where(_LEAF.c.idx >= start, _LEAF.c.idx < end).order_by(_LEAF.c.idx)
        return [_leaf(row) for row in await self.read_rows(query)]

    async def recovered_seqs(self, *, without_lines: bool = False) -> dict[str, list[int]]:
        query = select(_LEAF.c.agency, _LEAF.c.seq).where(_LEAF.c.agency.is_not(None))
        if without_lines:
            query = query.where(_LACKS_LINES)
        found: dict[str, list[int]] = {}
        for row in await self.read_rows(query.order_by(_LEAF.c.agency, _LEAF.c.seq)):
            found.setdefault(row.agency, []).append(row.seq)
        return found

    async def wanted_seqs(self, agency: str) -> tuple[int, int] | None:
        lost = select(_LEAF.c.seq).where(_LEAF.c.agency == agency, _LACKS_LINES)
        missing = select(_MISSING.c.seq).where(_MISSING.c.agency == agency)
        either = lost.union_all(missing).subquery()
        ends = select(func.min(either.c.seq).label("first"), func.max(either.c.seq).label("last"))
        row = (await self.read_rows(ends))[0]
        return None if row.first is None else (row.first, row.last)

    async def forget_recovered(self) -> None:
        bare = {"changes_frame": None, "contents_frame": None}
        async with self.writer.begin() as connection:
            await connection.execute(_LEAF.delete().where(or_(_LEAF.c.agency.is_(None), not_(_LACKS_LINES))))
            await connection.execute(_LEAF.update().values(bare))
            await connection.execute(_NOTE.delete())

    async def stop_wanting(self, index: int) -> None:
        async with self.writer.begin() as connection:
            await connection.execute(_LEAF.delete().where(_LEAF.c.idx == index))

    async def missing_sets(self, limit: int) -> list[MissingSet]:
        rows = await self.read_rows(select(_MISSING).order_by(_MISSING.c.idx).limit(limit))
        return [MissingSet(row.idx, row.agency, row.seq) for row in rows]

    async def fill_missing(self, stored: StoredSet, frames: tuple[bytes, bytes], erased: Sequence[bytes] = ()) -> bool:
        async with self.writer.begin() as connection:
            if (await connection.execute(_MISSING.delete().where(_MISSING.c.idx == stored.index))).rowcount != 1:
                return False
            await connection.execute(_CHANGES.insert().values(idx=stored.index, frame=frames[0]))
            await connection.execute(_CONTENTS.insert().values(idx=stored.index, frame=frames[1]))
            counts = {"hidden": stored.hidden, "erased": stored.erased}
            await connection.execute(update(_SET).where(_SET.c.idx == stored.index).values(counts))
            rows = [{"idx": stored.index, "leaf": leaf, "at_ms": stored.received_at_ms} for leaf in erased]
            if rows:
                await connection.execute(insert_unless_there(connection, _ERASED), rows)
            if stored.hidden == stored.erased:
                await connection.execute(_LEAF.delete().where(_LEAF.c.idx == stored.index))
        return True


def _row(leaf: RecoveredLeaf) -> dict[str, Any]:
    row = asdict(leaf)
    row["idx"] = row.pop("index")
    return row


def _leaf(row: Any) -> RecoveredLeaf:
    return RecoveredLeaf(row.idx, row.entry, row.agency, row.seq, row.changes_frame, row.contents_frame, row.hidden)
