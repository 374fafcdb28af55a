"""What the projection's store takes and gives: plain frozen records (see node/hub/ports.py ProjectionStore).

A complaint's *key* is the 16 bytes of its UUID and then its minting agency in ASCII: UUIDv7 first, so that new
complaints stand at the end of the index. A *pointer* is 8 bytes, big-endian: log index << 16 | position in the set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from sync_protocol.errors import Unavailable

POINTER_BYTES: Final = 8
START_HASH: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class Cursor:
    """The fold has seen the leaves 0 … size - 1; `state_hash` is h after the last of them (protocol §9.5)."""

    size: int = 0
    state_hash: bytes = START_HASH
    updated_at_ms: int = 0


class ComplaintRow(NamedTuple):
    """One complaint: its place among all (complaint_place.py), its packed state (under 128 KiB), and the pointers to
    the changes that were applied to it; in a step, to the new ones alone.
    """

    key: bytes
    place: int
    state: bytes
    pointers: bytes

    @property
    def number(self) -> int:
        """The first pointer: what a complaint is called where its key is too wide."""
        return int.from_bytes(self.pointers[:POINTER_BYTES], "big")


class TotalRow(NamedTuple):
    """One figure under its four words (protocol §9.6)."""

    figure: str
    agency: str
    key: str
    class_: str
    total: int

    @property
    def name(self) -> str:
        """`figure/agency/key/class`."""
        return f"{self.figure}/{self.agency}/{self.key}/{self.class_}"


class TotalsWanted(NamedTuple):
    """Which figures: every word that is not None must be so. `agencies` are the first and the last in their order.

    `summed` names words over which is added up; over all agencies only with nothing said about them.
    """

    agencies: tuple[str, str] | None = None
    figure: str | None = None
    key: str | None = None
    class_: str | None = None
    summed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RefusedChange:
    """A change that the fold refused; `change_id` is empty where the line names none."""

    index: int
    position: int
    agency: str
    seq: int
    change_id: str
    verdict: int


class InboxRow(NamedTuple):
    """Something that an agency is told (protocol §7.6, sync_protocol/inbox.py Note); `place` points to its change.

    `verdict` is that of a refused change, 0 for any other; `key` is None where the refused line names no complaint.
    """

    agency: str
    place: int
    note: int
    verdict: int
    key: bytes | None


@dataclass(frozen=True, slots=True)
class Erasure:
    """An applied `erased` change: where it stands and who signed it, the complaint's key, the leaf hashes, and the
    complaint's pointers out of the same step.
    """

    place: int
    signer: str
    complaint: bytes
    leaves: frozenset[bytes]
    pointers: bytes


@dataclass(frozen=True, slots=True)
class ProjectionStep:
    """Everything that folding the leaves `begins` … `cursor.size - 1` changes.

    `born` are complaints that did not exist before, `changed` are others: whole new states, new pointers alone.
    `totals` are differences by name (`figure/agency/key/class`). `gaps` are absences of agencies (agency, from, until).
    `erasures` are not written: whoever commits the step carries them out first. `inbox` is what others than the signers
    are told, and every refusal to its signer. With `has_tick`, about once an hour, counts of duties that have become
    zero are taken out.
    """

    begins: int
    cursor: Cursor
    born: Sequence[tuple[bytes, int, bytes, bytes]] = ()  # ComplaintRow, or its members
    changed: Sequence[tuple[bytes, int, bytes, bytes]] = ()
    refused: Sequence[RefusedChange] = ()
    totals: Mapping[str, int] = field(default_factory=dict)
    last_heard: Mapping[str, int | None] = field(default_factory=dict)
    gaps: Sequence[tuple[str, int, int]] = ()
    erasures: Sequence[Erasure] = ()
    inbox: Sequence[InboxRow] = ()
    has_tick: bool = False


def step_is_stale(step: ProjectionStep) -> Unavailable:
    """Somebody else moved the cursor meanwhile."""
    return Unavailable(f"the projection is not at {step.begins} any more", retry_after_s=1)


def tracking_is_stale(begins: int) -> Unavailable:
    """Somebody else read on meanwhile, or everything was dropped."""
    return Unavailable(f"tracking numbers are not read up to {begins} any more", retry_after_s=1)


def pointer_to(index: int, position: int) -> int:
    """Where a change stands, as one number that grows with the log."""
    return index << 16 | position


def read_pointers(pointers: bytes) -> Iterator[tuple[int, int]]:
    """(log index, position) of every change that was applied, in order of the log."""
    for start in range(0, len(pointers), POINTER_BYTES):
        number = int.from_bytes(pointers[start : start + POINTER_BYTES], "big")
        yield number >> 16, number & 0xFFFF
