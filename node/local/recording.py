"""From what somebody wants to record to lines and states: pure but for the identifiers it draws (protocol §2, §9).

A command is judged by the same fold as the national log will be judged by, on the state before it. What that fold would
refuse is refused here, with its verdict, and never recorded; so an honest node's changes are refused by the log only
where another agency was faster.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from node.deadlines.clocks import STARTS, Clocks, follow
from node.deadlines.tables import Deadlines
from node.local.refusal_words import why_not
from node.ports import Clock, Randomness
from node.store.complaint_keys import complaint_key, complaint_of
from node.store.local_records import (
    Answer,
    Found,
    Named,
    WrittenChange,
    WrittenComplaint,
    WrittenRows,
)
from sync_protocol.change_types import Erased
from sync_protocol.complaint import ComplaintState, FoldContext, FoldRules, Verdict, fold
from sync_protocol.errors import Refused
from sync_protocol.line import format_change, format_content, parse_change
from sync_protocol.merkle import leaf_hash
from sync_protocol.transitions import TRANSITIONS, By
from sync_protocol.values import AgencyId, ComplaintId, b64u_decode, format_timestamp, format_tracking, make_uuid7

CHANGE_REFUSED: Final = "change-refused"
KEY_REUSED: Final = "idempotency-key-reused"

SourceRef = tuple[str, str]  # (system, its own number)


@dataclass(frozen=True, slots=True)
class RequestKey:
    """What makes a request repeatable: SHA-256 of who asks and their Idempotency-Key, and of what they ask."""

    key: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Command:
    """One change that somebody wants. `complaint` None mints one (`received`, `imported`; `tracking` is minted too).

    `data` is as protocol §2.2, `content` what was said, without salt. `expected_rev` is what the caller looked at. With
    `once_for`, a complaint that has this source already is the answer, and nothing is recorded. `also` are further keys
    that it takes with it where it is recorded: refused if one was used for anything else.
    """

    type: str
    data: Mapping[str, object] = field(default_factory=dict)
    content: Mapping[str, object] = field(default_factory=dict)
    complaint: str | None = None
    role: str = "officer"
    unit: str | None = None
    at_ms: int | None = None
    expected_rev: int | None = None
    once_for: SourceRef | None = None
    request: RequestKey | None = None
    also: tuple[RequestKey, ...] = ()


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """A change that is in the outbox for good. `state` is the complaint's state after it."""

    complaint: str
    tracking: str
    change: str
    type: str
    rev: int
    state: str
    at: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one command. `is_repeat`: it was recorded before, by an equal request or from the same source."""

    recorded: Recorded
    is_repeat: bool = False


@dataclass(frozen=True, slots=True)
class LocalRules:
    """The rules as far as this node knows them; without a desk nobody here recalls or directs."""

    desk: str = ""
    bounce_limit: int = 1


@dataclass(frozen=True, slots=True)
class Minting:
    """What identifiers and verdicts of this node depend on. `is_agency`: whether a complaint may be offered there.

    Without `deadlines` what is due stays to be measured (measuring.py).
    """

    agency: AgencyId
    tracking_prefix: str
    clock: Clock
    randomness: Randomness
    rules: FoldRules = field(default_factory=LocalRules)
    is_agency: Callable[[str], bool] = lambda _: True
    deadlines: Deadlines | None = None
    is_silent: Callable[[str], bool] = lambda _: False

    def context(self) -> FoldContext:
        """The fold's view of a change recorded here and now."""
        return FoldContext(0, str(self.agency), self.rules, self.is_agency, self.is_silent)

    def uuid(self, at_ms: int) -> str:
        """A fresh UUIDv7."""
        return make_uuid7(at_ms, int.from_bytes(self.randomness.bytes(10), "big") >> 6)

    def tracking(self) -> str:
        """A fresh tracking number."""
        return format_tracking(self.tracking_prefix, int.from_bytes(self.randomness.bytes(8), "big") >> 4)


@dataclass(slots=True)
class Batch:
    """Commands judged one after the other on the states that were loaded for them; then what is to be written.

    `states`, `answers` and `sources` hold what the store has; a command sees those before it. `shown` holds, for the
    complaints that something is to be erased of, the leaf hashes of the content lines that are held.
    """

    minting: Minting
    states: dict[bytes, ComplaintState]
    answers: dict[bytes, Answer]
    sources: dict[SourceRef, bytes]
    shown: Mapping[bytes, Collection[bytes]] = field(default_factory=dict)
    clocks: dict[bytes, Clocks] = field(default_factory=dict)
    outcomes: list[Outcome | Refused] = field(default_factory=list)
    changes: list[WrittenChange] = field(default_factory=list)
    new_answers: list[Answer] = field(default_factory=list)
    _touched: dict[bytes, int] = field(default_factory=dict)

    @classmethod
    def over(cls, minting: Minting, found: Found) -> Batch:
        """On what a transaction has found."""
        states = {key: held.state for key, held in found.complaints.items()}
        clocks = {key: held.clocks for key, held in found.complaints.items() if held.clocks is not None}
        return cls(minting, states, dict(found.answers), dict(found.sources), found.shown, clocks)

    def judge(self, commands: Sequence[Command]) -> None:
        """Adds one outcome for each command; a refused one leaves nothing else behind."""
        for command in commands:
            try:
                self.outcomes.append(self._one(command))
            except Refused as refused:
                self.outcomes.append(refused)

    def rows(self) -> WrittenRows:
        """What is to be written: the states that changed, the changes, the new answers."""
        touched = [self._written(key, at_ms) for key, at_ms in self._touched.items()]
        return WrittenRows(touched, self.changes, self.new_answers)

    def _written(self, key: bytes, at_ms: int) -> WrittenComplaint:
        state, clocks, minting = self.states[key], self.clocks.get(key), self.minting
        slot = None
        if clocks is not None and minting.deadlines is not None:
            slot = own_slot(minting.deadlines, str(minting.agency), state, clocks)
        return WrittenComplaint(key, state, at_ms, clocks, slot)

    def _one(self, command: Command) -> Outcome:
        request, now_ms = command.request, self.minting.clock.now_ms()
        before = None if request is None else self._before(request)
        if before is not None:
            return Outcome(msgspec.json.decode(before.answer, type=Recorded), is_repeat=True)
        also = [key for key in command.also if self._before(key) is None]
        known = None if command.once_for is None else self.sources.get(command.once_for)
        is_report = command.type == "received" or command.role == "reporter"  # no row of a file that several import
        if known is not None and is_report and self._is_others(known):
            known = None  # another agency's complaint claims the number, or its client counts as ours does
        if known is None:
            outcome = Outcome(self._record(command, now_ms))
        else:
            outcome = Outcome(_first_change(known, self.states[known]), is_repeat=True)
        for key in also if request is None else [request, *also]:
            self.answers[key.key] = Answer(key.key, key.body, msgspec.json.encode(outcome.recorded), now_ms)
            self.new_answers.append(self.answers[key.key])
        return outcome

    def _before(self, request: RequestKey) -> Answer | None:
        """What it was answered before. Raises Refused where its key was used for another request."""
        before = self.answers.get(request.key)
        if before is None or before.body == request.body:
            return before
        raise Refused(KEY_REUSED, "this Idempotency-Key was used for another request")

    def _record(self, command: Command, now_ms: int) -> Recorded:
        minting = self.minting
        at_ms = now_ms if command.at_ms is None else command.at_ms
        key, data = self._place(command, now_ms)
        state = self.states.get(key)
        if command.expected_rev is not None and state is not None and command.expected_rev != state.rev:
            raise change_refused(Verdict.WRONG_REV, f"the complaint is at rev {state.rev} by now", state)
        change_id = minting.uuid(now_ms)
        line = format_change(
            id=change_id,
            complaint=complaint_of(key),
            rev=1 if state is None else state.rev + 1,
            type=command.type,
            at=format_timestamp(at_ms),
            role=command.role,
            unit=command.unit,
            data=data,
            content=bool(command.content),
        )
        said = command.content
        content = format_content(said, minting.randomness.bytes(16), change_id) if said else None
        change = parse_change(line)
        verdict, after = fold(state, change, leaf_hash(line), minting.context())
        if verdict is not Verdict.APPLIED or after is None:
            raise change_refused(verdict, why_not(verdict, command.type, state), state)
        if isinstance(change.data, Erased):
            self._check_held(key, change.data)
        self.states[key] = after
        if key in self.clocks or change.type in STARTS:
            self.clocks[key] = follow(self.clocks.get(key), change)
        self._touched[key] = now_ms
        self.changes.append(WrittenChange(key, line, content))
        if after.source is not None and state is None:
            source = (after.source.system, after.source.id)
            if source not in self.sources or self._is_others(self.sources[source]):
                self.sources[source] = key
        return Recorded(
            complaint=str(complaint_of(key)),
            tracking=after.tracking,
            change=change.id,
            type=change.type,
            rev=after.rev,
            state=after.state.label,
            at=change.at,
        )

    def _is_others(self, key: bytes) -> bool:
        return self.states[key].minted_by != str(self.minting.agency)

    def _check_held(self, key: bytes, data: Erased) -> None:
        """What an officer wants erased is here: a mistyped hash must not look like a letter that is gone."""
        held = self.shown.get(key, ())
        unknown = [leaf for leaf in data.leaves if b64u_decode(leaf, 32, "leaves") not in held]
        if unknown:
            detail = f"no content line of this complaint that is held here has the hash {unknown[0]}"
            raise Refused("malformed", detail, where="leaves")

    def _place(self, command: Command, now_ms: int) -> tuple[bytes, Mapping[str, object]]:
        """Key of the complaint, and the data; both completed where the complaint is minted."""
        row = TRANSITIONS.get(command.type)
        if command.complaint is not None:
            return complaint_key(ComplaintId.parse(command.complaint)), command.data
        if row is None or row.by is not By.MINTER:
            raise Refused("malformed", "this type of change needs a complaint", where="complaint")
        complaint = f"{self.minting.agency}:{self.minting.uuid(now_ms)}"
        return complaint_key(complaint), {"tracking": self.minting.tracking(), **command.data}


def own_slot(deadlines: Deadlines, agency: str, state: ComplaintState, clocks: Clocks) -> int:
    """What is due on a complaint; of one that is another agency's by now, nothing is, here."""
    return deadlines.slot(state, clocks if state.owner == agency else Clocks())


def change_refused(verdict: Verdict, detail: str, state: ComplaintState | None) -> Refused:
    """What the fold says, as a problem: `verdict` of protocol §9.3, and where the complaint stands."""
    members: dict[str, object] = {"verdict": verdict.label}
    if state is not None:
        members |= {"state": state.state.label, "rev": state.rev}
    return Refused(CHANGE_REFUSED, detail, members=members)


def names_in(commands: Sequence[Command]) -> Named:
    """What has to be found to judge them. Ill-formed ids are left to the judge."""
    complaints: dict[bytes, bool] = {}
    for command in commands:
        if command.complaint is not None:
            try:
                key = complaint_key(ComplaintId.parse(command.complaint))
            except Refused:
                continue
            complaints[key] = complaints.get(key, False) or command.type == "erased"
    requests = {key.key for command in commands for key in (command.request, *command.also) if key is not None}
    sources = {command.once_for for command in commands if command.once_for is not None}
    return Named(complaints, requests, sources, [key for key, erases in complaints.items() if erases])


def _first_change(key: bytes, state: ComplaintState) -> Recorded:
    """What a complaint that was there already answers."""
    first = state.ids[:16].hex()
    return Recorded(
        complaint=str(complaint_of(key)),
        tracking=state.tracking,
        change=f"{first[:8]}-{first[8:12]}-{first[12:16]}-{first[16:20]}-{first[20:]}",
        type="received",
        rev=state.rev,
        state=state.state.label,
        at=state.received_at,
    )
