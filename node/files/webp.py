"""WebP: kept are the chunks that are the image; Exif, XMP, what nobody knows and what follows the end are left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from node.files.limits import PARTS_MAX
from node.files.pieces import Piece, Source, Span, not_of_type

TYPE: Final = "image/webp"

_KEPT: Final = frozenset({b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"})
_IMAGES: Final = frozenset({b"VP8 ", b"VP8L", b"ANMF"})
_SAYS_METADATA: Final = 0x08 | 0x04  # flags of VP8X: there is Exif, there is XMP


def clean(data: Source) -> Iterator[Piece]:
    """See the module. Raises Refused(file-type)."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data) or end < 20:
        raise not_of_type(TYPE, "is cut short")
    kept, has_image = list[Piece](), False
    place = 12
    for _ in range(PARTS_MAX):
        if place == end:
            break
        name, length = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        after = place + 8 + length + length % 2
        if place + 8 > end or after > end:
            raise not_of_type(TYPE, "a part goes beyond its end")
        if name == b"VP8X" and length >= 10:
            kept += [Span(place, place + 8), bytes([data[place + 8] & ~_SAYS_METADATA]), Span(place + 9, after)]
        elif name in _KEPT:
            kept.append(Span(place, after))
        has_image = has_image or name in _IMAGES
        place = after
    else:
        raise not_of_type(TYPE, "has too many parts")
    if not has_image:
        raise not_of_type(TYPE, "has no image in it")
    size = 4 + sum(len(piece) if isinstance(piece, bytes) else piece.end - piece.start for piece in kept)
    yield b"RIFF" + size.to_bytes(4, "little") + b"WEBP"
    yield from kept
