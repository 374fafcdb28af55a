"""What a local node's store takes and gives: plain frozen records (node/local/ports.py LocalStore).

A complaint's *key* is the 16 bytes of its UUID and then its minting agency in ASCII: UUIDv7 first, so that new
complaints stand at the end of the index. Changes are numbered (`no`) in the order of recording; numbers only grow.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from node.deadlines.clocks import Clocks
from node.store.complaint_keys import complaint_of
from sync_protocol.backoff import Schedule
from sync_protocol.complaint import ComplaintState, State
from sync_protocol.errors import SimpulError
from sync_protocol.values import ComplaintId, Digest


class RowConflict(SimpulError):
    """The store would not take a row, which nobody foresaw; the transaction it was in is undone."""


class SetStatus(IntEnum):
    """Where a signed set stands."""

    SIGNED = 0
    ACKNOWLEDGED = 1
    WITHDRAWN = 2


@dataclass(frozen=True, slots=True)
class Seen:
    """The newest checkpoint of the hub that this node verified: what every manifest countersigns (protocol §4.2)."""

    size: int
    root: Digest
    signature: bytes
    note: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """Who this node is, from its enrolment on.

    `vkey` is the one that the invitation named, `enrolment` the digest of the newest enrolment statement.
    """

    agency: str
    origin: str
    vkey: str
    enrolment: Digest
    enrolled_at_ms: int


@dataclass(frozen=True, slots=True)
class HeldStatement:
    """A statement at its place in the log, with the receipt (tlog-proof) if the hub gave one."""

    index: int
    digest: Digest
    statement: str
    receipt: str | None = None


@dataclass(frozen=True, slots=True)
class HeldComplaint:
    """A complaint after its last recorded change. `clocks` None: not known yet; `slot` None: to be measured."""

    no: int
    key: bytes
    state: ComplaintState
    changed_at_ms: int
    clocks: Clocks | None = None
    slot: int | None = None

    @property
    def id(self) -> ComplaintId:
        """`<agency>:<uuid>`."""
        return complaint_of(self.key)


@dataclass(frozen=True, slots=True)
class WrittenComplaint:
    """A complaint's state after the changes that are written with it.

    Without `clocks` or `slot` it is to be measured: from the lines of its changes, or by the clocks.
    """

    key: bytes
    state: ComplaintState
    changed_at_ms: int
    clocks: Clocks | None = None
    slot: int | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """What is due on a complaint as it was at that rev."""

    no: int
    rev: int
    clocks: Clocks
    slot: int


@dataclass(frozen=True, slots=True)
class WrittenChange:
    """A change line and its content line, without LF. `content` is None where there is none, or not here.

    `key` is None for a change of our own chain to a complaint that is not held here (it was never ours, or unreadable).
    """

    key: bytes | None
    line: bytes = field(repr=False)
    content: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request with this Idempotency-Key was answered. Key and body are SHA-256."""

    key: bytes
    body: bytes
    answer: bytes
    at_ms: int


@dataclass(frozen=True, slots=True)
class Named:
    """What commands name, and so what has to be known to judge them.

    Complaints by key, answers by the hash of their Idempotency-Key, sources as (system, its own number); and the
    complaints that something is to be erased of.
    """

    complaints: Collection[bytes] = ()
    answers: Collection[bytes] = ()
    sources: Collection[tuple[str, str]] = ()
    erasing: Collection[bytes] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """What there is of it. `sources` lead to keys of complaints, which are among `complaints`.

    `shown` has, for each complaint that something is to be erased of, the leaf hashes of the content lines held here.
    """

    complaints: Mapping[bytes, HeldComplaint]
    answers: Mapping[bytes, Answer]
    sources: Mapping[tuple[str, str], bytes]
    shown: Mapping[bytes, Collection[bytes]]


@dataclass(frozen=True, slots=True)
class WrittenRows:
    """What a batch of commands leaves: states, changes for the end of the outbox, answers."""

    complaints: Sequence[WrittenComplaint] = ()
    changes: Sequence[WrittenChange] = ()
    answers: Sequence[Answer] = ()


@dataclass(frozen=True, slots=True)
class HeldChange:
    """A change as stored; `seq` of the set it is in (None: unsent), `index` of that in the log (None: no receipt).

    `agency` is the one that signed it where that is another; then `no` is 0. `verdict` is why the log refused one of
    ours, as far as the hub has told.
    """

    no: int
    line: bytes
    content: bytes | None
    seq: int | None = None
    index: int | None = None
    agency: str | None = None
    verdict: str | None = None


@dataclass(frozen=True, slots=True)
class HeldSet:
    """A signed set without its lines; covers the changes first_no … last_no."""

    id: int
    epoch: int
    seq: int
    digest: Digest
    kid: str
    first_no: int
    last_no: int
    changes: int
    size: int
    status: SetStatus
    at_ms: int
    attempts: int
    index: int | None
    hidden: int
    erased: int
    manifest: str


@dataclass(frozen=True, slots=True)
class SignedSet:
    """A set just signed, or fetched and verified: everything but its place among the changes. Frames are zstd."""

    epoch: int
    seq: int
    digest: Digest
    kid: str
    changes: int
    size: int
    at_ms: int
    manifest: str
    head_frame: bytes = field(repr=False)
    contents_frame: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """A verified receipt for a set, and the checkpoint that it brought (None: not newer than what we have).

    The digest says which set: one that was withdrawn and its recut have the same `seq`.
    """

    seq: int
    digest: Digest
    index: int
    receipt: bytes
    hidden: int
    erased: int
    at_ms: int
    seen: Seen | None


@dataclass(frozen=True, slots=True)
class AdoptedSet:
    """A set that came back from the hub, over the changes `first_no` … `last_no`, and its receipt."""

    signed: SignedSet
    first_no: int
    last_no: int
    receipt: Acknowledgement


@dataclass(frozen=True, slots=True)
class ChainEnd:
    """The newest live set: where the next one goes on. `seq` 0 with the enrolment's digest before the first."""

    seq: int
    epoch: int
    digest: Digest
    last_no: int


#: Number, change line, content line: what a cut reads, straight from the driver.
UnsentLine = tuple[int, bytes, bytes | None]


@dataclass(frozen=True, slots=True)
class Cuttable:
    """What the next set is made from, as of one moment: where it goes, what it countersigns, what is unsent.

    `epoch` is the one to sign with.
    """

    epoch: int
    end: ChainEnd
    seen: Seen
    lines: Sequence[UnsentLine] = field(repr=False)


#: Makes the set that goes on from there, and says which change is the last that it covers; or it does not (None).
Signing = Callable[[Cuttable], tuple[SignedSet, int] | None]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A live set as it is pushed: its exact bytes, and the checkpoint to ask a consistency proof from."""

    epoch: int
    seq: int
    digest: Digest
    manifest: str = field(repr=False)
    frames: bytes = field(repr=False)
    seen: Seen
    has_erasures: bool = False  # what it said is to be erased first, here: these bytes are not what goes out


@dataclass(frozen=True, slots=True)
class SetAside:
    """A change that is kept for the operator and never sent, with the reason."""

    complaint: str
    change_id: str
    reason: str
    at_ms: int
    line: bytes = field(repr=False)
    content: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A bearer token of the intake, by its hash."""

    hash: bytes
    name: str
    created_at_ms: int
    ended_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class ComplaintFilter:
    """Which complaints are listed, newest first or `oldest_first`. `before_no` continues; sources match exactly.

    `not_owner` is for what is held here and owned by anybody else.
    From and to are both included.
    With `slots`, the first and the last: what is due between, the earliest first; `after` (slot, no) continues that.
    """

    states: Sequence[State] = ()
    unit: str | None = None
    source_system: str | None = None
    source_id: str | None = None
    tracking: str | None = None
    oldest_first: bool = False
    before_no: int | None = None
    owner: str | None = None
    not_owner: str | None = None
    offered_to: str | None = None
    slots: tuple[int, int] | None = None
    after: tuple[int, int] | None = None
    limit: int = 50
    received_from_ms: int | None = None
    received_to_ms: int | None = None
    changed_from_ms: int | None = None


@dataclass(frozen=True, slots=True)
class FileToSend:
    """A file that a content line names and the hub is to have. `leaf` is the line's, `seq` the set that it stands in.

    `is_sent`: the hub had it once, and is only asked whether it still has it.
    """

    leaf: bytes
    file: Digest
    size: int
    seq: int
    is_sent: bool
    visibility: str
    schedule: Schedule
