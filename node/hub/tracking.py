"""Which complaint a tracking number is of, and what is shown of it to whoever has the number (protocol §7.7).

Numbers are read out of the log behind the fold, when it has nothing to do: they would cost it an index into which every
new complaint falls at random. What the fold made of the complaint decides what is shown, never the line that claims a
number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from node.hub.folding import unpack_state
from node.hub.log import HubLog
from node.hub.projection_ports import ProjectionStore
from node.ports import Clock
from node.store.complaint_keys import complaint_key
from node.store.complaint_place import slot_at
from node.store.hub_records import LogLeaf
from node.store.projection_records import ComplaintRow, Cursor, read_pointers
from node.tracked import HISTORY_MAX, Tracked, TrackedChange
from sync_protocol.complaint_state import ComplaintState
from sync_protocol.compression import decompress_part
from sync_protocol.errors import Corrupt, Refused, Unavailable
from sync_protocol.line import parse_change
from sync_protocol.values import parse_tracking

BATCH_BYTES: Final = 1024 * 1024  # compressed, read at one time
BEHIND_MAX: Final = 1_000  # sets whose numbers are not read yet: some seconds of a busy day, not a log read anew
BEHIND_RETRY_S: Final = 60.0
OPEN_AT_ONCE: Final = 2  # sets being opened for people who ask: the largest takes 16 MiB
_NUMBER: Final = b'"tracking":"'


class Tracker:
    """Belongs to one event loop."""

    def __init__(self, log: HubLog, projection: ProjectionStore, clock: Clock) -> None:
        self._log = log
        self._projection = projection
        self._clock = clock
        self._opening = asyncio.Semaphore(OPEN_AT_ONCE)

    async def step(self, size: int) -> bool:
        """Reads on, as far as `size` leaves at most; False if nothing is left, or somebody else is at it."""
        begins = await self._projection.tracked_to()
        if begins >= size:
            return False
        leaves = await self._log.store.leaves(begins, size, BATCH_BYTES)
        if not leaves:
            return False
        numbers = await asyncio.to_thread(_numbers_in, leaves)
        try:
            await self._projection.track(begins, leaves[-1].index + 1, numbers)
        except Unavailable:
            return False
        return True

    async def find(self, text: str) -> Tracked:
        """The complaint of a number as a person types it. Raises Refused: malformed, not-found.

        Unavailable, where the query tables are being made anew and nobody can say that there is none.
        """
        tracking = parse_tracking(text)
        found = await self._first(tracking)
        if found is None:
            if self._log.size - await self._projection.tracked_to() > BEHIND_MAX:
                raise Unavailable("the numbers of the log are being read again", retry_after_s=BEHIND_RETRY_S)
            raise Refused("not-found", "there is no complaint of that number", where="number")
        cursor, row = found
        state = unpack_state(row.state)
        history = await self._history(list(read_pointers(row.pointers))[-HISTORY_MAX:], state)
        now_ms, as_of_ms = self._clock.now_ms(), cursor.updated_at_ms
        return Tracked.of(state, slot_at(row.place), history, now_ms=now_ms, as_of_ms=as_of_ms)

    async def _first(self, tracking: str) -> tuple[Cursor, ComplaintRow] | None:
        """Of several that have the number the one that had it first: nobody hides another's by claiming it."""
        rows = [await self._projection.complaint(key) for key in await self._projection.tracked(hash_of(tracking))]
        having = [(cursor, row) for cursor, row in rows if row and unpack_state(row.state).tracking == tracking]
        return min(having, key=lambda found: found[1].number, default=None)

    async def _history(self, places: Sequence[tuple[int, int]], state: ComplaintState) -> list[TrackedChange]:
        """What was done, when and by which agency; what was said is its owner's to tell."""
        positions: dict[int, list[int]] = {}
        for index, position in places:
            positions.setdefault(index, []).append(position)
        found: list[TrackedChange] = []
        store = self._log.store
        for index, at in positions.items():
            async with self._opening:
                stored, leaves = await store.set_at(index), await store.leaves(index, index + 1, BATCH_BYTES)
                frame = leaves[0].changes_frame if leaves else None  # without what was said
                if stored is None or frame is None:
                    raise Unavailable(f"the lines of a set of {state.owner} are waited for", retry_after_s=60)
                lines = await asyncio.to_thread(_lines_at, frame, at)
            found += [_shown(line, stored.agency) for line in lines]
        return found


def hash_of(tracking: str) -> int:
    """63 bits of a number in its one spelling."""
    return int.from_bytes(sha256(tracking.encode("ascii")).digest()[:8], "big") >> 1


def _numbers_in(leaves: Sequence[LogLeaf]) -> list[tuple[int, bytes]]:
    """Of every line that claims one. Runs in a thread."""
    numbers: list[tuple[int, bytes]] = []
    for leaf in leaves:
        if leaf.changes_frame is None:
            continue
        for line in decompress_part(leaf.changes_frame).split(b"\n"):
            if _NUMBER in line:
                numbers += _number_in(line)
    return numbers


def _number_in(line: bytes) -> list[tuple[int, bytes]]:
    try:
        change = parse_change(line)
    except Refused:
        return []  # the fold has called it malformed
    tracking = getattr(change.data, "tracking", None)
    return [(hash_of(tracking), complaint_key(change.complaint))] if isinstance(tracking, str) else []


def _lines_at(frame: bytes, positions: Sequence[int]) -> list[bytes]:
    lines = decompress_part(frame).split(b"\n")[1:-1]
    return [lines[position] for position in positions]


def _shown(line: bytes, agency: str) -> TrackedChange:
    try:
        change = parse_change(line)
    except Refused as refused:
        raise Corrupt(f"a change that was applied cannot be read: {refused}") from refused
    return TrackedChange(type=change.type, at=change.at, agency=agency, text=None)
