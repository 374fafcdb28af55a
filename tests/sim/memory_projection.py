"""The hub's query tables in memory (node/hub/ports.py ProjectionStore), with a step boundary at each transaction.

It passes the contract suite that the databases pass (tests/store/test_projection_store.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from node.deadlines.clocks import Duty
from node.deadlines.slot import SLOT_MAX
from node.store.complaint_place import place_of, slot_at, state_at
from node.store.projection_reading import SAME_HASH_MAX, SUMMED
from node.store.projection_records import (
    ComplaintRow,
    Cursor,
    InboxRow,
    ProjectionStep,
    RefusedChange,
    TotalRow,
    TotalsWanted,
    step_is_stale,
    tracking_is_stale,
)
from node.store.projection_sums import COMPLAINTS, DUTY, OPEN_STATES, PLAIN
from sync_protocol.inbox import Note
from tests.sim.disk import Mount
from tests.sim.hub_state import UniqueViolation


@dataclass
class ProjectionState:
    """Complaints by key, figures by name."""

    cursor: Cursor = field(default_factory=Cursor)
    complaints: dict[bytes, ComplaintRow] = field(default_factory=dict)
    refused: list[RefusedChange] = field(default_factory=list)
    totals: dict[str, int] = field(default_factory=dict)
    heard: dict[str, int | None] = field(default_factory=dict)
    inbox: dict[tuple[str, int], InboxRow] = field(default_factory=dict)
    tracked: dict[tuple[int, bytes], None] = field(default_factory=dict)
    tracked_to: int = 0
    gaps: list[tuple[str, int, int]] = field(default_factory=list)
    mark: bytes = b""

    def copy(self) -> ProjectionState:
        rows = (dict(self.complaints), list(self.refused), dict(self.totals), dict(self.heard), dict(self.inbox))
        return ProjectionState(self.cursor, *rows, dict(self.tracked), self.tracked_to, list(self.gaps), self.mark)

    def add_rows(self, step: ProjectionStep) -> None:
        """Everything of a step but the cursor."""
        for row in step.born:
            if row[0] in self.complaints:
                raise UniqueViolation("unique: a complaint is born twice")
            self.complaints[row[0]] = ComplaintRow(*row)
        for key, place, state, pointers in step.changed:
            before = self.complaints[key]
            self.complaints[key] = ComplaintRow(key, place, state, before.pointers + pointers)
        self.refused += step.refused
        for name, count in step.totals.items():
            self.totals[name] = self.totals.get(name, 0) + count
        self.heard.update(step.last_heard)
        for told in step.inbox:
            if (told.agency, told.place) in self.inbox:
                raise UniqueViolation("unique: an agency is told twice of one change")
            self.inbox[told.agency, told.place] = told
        self.gaps += step.gaps


class MemoryProjectionStore:
    """See ProjectionStore. One process's view of a disk."""

    def __init__(self, mount: Mount[ProjectionState]) -> None:
        self._mount = mount

    async def cursor(self) -> Cursor:
        return (await self._mount.read()).cursor

    async def load(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        complaints = (await self._mount.read()).complaints
        return {key: complaints[key].state for key in keys if key in complaints}

    async def commit(self, step: ProjectionStep) -> None:
        async with self._mount.writing("commit") as draft:
            if draft.cursor.size != step.begins:
                raise step_is_stale(step)
            draft.add_rows(step)
            draft.cursor = step.cursor

    async def complaint(self, key: bytes) -> tuple[Cursor, ComplaintRow | None]:
        state = await self._mount.read()
        return state.cursor, state.complaints.get(key)

    async def complaints_of(
        self,
        agency: int,
        states: Sequence[int],
        after: tuple[int, int] | None,
        limit: int,
        slots: tuple[int, int] = (0, SLOT_MAX),
    ) -> tuple[Cursor, list[ComplaintRow]]:
        state = await self._mount.read()
        ranges = [(place_of(agency, one, slots[0]), place_of(agency, one, slots[1])) for one in states]
        rows = [row for row in state.complaints.values() if any(a <= row.place <= b for a, b in ranges)]
        return state.cursor, _page(rows, after, limit)

    async def overdue(
        self, last_slot: int, after: tuple[int, int] | None, limit: int
    ) -> tuple[Cursor, list[ComplaintRow]]:
        state = await self._mount.read()
        rows = [row for row in state.complaints.values() if slot_at(row.place) <= last_slot]
        return state.cursor, _page([row for row in rows if row.place & 3 != Duty.CLOSE], after, limit)

    async def duties(self, agencies: tuple[str, str], hour: str) -> tuple[Cursor, list[tuple[str, str, bool, int]]]:
        state = await self._mount.read()
        sums: dict[tuple[str, str, bool], int] = {}
        for name, count in state.totals.items():
            figure, agency, key, at = name.split("/")
            if figure == DUTY and agencies[0] <= agency <= agencies[1]:
                sums[agency, key, at <= hour] = sums.get((agency, key, at <= hour), 0) + count
        return state.cursor, [(*words, sums[words]) for words in sorted(sums)]

    async def gaps(self) -> list[tuple[str, int, int]]:
        return sorted((await self._mount.read()).gaps)

    async def tables_mark(self) -> bytes:
        return (await self._mount.read()).mark

    async def complaints_minted(
        self, first: bytes, end: bytes, agency: int | None, states: Sequence[int], limit: int
    ) -> tuple[Cursor, list[ComplaintRow]]:
        state = await self._mount.read()
        found = [
            row
            for key, row in sorted(state.complaints.items(), reverse=True)
            if first <= key < end
            and state_at(row.place) in states
            and (agency is None or place_of(agency, 0, 0) <= row.place < place_of(agency + 1, 0, 0))
        ]
        return state.cursor, found[:limit]

    async def figures(self, wanted: TotalsWanted) -> tuple[Cursor, list[TotalRow]]:
        state = await self._mount.read()
        sums: dict[tuple[str, str, str, str], int] = {}
        for name, count in state.totals.items():
            figure, agency, key, class_ = name.split("/")
            if figure not in (PLAIN if wanted.figure is None else (wanted.figure,)):
                continue
            if wanted.agencies is not None and not wanted.agencies[0] <= agency <= wanted.agencies[1]:
                continue
            if wanted.key not in (None, key) or wanted.class_ not in (None, class_):
                continue
            summed = wanted.summed
            words = (
                figure,
                SUMMED if "agency" in summed else agency,
                SUMMED if "key" in summed else key,
                SUMMED if "class_" in summed else class_,
            )
            sums[words] = sums.get(words, 0) + count
        return state.cursor, [TotalRow(*words, sums[words]) for words in sorted(sums)]

    async def totals_json(self) -> tuple[Cursor, bytes]:
        cursor, totals = await self.totals()
        return cursor, msgspec.json.encode({name: count for name, count in totals.items() if count})

    async def open_complaints(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for name, count in (await self._mount.read()).totals.items():
            figure, agency, key, _ = name.split("/")
            if figure == COMPLAINTS and key in OPEN_STATES:
                counts[agency] = counts.get(agency, 0) + count
        return counts

    async def heard(self) -> tuple[Cursor, dict[str, int | None]]:
        state = await self._mount.read()
        return state.cursor, dict(state.heard)

    async def totals(self) -> tuple[Cursor, dict[str, int]]:
        cursor, rows = await self.figures(TotalsWanted())
        return cursor, {row.name: row.total for row in rows}

    async def last_heard(self) -> dict[str, int | None]:
        return dict((await self._mount.read()).heard)

    async def refused(self, agency: str, from_seq: int, to_seq: int) -> list[RefusedChange]:
        held = (await self._mount.read()).refused
        found = [one for one in held if one.agency == agency and from_seq <= one.seq <= to_seq]
        return sorted(found, key=lambda one: (one.index, one.position))

    async def refused_id(self, index: int, position: int) -> str:
        held = (await self._mount.read()).refused
        return next((one.change_id for one in held if (one.index, one.position) == (index, position)), "")

    async def refused_at(self, index: int) -> tuple[Cursor, set[int]]:
        state = await self._mount.read()
        return state.cursor, {one.position for one in state.refused if one.index == index}

    async def inbox(self, agency: str, after: int, limit: int) -> tuple[Cursor, list[InboxRow]]:
        state = await self._mount.read()
        found = [row for row in state.inbox.values() if row.agency == agency and row.place > after]
        return state.cursor, sorted(found, key=lambda row: row.place)[:limit]

    async def told_since(self, place: int) -> set[str]:
        return {row.agency for row in (await self._mount.read()).inbox.values() if row.place >= place}

    async def history_told(self, agency: str, key: bytes, before: int) -> int | None:
        rows = (await self._mount.read()).inbox.values()
        told = [row.place for row in rows if (row.agency, row.key, row.note) == (agency, key, Note.HISTORY)]
        return max((place for place in told if place < before), default=None)

    async def holders(self, key: bytes) -> set[str]:
        rows = (await self._mount.read()).inbox.values()
        return {row.agency for row in rows if row.key == key and row.note != Note.REFUSED}

    async def tracked_to(self) -> int:
        return (await self._mount.read()).tracked_to

    async def track(self, begins: int, size: int, numbers: Sequence[tuple[int, bytes]]) -> None:
        async with self._mount.writing("track") as draft:
            if draft.tracked_to != begins:
                raise tracking_is_stale(begins)
            draft.tracked_to = size
            draft.tracked.update(dict.fromkeys(numbers))

    async def tracked(self, number_hash: int) -> list[bytes]:
        return [key for number, key in (await self._mount.read()).tracked if number == number_hash][:SAME_HASH_MAX]

    async def clear(self, tables_mark: bytes = b"") -> None:
        async with self._mount.writing("clear") as draft:
            empty = ProjectionState()
            draft.cursor, draft.complaints, draft.refused = empty.cursor, empty.complaints, empty.refused
            draft.totals, draft.heard, draft.inbox = empty.totals, empty.heard, empty.inbox
            draft.tracked, draft.tracked_to = empty.tracked, empty.tracked_to
            draft.gaps, draft.mark = empty.gaps, tables_mark

    async def close(self) -> None:
        """Nothing is open."""


def _page(rows: list[ComplaintRow], after: tuple[int, int] | None, limit: int) -> list[ComplaintRow]:
    ordered = sorted(rows, key=lambda row: (slot_at(row.place), row.number))
    return [row for row in ordered if after is None or (slot_at(row.place), row.number) > after][:limit]
