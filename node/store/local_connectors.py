"""How far other systems were told, in a local node's store (node/channels/connector/webhooks.py ConnectorStore)."""

from __future__ import annotations

from typing import Final

from node.store.local_base import LocalBase, fetch
from node.store.local_records import SourcedChange
from sync_protocol.complaint import State

_TOLD: Final = "SELECT told_no FROM connector WHERE system = ?"
_MOVE: Final = (
    "INSERT INTO connector (system, told_no) VALUES (?, ?)"
    " ON CONFLICT (system) DO UPDATE SET told_no = max(told_no, excluded.told_no)"
)
_LAST: Final = "SELECT max(no) FROM (SELECT no FROM change WHERE no > ? ORDER BY no LIMIT ?)"
_SOURCED: Final = """
SELECT change.no, complaint.key, complaint.tracking, complaint.source_id, complaint.state, change.line, change.content
FROM change JOIN complaint ON complaint.no = change.complaint_no
WHERE change.no > ? AND change.no <= ? AND complaint.source_system = ? ORDER BY change.no
"""


class LocalConnectors(LocalBase):
    """See ConnectorStore."""

    async def told_to(self, system: str) -> int:
        found = await self.fetch(_TOLD, system)
        return int(found[0][0]) if found else 0

    async def move_told(self, system: str, no: int) -> None:
        async with self.writing() as connection:
            await fetch(connection, _MOVE, (system, no))

    async def sourced_changes(self, system: str, after_no: int, limit: int) -> tuple[list[SourcedChange], int]:
        last = (await self.fetch(_LAST, after_no, limit))[0][0]
        if last is None:
            return [], after_no
        rows = await self.fetch(_SOURCED, after_no, last, system)
        changes = [
            SourcedChange(no, key, tracking, source_id, State(state).label, line, content)
            for no, key, tracking, source_id, state, line, content in rows
        ]
        return changes, int(last)
