"""Which file an `attached` change means: hash on its content line, size and type on its change line (protocol §13)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from sync_protocol.change_set import ChangeSet, content_leaf_indices
from sync_protocol.change_types import Attached
from sync_protocol.errors import Refused, malformed
from sync_protocol.hidden_lines import Piece, read_pieces
from sync_protocol.line import Change, content_mark, parse_change, parse_content
from sync_protocol.line_blocks import split_block
from sync_protocol.values import Digest

RANGE_MAX_CHARACTERS: Final = 64  # three numbers of sixteen digits and eight signs

_RANGE: Final = re.compile(r"bytes (?:(0|[1-9][0-9]{0,15})-(0|[1-9][0-9]{0,15})|\*)/([1-9][0-9]{0,15})")
_ATTACHED_LINE: Final = b'"type":"attached"}'  # how the line of an `attached` ends, and no other line


class ContentRange(NamedTuple):
    """Which bytes of a file a body holds (RFC 9110 §14.4); `start` None asks how far the file came."""

    start: int | None
    size: int
    length: int

    @classmethod
    def parse(cls, text: str) -> ContentRange:
        """`bytes 0-4095/10000`, or `bytes */10000`. Raises Refused(malformed)."""
        found = _RANGE.fullmatch(text) if len(text) <= RANGE_MAX_CHARACTERS else None
        if found is None:
            raise malformed("wants bytes first-last/length, or bytes */length", "Content-Range")
        if found[1] is None:
            return cls(None, 0, int(found[3]))
        first, last, length = int(found[1]), int(found[2]), int(found[3])
        if not first <= last < length:
            raise malformed("its numbers do not fit together", "Content-Range")
        return cls(first, last - first + 1, length)

    def format(self) -> str:
        """What `parse` reads."""
        if self.start is None:
            return f"bytes */{self.length}"
        return f"bytes {self.start}-{self.start + self.size - 1}/{self.length}"


class Announcement(NamedTuple):
    """A file that a change names. `position` is the change's place in its set, `leaf` the content line's leaf hash."""

    complaint: str
    position: int
    leaf: bytes
    file: Digest
    size: int
    media_type: str


def is_attached(line: bytes) -> bool:
    """Whether a change line may be an `attached`; costs nothing."""
    return line.endswith(_ATTACHED_LINE)


def named_file(content_line: bytes) -> Digest | None:
    """The hash of the file that a content line names, None where it names none in the form of §2.3. Never raises."""
    try:
        named = parse_content(content_line).get("file")
        return Digest.parse(named, "file") if isinstance(named, str) else None
    except Refused:
        return None


def announcements(change_set: ChangeSet, file: Digest) -> Iterator[Announcement]:
    """The changes of a verified set that name this file by a content line that is shown. Never raises.

    Whether the fold applied them is another question.
    """
    manifest = change_set.manifest.manifest
    text = file.b64u.encode("ascii")
    if text not in change_set.contents or change_set.contents.count(b"\n") > manifest.size - manifest.changes:
        return  # no line names it; or more lines than were signed, so that the set cannot be a verified one
    change_lines = split_block(change_set.change_block)
    pieces = read_pieces(split_block(change_set.contents), manifest.changes, manifest.size)
    shown = [
        piece for piece in pieces if piece.line is not None and text in piece.line and named_file(piece.line) == file
    ]
    for piece, position in zip(shown, _changes_of(shown, change_lines, manifest.size), strict=True):
        change = None if position is None else _attached(change_lines[position])
        if position is not None and change is not None and isinstance(change.data, Attached):
            said = change.data
            yield Announcement(change.complaint, position, piece.root, file, said.bytes, said.media_type)


def _changes_of(pieces: Sequence[Piece], change_lines: list[bytes], size: int) -> list[int | None]:
    """The positions of the changes that content lines belong to: by their order, or by the change they name (§2.3)."""
    try:
        indices = content_leaf_indices(change_lines, size)
    except Refused:
        marked: dict[object, int | None] = {}
        for position, line in enumerate(change_lines):
            change = _attached(line)
            if change is not None:
                mark = content_mark(change.id)
                marked[mark] = None if mark in marked else position
        return [marked.get(_mark_of(piece)) for piece in pieces]
    placed = {leaf: position for position, leaf in enumerate(indices) if leaf is not None}
    return [placed.get(piece.start) for piece in pieces]


def _mark_of(piece: Piece) -> str | None:
    mark = parse_content(piece.line).get("of") if piece.line is not None else None
    return mark if isinstance(mark, str) else None


def _attached(line: bytes) -> Change | None:
    if not is_attached(line):
        return None
    try:
        return parse_change(line)
    except Refused:
        return None
