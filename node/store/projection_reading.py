"""What is asked of the projection, in words that SQLite and PostgreSQL both understand (node/hub/ports.py
ProjectionStore, the reading half). Each answer is one snapshot together with the cursor that it is as of.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Integer,
    Select,
    Text,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal,
    literal_column,
    select,
    text,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from node.deadlines.clocks import Duty
from node.deadlines.slot import SLOT_BITS, SLOT_MAX
from node.store.complaint_place import STATE_MAX, place_of
from node.store.hub_tables import table_of
from node.store.projection_records import ComplaintRow, Cursor, InboxRow, RefusedChange, TotalRow, TotalsWanted
from node.store.projection_sums import DUTY, NATIONAL, OPEN, PLAIN
from node.store.projection_tables import (
    IS_DUE,
    SLOT_OF_PLACE,
    ComplaintTable,
    CursorTable,
    GapTable,
    HeardTable,
    InboxTable,
    RefusedTable,
    TotalTable,
    TrackedTable,
    TrackedToTable,
)
from sync_protocol.inbox import Note

COMPLAINT: Final = table_of(ComplaintTable)
REFUSED: Final = table_of(RefusedTable)
INBOX: Final = table_of(InboxTable)
TOTAL: Final = table_of(TotalTable)
TRACKED: Final = table_of(TrackedTable)
TRACKED_TO: Final = table_of(TrackedToTable)
HEARD: Final = table_of(HeardTable)
GAP: Final = table_of(GapTable)
CURSOR: Final = table_of(CursorTable)
SAME_HASH_MAX: Final = 16  # a number that more complaints claim is somebody's mischief
FEW_MAX: Final = 5_000  # complaints of one agency that are sorted sooner than a country's are walked
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
        self,
        agency: int,
        states: Sequence[int],
        after: tuple[int, int] | None,
        limit: int,
        slots: tuple[int, int] = (0, SLOT_MAX),
    ) -> tuple[Cursor, list[ComplaintRow]]:
        async with self.readers.connect() as connection:
            cursor = await read_cursor(connection)
            rows = (
                await connection.execute(
                    _page(len(states), after is not None), _bounds(agency, states, after, limit, slots)
                )
            ).all()
        return cursor, [ComplaintRow(*row) for row in rows]

    async def complaints_minted(
        self, first: bytes, end: bytes, agency: int | None, states: Sequence[int], limit: int
    ) -> tuple[Cursor, list[ComplaintRow]]:
        key, place = COMPLAINT.c.key, COMPLAINT.c.place
        query = _ROWS.where(key >= first, key < end, _state_of(place).in_(states)).order_by(key.desc()).limit(limit)
        async with self.readers.connect() as connection:
            cursor = await read_cursor(connection)
            if agency is not None:
                query = await _of_agency(connection, query, agency)
            rows = (await connection.execute(query)).all()
        return cursor, [ComplaintRow(*row) for row in rows]

    async def overdue(
        self, last_slot: int, after: tuple[int, int] | None, limit: int
    ) -> tuple[Cursor, list[ComplaintRow]]:
        slot, number = (0, -1) if after is None else after
        async with self.readers.connect() as connection:
            cursor = await read_cursor(connection)
            values = {"slot": slot, "number": number, "last": last_slot, "rows": limit}
            rows = (await connection.execute(OVERDUE, values)).all()
        return cursor, [ComplaintRow(*row) for row in rows]

    async def duties(self, agencies: tuple[str, str], hour: str) -> tuple[Cursor, list[tuple[str, str, bool, int]]]:
        agency, key, is_over = TOTAL.c.agency, TOTAL.c.key, case((TOTAL.c.class_ <= hour, 1), else_=0).label("is_over")
        query = (
            select(agency, key, is_over, func.sum(TOTAL.c["count"]))
            .where(TOTAL.c.figure == DUTY, agency.between(*agencies))
            .group_by(agency, key, is_over)
            .order_by(agency, key, is_over)
        )
        async with self.readers.connect() as connection:
            cursor = await read_cursor(connection)
            rows = (await connection.execute(query)).all()
        return cursor, [(row[0], row[1], bool(row[2]), int(row[3])) for row in rows]

    async def gaps(self) -> list[tuple[str, int, int]]:
        async with self.readers.connect() as connection:
            rows = (await connection.execute(select(GAP).order_by(GAP.c.agency, GAP.c.from_ms))).all()
        return [(row.agency, row.from_ms, row.until_ms) for row in rows]

    async def tables_mark(self) -> bytes:
        async with self.readers.connect() as connection:
            return bytes((await connection.execute(select(CURSOR.c.tables_mark))).scalar_one() or b"")

    async def totals(self) -> tuple[Cursor, dict[str, int]]:
        cursor, rows = await self.figures(TotalsWanted())
        return cursor, {row.name: row.total for row in rows}

    async def figures(self, wanted: TotalsWanted) -> tuple[Cursor, list[TotalRow]]:
        async with self.readers.connect() as connection:
            cursor = await read_cursor(connection)
            rows = (await connection.execute(_totals(wanted))).all()
        return cursor, [TotalRow(row[0], row[1], row[2], row[3], int(row[4])) for row in rows]

    async def totals_json(self) -> tuple[Cursor, bytes]:
        figure, agency, key, class_, count = (TOTAL.c[name] for name in ("figure", "agency", "key", "class_", "count"))
        name = figure + "/" + agency + "/" + key + "/" + class_
        # Made by the database: some 34,000 members would keep the event loop busy for a tenth of a second.
        joined = func.json_object_agg if self.readers.dialect.name == "postgresql" else func.json_group_object
        query = select(cast(joined(name, count), Text)).where(figure.in_(PLAIN), count != 0)
        async with self.readers.connect() as connection:
            cursor = await read_cursor(connection)
            text = (await connection.execute(query)).scalar_one()
        return cursor, b"{}" if text is None else str(text).encode("ascii")

    async def open_complaints(self) -> dict[str, int]:
        query = select(TOTAL.c.agency, TOTAL.c["count"]).where(TOTAL.c.figure == OPEN)
        async with self.readers.connect() as connection:
            return {row[0]: row[1] for row in (await connection.execute(query)).all()}

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

    async def refused_id(self, index: int, position: int) -> str:
        query = select(REFUSED.c.change_id).where(REFUSED.c.idx == index, REFUSED.c.position == position)
        async with self.readers.connect() as connection:
            return (await connection.execute(query)).scalar_one_or_none() or ""

    async def refused_at(self, index: int) -> tuple[Cursor, set[int]]:
        query = select(REFUSED.c.position).where(REFUSED.c.idx == index)
        async with self.readers.connect() as connection:
            cursor = await read_cursor(connection)
            return cursor, set((await connection.execute(query)).scalars())

    async def inbox(self, agency: str, after: int, limit: int) -> tuple[Cursor, list[InboxRow]]:
        query = select(INBOX).where(INBOX.c.agency == agency, INBOX.c.place > after)
        async with self.readers.connect() as connection:
            cursor = await read_cursor(connection)
            rows = (await connection.execute(query.order_by(INBOX.c.place).limit(limit))).all()
        return cursor, [InboxRow(*row) for row in rows]

    async def told_since(self, place: int) -> set[str]:
        query = select(INBOX.c.agency).where(INBOX.c.place >= place).distinct()
        async with self.readers.connect() as connection:
            return set((await connection.execute(query)).scalars())

    async def history_told(self, agency: str, key: bytes, before: int) -> int | None:
        of_it = (INBOX.c.agency == agency, INBOX.c.key == key, INBOX.c.note == Note.HISTORY, INBOX.c.place < before)
        async with self.readers.connect() as connection:
            found: int | None = (await connection.execute(select(func.max(INBOX.c.place)).where(*of_it))).scalar()
        return found

    async def holders(self, key: bytes) -> set[str]:
        query = select(INBOX.c.agency).where(INBOX.c.key == key, INBOX.c.note != Note.REFUSED).distinct()
        async with self.readers.connect() as connection:
            return set((await connection.execute(query)).scalars())

    async def tracked_to(self) -> int:
        async with self.readers.connect() as connection:
            return int((await connection.execute(select(TRACKED_TO.c.size))).scalar_one())

    async def tracked(self, number_hash: int) -> list[bytes]:
        query = select(TRACKED.c.key).where(TRACKED.c.hash == number_hash).limit(SAME_HASH_MAX)
        async with self.readers.connect() as connection:
            return list((await connection.execute(query)).scalars())


# Spelt as the index is: both databases find it by that. What closes by itself is nobody's duty to escalate. Two walks,
# as below.
OVERDUE: Final = text(
    f"""
    WITH found (slot, number) AS (
      SELECT * FROM (SELECT {SLOT_OF_PLACE}, number FROM complaint WHERE {IS_DUE} AND {SLOT_OF_PLACE} = :slot
        AND number > :number AND place & 3 <> {Duty.CLOSE:d} ORDER BY {SLOT_OF_PLACE}, number LIMIT :rows) AS equal
      UNION ALL
      SELECT * FROM (SELECT {SLOT_OF_PLACE}, number FROM complaint WHERE {IS_DUE} AND {SLOT_OF_PLACE} > :slot
        AND {SLOT_OF_PLACE} <= :last AND place & 3 <> {Duty.CLOSE:d}
        ORDER BY {SLOT_OF_PLACE}, number LIMIT :rows) AS later),
    page AS (SELECT slot, number FROM found ORDER BY slot, number LIMIT :rows)
    SELECT complaint.key, place, state, pointers FROM page
    JOIN complaint ON complaint.number = page.number AND {SLOT_OF_PLACE} = page.slot AND {IS_DUE}
    ORDER BY page.slot, page.number
    """  # noqa: S608 - put together from constants
)
_ROWS: Final = select(COMPLAINT.c.key, COMPLAINT.c.place, COMPLAINT.c.state, COMPLAINT.c.pointers)


def _state_of(place: Column[Any]) -> ColumnElement[int]:
    """In the database's words what complaint_place.state_at says."""
    return place.op(">>")(literal_column(str(SLOT_BITS))).op("&")(literal_column(str(STATE_MAX)))


async def _of_agency(connection: AsyncConnection, query: Select[Any], agency: int) -> Select[Any]:
    """The query for one agency: of few complaints these are read, of many the keys are walked until there are enough.

    A planner cannot know which is shorter: it would walk the whole country's keys for an agency that has four.
    """
    place, number = COMPLAINT.c.place, COMPLAINT.c.number
    is_its = place.between(place_of(agency, 0, 0), place_of(agency + 1, 0, 0) - 1)
    its = select(place, number).where(is_its).limit(FEW_MAX + 1).subquery()
    count = (await connection.execute(select(func.count()).select_from(its))).scalar_one()
    if count > FEW_MAX:
        return query.where(is_its)
    return query.join(its, and_(place == its.c.place, number == its.c.number))


async def read_cursor(connection: AsyncConnection) -> Cursor:
    """The one row of its table."""
    row = (await connection.execute(select(CURSOR.c.size, CURSOR.c.state_hash, CURSOR.c.updated_at_ms))).one()
    return Cursor(*row)


@lru_cache(maxsize=32)
def _page(states: int, has_after: bool) -> Select[Any]:
    """The first of each state, read from the index alone, merged; then the rows of those that remain.

    Made once for each number of states: putting it together takes longer than answering it.
    """
    place, number, limit = COMPLAINT.c.place, COMPLAINT.c.number, bindparam("rows", type_=Integer)
    pieces = []
    for at in range(states):
        begin, end = bindparam(f"begin{at}", type_=BigInteger), bindparam(f"end{at}", type_=BigInteger)
        if has_after:
            # Apart, not as one comparison of pairs: each half is one walk along the index.
            pieces.append((place == begin, number > bindparam("number", type_=BigInteger)))
            pieces.append((place > begin, place <= end))
        else:
            pieces.append((place >= begin, place <= end))
    walks = [select(place, number).where(*piece).order_by(place, number).limit(limit).subquery() for piece in pieces]
    found = union_all(*(select(walk.c.place, walk.c.number) for walk in walks)).subquery()
    order = (found.c.place.op("&")(literal_column(str(SLOT_MAX))), found.c.number)
    first = select(found.c.place, found.c.number).order_by(*order).limit(limit).subquery()
    return _ROWS.join(first, and_(place == first.c.place, number == first.c.number)).order_by(
        place.op("&")(literal_column(str(SLOT_MAX))), number
    )


def _bounds(
    agency: int, states: Sequence[int], after: tuple[int, int] | None, limit: int, slots: tuple[int, int]
) -> dict[str, int]:
    """The parameters of `_page`."""
    slot, number = (slots[0], 0) if after is None else max(after, (slots[0], -1))
    bounds = {"rows": limit} if after is None else {"rows": limit, "number": number}
    for at, state in enumerate(states):
        bounds[f"begin{at}"] = place_of(agency, state, slot)
        bounds[f"end{at}"] = place_of(agency, state, slots[1])
    return bounds


def _totals(wanted: TotalsWanted) -> Select[Any]:
    """Every condition begins with the figure, because the table is sorted by it."""
    figure, agency, key, class_, count = (TOTAL.c[name] for name in ("figure", "agency", "key", "class_", "count"))
    if "agency" in wanted.summed:  # the sums over all agencies stand ready
        where, shown = [figure == NATIONAL, agency == wanted.figure], [agency, literal(SUMMED).label("whose")]
    else:
        where, shown = [figure.in_(PLAIN if wanted.figure is None else [wanted.figure])], [figure, agency]
    if wanted.agencies is not None:
        where.append(agency.between(*wanted.agencies))
    where += [column == word for column, word in ((key, wanted.key), (class_, wanted.class_)) if word is not None]
    words = [*shown, *(literal(SUMMED).label(c.name) if c.name in wanted.summed else c for c in (key, class_))]
    if not wanted.summed:
        return select(*words, count).where(*where).order_by(figure, agency, key, class_)
    kept = [figure, agency, *(column for column in (key, class_) if column.name not in wanted.summed)]
    return select(*words, func.sum(count)).where(*where).group_by(*kept).order_by(*kept)
