"""What others did to complaints that are held here, in a local node's store (node/local/ports.py LocalTransaction)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from node.store.local_base import LocalBase, fetch, in_bunches
from node.store.local_recording import INSERT_ERASURE
from node.store.shared_records import ForeignSet, OwnLine, Refusal, SharedComplaint

_OWN: Final = """
SELECT change.line, covering.idx << 16 | change.no - covering.first_no, refusal.place IS NOT NULL
FROM change
LEFT JOIN change_set AS covering ON covering.id = (
    SELECT id FROM change_set WHERE first_no <= change.no AND last_no >= change.no AND status <> 2
    ORDER BY first_no DESC LIMIT 1)
LEFT JOIN refusal ON refusal.place = covering.idx << 16 | change.no - covering.first_no
WHERE change.complaint_no = (SELECT no FROM complaint WHERE key = ?) ORDER BY change.no
"""
_FOREIGN: Final = "SELECT idx, agency, seq, lines, receipt FROM foreign_set WHERE complaint_no = ? ORDER BY idx"
_FOREIGN_BY_KEY: Final = _FOREIGN.replace("= ?", "= (SELECT no FROM complaint WHERE key = ?)")
_PUT_FOREIGN: Final = """
INSERT INTO foreign_set (complaint_no, idx, agency, seq, lines, receipt)
SELECT no, ?, ?, ?, ?, ? FROM complaint WHERE key = ?
ON CONFLICT (complaint_no, idx) DO UPDATE SET lines = excluded.lines, receipt = excluded.receipt
"""
# A change to a complaint that was not here has number 0 for it: found again in its line, where the id stands whole.
_ADOPT_ORPHANS: Final = """
UPDATE change SET complaint_no = (SELECT no FROM complaint WHERE key = ?1)
WHERE complaint_no = 0 AND instr(line, ?2) > 0
"""
_REFUSE: Final = """
INSERT INTO refusal (place, complaint_no, change_id, verdict, at_ms)
VALUES (?, coalesce((SELECT no FROM complaint WHERE key = ?), 0), ?, ?, ?) ON CONFLICT (place) DO NOTHING
"""
_WITH_OTHERS: Final = """
SELECT DISTINCT complaint.key FROM complaint JOIN foreign_set ON foreign_set.complaint_no = complaint.no
WHERE complaint.key IN ({})
"""
_SHARED: Final = """
SELECT complaint_no FROM foreign_set WHERE complaint_no IN ({0})
UNION SELECT complaint_no FROM refusal WHERE complaint_no IN ({0})
"""
SHARED_MAX: Final = 500  # complaints in one query, each named twice: SQLite takes some thousand parameters
_OWN_LINE: Final = """
SELECT change.line FROM change_set JOIN change ON change.no = change_set.first_no + ?2
WHERE change_set.idx = ?1 AND change_set.status <> 2 AND change.no <= change_set.last_no
"""
_UNSETTLED: Final = "SELECT key FROM complaint WHERE is_unsettled ORDER BY no"
_REFUSALS: Final = """
SELECT refusal.place, complaint.key, refusal.change_id, refusal.verdict, refusal.at_ms
FROM refusal LEFT JOIN complaint ON complaint.no = refusal.complaint_no ORDER BY refusal.place DESC LIMIT ?
"""
_COUNT_REFUSALS: Final = "SELECT count(*) FROM (SELECT 1 FROM refusal LIMIT ?)"
_COUNT_OFFERED: Final = "SELECT count(*) FROM (SELECT 1 FROM complaint WHERE offered_to = ? LIMIT ?)"


class SqlInboxTransaction:
    """The part of a write transaction that takes in what the hub tells."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def shared(self, key: bytes) -> SharedComplaint:
        own = await fetch(self._connection, _OWN, (key,))
        foreign = await fetch(self._connection, _FOREIGN_BY_KEY, (key,))
        return SharedComplaint(
            [OwnLine(line, place, bool(is_refused)) for line, place, is_refused in own],
            [ForeignSet(*row) for row in foreign],
        )

    async def with_others(self, keys: Collection[bytes]) -> set[bytes]:
        found: set[bytes] = set()
        for bunch in in_bunches(keys):
            query = _WITH_OTHERS.format(", ".join("?" * len(bunch)))
            found.update(row[0] for row in await fetch(self._connection, query, bunch))
        return found

    async def own_line(self, place: int) -> bytes | None:
        found = await fetch(self._connection, _OWN_LINE, (place >> 16, place & 0xFFFF))
        return found[0][0] if found else None

    async def put_foreign(self, key: bytes, sets: Sequence[ForeignSet]) -> None:
        for one in sets:
            values = (one.index, one.agency, one.seq, one.lines, one.receipt, key)
            await fetch(self._connection, _PUT_FOREIGN, values)

    async def adopt_orphans(self, key: bytes, complaint: str) -> None:
        named = b'"complaint":"%b"' % complaint.encode("ascii")
        await fetch(self._connection, _ADOPT_ORPHANS, (key, named))

    async def refuse(self, refusals: Sequence[Refusal]) -> None:
        for one in refusals:
            await fetch(self._connection, _REFUSE, (one.place, one.key, one.change_id, one.verdict, one.at_ms))

    async def note_erasures(self, key: bytes, leaves: Collection[bytes]) -> None:
        for leaf in leaves:
            await fetch(self._connection, INSERT_ERASURE, (leaf, key))

    async def mark_unsettled(self, key: bytes, *, is_unsettled: bool) -> None:
        await fetch(self._connection, "UPDATE complaint SET is_unsettled = ? WHERE key = ?", (is_unsettled, key))

    async def unsettled(self) -> list[bytes]:
        return [row[0] for row in await fetch(self._connection, _UNSETTLED)]

    async def inbox_place(self) -> int:
        return int((await fetch(self._connection, "SELECT inbox_place FROM node"))[0][0])

    async def move_inbox(self, place: int) -> None:
        await fetch(self._connection, "UPDATE node SET inbox_place = ?", (place,))


class LocalInbox(LocalBase):
    """What is asked of it."""

    async def inbox_place(self) -> int:
        return int((await self.fetch("SELECT inbox_place FROM node"))[0][0])

    async def has_unsettled(self) -> bool:
        return bool(await self.fetch("SELECT 1 FROM complaint WHERE is_unsettled LIMIT 1"))

    async def foreign_sets(self, complaint_no: int) -> list[ForeignSet]:
        return [ForeignSet(*row) for row in await self.fetch(_FOREIGN, complaint_no)]

    async def shared_among(self, complaint_nos: Collection[int]) -> set[int]:
        numbers, found = sorted(complaint_nos), set[int]()
        for start in range(0, len(numbers), SHARED_MAX):
            some = numbers[start : start + SHARED_MAX]
            query = _SHARED.format(",".join("?" * len(some)))
            found.update(int(row[0]) for row in await self.fetch(query, *some, *some))
        return found

    async def refusals(self, limit: int) -> list[Refusal]:
        return [Refusal(*row) for row in await self.fetch(_REFUSALS, limit)]

    async def count_refusals(self, at_most: int) -> int:
        return int((await self.fetch(_COUNT_REFUSALS, at_most))[0][0])

    async def count_offered(self, agency: str, at_most: int) -> int:
        return int((await self.fetch(_COUNT_OFFERED, agency, at_most))[0][0])
