"""Boxes in boxes (ISO 14496-12): MP4, QuickTime, 3GP and M4A films and sound, and HEIC photographs.

Offsets in such a file count from its beginning, so nothing may move: what is left out is overwritten with zeros in its
place. In films that is every box for notes (`udta`, `meta`, `uuid`: place, device, author), and every track that is
neither picture nor sound is made a `free` box; its samples stay among the others, with nothing that says what they are.
In photographs it is the payload of the Exif and XMP items. A box that goes beyond its parent, or bytes that are no box,
and so anything that is hung on the end, refuse the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from node.files.heic_items import notes_in
from node.files.limits import PARTS_MAX
from node.files.pieces import Piece, Source, Span, not_of_type, zeros

HEIC: Final = "image/heic"
MP4: Final = "video/mp4"
QUICKTIME: Final = "video/quicktime"
GP3: Final = "video/3gpp"
M4A: Final = "audio/mp4"
FILMS: Final = (MP4, QUICKTIME, GP3, M4A)
DEPTH_MAX: Final = 4  # moov, trak, mdia, minf: what a film's notes hang on

_BRANDS: Final = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"mif1"), HEIC),
    **dict.fromkeys((b"isom", b"iso2", b"iso4", b"iso5", b"iso6", b"mp41", b"mp42", b"avc1", b"MSNV", b"M4V "), MP4),
    **dict.fromkeys((b"3gp4", b"3gp5", b"3gp6", b"3gp7", b"3gr6", b"3gs7", b"3ge6"), GP3),
    **dict.fromkeys((b"M4A ", b"M4B "), M4A),
    b"qt  ": QUICKTIME,
}
_CONTAINERS: Final = frozenset({b"moov", b"trak", b"mdia", b"minf", b"moof", b"traf", b"edts"})
_NOTES: Final = frozenset({b"udta", b"meta", b"uuid", b"loci", b"XMP_"})
_SHOWN: Final = frozenset({b"vide", b"soun"})


class _Box(NamedTuple):
    name: bytes
    start: int
    body: int
    end: int


def sniff(head: bytes) -> str | None:
    """By the main brand of its first box."""
    return _BRANDS.get(head[8:12]) if head[4:8] == b"ftyp" else None


def clean_film(data: Source) -> Iterator[Piece]:
    """See the module. Raises Refused(file-type)."""
    unwanted = list(_unwanted(data, Span(0, len(data)), _Count(MP4), 0))
    if not any(box.name == b"moov" for box in _boxes(data, Span(0, len(data)), _Count(MP4))):
        raise not_of_type(MP4, "has no track in it")
    place = 0
    for box in unwanted:
        yield Span(place, box.start)
        yield Span(box.start, box.start + 4)
        yield b"free"
        yield Span(box.start + 8, box.body)  # of a long box, the rest of its size
        yield from zeros(box.end - box.body)
        place = box.end
    yield Span(place, len(data))


def clean_image(data: Source) -> Iterator[Piece]:
    """See the module. Raises Refused(file-type)."""
    boxes = list(_boxes(data, Span(0, len(data)), _Count(HEIC)))
    metas = [box for box in boxes if box.name == b"meta"]
    if len(metas) != 1:
        raise not_of_type(HEIC, "has no single list of what is in it")
    inner = _boxes(data, Span(metas[0].body + 4, metas[0].end), _Count(HEIC))
    parts = {box.name: Span(box.body, box.end) for box in inner}
    # Where payloads may lie: not in the first box, which says what the file is, nor in the list itself.
    payloads = [Span(box.body, box.end) for box in boxes if box.name not in (b"ftyp", b"meta")]
    payloads += [parts[b"idat"]] if b"idat" in parts else []
    place = 0
    for span, left in sorted(notes_in(data, parts).items()):
        if span.start < place or not any(one.start <= span.start <= span.end <= one.end for one in payloads):
            raise not_of_type(HEIC, "its parts overlap")
        yield Span(place, span.start)
        yield left
        yield from zeros(span.end - span.start - len(left))
        place = span.end
    yield Span(place, len(data))


class _Count:
    """Of the boxes of one file."""

    def __init__(self, media_type: str) -> None:
        self.media_type = media_type
        self.boxes = 0

    def one_more(self) -> None:
        self.boxes += 1
        if self.boxes > PARTS_MAX:
            raise not_of_type(self.media_type, "has too many parts")


def _unwanted(data: Source, span: Span, count: _Count, depth: int) -> Iterator[_Box]:
    """The boxes that are to be overwritten, in order, none within another."""
    for box in _boxes(data, span, count):
        if box.name in _NOTES or (box.name == b"trak" and not _is_shown(data, box, count)):
            yield box
        elif box.name in _CONTAINERS and depth < DEPTH_MAX:
            yield from _unwanted(data, Span(box.body, box.end), count, depth + 1)


def _is_shown(data: Source, track: _Box, count: _Count) -> bool:
    """Whether a track is picture or sound: `hdlr` in its `mdia` says so."""
    for media in _boxes(data, Span(track.body, track.end), count):
        if media.name == b"mdia":
            for box in _boxes(data, Span(media.body, media.end), count):
                if box.name == b"hdlr":
                    return data[box.body + 8 : box.body + 12] in _SHOWN
    return False


def _boxes(data: Source, span: Span, count: _Count) -> Iterator[_Box]:
    """The boxes that fill the span. Raises Refused where they do not."""
    place = span.start
    while place < span.end:
        count.one_more()
        size, name, body = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8], place + 8
        if size == 0 and place + 8 <= span.end == len(data):
            size = span.end - place
        elif size == 1:
            size, body = int.from_bytes(data[place + 8 : place + 16], "big"), place + 16
        if place + size > span.end or body > place + size:
            # QuickTime ends some lists of its own with four zero bytes.
            if span.end < len(data) and data[place : span.end] == bytes(4):
                return
            raise not_of_type(count.media_type, "a part goes beyond its end")
        yield _Box(name, place, body, place + size)
        place += size
