"""Hidden lines: a subtree's hash in the place of its lines (protocol §3.2).

Lines with hidden ones among them are read as *pieces*: aligned subtrees that lie side by side and cover a range of
leaves without gap. A literal line is a piece of one leaf that also has its bytes. All that is done with hidden lines
— hiding, excerpts, filling in — turns pieces into other pieces with the same root.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final, NamedTuple

from sync_protocol.errors import malformed
from sync_protocol.merkle import CompactRange, leaf_hash, node_hash
from sync_protocol.values import b64u_decode, b64u_encode

HIDDEN_PREFIX: Final = b'{"hidden":"'
# The last of 43 characters carries four bits and two spare ones: sixteen characters are canonical there.
_HIDDEN_LINE: Final = re.compile(rb'\{"hidden":"([A-Za-z0-9_-]{42}[AEIMQUYcgkosw048])","leaves":([1-9][0-9]{0,4})\}')


class Piece(NamedTuple):
    """A complete subtree of 2**level leaves from leaf `start` on, aligned to its size.

    `line` is None where it is hidden.
    """

    start: int
    level: int
    root: bytes
    line: bytes | None

    @property
    def leaves(self) -> int:
        """How many leaves it covers."""
        return 1 << self.level


def is_hidden_line(line: bytes) -> bool:
    """Whether the line has the form of a hidden line, whatever place and number it names.

    Such a line is never a literal one.
    """
    return line.startswith(HIDDEN_PREFIX) and _HIDDEN_LINE.fullmatch(line) is not None


def has_hidden_line(block: bytes) -> bool:
    """Whether one line of a block has that form. Costs next to nothing where no line begins so."""
    return HIDDEN_PREFIX in block and any(map(is_hidden_line, block.split(b"\n")))


def format_hidden_line(root: bytes, leaves: int) -> bytes:
    """The hidden line, without LF, for a subtree."""
    return b'{"hidden":"%s","leaves":%d}' % (b64u_encode(root).encode("ascii"), leaves)


def count_hidden_leaves(block: bytes) -> int:
    """How many leaves the hidden lines of a verified block stand for."""
    if HIDDEN_PREFIX not in block:
        return 0
    found = map(_HIDDEN_LINE.fullmatch, block.split(b"\n"))
    return sum(int(hidden[2]) for hidden in found if hidden)


def read_pieces(lines: Sequence[bytes], start: int, end: int, where: str = "hidden line") -> list[Piece]:
    """The pieces that the lines (without LF) are, covering exactly the leaves from `start` to `end`.

    Raises Refused(malformed) for a hidden line that is not aligned, not of 2**j leaves or reaches too far, and for a
    wrong sum.
    """
    pieces: list[Piece] = []
    position = start
    for line in lines:
        hidden = _HIDDEN_LINE.fullmatch(line) if line.startswith(HIDDEN_PREFIX) else None
        if hidden is None:
            piece = Piece(position, 0, leaf_hash(line), line)
        else:
            leaves = int(hidden[2])
            if leaves & (leaves - 1) or position % leaves:
                raise malformed("a hidden line stands for 2**j leaves and starts at a multiple of that", where)
            root = b64u_decode(hidden[1].decode("ascii"), 32, where)
            piece = Piece(position, leaves.bit_length() - 1, root, None)
        position += piece.leaves
        pieces.append(piece)
    if position != end:
        raise malformed("the lines stand for more or fewer leaves than the manifest says", where)
    return pieces


def write_pieces(pieces: Iterable[Piece]) -> bytes:
    """The block of lines, each with its LF, for the pieces."""
    return b"".join(
        (format_hidden_line(piece.root, piece.leaves) if piece.line is None else piece.line) + b"\n" for piece in pieces
    )


def root_of(leaves_before: Sequence[bytes], pieces: Iterable[Piece]) -> bytes:
    """The root over some leaf hashes, then pieces that start where these end."""
    tree = CompactRange()
    tree.extend(leaves_before)
    for level, alike in groupby(pieces, key=attrgetter("level")):
        tree.extend_subtrees(level, [piece.root for piece in alike])
    return tree.root()


class SubtreeRoots:
    """The root of every complete aligned subtree over some pieces that cover the leaves from 0 to `size`."""

    def __init__(self, pieces: Iterable[Piece], size: int) -> None:
        self._size = size
        roots = self._roots = {(piece.level, piece.start): piece.root for piece in pieces}
        for level in range((size or 1).bit_length() - 1):
            width = 1 << level
            for start in range(0, size - 2 * width + 1, 2 * width):
                left, right = roots.get((level, start)), roots.get((level, start + width))
                if left is not None and right is not None:
                    roots[level + 1, start] = node_hash(left, right)

    def around(self, kept: Mapping[int, bytes]) -> list[Piece]:
        """The pieces with these leaves literal and all else hidden, in the fewest subtrees.

        None of the leaves may lie in a subtree that was hidden before.
        """
        found: list[Piece] = []
        wanted = sorted(kept)
        waiting: list[tuple[int, int]] = []  # (level, start), the next one last
        end = self._size
        while end:  # aligned subtrees that cover everything, from the right: the bits of the size
            level = (end & -end).bit_length() - 1
            end -= 1 << level
            waiting.append((level, end))
        while waiting:
            level, start = waiting.pop()
            place = bisect_left(wanted, start)
            if place == len(wanted) or wanted[place] >= start + (1 << level):
                found.append(Piece(start, level, self._roots[level, start], None))
            elif level == 0:
                found.append(Piece(start, 0, self._roots[0, start], kept[start]))
            else:
                waiting += [(level - 1, start + (1 << (level - 1))), (level - 1, start)]
        return found


def hide_where(pieces: Iterable[Piece], unwanted: Callable[[Piece], bool]) -> list[Piece]:
    """The pieces with every unwanted literal hidden, in the fewest subtrees."""
    return _fewest(
        piece._replace(line=None) if piece.line is not None and unwanted(piece) else piece for piece in pieces
    )


def fill_in(held: Sequence[Piece], shown: Sequence[Piece]) -> list[Piece]:
    """The finest of two readings of one range: literal where either is literal. Both MUST have the same root."""
    finest: list[Piece] = []
    others = iter(shown)
    other = next(others, None)
    for piece in held:
        # Two aligned subtrees are apart or one inside the other: skip what lies before, then compare what overlaps.
        while other is not None and other.start + other.leaves <= piece.start:
            other = next(others, None)
        if other is None or other.level > piece.level or (other.level == piece.level and other.line is None):
            finest.append(piece)
            continue
        end = piece.start + piece.leaves
        if other.level == piece.level:
            finest.append(other)
            continue
        inside, other = _take_until(other, others, end)
        finest.extend(inside)
    return finest


def _take_until(first: Piece, rest: Iterator[Piece], end: int) -> tuple[list[Piece], Piece | None]:
    """The pieces before `end`, and the one after them."""
    taken = [first]
    for piece in rest:
        if piece.start >= end:
            return taken, piece
        taken.append(piece)
    return taken, None


def _fewest(pieces: Iterable[Piece]) -> list[Piece]:
    """Neighbouring hidden halves of one subtree become that subtree, as far as it goes."""
    merged: list[Piece] = []
    for piece in pieces:
        merged.append(piece)
        while len(merged) > 1 and _are_hidden_halves(merged[-2], merged[-1]):
            right = merged.pop()
            left = merged.pop()
            merged.append(Piece(left.start, left.level + 1, node_hash(left.root, right.root), None))
    return merged


def _are_hidden_halves(left: Piece, right: Piece) -> bool:
    return (
        left.line is None
        and right.line is None
        and left.level == right.level
        and not left.start & ((2 << left.level) - 1)
    )
