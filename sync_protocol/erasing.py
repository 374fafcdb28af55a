"""Taking content lines out of a set for good, its signature and root staying as they are (protocol §3.4)."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from sync_protocol.change_set import ChangeSet, content_leaf_indices
from sync_protocol.errors import Refused
from sync_protocol.hidden_lines import Piece, hide_where, read_pieces, write_pieces
from sync_protocol.line import content_mark
from sync_protocol.line_blocks import split_block
from sync_protocol.strict_json import parse_object

_Places: TypeAlias = Callable[[Collection[int]], tuple[set[int], Collection[Piece]]]


@dataclass(frozen=True, slots=True)
class Erased:
    """What erasing left of a set's contents. `gone`: hashes of the lines that it took.

    `for_good`, for each of what was wanted: hashes of all that must not come back: what it took, and what is hidden in
    this copy already. Of a line that is hidden with others nobody can tell its hash; then it may be any that was asked
    for and is not shown elsewhere.
    """

    contents: bytes = field(repr=False)
    gone: list[bytes] = field(repr=False)
    for_good: list[frozenset[bytes]] = field(repr=False)

    @property
    def all_for_good(self) -> frozenset[bytes]:
        """Of everything that was wanted."""
        return frozenset[bytes]().union(*self.for_good)


def erase_contents(change_set: ChangeSet, wanted: Sequence[tuple[Collection[int], Collection[bytes]]]) -> Erased:
    """Takes content lines out of a verified set: for each of `wanted`, those of the changes at its positions whose leaf
    hash is among its leaves. However many are wanted, the set is read once.

    Where a set has more or fewer content lines than it announces, which nothing refuses, order pairs nothing: then a
    line belongs to the change that it names (protocol §2.3, §3.4).
    """
    manifest = change_set.manifest.manifest
    pieces = read_pieces(split_block(change_set.contents), manifest.changes, manifest.size)
    shown = {piece.start: piece.root for piece in pieces if piece.line is not None}
    roots = frozenset(shown.values())
    places = _places(split_block(change_set.change_block), pieces, manifest.size)
    gone: set[int] = set()
    for_good = []
    for changes, leaves in wanted:
        said_at, hidden = places(changes)
        taken = {start for start in said_at & shown.keys() if shown[start] in leaves}
        if all(piece.leaves == 1 for piece in hidden):
            stays = {piece.root for piece in hidden}.intersection(leaves)
        else:
            stays = set(leaves) - roots
        for_good.append(frozenset(stays.union(shown[start] for start in taken)))
        gone |= taken
    left = hide_where(pieces, lambda piece: piece.start in gone)
    return Erased(write_pieces(left), [shown[start] for start in sorted(gone)], for_good)


def _places(change_lines: Sequence[bytes], pieces: Sequence[Piece], size: int) -> _Places:
    """For positions of changes: where what was said with them stands, and the hidden pieces that may hold it."""
    hidden = [piece for piece in pieces if piece.line is None]
    try:
        indices = content_leaf_indices(change_lines, size)
    except Refused:
        named: dict[str, set[int]] = defaultdict(set)
        for piece in pieces:
            if piece.line is not None:
                named[_name_in(piece.line, "of")].add(piece.start)

        def by_name(changes: Collection[int]) -> tuple[set[int], Collection[Piece]]:
            marks = {content_mark(_name_in(change_lines[position], "id")) for position in changes} - {""}
            return set[int]().union(*(named.get(mark, ()) for mark in marks)), hidden

        return by_name
    starts = [piece.start for piece in hidden]

    def by_order(changes: Collection[int]) -> tuple[set[int], Collection[Piece]]:
        said_at = {index for position in changes if (index := indices[position]) is not None}
        before = {index: bisect_right(starts, index) - 1 for index in said_at}
        return said_at, {hidden[at] for index, at in before.items() if at >= 0 and index < _end(hidden[at])}

    return by_order


def _end(piece: Piece) -> int:
    return piece.start + piece.leaves


def _name_in(line: bytes, member: str) -> str:
    """A text member of a line, empty where there is none."""
    try:
        value = parse_object(line, where=member).get(member)
    except Refused:
        return ""
    return value if isinstance(value, str) else ""
