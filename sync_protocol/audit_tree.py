"""The tree that an auditor builds of the entries it read: every root it ever had, and the hash tiles (protocol §6)."""

from __future__ import annotations

from collections.abc import Mapping

from sync_protocol.merkle import HASH_BYTES, CompactRange, leaf_hash
from sync_protocol.tiles import grow


class AuditTree:
    """Grows entry by entry; 64 bytes of memory for each."""

    __slots__ = ("_leaves", "_range", "_roots")

    def __init__(self) -> None:
        self._range = CompactRange()
        self._leaves: list[bytes] = []
        self._roots = bytearray(self._range.root())

    @property
    def size(self) -> int:
        """Number of entries."""
        return self._range.size

    @property
    def root(self) -> bytes:
        """Over all entries."""
        return self._range.root()

    def append(self, entry: bytes) -> int:
        """Take in the next entry; its index."""
        index = self._range.size
        leaf = leaf_hash(entry)
        self._leaves.append(leaf)
        self._range.append(leaf)
        self._roots += self._range.root()
        return index

    def root_at(self, size: int) -> bytes:
        """The root that the first `size` entries make, 0 ≤ size ≤ `self.size`."""
        return bytes(self._roots[size * HASH_BYTES : (size + 1) * HASH_BYTES])

    def hash_tiles(self) -> Mapping[tuple[int, int], bytes]:
        """The hash tiles (level, index) that the entries make."""
        return grow(0, self._leaves, _no_tiles).changed


def _no_tiles(_level: int, _index: int) -> bytes:
    """A tree from nothing has no tiles to read."""
    return b""
