"""What a recovering hub asks of its log store, beside what every hub asks (ports.py). The docstrings are the contracts.

Whatever is kept here was verified before: a leaf stands where it is said to stand, a note is ours. Both are let go of
when the log holds them again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from node.store.hub_records import MissingSet, RecoveredLeaf, StoredSet


class RecoveryStore(Protocol):
    """Writes are atomic and durable when they return, and may be repeated."""

    async def keep_leaves(self, leaves: Sequence[RecoveredLeaf], *, instead: bool = False) -> None:
        """Those whose place is not taken; `instead`: also where another entry stands there."""
        ...

    async def keep_checkpoints(self, notes: Mapping[int, bytes]) -> None:
        """Notes by size; the first for a size stays."""
        ...

    async def recovered_checkpoints(self, after: int) -> list[tuple[int, bytes]]:
        """Size and note of those that are larger, the smallest first."""
        ...

    async def recovered_set(self, agency: str, seq: int) -> RecoveredLeaf | None:
        """The set of that seq, with its lines if these are there."""
        ...

    async def keep_lines(self, index: int, changes_frame: bytes, contents_frame: bytes, hidden: int) -> None:
        """The lines of a set, unless lines are there of which no more are hidden, or the set is in the log again: what
        another process made whole meanwhile is not gathered any more, and nothing of it stays beside the log.
        """
        ...

    async def recovered_places(self, start: int, end: int) -> list[int]:
        """Places in [start, end) of which the leaf is there, in order."""
        ...

    async def recovered_entries(self, start: int, end: int) -> dict[int, bytes]:
        """Entries in [start, end) by place, as far as they are there."""
        ...

    async def recovered_leaves(self, start: int, end: int) -> list[RecoveredLeaf]:
        """Leaves in [start, end), in order, as far as they are there."""
        ...

    async def recovered_seqs(self, *, without_lines: bool = False) -> dict[str, list[int]]:
        """The sequences that are there, by agency, in order; or only those whose lines are not all."""
        ...

    async def wanted_seqs(self, agency: str) -> tuple[int, int] | None:
        """The first and last seq of which lines are missing, here or in the log; None if there is none."""
        ...

    async def forget_recovered(self) -> None:
        """Lets go of all notes, and of all leaves but sets of which lines are missing: those are still wanted."""
        ...

    async def stop_wanting(self, index: int) -> None:
        """Lets go of a leaf: who was asked for its lines has no more of them."""
        ...

    async def missing_sets(self, limit: int) -> list[MissingSet]:
        """Sets in the log without lines, in order."""
        ...

    async def fill_missing(self, stored: StoredSet, frames: tuple[bytes, bytes], erased: Sequence[bytes] = ()) -> bool:
        """Lines for such a set, in one transaction: changes and contents, with `hidden` and `erased` as `stored` counts
        them, and the leaf hashes of what is erased in it for good. False, writing nothing, if they came meanwhile.
        """
        ...
