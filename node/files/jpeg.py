"""JPEG: kept is what a decoder needs; left out is where, when and with what it was taken.

Left out: Exif and XMP (APP1), other applications' segments but JFIF, ICC profile and Adobe's colour transform, comments
and everything after the end of the image (a second image, a film, an archive). Of Exif the orientation alone is written
again, or half of all telephone photographs would lie on their side. Thumbnails go with it: they show what was cut away.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Final

from node.files.limits import PARTS_MAX
from node.files.pieces import Piece, Source, Span, not_of_type

TYPE: Final = "image/jpeg"
MAGIC: Final = b"\xff\xd8\xff"
ORIENTATION_TAG: Final = 0x0112
IFD_ENTRIES_MAX: Final = 512  # of the first directory of an Exif block: cameras write some twenty

_SOI, _EOI, _SOS, _APP0, _APP1, _APP2, _APP14, _APP15, _COMMENT = 0xD8, 0xD9, 0xDA, 0xE0, 0xE1, 0xE2, 0xEE, 0xEF, 0xFE
_FRAMES: Final = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended, progressive: what a browser shows
_NEEDED: Final = _FRAMES | {0xC4, 0xCC, 0xDA, 0xDB, 0xDD}  # tables, scans, restarts
_KEPT_APPS: Final = {_APP0: b"JFIF\0", _APP2: b"ICC_PROFILE\0", _APP14: b"Adobe"}
_NEXT_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # in a scan: no stuffed byte, no restart


def clean(data: Source) -> Iterator[Piece]:
    """See the module. Raises Refused(file-type)."""
    yield b"\xff\xd8"
    place, is_turned, has_frame = 2, False, False
    for _ in range(PARTS_MAX):
        marker, start = _marker_at(data, place)
        if marker == _EOI:
            if not has_frame:
                raise not_of_type(TYPE, "has no image in it")
            yield b"\xff\xd9"
            return
        end = _segment_end(data, start)
        if marker == _APP1 and not is_turned:
            turned = _orientation(data[start + 2 : end])
            if turned is not None:
                is_turned = True
                yield orientation_segment(turned)
        if _is_kept(marker, data[start + 2 : start + 16]):
            yield b"\xff" + bytes([marker])
            yield Span(start, end)
        elif not _APP0 <= marker <= _APP15 and marker != _COMMENT:
            raise not_of_type(TYPE, "has a part that no decoder knows")
        has_frame = has_frame or marker in _FRAMES
        place = end
        if marker == _SOS:
            found = _NEXT_MARKER.search(data, end)
            place = found.start() if found else len(data)
            yield Span(end, place)
            if found is None:  # cut short, as some cameras leave it: an image all the same
                yield b"\xff\xd9"
                return
    raise not_of_type(TYPE, "has too many parts")


def _marker_at(data: Source, place: int) -> tuple[int, int]:
    """The marker there, and where what follows it begins; more 0xFF before it are filling."""
    start = place
    while data[start : start + 1] == b"\xff":
        start += 1
        if start - place > PARTS_MAX:
            break
    marker = data[start : start + 1]
    if start == place or not marker or marker[0] in (0x00, _SOI):
        raise not_of_type(TYPE, "is no chain of segments")
    return marker[0], start + 1


def _segment_end(data: Source, start: int) -> int:
    length = int.from_bytes(data[start : start + 2], "big")
    if length < 2 or start + length > len(data):
        raise not_of_type(TYPE, "a segment goes beyond its end")
    return start + length


def _is_kept(marker: int, begins: bytes) -> bool:
    return marker in _NEEDED or (marker in _KEPT_APPS and begins.startswith(_KEPT_APPS[marker]))


def _orientation(body: bytes) -> int | None:
    """1 … 8 of an Exif block; None where it says none or cannot be read."""
    if not body.startswith(b"Exif\0\0"):
        return None
    tiff = body[6:]
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 10:
        return None
    (first,) = struct.unpack_from(f"{order}I", tiff, 4)
    if first + 2 > len(tiff):
        return None
    (count,) = struct.unpack_from(f"{order}H", tiff, first)
    for number in range(min(count, IFD_ENTRIES_MAX)):
        place = first + 2 + 12 * number
        if place + 12 > len(tiff):
            return None
        tag, kind, values, value = struct.unpack_from(f"{order}HHIH", tiff, place)
        if tag == ORIENTATION_TAG:
            return value if (kind, values) == (3, 1) and 1 <= value <= 8 else None
    return None


def orientation_segment(turned: int) -> bytes:
    """An Exif block that says how the image is turned, and nothing else."""
    entry = struct.pack(">HHIHH", ORIENTATION_TAG, 3, 1, turned, 0)
    body = b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + entry + bytes(4)
    return b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body
