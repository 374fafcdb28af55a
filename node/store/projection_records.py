"""What the projection's store takes and gives: plain frozen records (see node/hub/ports.py ProjectionStore).

A complaint's *key* is the 16 bytes of its UUID and then its minting agency in ASCII: UUIDv7 first, so that new
complaints stand at the end of the index. A *pointer* is 8 bytes, big-endian: log index << 16 | position in the set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

POINTER_BYTES: Final = 8
START_HASH: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class Cursor:
    """The fold has seen the leaves 0 … size - 1; `state_hash` is h after the last of them (protocol §9.5)."""

    size: int = 0
    state_hash: bytes = START_HASH
    updated_at_ms: int = 0


class ComplaintRow(NamedTuple):
    """One complaint: its packed state (under 128 KiB) and the pointers to the changes that were applied to it."""

    key: bytes
    state: bytes
    pointers: bytes


@dataclass(frozen=True, slots=True)
class RefusedChange:
    """A change that the fold refused; `change_id` is empty where the line names none."""

    index: int
    position: int
    agency: str
    seq: int
    change_id: str
    verdict: int


@dataclass(frozen=True, slots=True)
class Erasure:
    """An applied `erased` change: the complaint's key, the leaf hashes, and its pointers out of the same step."""

    complaint: bytes
    leaves: frozenset[bytes]
    pointers: bytes


@dataclass(frozen=True, slots=True)
class ProjectionStep:
    """Everything that folding the leaves `begins` … `cursor.size - 1` changes.

    `complaints` are (key, whole new state, new pointers alone) or such rows; `totals` are differences. `erasures` are
    not written: whoever commits the step carries them out first.
    """

    begins: int
    cursor: Cursor
    complaints: Sequence[tuple[bytes, bytes, bytes]] = ()
    refused: Sequence[RefusedChange] = ()
    totals: Mapping[str, int] = field(default_factory=dict)
    last_heard: Mapping[str, int | None] = field(default_factory=dict)
    erasures: Sequence[Erasure] = ()


def read_pointers(pointers: bytes) -> Iterator[tuple[int, int]]:
    """(log index, position) of every change that was applied, in order of the log."""
    for start in range(0, len(pointers), POINTER_BYTES):
        number = int.from_bytes(pointers[start : start + POINTER_BYTES], "big")
        yield number >> 16, number & 0xFFFF
