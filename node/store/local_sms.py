"""Which reporters were told by SMS, in a local node's store (node/channels/sms_answers.py ToldStore)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from node.store.local_base import LocalBase, fetch, in_bunches, unpack_state
from node.store.local_connectors import marks_of, move_marks
from node.store.local_records import HeldComplaint

_MARKS: Final = ("sms:changes", "sms:foreign")  # in the table of other systems; no system's name has a colon
_CHANGES: Final = "SELECT no, complaint_no, line FROM change WHERE no > ? ORDER BY no LIMIT ?"
# Numbered by SQLite in the order of insertion; a row that shows more later keeps its number.
_FOREIGN: Final = "SELECT rowid, complaint_no, lines FROM foreign_set WHERE rowid > ? ORDER BY rowid LIMIT ?"
_COMPLAINTS: Final = "SELECT no, key, packed, changed_at_ms FROM complaint WHERE no IN ({}) ORDER BY no"
_TOLD: Final = "SELECT change_id FROM sms_told WHERE change_id IN ({})"
_NOTE: Final = "INSERT INTO sms_told (change_id, at_ms) VALUES (?, ?) ON CONFLICT (change_id) DO NOTHING"


class LocalSms(LocalBase):
    """See ToldStore."""

    async def sms_looked_to(self) -> tuple[int, int]:
        return await marks_of(self, _MARKS)

    async def move_sms_looked_to(self, after: tuple[int, int]) -> None:
        await move_marks(self, _MARKS, after)

    async def answered_since(
        self, after: tuple[int, int], types: Collection[str], limit: int
    ) -> tuple[list[HeldComplaint], tuple[int, int]]:
        changes = await self.fetch(_CHANGES, after[0], limit)
        foreign = await self.fetch(_FOREIGN, after[1], limit)
        ends = [b'"type":"%b"}\n' % one.encode("ascii") for one in types]
        found = {no for _, no, lines in [*changes, *foreign] if any(end in lines + b"\n" for end in ends)}
        last = (changes[-1][0] if changes else after[0], foreign[-1][0] if foreign else after[1])
        rows: list[Any] = []
        for bunch in in_bunches(sorted(found)):
            rows += await self.fetch(_COMPLAINTS.format(", ".join("?" * len(bunch))), *bunch)
        return [HeldComplaint(no, key, unpack_state(packed), at_ms) for no, key, packed, at_ms in rows], last

    async def told_by_sms(self, change_ids: Sequence[str]) -> set[str]:
        told: set[str] = set()
        for bunch in in_bunches(change_ids):
            query = _TOLD.format(", ".join("?" * len(bunch)))
            told.update(row[0] for row in await self.fetch(query, *bunch))
        return told

    async def note_told_by_sms(self, change_id: str, at_ms: int) -> None:
        async with self.writing() as connection:
            await fetch(connection, _NOTE, (change_id, at_ms))
