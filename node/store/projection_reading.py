"""What is asked of the projection, in words that SQLite and PostgreSQL both understand (node/hub/ports.py
ProjectionStore, the reading half). Each answer is one snapshot together with the cursor that it is as of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Select, and_, func, literal, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from node.store.complaint_place import SLOT_MAX, place_of
from node.store.hub_tables import table_of
from node.store.projection_records import ComplaintRow, Cursor, RefusedChange, TotalRow, TotalsWanted
from node.store.projection_tables import ComplaintTable, CursorTable, HeardTable, RefusedTable, TotalTable

COMPLAINT: Final = table_of(ComplaintTable)
REFUSED: Final = table_of(RefusedTable)
TOTAL: Final = table_of(TotalTable)
HEARD: Final = table_of(HeardTable)
CURSOR: Final = table_of(CursorTable)
SUMMED: Final = "*"  # stands in the place of a word over which was added up


class ProjectionReading:
    """The queries; `readers` cannot write."""

    def __init__(self, readers: AsyncEngine) -> None:
        self.readers = readers

    async def cursor(self) -> Cursor:
        async with self.readers.connect() as connection:
            return await read_cursor(connection)

    async def complaint(self, key: bytes) -> tuple[Cursor, ComplaintRow | None]:
        async with self.readers.connect() as connection:
            cursor = await read_cursor(connection)
            row = (await connection.execute(_ROWS.where(COMPLAINT.c.key == key))).first()
        return cursor, None if row is None else ComplaintRow(*row)

    async def complaints_of(
        self, agency: int, states: Sequence[int], after: tuple[int, int] | None, limit: int
    ) -> tuple[Cursor, list[ComplaintRow]]:
        async with self.readers.connect() as connection:
            cursor = await read_cursor(connection)
            rows = (await connection.execute(_page(agency, states, after, limit))).all()
        return cursor, [ComplaintRow(*row) for row in rows]

    async def totals(self) -> tuple[Cursor, dict[str, int]]:
        cursor, rows = await self.figures(TotalsWanted())
        return cursor, {row.name: row.total for row in rows}

    async def figures(self, wanted: TotalsWanted) -> tuple[Cursor, list[TotalRow]]:
        async with self.readers.connect() as connection:
            cursor = await read_cursor(connection)
            rows = (await connection.execute(_totals(wanted))).all()
        return cursor, [TotalRow(row[0], row[1], row[2], row[3], int(row[4])) for row in rows]

    async def last_heard(self) -> dict[str, int | None]:
        return (await self.heard())[1]

    async def heard(self) -> tuple[Cursor, dict[str, int | None]]:
        async with self.readers.connect() as connection:
            cursor = await read_cursor(connection)
            return cursor, {row.agency: row.tick_ms for row in (await connection.execute(select(HEARD)))}

    async def refused(self, agency: str, from_seq: int, to_seq: int) -> list[RefusedChange]:
        query = (
            select(REFUSED)
            .where(REFUSED.c.agency == agency, REFUSED.c.seq >= from_seq, REFUSED.c.seq <= to_seq)
            .order_by(REFUSED.c.idx, REFUSED.c.position)
        )
        async with self.readers.connect() as connection:
            rows = (await connection.execute(query)).all()
        return [RefusedChange(r.idx, r.position, r.agency, r.seq, r.change_id, r.verdict) for r in rows]


_ROWS: Final = select(COMPLAINT.c.key, COMPLAINT.c.place, COMPLAINT.c.state, COMPLAINT.c.pointers)


async def read_cursor(connection: AsyncConnection) -> Cursor:
    """The one row of its table."""
    row = (await connection.execute(select(CURSOR.c.size, CURSOR.c.state_hash, CURSOR.c.updated_at_ms))).one()
    return Cursor(*row)


def _page(agency: int, states: Sequence[int], after: tuple[int, int] | None, limit: int) -> Select[Any]:
    """The first `limit` of each state, read from the index alone, merged; then the rows of those that remain."""
    place, number = COMPLAINT.c.place, COMPLAINT.c.number
    pieces = []
    for state in states:
        last = place_of(agency, state, SLOT_MAX)
        if after is None:
            pieces.append((place >= place_of(agency, state, 0), place <= last))
        else:
            begin = place_of(agency, state, after[0])
            # Apart, not as one comparison of pairs: each half is one walk along the index.
            pieces += [(place == begin, number > after[1]), (place > begin, place <= last)]
    walks = [select(place, number).where(*piece).order_by(place, number).limit(limit).subquery() for piece in pieces]
    found = union_all(*(select(walk.c.place, walk.c.number) for walk in walks)).subquery()
    slot = found.c.place.op("&")(literal(SLOT_MAX))
    first = select(found.c.place, found.c.number).order_by(slot, found.c.number).limit(limit).subquery()
    return (
        _ROWS.join(first, and_(place == first.c.place, number == first.c.number))
        .order_by(place.op("&")(literal(SLOT_MAX)), number)
    )  # fmt: skip


def _totals(wanted: TotalsWanted) -> Select[Any]:
    words = {name: TOTAL.c[name] for name in ("agency", "figure", "key", "class_")}
    conditions = [
        column == getattr(wanted, name) for name, column in words.items() if getattr(wanted, name) is not None
    ]
    if not wanted.summed:
        return select(*words.values(), TOTAL.c["count"]).where(*conditions).order_by(*words.values())
    kept = [column for name, column in words.items() if name not in wanted.summed]
    shown = [literal(SUMMED).label(name) if name in wanted.summed else column for name, column in words.items()]
    return select(*shown, func.sum(TOTAL.c["count"])).where(*conditions).group_by(*kept).order_by(*kept)
