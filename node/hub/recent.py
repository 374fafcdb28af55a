"""The leaves that this process appended last, for the projector: what is at hand need not be read from the database."""

from __future__ import annotations

from collections import deque
from typing import Final

from node.store.hub_records import Commit, LogLeaf

RECENT_MAX_BYTES: Final = 4 * 1024 * 1024  # what a rush appends while one step is folded; who is further behind reads


class RecentLeaves:
    """Consecutive leaves, the newest at the end. Belongs to one event loop."""

    def __init__(self, max_bytes: int = RECENT_MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._leaves: deque[LogLeaf] = deque()
        self._bytes = 0

    def add(self, commit: Commit) -> None:
        """What was just published. A gap before it, which another process appended, lets go of what was there."""
        if self._leaves and self._leaves[-1].index + 1 != commit.follows:
            self._leaves.clear()
            self._bytes = 0
        frames = {new.stored.index: new.changes_frame for new in commit.sets}
        for index, entry in enumerate(commit.entries, commit.follows):
            leaf = LogLeaf(index, entry, frames.get(index))
            self._leaves.append(leaf)
            self._bytes += _size(leaf)
        while self._bytes > self._max_bytes:
            self._bytes -= _size(self._leaves.popleft())

    def take(self, start: int, end: int, bytes_max: int) -> list[LogLeaf]:
        """Leaves from `start` on, below `end`, until `bytes_max` are reached; none where `start` is not at hand.

        What is before `start` is let go of.
        """
        while self._leaves and self._leaves[0].index < start:
            self._bytes -= _size(self._leaves.popleft())
        found: list[LogLeaf] = []
        size = 0
        if self._leaves and self._leaves[0].index == start:
            for leaf in self._leaves:
                if leaf.index >= end or size >= bytes_max:
                    break
                found.append(leaf)
                size += _size(leaf)
        return found


def _size(leaf: LogLeaf) -> int:
    return len(leaf.entry) + len(leaf.changes_frame or b"")
