"""The Merkle tree of RFC 6962 §2.1 with SHA-256 (protocol §6.1): roots, proofs and their verification.

A *node* (level, index) is the complete subtree over leaves [index·2^level, (index+1)·2^level). Provers read nodes
through a callable, so that proofs come from tiles, from memory or from a database alike. Hashes are 32 raw bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Final

from sync_protocol.errors import Refused, malformed
from sync_protocol.limits import PROOF_HASHES_MAX

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()
TREE_SIZE_MAX: Final = 2**63 - 1  # C2SP and every 64-bit reader; also bounds the work of a hostile proof

NodeReader = Callable[[int, int], bytes]
"""(level, index) -> hash of that complete subtree."""


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(0x00 ‖ data)."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 ‖ left ‖ right)."""
    return sha256(b"\x01" + left + right).digest()


def leaf_hashes(lines: Iterable[bytes]) -> list[bytes]:
    """`leaf_hash` of each, in bulk: copying a state that has taken the prefix beats joining prefix and line."""
    fresh = sha256(b"\x00").copy
    hashes: list[bytes] = []
    add = hashes.append
    for line in lines:
        state = fresh()
        state.update(line)
        add(state.digest())
    return hashes


def pair_up(row: Sequence[bytes]) -> list[bytes]:
    """The parents of an even number of siblings. The hot loop of the whole system; see `leaf_hashes` for its form."""
    fresh = sha256(b"\x01").copy
    parents: list[bytes] = []
    add = parents.append
    siblings = iter(row)
    for left, right in zip(siblings, siblings, strict=True):
        state = fresh()
        state.update(left)
        state.update(right)
        add(state.digest())
    return parents


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """The root over these leaf hashes; EMPTY_ROOT for none. An odd last node moves up as it is (RFC 6962)."""
    if not leaves:
        return EMPTY_ROOT
    level = list(leaves)
    while len(level) > 1:
        odd = [level.pop()] if len(level) & 1 else []
        level = pair_up(level)
        level += odd
    return level[0]


class CompactRange:
    """The right edge of a growing tree: the roots of its complete subtrees, largest first.

    `peaks` holds (level, hash); the levels are the bits set in `size`. That is all one needs to append and to know
    the root.
    """

    __slots__ = ("peaks", "size")

    def __init__(self) -> None:
        self.size = 0
        self.peaks: list[tuple[int, bytes]] = []

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash."""
        self.append_subtree(0, leaf)

    def append_subtree(self, level: int, subtree: bytes) -> None:
        """Add a complete subtree of 2^level leaves. Raises Refused(malformed) unless the tree's size is a multiple."""
        self._check_room(level, 1)
        self.size += 1 << level
        peaks = self.peaks
        while peaks and peaks[-1][0] == level:
            subtree = sha256(b"\x01" + peaks.pop()[1] + subtree).digest()
            level += 1
        peaks.append((level, subtree))

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Add many leaf hashes, level by level: one hash a new node."""
        self.extend_subtrees(0, leaves)

    def extend_subtrees(self, level: int, subtrees: Sequence[bytes]) -> None:
        """Add complete subtrees of 2^level leaves each. Raises Refused(malformed) if the first is not aligned."""
        if not subtrees:
            return
        self._check_room(level, len(subtrees))
        self.size += len(subtrees) << level
        peaks, fresh, row = self.peaks, [], list(subtrees)
        while row:
            if peaks and peaks[-1][0] == level:
                row.insert(0, peaks.pop()[1])
            if len(row) & 1:
                fresh.append((level, row.pop()))
            row = pair_up(row)
            level += 1
        peaks.extend(reversed(fresh))

    def root(self) -> bytes:
        """The root over everything added; EMPTY_ROOT at size 0."""
        return fold_peaks([subtree for _, subtree in self.peaks]) if self.peaks else EMPTY_ROOT

    def _check_room(self, level: int, count: int) -> None:
        if not 0 <= level < PROOF_HASHES_MAX or self.size & ((1 << level) - 1):
            raise malformed(f"a subtree of 2^{level} leaves cannot start at leaf {self.size}", "leaves")
        if self.size + (count << level) > TREE_SIZE_MAX:
            raise malformed("the tree would pass 2^63 leaves", "leaves")


def fold_peaks(peaks: list[bytes]) -> bytes:
    """The root over complete subtrees of falling size."""
    root = peaks[-1]
    for peak in reversed(peaks[:-1]):
        root = node_hash(peak, root)
    return root


def _range_root(start: int, end: int, node: NodeReader) -> bytes:
    """MTH(D[start:end]) where start is a multiple of the range's largest complete subtree."""
    peaks: list[bytes] = []
    while start < end:
        level = (end - start).bit_length() - 1
        peaks.append(node(level, start >> level))
        start += 1 << level
    return fold_peaks(peaks)


def _split(start: int, end: int) -> int:
    """Where RFC 6962 cuts D[start:end]: after the largest power of two below its length (two or more)."""
    return start + (1 << ((end - start - 1).bit_length() - 1))


def inclusion_proof(index: int, size: int, node: NodeReader) -> list[bytes]:
    """PATH(index, D[size]), leaf to root. Raises Refused(malformed) if there is no such leaf."""
    if not 0 <= index < size <= TREE_SIZE_MAX:
        raise malformed(f"there is no leaf {index} in a tree of {size}", "index")
    proof = []
    start, end = 0, size
    while end - start > 1:
        middle = _split(start, end)
        if index < middle:
            proof.append(_range_root(middle, end, node))
            end = middle
        else:
            proof.append(_range_root(start, middle, node))
            start = middle
    return proof[::-1]


def consistency_proof(old_size: int, new_size: int, node: NodeReader) -> list[bytes]:
    """PROOF(old, D[new]); empty for equal sizes and from size 0. Raises Refused(malformed) if old > new."""
    if not 0 <= old_size <= new_size <= TREE_SIZE_MAX:
        raise malformed(f"a tree of {new_size} cannot follow one of {old_size}", "from")
    proof = []
    start, end = 0, new_size
    while old_size not in (start, end):
        middle = _split(start, end)
        if old_size <= middle:
            proof.append(_range_root(middle, end, node))
            end = middle
        else:
            proof.append(_range_root(start, middle, node))
            start = middle
    if start:  # else a whole left edge is the old root itself, which the verifier already has
        proof.append(_range_root(start, end, node))
    return proof[::-1]


def _bad_proof(detail: str) -> Refused:
    return Refused("bad-proof", detail)


def _check_proof(hashes: Sequence[bytes], proof: Sequence[bytes]) -> None:
    if len(proof) > PROOF_HASHES_MAX:
        raise _bad_proof(f"a proof has at most {PROOF_HASHES_MAX} hashes")
    if not {HASH_BYTES}.issuperset(map(len, (*hashes, *proof))):
        raise _bad_proof("every hash of a proof has 32 bytes")


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Return if leaf hash `leaf` stands at `index` of the tree (size, root): RFC 9162 §2.1.3.2.

    Raises Refused(bad-proof).
    """
    # Here and below `node_hash` is written out: a call for each step doubles the work of a proof.
    _check_proof((leaf, root), proof)
    if not 0 <= index < size <= TREE_SIZE_MAX:
        raise _bad_proof(f"there is no leaf {index} in a tree of {size}")
    at, last, computed = index, size - 1, leaf
    for step in proof:
        if last == 0:
            raise _bad_proof("the proof is longer than the tree is high")
        if at & 1 or at == last:
            computed = sha256(b"\x01" + step + computed).digest()
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            computed = sha256(b"\x01" + computed + step).digest()
        at, last = at >> 1, last >> 1
    if last:
        raise _bad_proof("the proof is shorter than the tree is high")
    if computed != root:
        raise _bad_proof("the proof does not lead to this root")


def verify_consistency(old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Return if the tree (new_size, new_root) continues (old_size, old_root): RFC 9162 §2.1.4.2.

    From size 0 there is nothing to prove: the old root is the empty one and the proof is empty. Raises
    Refused(bad-proof).
    """
    _check_proof((old_root, new_root), proof)
    if not 0 <= old_size <= new_size <= TREE_SIZE_MAX:
        raise _bad_proof(f"a tree of {new_size} cannot follow one of {old_size}")
    if (old_size == 0 and old_root != EMPTY_ROOT) or (new_size == 0 and new_root != EMPTY_ROOT):
        raise _bad_proof("a tree without leaves has the root of the empty tree")
    if old_size in (0, new_size):
        if proof or (old_size == new_size and old_root != new_root):
            raise _bad_proof("the trees have one size, or the old one is empty: equal roots and no hashes are wanted")
        return
    _walk_consistency(old_size, old_root, new_size, new_root, list(proof))


def _walk_consistency(old_size: int, old_root: bytes, new_size: int, new_root: bytes, path: list[bytes]) -> None:
    if not old_size & (old_size - 1):  # a complete tree is its own first node and is not sent
        path.insert(0, old_root)
    if not path:
        raise _bad_proof("the proof is empty")
    at, last = old_size - 1, new_size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = path[0]
    for step in path[1:]:
        if last == 0:
            raise _bad_proof("the proof is longer than the tree is high")
        if at & 1 or at == last:
            old, new = sha256(b"\x01" + step + old).digest(), sha256(b"\x01" + step + new).digest()
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            new = sha256(b"\x01" + new + step).digest()
        at, last = at >> 1, last >> 1
    if last:
        raise _bad_proof("the proof is shorter than the tree is high")
    if old != old_root:
        raise _bad_proof("the proof does not lead to the old root: the history was rewritten")
    if new != new_root:
        raise _bad_proof("the proof does not lead to the new root")
