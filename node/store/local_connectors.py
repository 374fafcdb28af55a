"""What other systems were told, in a local node's store (node/channels/connector/webhooks.py ConnectorStore)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from node.store.local_base import LocalBase, fetch, in_bunches, unpack_state
from node.store.local_records import HeldComplaint

_OTHERS: Final = ":others"  # behind a system's name, which has no colon
_TOLD: Final = "SELECT told_no FROM connector WHERE system = ?"
_MARKS: Final = "SELECT system, told_no FROM connector WHERE system IN (?, ?)"
_MOVE: Final = (
    "INSERT INTO connector (system, told_no) VALUES (?, ?)"
    " ON CONFLICT (system) DO UPDATE SET told_no = max(told_no, excluded.told_no)"
)
_LAST: Final = "SELECT max(no) FROM (SELECT no FROM change WHERE no > ? ORDER BY no LIMIT ?)"
# Numbered by SQLite in the order of insertion; a row that shows more later keeps its number.
_LAST_FOREIGN: Final = (
    "SELECT max(no) FROM (SELECT rowid AS no FROM foreign_set WHERE rowid > ? ORDER BY rowid LIMIT ?)"
)
_CHANGED: Final = """
SELECT no, key, packed, changed_at_ms FROM complaint WHERE source_system = ?5 AND no IN (
    SELECT complaint_no FROM change WHERE no > ?1 AND no <= ?2
    UNION SELECT complaint_no FROM foreign_set WHERE rowid > ?3 AND rowid <= ?4) ORDER BY no
"""
_IDS: Final = "SELECT change_id FROM connector_told WHERE system = ? AND change_id IN ({})"
_NOTE: Final = "INSERT INTO connector_told (system, change_id) VALUES (?, ?) ON CONFLICT DO NOTHING"


async def marks_of(store: LocalBase, names: tuple[str, str]) -> tuple[int, int]:
    """How far was looked under each of the names; 0 in the beginning."""
    held = dict(await store.fetch(_MARKS, *names))
    return int(held.get(names[0], 0)), int(held.get(names[1], 0))


async def move_marks(store: LocalBase, names: tuple[str, str], after: tuple[int, int]) -> None:
    """Both at once; neither moves back."""
    async with store.writing() as connection:
        for name, number in zip(names, after, strict=True):
            await fetch(connection, _MOVE, (name, number))


class LocalConnectors(LocalBase):
    """See ConnectorStore."""

    async def told_to(self, system: str) -> int:
        found = await self.fetch(_TOLD, system)
        return int(found[0][0]) if found else 0

    async def move_told(self, system: str, no: int) -> None:
        async with self.writing() as connection:
            await fetch(connection, _MOVE, (system, no))

    async def looked_to(self, system: str) -> tuple[int, int]:
        return await marks_of(self, (system, system + _OTHERS))

    async def move_looked_to(self, system: str, after: tuple[int, int]) -> None:
        await move_marks(self, (system, system + _OTHERS), after)

    async def changed_since(
        self, system: str, after: tuple[int, int], limit: int
    ) -> tuple[list[HeldComplaint], tuple[int, int]]:
        own = (await self.fetch(_LAST, after[0], limit))[0][0]
        foreign = (await self.fetch(_LAST_FOREIGN, after[1], limit))[0][0]
        last = (after[0] if own is None else int(own), after[1] if foreign is None else int(foreign))
        if last == after:
            return [], after
        rows = await self.fetch(_CHANGED, after[0], last[0], after[1], last[1], system)
        return [HeldComplaint(no, key, unpack_state(packed), at_ms) for no, key, packed, at_ms in rows], last

    async def told_of(self, system: str, change_ids: Sequence[str]) -> set[str]:
        told: set[str] = set()
        for bunch in in_bunches(change_ids):
            query = _IDS.format(", ".join("?" * len(bunch)))
            told.update(row[0] for row in await self.fetch(query, system, *bunch))
        return told

    async def note_told(self, system: str, change_id: str) -> None:
        async with self.writing() as connection:
            await fetch(connection, _NOTE, (system, change_id))
