"""What a local node's database holds, as plain values, and what its queries mean (node/local/ports.py).

Functions that read take a state; functions that write change a copy that nobody else sees yet.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

from node.store.complaint_keys import complaint_key
from node.store.local_erasing import erasure_rows, unannounced
from node.store.local_records import (
    Acknowledgement,
    Answer,
    ApiToken,
    ChainEnd,
    HeldChange,
    HeldComplaint,
    HeldSet,
    HeldStatement,
    NodeIdentity,
    RowConflict,
    Seen,
    SetAside,
    SetStatus,
    SignedSet,
    WrittenChange,
    WrittenComplaint,
)
from node.store.local_transaction import not_enrolled, signed_before
from node.store.shared_records import ForeignSet, OwnLine, Refusal
from sync_protocol.backoff import Schedule
from sync_protocol.halts import Halt
from sync_protocol.outbox import OutboxView

__all__ = ["Change", "LocalState", "NodeRow", "complaint_key"]


@dataclass(frozen=True, slots=True)
class NodeRow:
    """The one row about the node itself."""

    identity: NodeIdentity
    seen: Seen
    epoch: int = 1
    is_claimed: bool = False
    adopted_at_ms: int | None = None
    is_behind: bool = False
    schedule: Schedule = field(default_factory=Schedule)
    halt: Halt | None = None
    trouble: str | None = None
    hub_seen_at_ms: int | None = None
    last_receipt_at_ms: int | None = None
    inbox_place: int = -1
    tables_mark: bytes | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A recorded change; `key` None for one of our chain to a complaint that is not held here."""

    no: int
    key: bytes | None
    line: bytes
    content: bytes | None


@dataclass
class LocalState:
    """See the module. Sets by id, changes by number, in order."""

    node: NodeRow | None = None
    complaints: dict[bytes, HeldComplaint] = field(default_factory=dict)
    changes: dict[int, Change] = field(default_factory=dict)
    last_no: int = 0
    last_complaint_no: int = 0
    sets: dict[int, HeldSet] = field(default_factory=dict)
    shown_again: dict[int, int] = field(default_factory=dict)
    frames: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    receipts: dict[int, bytes] = field(default_factory=dict)
    statements: dict[int, HeldStatement] = field(default_factory=dict)
    answers: dict[bytes, Answer] = field(default_factory=dict)
    tokens: dict[bytes, ApiToken] = field(default_factory=dict)
    aside: list[SetAside] = field(default_factory=list)
    erasures: dict[bytes, bytes] = field(default_factory=dict)
    foreign: dict[tuple[bytes, int], ForeignSet] = field(default_factory=dict)
    refusals: dict[int, Refusal] = field(default_factory=dict)
    unsettled: set[bytes] = field(default_factory=set)

    def copy(self) -> LocalState:
        return LocalState(
            self.node,
            dict(self.complaints),
            dict(self.changes),
            self.last_no,
            self.last_complaint_no,
            dict(self.sets),
            dict(self.shown_again),
            dict(self.frames),
            dict(self.receipts),
            dict(self.statements),
            dict(self.answers),
            dict(self.tokens),
            list(self.aside),
            dict(self.erasures),
            dict(self.foreign),
            dict(self.refusals),
            set(self.unsettled),
        )

    # --- the node's row ---

    @property
    def row(self) -> NodeRow:
        """Raises Corrupt before the enrolment."""
        if self.node is None:
            raise not_enrolled()
        return self.node

    def amend(self, **changed: object) -> None:
        """Some columns of the node's row, if there is one."""
        if self.node is not None:
            self.node = replace(self.node, **changed)  # type: ignore[arg-type]

    def move_seen(self, seen: Seen) -> None:
        if self.row.seen.size <= seen.size:
            self.amend(seen=seen)

    def add_statements(self, statements: Sequence[HeldStatement]) -> None:
        for held in statements:
            known = self.statements.get(held.index)
            if known is None:
                assert all(one.digest != held.digest for one in self.statements.values()), "one statement at two places"
                self.statements[held.index] = held
            elif known.receipt is None:
                self.statements[held.index] = replace(known, receipt=held.receipt)

    # --- the chain ---

    def live(self) -> list[HeldSet]:
        """Sets that were not withdrawn, by seq."""
        found = [held for held in self.sets.values() if held.status is not SetStatus.WITHDRAWN]
        return sorted(found, key=lambda held: held.seq)

    def live_set(self, seq: int) -> HeldSet | None:
        return next((held for held in self.live() if held.seq == seq), None)

    def chain_end(self, up_to_seq: int | None = None) -> ChainEnd:
        sets = [held for held in self.live() if up_to_seq is None or held.seq <= up_to_seq]
        if sets:
            newest = sets[-1]
            return ChainEnd(newest.seq, newest.epoch, newest.digest, newest.last_no)
        return ChainEnd(0, 1, self.row.identity.enrolment, 0)

    def acknowledged_seq(self) -> int:
        return max((held.seq for held in self.sets.values() if held.status is SetStatus.ACKNOWLEDGED), default=0)

    def outbox(self) -> OutboxView:
        row, live = self.row, self.live()
        newest = live[-1] if live else None
        acknowledged = self.acknowledged_seq()
        pending = next((held.epoch for held in live if held.seq == acknowledged + 1), None)
        return OutboxView(
            epoch=row.epoch,
            signed_seq=newest.seq if newest else 0,
            acknowledged_seq=acknowledged,
            pending_epoch=pending,
            unsent=max(max(self.changes, default=0) - (newest.last_no if newest else 0), 0),
            last_signed_at_ms=newest.at_ms if newest else None,
            schedule=row.schedule,
            halt=row.halt,
            is_claimed=row.is_claimed,
            adopted_at_ms=row.adopted_at_ms,
        )

    def check_free(self, epoch: int, seq: int) -> None:
        """Raises Corrupt for a place that was signed for, whatever became of it."""
        if any((held.epoch, held.seq) == (epoch, seq) for held in self.sets.values()):
            raise signed_before(epoch, seq)

    def add_set(self, signed: SignedSet, first_no: int, last_no: int) -> None:
        number = len(self.sets) + 1
        if any((held.epoch, held.seq) == (signed.epoch, signed.seq) for held in self.live()):
            raise signed_before(signed.epoch, signed.seq)
        self.sets[number] = HeldSet(
            id=number,
            epoch=signed.epoch,
            seq=signed.seq,
            digest=signed.digest,
            kid=signed.kid,
            first_no=first_no,
            last_no=last_no,
            changes=signed.changes,
            size=signed.size,
            status=SetStatus.SIGNED,
            at_ms=signed.at_ms,
            attempts=0,
            index=None,
            hidden=0,
            erased=0,
            manifest=signed.manifest,
        )
        self.frames[number] = (signed.head_frame, signed.contents_frame)

    def withdraw_sets(self, from_seq: int) -> int:
        gone = [held for held in self.sets.values() if held.seq >= from_seq and held.status is SetStatus.SIGNED]
        for held in gone:
            self.sets[held.id] = replace(held, status=SetStatus.WITHDRAWN)
        last_no = self.chain_end().last_no
        for change in list(self.changes.values()):
            if change.no > last_no and change.content is None:
                self.changes[change.no] = replace(change, line=unannounced(change.line))
        return len(gone)

    def acknowledge(self, receipt: Acknowledgement) -> bool:
        held = self.live_set(receipt.seq)
        if held is None or held.digest != receipt.digest:
            return False
        self.sets[held.id] = replace(
            held,
            status=SetStatus.ACKNOWLEDGED,
            index=receipt.index,
            hidden=receipt.hidden,
            erased=receipt.erased,
        )
        self.receipts[held.id] = receipt.receipt
        self.amend(last_receipt_at_ms=receipt.at_ms)
        if receipt.seen is not None:
            self.move_seen(receipt.seen)
        return True

    def count_attempt(self, schedule: Schedule, seq: int | None, *, shown_again: bool = False) -> None:
        self.amend(schedule=schedule)
        held = None if seq is None else self.live_set(seq)
        if held is not None:
            self.sets[held.id] = replace(held, attempts=held.attempts + 1)
            self.shown_again[held.id] = self.shown_again.get(held.id, 0) + shown_again

    # --- changes ---

    def record(self, complaints: Collection[WrittenComplaint], changes: Collection[WrittenChange]) -> None:
        """Raises RowConflict."""
        for written in complaints:
            known = self.complaints.get(written.key)
            if known is None:
                self.last_complaint_no += 1
            no = self.last_complaint_no if known is None else known.no
            self.complaints[written.key] = HeldComplaint(
                no, written.key, written.state, written.changed_at_ms, written.clocks, written.slot
            )
        for change in changes:
            if change.key is not None and change.key not in self.complaints:
                raise RowConflict("a change to a complaint that is not there")
            self.last_no += 1
            self.changes[self.last_no] = Change(self.last_no, change.key, change.line, change.content)
            for leaf, key in erasure_rows(change):
                self.erasures.setdefault(leaf, key)

    def forget_changes(self, after_no: int, complaints: Collection[bytes]) -> None:
        self.changes = {no: change for no, change in self.changes.items() if no <= after_no}
        kept = {change.key for change in self.changes.values()} | {key for key, _ in self.foreign}
        for key in complaints:
            if key not in kept:
                self.complaints.pop(key, None)

    def place_of(self, no: int) -> int | None:
        """Where a change stands in the log, None without a receipt."""
        over = [held for held in self.live() if held.first_no <= no <= held.last_no]
        index = over[-1].index if over else None
        return None if index is None else index << 16 | no - over[-1].first_no

    def own_lines(self, key: bytes) -> list[OwnLine]:
        places = [(change.line, self.place_of(change.no)) for change in self.changes.values() if change.key == key]
        return [OwnLine(line, place, place in self.refusals) for line, place in places]

    def changes_after(self, no: int) -> Iterator[tuple[HeldChange, bytes]]:
        for change in self.changes.values():
            if change.no > no and change.key is not None:
                yield HeldChange(change.no, change.line, change.content), change.key

    def history(self, keys: Collection[bytes], up_to_no: int) -> list[tuple[bytes, bytes]]:
        wanted = set(keys)
        return [
            (change.key, change.line)
            for change in self.changes.values()
            if change.key is not None and change.key in wanted and change.no <= up_to_no
        ]
