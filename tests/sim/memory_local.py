"""A local node's store in memory (node/local/ports.py LocalStore), with a step boundary at each transaction.

It passes the contract suite that the database passes (tests/store/test_local_store.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from node.deadlines.clocks import Duty
from node.deadlines.slot import NOTHING_DUE
from node.store.local_records import (
    Acknowledgement,
    AdoptedSet,
    Answer,
    ApiToken,
    ChainEnd,
    ComplaintFilter,
    Cuttable,
    Found,
    HeldChange,
    HeldComplaint,
    HeldSet,
    HeldStatement,
    Measured,
    Named,
    NodeIdentity,
    Outgoing,
    RowConflict,
    Seen,
    SetAside,
    SetStatus,
    Signing,
    WrittenChange,
    WrittenComplaint,
    WrittenRows,
)
from node.store.local_transaction import frames_gone
from node.store.shared_records import ForeignSet, Refusal
from sync_protocol.backoff import Schedule
from sync_protocol.change_set import hide_contents, parse_change_set
from sync_protocol.complaint import State
from sync_protocol.compression import compress_part, decompress_part
from sync_protocol.errors import Refused
from sync_protocol.excerpt import hide_in_excerpt
from sync_protocol.halts import Halt
from sync_protocol.merkle import leaf_hash
from sync_protocol.outbox import OutboxView
from sync_protocol.values import parse_timestamp
from tests.sim.disk import Mount
from tests.sim.local_state import LocalState, NodeRow
from tests.sim.memory_inbox import MemoryInboxTransaction, said_by_others


class MemoryTransaction(MemoryInboxTransaction):
    """See LocalTransaction."""

    async def complaints(self, keys: Collection[bytes]) -> dict[bytes, HeldComplaint]:
        return {key: self._draft.complaints[key] for key in sorted(keys) if key in self._draft.complaints}

    async def record(self, complaints: Sequence[WrittenComplaint], changes: Sequence[WrittenChange]) -> None:
        self._draft.record(complaints, changes)

    async def measure(self, measured: Sequence[Measured]) -> None:
        revs = {(one.no, one.rev): one for one in measured}
        for held in list(self._draft.complaints.values()):
            found = revs.get((held.no, held.state.rev))
            if found is not None:
                self._draft.complaints[held.key] = replace(held, clocks=found.clocks, slot=found.slot)

    async def last_no(self) -> int:
        return self._draft.last_no

    async def chain_end(self, up_to_seq: int | None = None) -> ChainEnd:
        return self._draft.chain_end(up_to_seq)

    async def live_set(self, seq: int) -> HeldSet | None:
        return self._draft.live_set(seq)

    async def changes(self, after_no: int) -> list[tuple[HeldChange, bytes]]:
        return list(self._draft.changes_after(after_no))

    async def history(self, keys: Collection[bytes], up_to_no: int) -> list[tuple[bytes, bytes]]:
        return self._draft.history(keys, up_to_no)

    async def forget_changes(self, after_no: int, complaints: Collection[bytes]) -> None:
        self._draft.forget_changes(after_no, complaints)

    async def withdraw_sets(self, from_seq: int) -> int:
        return self._draft.withdraw_sets(from_seq)

    async def add_adopted(self, sets: Sequence[AdoptedSet]) -> None:
        for one in sets:
            self._draft.add_set(one.signed, one.first_no, one.last_no)
            assert self._draft.acknowledge(one.receipt)

    async def acknowledge(self, receipt: Acknowledgement) -> bool:
        return self._draft.acknowledge(receipt)

    async def set_epoch(self, epoch: int) -> None:
        self._draft.amend(epoch=max(self._draft.row.epoch, epoch), is_claimed=False)

    async def disown_epoch(self) -> None:
        self._draft.amend(is_claimed=False)

    async def note_adoption(self, at_ms: int) -> None:
        self._draft.amend(adopted_at_ms=at_ms)

    async def add_set_aside(self, changes: Sequence[SetAside]) -> None:
        self._draft.aside += changes


class MemoryLocalStore:
    """See LocalStore. One process's view of a disk."""

    def __init__(self, mount: Mount[LocalState]) -> None:
        self._mount = mount

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[MemoryTransaction]:
        async with self._mount.writing("transaction") as draft:
            yield MemoryTransaction(draft)

    async def record(self, named: Named, judge: Callable[[Found], WrittenRows], *, few: bool = False) -> None:
        async with self._mount.writing("record") as draft:
            written = judge(_find(draft, named))
            draft.record(written.complaints, written.changes)
            for answer in written.answers:
                if answer.key in draft.answers:
                    raise RowConflict("this key was answered before")
                draft.answers[answer.key] = answer

    async def enrol(self, identity: NodeIdentity, statements: Sequence[HeldStatement], seen: Seen) -> None:
        async with self._mount.writing("enrol") as draft:
            held = draft.node
            if held is None:
                draft.node = NodeRow(identity, seen)
            else:
                known = held.identity
                if (known.agency, known.origin) != (identity.agency, identity.origin):
                    raise Refused("configuration", f"this directory belongs to agency {known.agency}")
                if known.enrolment != identity.enrolment:
                    draft.amend(epoch=held.epoch + 1, is_claimed=False)
                draft.amend(identity=replace(known, vkey=identity.vkey, enrolment=identity.enrolment))
            draft.add_statements(statements)

    async def identity(self) -> NodeIdentity | None:
        node = (await self._mount.read()).node
        return None if node is None else node.identity

    async def statements(self) -> list[HeldStatement]:
        held = (await self._mount.read()).statements
        return [held[index] for index in sorted(held)]

    async def add_statements(self, statements: Sequence[HeldStatement]) -> None:
        async with self._mount.writing("statements") as draft:
            draft.add_statements(statements)

    async def seen(self) -> Seen:
        return (await self._mount.read()).row.seen

    async def move_seen(self, seen: Seen) -> None:
        async with self._mount.writing("seen") as draft:
            draft.move_seen(seen)

    async def outbox(self) -> OutboxView:
        return (await self._mount.read()).outbox()

    async def claim_epoch(self, raised_from: int, epoch: int) -> bool:
        async with self._mount.writing("claim") as draft:
            waits = any(held.status is SetStatus.SIGNED for held in draft.sets.values())
            if draft.row.epoch != raised_from or draft.row.is_claimed or waits:
                return False
            draft.amend(epoch=epoch, is_claimed=True)
        return True

    async def chain_end(self) -> ChainEnd:
        return (await self._mount.read()).chain_end()

    async def cuttable(self, limit: int) -> Cuttable:
        return _cuttable(await self._mount.read(), limit)

    async def cut(
        self,
        sign: Signing,
        limit: int,
        attempt: Schedule | None = None,
        *,
        few: bool = False,
    ) -> Outgoing | None:
        async with self._mount.writing("cut") as draft:
            cuttable = _cuttable(draft, limit)
            draft.check_free(cuttable.epoch, cuttable.end.seq + 1)
            found = sign(cuttable)
            if found is None:
                return None
            signed, last_no = found
            draft.add_set(signed, cuttable.end.last_no + 1, last_no)
            if attempt is not None:
                draft.count_attempt(attempt, signed.seq)
            frames = signed.head_frame + signed.contents_frame
        place = (signed.epoch, signed.seq, signed.digest, signed.manifest)
        return Outgoing(*place, frames, cuttable.seen, bool(draft.erasures))

    async def outgoing(self, seq: int) -> Outgoing | None:
        state = await self._mount.read()
        held = state.live_set(seq)
        if held is None:
            return None
        frames = state.frames.get(held.id)
        if frames is None:
            raise frames_gone()
        return Outgoing(held.epoch, seq, held.digest, held.manifest, b"".join(frames), state.row.seen)

    async def live_set(self, seq: int) -> HeldSet | None:
        return (await self._mount.read()).live_set(seq)

    async def live_sets(self, from_seq: int, limit: int) -> list[HeldSet]:
        return [held for held in (await self._mount.read()).live() if held.seq >= from_seq][:limit]

    async def first_seq_at(self, index: int) -> int | None:
        live = (await self._mount.read()).live()
        return next((held.seq for held in live if held.index is not None and held.index >= index), None)

    async def set_frames(self, set_id: int) -> tuple[bytes, bytes]:
        found = (await self._mount.read()).frames.get(set_id)
        if found is None:
            raise frames_gone()
        return found

    async def set_receipt(self, set_id: int) -> bytes | None:
        return (await self._mount.read()).receipts.get(set_id)

    async def sets_with_hidden(self, shown_again_max: int, limit: int) -> list[HeldSet]:
        state = await self._mount.read()
        found = [
            held
            for held in state.live()
            if held.status is SetStatus.ACKNOWLEDGED
            and held.hidden > held.erased
            and state.shown_again.get(held.id, 0) < shown_again_max
        ]
        return found[:limit]

    async def record_attempt(self, schedule: Schedule, seq: int | None = None, *, shown_again: bool = False) -> None:
        async with self._mount.writing("attempt") as draft:
            draft.count_attempt(schedule, seq, shown_again=shown_again)

    async def set_schedule(self, schedule: Schedule, *, trouble: str | None, hub_seen_at_ms: int | None = None) -> None:
        async with self._mount.writing("schedule") as draft:
            draft.amend(schedule=schedule, trouble=trouble)
            if hub_seen_at_ms is not None:
                draft.amend(hub_seen_at_ms=hub_seen_at_ms)

    async def acknowledge(self, receipt: Acknowledgement, schedule: Schedule) -> OutboxView | None:
        async with self._mount.writing("acknowledge") as draft:
            if not draft.acknowledge(receipt):
                return None
            draft.amend(schedule=schedule, trouble=None, hub_seen_at_ms=receipt.at_ms)
        return draft.outbox()

    async def halt(self, halt: Halt, at_ms: int) -> None:
        async with self._mount.writing("halt") as draft:
            if draft.row.halt is None:
                draft.amend(halt=halt)

    async def clear_halt(self) -> None:
        async with self._mount.writing("clear halt") as draft:
            draft.amend(halt=None, adopted_at_ms=None, schedule=Schedule(), trouble=None)

    async def is_behind(self) -> bool:
        return (await self._mount.read()).row.is_behind

    async def set_behind(self, *, is_behind: bool) -> None:
        async with self._mount.writing("behind") as draft:
            draft.amend(is_behind=is_behind)

    async def signing_kids(self) -> set[str]:
        return {held.kid for held in (await self._mount.read()).sets.values()}

    async def retire_sets(self, before_ms: int, keep_newest: int) -> int:
        newest = (await self._mount.read()).chain_end().seq
        async with self._mount.writing("retire") as draft:
            old = [
                held.id
                for held in draft.sets.values()
                if held.status is not SetStatus.SIGNED and held.at_ms < before_ms and held.seq <= newest - keep_newest
            ]
            done = [draft.frames.pop(number) for number in old if number in draft.frames]
            for number in old:
                draft.receipts.pop(number, None)
        return len(done)

    async def last_receipt_at_ms(self) -> int | None:
        return (await self._mount.read()).row.last_receipt_at_ms

    async def unacknowledged(self) -> int:
        sets = (await self._mount.read()).sets.values()
        return sum(held.changes for held in sets if held.status is SetStatus.SIGNED)

    async def trouble(self) -> str | None:
        return (await self._mount.read()).row.trouble

    async def complaint(self, key: bytes) -> HeldComplaint | None:
        return (await self._mount.read()).complaints.get(key)

    async def complaints(self, wanted: ComplaintFilter) -> list[HeldComplaint]:
        complaints = (await self._mount.read()).complaints.values()
        order = _by_slot if wanted.slots is not None else _by_age if wanted.oldest_first else _by_number
        return [one for one in sorted(complaints, key=order) if _is_wanted(one, wanted)][: wanted.limit]

    async def unmeasured(self, limit: int) -> list[HeldComplaint]:
        complaints = (await self._mount.read()).complaints.values()
        return sorted((one for one in complaints if one.slot is None), key=lambda one: one.no)[:limit]

    async def closing(self, last_slot: int, after: tuple[int, int] | None, limit: int) -> list[HeldComplaint]:
        wanted = ComplaintFilter([State.ANSWERED], slots=(0, last_slot), after=after, limit=1_000_000)
        found = await self.complaints(wanted)
        return [one for one in found if one.slot is not None and one.slot & 3 == Duty.CLOSE][:limit]

    async def measure_by(self, tables_mark: bytes) -> bool:
        if (await self._mount.read()).row.tables_mark == tables_mark:
            return False
        async with self._mount.writing("measure by") as draft:
            for held in list(draft.complaints.values()):
                if held.state.state < State.CLOSED:
                    draft.complaints[held.key] = replace(held, slot=None)
            draft.amend(tables_mark=tables_mark)
        return True

    async def complaint_changes(self, complaint_no: int) -> list[HeldChange]:
        state = await self._mount.read()
        found = []
        for change in state.changes.values():
            held = state.complaints.get(change.key) if change.key is not None else None
            if held is not None and held.no == complaint_no:
                over = [one for one in state.live() if one.first_no <= change.no <= one.last_no]
                seq, index = (over[-1].seq, over[-1].index) if over else (None, None)
                refusal = state.refusals.get(state.place_of(change.no) or -1)
                verdict = None if refusal is None else refusal.verdict
                found.append(HeldChange(change.no, change.line, change.content, seq, index, None, verdict))
        return found

    async def lines_of(self, complaint_nos: Collection[int]) -> dict[int, list[tuple[bytes, bytes | None]]]:
        state = await self._mount.read()
        found: dict[int, list[tuple[bytes, bytes | None]]] = {}
        for change in state.changes.values():
            held = state.complaints.get(change.key) if change.key is not None else None
            if held is not None and held.no in complaint_nos:
                found.setdefault(held.no, []).append((change.line, change.content))
        return found

    async def sources(self, sources: Collection[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        return _sources(await self._mount.read(), sources)

    async def answer(self, key: bytes) -> Answer | None:
        return (await self._mount.read()).answers.get(key)

    async def carry_out_erasures(self) -> int:
        if not (await self._mount.read()).erasures:
            return 0
        async with self._mount.writing("erase") as draft:
            return sum(_erase(draft, leaf, key) for leaf, key in list(draft.erasures.items()))

    async def inbox_place(self) -> int:
        return (await self._mount.read()).row.inbox_place

    async def has_unsettled(self) -> bool:
        return bool((await self._mount.read()).unsettled)

    async def foreign_sets(self, complaint_no: int) -> list[ForeignSet]:
        state = await self._mount.read()
        keys = {held.key for held in state.complaints.values() if held.no == complaint_no}
        return [state.foreign[place] for place in sorted(state.foreign) if place[0] in keys]

    async def shared_among(self, complaint_nos: Collection[int]) -> set[int]:
        state = await self._mount.read()
        keys = {key for key, _ in state.foreign} | {held.key for held in state.refusals.values()}
        return {held.no for held in state.complaints.values() if held.key in keys and held.no in complaint_nos}

    async def refusals(self, limit: int) -> list[Refusal]:
        held = (await self._mount.read()).refusals
        return [held[place] for place in sorted(held, reverse=True)][:limit]

    async def count_refusals(self, at_most: int) -> int:
        return min(len((await self._mount.read()).refusals), at_most)

    async def count_offered(self, agency: str, at_most: int) -> int:
        complaints = (await self._mount.read()).complaints.values()
        return min(sum(held.state.offer_to == agency for held in complaints), at_most)

    async def set_aside(self) -> list[SetAside]:
        return list((await self._mount.read()).aside)

    async def add_token(self, token: ApiToken) -> None:
        async with self._mount.writing("token") as draft:
            draft.tokens[token.hash] = token

    async def token(self, token_hash: bytes) -> ApiToken | None:
        return (await self._mount.read()).tokens.get(token_hash)

    async def end_tokens(self, name: str, at_ms: int) -> int:
        async with self._mount.writing("end tokens") as draft:
            ended = [one for one in draft.tokens.values() if one.name == name and one.ended_at_ms is None]
            draft.tokens.update({one.hash: replace(one, ended_at_ms=at_ms) for one in ended})
        return len(ended)

    async def close(self) -> None:
        """Nothing is open."""


def _find(state: LocalState, named: Named) -> Found:
    sources = _sources(state, named.sources)
    keys = dict.fromkeys([*named.complaints, *sources.values()])
    said = {
        key: [one.content for one in state.changes.values() if one.key == key] + said_by_others(state, key)
        for key in named.erasing
    }
    return Found(
        {key: state.complaints[key] for key in keys if key in state.complaints},
        {key: state.answers[key] for key in named.answers if key in state.answers},
        sources,
        {key: {leaf_hash(content) for content in contents if content is not None} for key, contents in said.items()},
    )


def _sources(state: LocalState, sources: Collection[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
    own = None if state.node is None else str(state.node.identity.agency)
    found: dict[tuple[str, str], bytes] = {}
    for held in sorted(state.complaints.values(), key=lambda one: (own not in (None, one.state.minted_by), one.no)):
        source = held.state.source
        if source is not None and (source.system, source.id) in sources:
            found.setdefault((source.system, source.id), held.key)
    return found


def _cuttable(state: LocalState, limit: int) -> Cuttable:
    row, end = state.row, state.chain_end()
    lines = [(one.no, one.line, one.content) for one in state.changes.values() if one.no > end.last_no]
    return Cuttable(row.epoch, end, row.seen, lines[:limit])


def _by_number(held: HeldComplaint) -> tuple[int, int]:
    return -held.no, 0


def _by_age(held: HeldComplaint) -> tuple[int, int]:
    return held.no, 0


def _by_slot(held: HeldComplaint) -> tuple[int, int]:
    return -1 if held.slot is None else held.slot, held.no


def _is_due(held: HeldComplaint, wanted: ComplaintFilter) -> bool:
    if wanted.slots is None:
        return True
    slot, (first, last) = held.slot, wanted.slots
    is_between = slot is not None and slot < NOTHING_DUE and first <= slot <= last
    return is_between and (wanted.after is None or _by_slot(held) > wanted.after)


def _is_wanted(held: HeldComplaint, wanted: ComplaintFilter) -> bool:
    state, source = held.state, held.state.source
    told = {
        "unit": state.unit,
        "source_system": source.system if source else None,
        "source_id": source.id if source else None,
        "tracking": state.tracking,
        "owner": state.owner,
        "offered_to": state.offer_to,
    }
    return (
        (not wanted.states or state.state in wanted.states)
        and (wanted.before_no is None or held.no < wanted.before_no)
        and (wanted.not_owner is None or state.owner != wanted.not_owner)
        and (wanted.changed_from_ms is None or held.changed_at_ms >= wanted.changed_from_ms)
        and (wanted.received_from_ms is None or parse_timestamp(state.received_at) >= wanted.received_from_ms)
        and (wanted.received_to_ms is None or parse_timestamp(state.received_at) <= wanted.received_to_ms)
        and _is_due(held, wanted)
        and all(getattr(wanted, name) in (None, value) for name, value in told.items())
    )


def _erase(draft: LocalState, leaf: bytes, key: bytes) -> int:
    """What is in a set goes now; what is not cut yet stays noted."""
    said = [one for one in draft.changes.values() if one.key == key and one.content is not None]
    found = next((one for one in said if leaf_hash(one.content or b"") == leaf), None)
    if found is not None:
        if not any(held.first_no <= found.no <= held.last_no for held in draft.live()):
            return 0
        for held in draft.sets.values():
            is_over = held.first_no <= found.no <= held.last_no or held.status is SetStatus.WITHDRAWN
            if is_over and held.id in draft.frames:
                draft.frames[held.id] = _without(*draft.frames[held.id], leaf)
        draft.changes[found.no] = replace(found, content=None)
    for place, foreign in list(draft.foreign.items()):
        if place[0] == key:
            draft.foreign[place] = replace(foreign, lines=hide_in_excerpt(foreign.lines, {leaf}))
    draft.aside = [
        replace(one, content=None) if one.content is not None and leaf_hash(one.content) == leaf else one
        for one in draft.aside
    ]
    del draft.erasures[leaf]
    return found is not None


def _without(head_frame: bytes, contents_frame: bytes, leaf: bytes) -> tuple[bytes, bytes]:
    change_set = parse_change_set(decompress_part(head_frame), decompress_part(contents_frame))
    left = hide_contents(change_set, {leaf})
    return head_frame, compress_part(left) if left else b""
