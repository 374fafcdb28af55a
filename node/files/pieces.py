"""A file as it will be kept, in pieces: spans of what was sent, and bytes of ours in place of others.

The parsers of this room look at a file that may be large (a mapped one) and say what of it is kept. They copy nothing,
and raise nothing but Refused, whatever the bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from mmap import mmap
from typing import Final, NamedTuple, TypeAlias

from node.files.limits import COPY_BYTES
from sync_protocol.errors import Refused

FILE_TYPE: Final = "file-type"  # the kind of problem: not a file of a type that is taken, or not of the one it claims


class Span(NamedTuple):
    """Bytes [start, end) of the file that was sent."""

    start: int
    end: int


Source: TypeAlias = bytes | mmap
Piece: TypeAlias = Span | bytes

_ZEROS: Final = bytes(64 * 1024)


def zeros(count: int) -> Iterator[Piece]:
    """So many zero bytes."""
    for _ in range(count // len(_ZEROS)):
        yield _ZEROS
    yield _ZEROS[: count % len(_ZEROS)]


def read_pieces(data: Source, pieces: Iterable[Piece]) -> Iterator[bytes]:
    """The bytes of the pieces, a little at a time."""
    for piece in pieces:
        if isinstance(piece, bytes):
            yield piece
            continue
        for start in range(piece.start, piece.end, COPY_BYTES):
            yield data[start : min(start + COPY_BYTES, piece.end)]


def not_of_type(media_type: str, detail: str) -> Refused:
    """It begins like a file of that type and is none."""
    return Refused(FILE_TYPE, f"begins like {media_type}, but {detail}", where="file")
