"""The evidence of one complaint, as the hub can show it (protocol §12): signed lines, receipts, statements.

Nothing here is believed because the hub says it: whoever is handed the file verifies all of it by the log's key.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from node.hub.log import HubLog
from node.store.complaint_keys import complaint_of
from node.store.hub_records import StoredCheckpoint
from sync_protocol.change_set import parse_change_set
from sync_protocol.compression import decompress_part
from sync_protocol.errors import Corrupt, Unavailable
from sync_protocol.evidence import EVIDENCE_MAX_BYTES, EvidenceFile, EvidenceSet, EvidenceStatement
from sync_protocol.excerpt import OpenSet
from sync_protocol.limits import SET_MAX_BYTES

AT_ONCE: Final = 1  # of sets being opened: the largest takes 16 MiB and more while its lines are told apart
EXCERPTS_BYTES: Final = 32 * 1024 * 1024  # of excerpts kept: who gave up waiting for a long history finds it next time


@dataclass(frozen=True, slots=True)
class _Copy:
    """A set as it is stored. What it shows changes with one of the counts: lines are hidden for good, or filled in."""

    index: int
    hidden: int
    erased: int


class EvidenceMaker:
    """Puts evidence together, a set at a time, whoever asks. Belongs to one event loop."""

    def __init__(self, log: HubLog) -> None:
        self._log = log
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._open: tuple[_Copy, OpenSet] | None = None
        self._made: OrderedDict[tuple[object, ...], str] = OrderedDict()
        self._made_bytes = 0

    async def make(self, key: bytes, places: Sequence[tuple[int, int]], *, with_content: bool) -> EvidenceFile:
        """Of the complaint's changes at these places (log index, position), in order of the log.

        What was said is left out where all of it would be larger than an evidence file may be. Raises Unavailable
        while the lines of one of the sets are waited for.
        """
        published = self._log.published
        positions: dict[int, set[int]] = {}
        for index, position in places:
            positions.setdefault(index, set()).add(position)
        sets, agencies, is_whole = await self._sets(positions, published, with_content=with_content)
        if not is_whole:
            sets, agencies, _ = await self._sets(positions, published, with_content=False)
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
    ) -> tuple[list[EvidenceSet], set[str], bool]:
        """Also whether that is all: with what was said they end where they are too large for one file."""
        written = 0
        sets: list[EvidenceSet] = []
        agencies: set[str] = set()
        for index, at in positions.items():
            stored = await self._log.store.set_at(index)
            if stored is None:
                raise Corrupt(f"the projection names a set at log index {index}, and there is none")
            lines = await self._excerpt(_Copy(index, stored.hidden, stored.erased), at, with_content=with_content)
            sets.append(EvidenceSet(lines, await self._log.receipt(index, published)))
            agencies.add(stored.agency)
            written += written_bytes(sets[-1])
            if with_content and written > EVIDENCE_MAX_BYTES // 32 * 31:  # the rest is for the statements
                return sets, agencies, False
        return sets, agencies, True

    async def _excerpt(self, copy: _Copy, at: set[int], *, with_content: bool) -> str:
        """Of a set as it is stored now: of one whose words were erased since, nothing that was kept is shown."""
        key = (copy, tuple(sorted(at)), with_content)
        lines = self._made.get(key)
        if lines is None:
            async with self._turns:
                opened = await self._opened(copy)
                lines = (await asyncio.to_thread(opened.changes, at, with_content=with_content)).decode("utf-8")
            self._keep(key, lines)
        else:
            self._made.move_to_end(key)
        return lines

    async def _opened(self, copy: _Copy) -> OpenSet:
        """One at a time. Of a set that concerns somebody once, most often more concerns them."""
        if self._open is None or self._open[0] != copy:
            self._open = None
            parts = await self._log.store.set_parts(copy.index)
            if parts is None:
                raise Unavailable("the lines of a set were lost, and are waited for", retry_after_s=60)
            self._open = copy, await asyncio.to_thread(_open_parts, parts)
        return self._open[1]

    def _keep(self, key: tuple[object, ...], lines: str) -> None:
        if key not in self._made:
            self._made[key] = lines
            self._made_bytes += len(lines)
        while self._made_bytes > EXCERPTS_BYTES:
            self._made_bytes -= len(self._made.popitem(last=False)[1])


def _open_parts(parts: tuple[bytes, bytes]) -> OpenSet:
    """Runs in a thread."""
    head = decompress_part(parts[0])
    return OpenSet(parse_change_set(head, decompress_part(parts[1], SET_MAX_BYTES - len(head))))


def written_bytes(shown: EvidenceSet) -> int:
    """What it takes in an answer: a quotation mark or backslash takes two bytes there."""
    return len(msgspec.json.encode(shown))
