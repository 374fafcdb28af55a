"""Where the notes of a HEIC photograph are: the payloads of its Exif and XMP items (ISO 23008-12, ISO 14496-12 §8.11).

`iinf` lists the items with their types, `iloc` says where each lies: in the file, or in the box `idat`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from node.files.limits import PARTS_MAX
from node.files.pieces import Source, Span, not_of_type

TYPE: Final = "image/heic"
NOTES_MAX: Final = 64  # extents of Exif and XMP: telephones write one of each, and each is looked up among all boxes
#: What is left of an item: Exif that says nothing, so that no reader stumbles over it; of XMP nothing at all.
_LEFT: Final = {b"Exif": bytes(4) + b"MM\0*\0\0\0\x08" + bytes(6), b"mime": b""}


class _Reader:
    """Big-endian numbers one after the other, never beyond the span."""

    def __init__(self, data: Source, span: Span) -> None:
        self.data, self.place, self.end = data, span.start, span.end

    def take(self, count: int) -> bytes:
        if self.place + count > self.end:
            raise not_of_type(TYPE, "a list in it is cut short")
        self.place += count
        return self.data[self.place - count : self.place]

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")


def notes_in(data: Source, parts: Mapping[bytes, Span]) -> dict[Span, bytes]:
    """The spans of the file that hold notes, and what each begins with when it is left empty.

    `parts` are the boxes within `meta`. Raises Refused(file-type).
    """
    if b"iinf" not in parts or b"iloc" not in parts:
        raise not_of_type(TYPE, "has no list of what is in it")
    items = dict(_note_items(data, parts[b"iinf"]))
    inside = parts.get(b"idat", Span(0, 0))
    found: dict[Span, bytes] = {}
    for item, is_inside, start, length in _places(_Reader(data, parts[b"iloc"])):
        if item not in items:
            continue
        within = inside if is_inside else Span(0, len(data))
        span = Span(within.start + start, within.start + start + (length or within.end - within.start - start))
        if not within.start <= span.start <= span.end <= within.end:
            raise not_of_type(TYPE, "a part goes beyond its end")
        if len(found) >= NOTES_MAX:
            raise not_of_type(TYPE, "has too many notes")
        left = items[item]
        found[span] = left if len(left) <= span.end - span.start else b""
    return found


def _note_items(data: Source, span: Span) -> Iterator[tuple[int, bytes]]:
    reader = _Reader(data, span)
    version = reader.number(4) >> 24
    for _ in range(min(reader.number(2 if version == 0 else 4), PARTS_MAX)):
        start = reader.place
        size = reader.number(4)
        reader.take(4)
        entry_version = reader.number(4) >> 24
        if entry_version >= 2:
            item = reader.number(2 if entry_version == 2 else 4)
            reader.take(2)
            kind = reader.take(4)
            if kind in _LEFT:
                yield item, _LEFT[kind]
        reader.place = start
        reader.take(max(size, 8))


def _places(reader: _Reader) -> Iterator[tuple[int, bool, int, int]]:
    """(item, whether it lies in `idat`, start, length) of every extent; length 0 is to the end."""
    version = reader.number(4) >> 24
    sizes = reader.number(2)
    offset_bytes, length_bytes, base_bytes, index_bytes = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    extents = 0
    for _ in range(min(reader.number(2 if version < 2 else 4), PARTS_MAX)):
        item = reader.number(2 if version < 2 else 4)
        method = reader.number(2) & 15 if version > 0 else 0
        reader.take(2)
        base = reader.number(base_bytes)
        for _ in range(reader.number(2)):
            extents += 1  # each may take no byte at all
            if extents > PARTS_MAX:
                raise not_of_type(TYPE, "has too many parts")
            if version > 0:
                reader.take(index_bytes)
            start, length = base + reader.number(offset_bytes), reader.number(length_bytes)
            if method < 2:  # 2: made of other items, which are found by themselves
                yield item, method == 1, start, length
