"""The evidence of one complaint, as the hub can show it (protocol §12): signed lines, receipts, statements.

Nothing here is believed because the hub says it: whoever is handed the file verifies all of it by the log's key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from node.hub.log import HubLog
from node.store.complaint_keys import complaint_of
from node.store.hub_records import StoredCheckpoint
from sync_protocol.change_set import parse_change_set
from sync_protocol.compression import decompress_part
from sync_protocol.errors import Corrupt, Unavailable
from sync_protocol.evidence import EVIDENCE_MAX_BYTES, EvidenceFile, EvidenceSet, EvidenceStatement
from sync_protocol.excerpt import excerpt_changes
from sync_protocol.limits import SET_MAX_BYTES

AT_ONCE: Final = 2  # of sets being opened: the largest takes 16 MiB and more while its lines are told apart


class EvidenceMaker:
    """Puts evidence together, few at a time. Belongs to one event loop."""

    def __init__(self, log: HubLog) -> None:
        self._log = log
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def make(self, key: bytes, places: Sequence[tuple[int, int]], *, with_content: bool) -> EvidenceFile:
        """Of the complaint's changes at these places (log index, position), in order of the log.

        What was said is left out where all of it would be larger than an evidence file may be. Raises Unavailable
        while the lines of one of the sets are waited for.
        """
        published = self._log.published
        positions: dict[int, set[int]] = {}
        for index, position in places:
            positions.setdefault(index, set()).add(position)
        async with self._turns:
            sets, agencies = await self._sets(positions, published, with_content=with_content)
            if with_content and sum(len(one.lines) for one in sets) > EVIDENCE_MAX_BYTES:
                sets, agencies = await self._sets(positions, published, with_content=False)
        roster = self._log.roster
        statements = [
            EvidenceStatement(logged.jws.text, await self._log.receipt(logged.index, published))
            for logged in roster.statements_for(*sorted(agencies))
            if logged.index < published.size
        ]
        return EvidenceFile(
            origin=roster.origin,
            vkey=roster.log_key_at(published.size).format(),
            complaint=str(complaint_of(key)),
            statements=statements,
            sets=sets,
        )

    async def _sets(
        self, positions: dict[int, set[int]], published: StoredCheckpoint, *, with_content: bool
    ) -> tuple[list[EvidenceSet], set[str]]:
        sets: list[EvidenceSet] = []
        agencies: set[str] = set()
        for index, at in positions.items():
            stored, parts = await self._log.store.set_at(index), await self._log.store.set_parts(index)
            if stored is None:
                raise Corrupt(f"the projection names a set at log index {index}, and there is none")
            if parts is None:
                raise Unavailable("the lines of a set were lost, and are waited for", retry_after_s=60)
            lines = await asyncio.to_thread(_excerpt, parts, at, with_content)
            sets.append(EvidenceSet(lines, await self._log.receipt(index, published)))
            agencies.add(stored.agency)
        return sets, agencies


def _excerpt(parts: tuple[bytes, bytes], positions: set[int], with_content: bool) -> str:
    head = decompress_part(parts[0])
    change_set = parse_change_set(head, decompress_part(parts[1], SET_MAX_BYTES - len(head)))
    return excerpt_changes(change_set, positions, with_content=with_content).decode("utf-8")
