"""Ogg sound (Opus, Vorbis, Speex), as messengers record it: whole pages from end to end, kept as they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from node.files.limits import PARTS_MAX
from node.files.pieces import Piece, Source, Span, not_of_type

TYPE: Final = "audio/ogg"
MAGIC: Final = b"OggS\0"

_HEADER_BYTES: Final = 27
_SOUND: Final = (b"OpusHead", b"\x01vorbis", b"Speex   ")


def sniff(head: bytes) -> str | None:
    """Sound by the first packet; films in this container are not taken."""
    first = _HEADER_BYTES + head[26] if len(head) >= _HEADER_BYTES else 0
    return TYPE if first and head[first : first + 8].startswith(_SOUND) else None


def clean(data: Source) -> Iterator[Piece]:
    """See the module. Raises Refused(file-type) for what is between the pages, or behind them."""
    place = 0
    for _ in range(PARTS_MAX):
        if place == len(data):
            yield Span(0, place)
            return
        header = data[place : place + _HEADER_BYTES]
        if len(header) < _HEADER_BYTES or not header.startswith(MAGIC):
            raise not_of_type(TYPE, "is no chain of pages")
        table = data[place + _HEADER_BYTES : place + _HEADER_BYTES + header[26]]
        place += _HEADER_BYTES + header[26] + sum(table)
        if len(table) < header[26] or place > len(data):
            raise not_of_type(TYPE, "is cut short")
    raise not_of_type(TYPE, "has too many parts")
