"""Leaves of the log folded into one step of the projection (protocol §9). Plain functions, run in a thread for many.

A batch of sets is opened, the complaints that it names are fetched in one go, the batch is folded by the same Ledger
that an auditor uses, and what it changed is packed into one step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from node.deadlines.clocks import MARKS, Clocks, begin, hour_of
from node.deadlines.duties import ENDS, ended, running
from node.deadlines.outages import Outages
from node.deadlines.tables import Deadlines, Ends, slot_by
from node.store.complaint_keys import complaint_keys
from node.store.complaint_place import place_of
from node.store.hub_records import LogLeaf
from node.store.projection_records import (
    POINTER_BYTES,
    Cursor,
    Erasure,
    InboxRow,
    ProjectionStep,
    RefusedChange,
    pointer_to,
)
from sync_protocol.change_types import Erased
from sync_protocol.complaint import ComplaintState
from sync_protocol.compression import decompress_part, stated_bytes
from sync_protocol.errors import Corrupt, Refused
from sync_protocol.inbox import Note
from sync_protocol.jws import Jws, parse_jws
from sync_protocol.ledger import FoldedLeaf, Ledger
from sync_protocol.limits import FORK_JWS_MAX_BYTES
from sync_protocol.line import ERASED_LINE, Change
from sync_protocol.line_columns import parse_changes
from sync_protocol.manifest import CHANGE_SET_TYP
from sync_protocol.merkle import leaf_hashes
from sync_protocol.roster import Roster
from sync_protocol.statement import Tick
from sync_protocol.transitions import Verdict
from sync_protocol.values import b64u_decode


class PackedState(ComplaintState, array_like=True, kw_only=True):
    """A complaint's state without the names of its members, and the clocks of its deadlines: how it is kept."""

    clock_verify: int | None
    clock_first_answer: int | None
    clock_settle: int | None
    clock_close: int | None

    @property
    def clocks(self) -> Clocks:
        """A copy of them."""
        return Clocks(self.clock_verify, self.clock_first_answer, self.clock_settle, self.clock_close)


_encoder: Final = msgspec.msgpack.Encoder(enc_hook=str)  # AgencyId and its like are text
_decoder: Final = msgspec.msgpack.Decoder(PackedState)
SMALL_LEAVES: Final = 16
SMALL_BYTES: Final = 32 * 1024  # decompressed
SMALL_LINES: Final = 64


@dataclass(frozen=True, slots=True)
class OpenLeaf:
    """A leaf ready to be folded; changes and the hashes of their lines are None for a statement."""

    index: int
    jws: Jws
    changes: list[Change | None] | None
    leaves: list[bytes] | None
    erases: bool = False  # whether one of the lines may be an `erased`


@dataclass(frozen=True, slots=True)
class OpenBatch:
    """Consecutive leaves, and the complaints that they name, with their keys. `is_small`: see there."""

    leaves: list[OpenLeaf]
    keys: dict[str, bytes]
    is_small: bool = False


_Rows = list[tuple[bytes, int, bytes, bytes]]
_FACTS: Final = len(ComplaintState.__struct_fields__)


def pack_state(state: ComplaintState, clocks: Clocks) -> bytes:
    """What `unpack_state` reads; clocks that `state` may carry are those before the change."""
    return _encoder.encode(msgspec.structs.astuple(state)[:_FACTS] + msgspec.structs.astuple(clocks))


def unpack_state(packed: bytes) -> PackedState:
    """Raises Corrupt."""
    try:
        return _decoder.decode(packed)
    except msgspec.DecodeError as error:
        raise Corrupt(f"a complaint's row is damaged: {error}", next_step="Run `simpul hub rebuild`.") from error


def is_small(leaves: Sequence[LogLeaf]) -> bool:
    """Whether opening and folding them takes less time than changing threads: a few changes, as they come singly.

    Counted in bytes and in lines, of which a set may have many short ones. What does not say how large it is, is large.
    """
    size = lines = 0
    for leaf in leaves if len(leaves) <= SMALL_LEAVES else ():
        if leaf.changes_frame is None:
            return False
        try:
            size += stated_bytes(leaf.changes_frame) or SMALL_BYTES + 1
            lines += decompress_part(leaf.changes_frame, SMALL_BYTES).count(b"\n") if size <= SMALL_BYTES else 0
        except Refused:
            return False
        if size > SMALL_BYTES or lines > SMALL_LINES:
            return False
    return size > 0


def open_batch(leaves: Sequence[LogLeaf], *, is_small: bool = False) -> OpenBatch:
    """Decompresses, parses and hashes: all that needs no state. Raises Corrupt for what the hub cannot read again.

    It ends before a set whose lines are missing (protocol §10.6), and is empty if that is the first.
    """
    opened: list[OpenLeaf] = []
    named: dict[str, None] = {}
    for leaf in leaves:
        try:
            jws = parse_jws(leaf.entry, max_bytes=FORK_JWS_MAX_BYTES)
            if leaf.changes_frame is None and jws.typ == CHANGE_SET_TYP:
                break
            if leaf.changes_frame is None:
                opened.append(OpenLeaf(leaf.index, jws, None, None))
                continue
            head = decompress_part(leaf.changes_frame)
        except Refused as refused:
            raise Corrupt(f"the leaf at log index {leaf.index} cannot be read: {refused}") from refused
        lines = head.split(b"\n")[1:-1]
        changes = parse_changes(lines)
        named.update(dict.fromkeys([change.complaint for change in changes if change is not None]))
        opened.append(OpenLeaf(leaf.index, jws, changes, leaf_hashes(lines), ERASED_LINE + b"\n" in head))
    return OpenBatch(opened, complaint_keys(list(named)), is_small)


def fold_batch(
    batch: OpenBatch,
    states: dict[bytes, bytes],
    roster: Roster,
    cursor: Cursor,
    last_heard: dict[str, int | None],
    now_ms: int,
    deadlines: Deadlines,
    outages: Outages,
) -> ProjectionStep:
    """The step from `cursor` over the batch. Admits statements into `roster`, moves `last_heard`, `outages` as it goes.

    Raises Refused or Corrupt for what stops the fold; then roster, last_heard and outages must be read again.
    """
    named = batch.keys
    complaints: dict[str, ComplaintState] = {
        name: unpack_state(states[key]) for name, key in named.items() if key in states
    }
    heard_before = dict(last_heard)
    ledger = Ledger(roster, complaints, size=cursor.size, state_hash=cursor.state_hash, last_heard=last_heard)
    noting = _Noting(roster, deadlines, outages)
    refused: list[RefusedChange] = []
    erased: list[tuple[int, str, str, frozenset[bytes]]] = []
    inbox: list[InboxRow] = []
    for leaf in batch.leaves:
        folded = ledger.apply(leaf.index, leaf.jws, change_leaves=leaf.leaves, changes=leaf.changes)
        if any(folded.verdicts):
            refused += _refused(folded)
            inbox += _refusals(folded, named)
        if folded.concerns:
            inbox += _told(folded, named)
        noting.note(folded)
        if leaf.erases:
            erased += _erased(folded)
    born, changed = noting.rows(complaints, named)
    return ProjectionStep(
        begins=cursor.size,
        cursor=Cursor(ledger.size, ledger.state_hash, now_ms),
        born=born,
        changed=changed,
        refused=refused,
        totals=ledger.figures.named() | {name: count for name, count in noting.duties.items() if count},
        last_heard={who: tick for who, tick in last_heard.items() if heard_before.get(who, -1) != tick},
        gaps=noting.gaps,
        erasures=[
            Erasure(place, signer, named[name], leaves, noting.touched[name].pointers)
            for place, signer, name, leaves in erased
        ],
        inbox=inbox,
        has_tick=noting.has_tick,
    )


class _Touched(msgspec.Struct, gc=False):
    """What a batch did to one complaint beside its state.

    `now` is its state after the change noted last; `ends` when its duties ended before the batch, None once they moved.
    """

    pointers: bytes
    clocks: Clocks
    now: ComplaintState
    is_born: bool
    ends: Ends | None = None


class _Noting:
    """What a batch means for places, duties and absences."""

    def __init__(self, roster: Roster, deadlines: Deadlines, outages: Outages) -> None:
        self.touched: dict[str, _Touched] = {}
        self.gaps: list[tuple[str, int, int]] = []
        self.has_tick = False
        self.duties: dict[str, int] = {}  # differences by name
        self._placing = _Placing(roster, deadlines)
        self._roster, self._deadlines, self._outages = roster, deadlines, outages

    def note(self, folded: FoldedLeaf) -> None:
        """Where each applied change is (log index << 16 | position), and what it means for what is due."""
        gap = self._outages.follow(folded, self._roster)
        if gap is not None:
            self.gaps.append((str(folded.agency), *gap))
        self.has_tick |= folded.typ == Tick.TYP
        first = folded.index << 16
        pointers = [place.to_bytes(POINTER_BYTES, "big") for place in range(first, first + len(folded.changes))]
        told = zip(folded.verdicts, folded.changes, folded.states, pointers, strict=False)  # no states: none applied
        for verdict, change, after, pointer in told:
            if verdict or change is None or after is None:
                continue
            seen = self.touched.get(change.complaint)
            if seen is None:
                before = folded.touched[change.complaint]
                if before is None:  # this is the change that brings it into the world
                    self.touched[change.complaint] = _Touched(pointer, begin(change), after, is_born=True)
                    continue
                seen = self.touched[change.complaint] = self._loaded(pointer, before)
            else:
                seen.pointers += pointer
            self._follow(seen, change, after)

    def _loaded(self, pointer: bytes, before: ComplaintState) -> _Touched:
        """The first change of the batch to a complaint that was there: what ran on it is counted anew in the end."""
        assert isinstance(before, PackedState)  # as it was loaded
        clocks = before.clocks
        ends = self._deadlines.ends(before, clocks)
        for name in running(before, ends):
            self.duties[name] = self.duties.get(name, 0) - 1
        return _Touched(pointer, clocks, before, is_born=False, ends=ends)

    def _follow(self, seen: _Touched, change: Change, after: ComplaintState) -> None:
        mark = MARKS.get(change.type)
        if mark is not None:
            if change.type in ENDS:
                ends = seen.ends or self._deadlines.ends(seen.now, seen.clocks)
                for name in () if ends is None else ended(self._outages, seen.now, seen.clocks, ends, change):
                    self.duties[name] = self.duties.get(name, 0) + 1
            mark(seen.clocks, hour_of(change.at))
        seen.ends = None  # also another class has other ends
        seen.now = after

    def rows(self, complaints: dict[str, ComplaintState], keys: dict[str, bytes]) -> tuple[_Rows, _Rows]:
        """Rows of the born complaints, and of the others. Once, in the end: what runs then is counted."""
        born: _Rows = []
        changed: _Rows = []
        for name, seen in self.touched.items():
            after, clocks = complaints[name], seen.clocks
            place, runs = self._placing.place(after, clocks)
            row = (keys[name], place, pack_state(after, clocks), seen.pointers)
            (born if seen.is_born else changed).append(row)
            for duty in runs:
                self.duties[duty] = self.duties.get(duty, 0) + 1
        return born, changed


class _Placing:
    """Where complaints stand among all others (complaint_place.py), and which duties run."""

    def __init__(self, roster: Roster, deadlines: Deadlines) -> None:
        self._roster = roster
        self._deadlines = deadlines
        self._agencies: dict[str, int] = {}
        self._places: dict[tuple[object, ...], tuple[int, list[str]]] = {}

    def place(self, complaint: ComplaintState, clocks: Clocks) -> tuple[int, list[str]]:
        """By everything that it depends on; a batch holds the same again and again."""
        facts = (
            complaint.owner,
            complaint.state,
            complaint.hold_return_state,
            complaint.class_,
            complaint.received_at[:13],
            clocks.verify,
            clocks.first_answer,
            clocks.settle,
            clocks.close,
        )
        found = self._places.get(facts)
        if found is None:
            ends = self._deadlines.ends(complaint, clocks)
            slot = slot_by(complaint, ends)
            place = place_of(self._agency(complaint.owner), complaint.state, slot)
            found = self._places[facts] = (place, running(complaint, ends))
        return found

    def _agency(self, owner: str) -> int:
        """Every owner is enrolled: only who signs can own, and `to` must be (protocol §9.3)."""
        number = self._agencies.get(owner)
        if number is None:
            record = self._roster.agency(owner)
            assert record is not None
            number = self._agencies[owner] = record.enrolled_index
        return number


def _erased(folded: FoldedLeaf) -> list[tuple[int, str, str, frozenset[bytes]]]:
    """Place, signer, complaint and leaf hashes of every `erased` that was applied."""
    return [
        (
            pointer_to(folded.index, position),
            str(folded.agency),
            change.complaint,
            frozenset(b64u_decode(leaf, 32, "leaves") for leaf in change.data.leaves),
        )
        for position, (verdict, change) in enumerate(zip(folded.verdicts, folded.changes, strict=True))
        if not verdict and change is not None and isinstance(change.data, Erased)
    ]


def _told(folded: FoldedLeaf, keys: dict[str, bytes]) -> list[InboxRow]:
    """What others than the signer are told (protocol §7.6): of all that a set does to a complaint once, with the last.

    Each item shows all of it: told of each change, a set that makes thousands to one complaint would be told thousands
    of times whole. An `erased` stands alone; whom it concerns is for `told_of_erasures`.
    """
    alone: list[InboxRow] = []
    last: dict[tuple[str, str], InboxRow] = {}
    for position, complaint, told in folded.concerns:
        change = folded.changes[position]
        place = pointer_to(folded.index, position)
        for agency, note in told.items():
            row = InboxRow(agency, place, note, Verdict.APPLIED, keys[complaint])
            if change is not None and isinstance(change.data, Erased):
                alone.append(row)
                continue
            before = last.get((agency, complaint))
            is_history = before is not None and before.note == Note.HISTORY
            last[agency, complaint] = row._replace(note=Note.HISTORY) if is_history else row
    return alone + list(last.values())


def _refusals(folded: FoldedLeaf, keys: dict[str, bytes]) -> list[InboxRow]:
    """To the agency whose chain it stands in, whoever signed it."""
    return [
        InboxRow(
            str(folded.agency),
            pointer_to(folded.index, position),
            Note.REFUSED,
            verdict,
            None if change is None else keys[change.complaint],
        )
        for position, (verdict, change) in enumerate(zip(folded.verdicts, folded.changes, strict=True))
        if verdict
    ]


def _refused(folded: FoldedLeaf) -> list[RefusedChange]:
    return [
        RefusedChange(
            index=folded.index,
            position=position,
            agency=folded.agency or "",
            seq=folded.seq or 0,
            change_id="" if change is None else change.id,
            verdict=int(verdict),
        )
        for position, (verdict, change) in enumerate(zip(folded.verdicts, folded.changes, strict=True))
        if verdict is not Verdict.APPLIED
    ]
