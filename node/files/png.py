"""PNG: kept are the chunks that say what the image looks like; text, Exif, times and what nobody knows are left out.

What follows the end of the image is left out, too. Check sums must hold: a chunk that is damaged would be shown as
damage, or hide something.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

from node.files.limits import PARTS_MAX
from node.files.pieces import Piece, Source, Span, not_of_type

TYPE: Final = "image/png"
MAGIC: Final = b"\x89PNG\r\n\x1a\n"

_KEPT: Final = frozenset(
    b"IHDR PLTE IDAT IEND tRNS cHRM gAMA iCCP sBIT sRGB cICP bKGD hIST pHYs sPLT acTL fcTL fdAT".split()
)


def clean(data: Source) -> Iterator[Piece]:
    """See the module. Raises Refused(file-type)."""
    if data[12:16] != b"IHDR":
        raise not_of_type(TYPE, "does not begin with its header")
    yield MAGIC
    place, has_image = len(MAGIC), False
    for _ in range(PARTS_MAX):
        length, name = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        end = place + 12 + length
        if end > len(data):
            raise not_of_type(TYPE, "is cut short")
        if name in _KEPT:
            if zlib.crc32(data[place + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
                raise not_of_type(TYPE, "a part of it is damaged")
            yield Span(place, end)
        elif not name[0] & 0x20:  # a capital: no decoder may pass it over
            raise not_of_type(TYPE, "has a part that no decoder knows")
        has_image = has_image or name == b"IDAT"
        if name == b"IEND":
            if not has_image:
                raise not_of_type(TYPE, "has no image in it")
            return
        place = end
    raise not_of_type(TYPE, "has too many parts")
