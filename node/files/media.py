"""What a file is, by its content alone: a name and a client's word for it are not believed (protocol §13.2).

Taken are the types of the table below: photographs, short films and sound recordings of telephones, and PDF. All else
is refused, and most clearly what a browser or a desk computer would run: HTML, SVG, programs, scripts, archives.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from node.files import bmff, jpeg, ogg, png, webp
from node.files.pieces import FILE_TYPE, Piece, Source, Span, not_of_type
from sync_protocol.errors import Refused

HEAD_BYTES: Final = 4_096  # whoever lies about the type is told when so much has come
TAIL_BYTES: Final = 65_557  # an archive's directory ends there, with its longest comment
PDF_TAIL_BYTES: Final = 1_024  # where readers look for its end

PDF: Final = "application/pdf"
_ARCHIVE_END: Final = b"PK\x05\x06"
_MARKUP: Final = re.compile(rb"<(?:!doctype|html|head|body|script|svg|iframe|\?xml|\?php)", re.IGNORECASE)

#: How else clients call the types of the table.
_OTHER_NAMES: Final = {
    "image/jpg": jpeg.TYPE,
    "image/pjpeg": jpeg.TYPE,
    "image/heif": bmff.HEIC,
    "audio/m4a": bmff.M4A,
    "audio/x-m4a": bmff.M4A,
    "audio/3gpp": bmff.GP3,
    "audio/opus": ogg.TYPE,
    "application/ogg": ogg.TYPE,
}

#: Beginnings of what people try all the same, in words for the refusal.
_REFUSED: Final = (
    (b"PK\x03\x04", "a ZIP archive (or an office document, which is one)"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\xd0\xcf\x11\xe0", "an old office document"),
    (b"MZ", "a program for Windows"),
    (b"\x7fELF", "a program"),
    (b"\xcf\xfa\xed\xfe", "a program"),
    (b"\xca\xfe\xba\xbe", "a program"),
    (b"#!", "a script"),
    (b"GIF8", "a GIF"),
)


def sniff(head: bytes) -> str | None:
    """The type of a file that begins with these bytes (HEAD_BYTES of them, or all), None if it is not taken."""
    if head.startswith(jpeg.MAGIC):
        return jpeg.TYPE
    if head.startswith(png.MAGIC):
        return png.TYPE
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return webp.TYPE
    if head.startswith(b"%PDF-"):
        return PDF
    if head.startswith(ogg.MAGIC):
        return ogg.sniff(head)
    return bmff.sniff(head)


def check_claim(head: bytes, claimed: str | None) -> str:
    """The type of the file. Raises Refused(file-type) if it is none that is taken, or not the one that is claimed."""
    found = sniff(head)
    if found is None:
        raise Refused(FILE_TYPE, f"this is {_words_for(head)}, which is not taken", where="file")
    if claimed is not None and plain_name(claimed) != found:
        raise Refused(FILE_TYPE, f"this is {found}, and was said to be something else", where="media_type")
    return found


def plain_name(claimed: str) -> str:
    """A media type without parameters, in lower case, under the name that we use for it."""
    name = claimed.partition(";")[0].strip().lower()
    return _OTHER_NAMES.get(name, name)


def clean(data: Source, media_type: str) -> list[Piece]:
    """What is kept of a whole file of that type. Raises Refused(file-type) if it is not of its form from end to end.

    Where a photograph or film was taken, with which device, and whatever follows its end is left out (protocol §13.3).
    """
    return list(_CLEANERS[media_type](data))


def _clean_pdf(data: Source) -> Iterator[Piece]:
    if b"%%EOF" not in data[-PDF_TAIL_BYTES:]:
        raise not_of_type(PDF, "its end is missing")
    if _ARCHIVE_END in data[-TAIL_BYTES:]:
        raise not_of_type(PDF, "ends like an archive")
    if _MARKUP.search(data[:PDF_TAIL_BYTES]):
        raise not_of_type(PDF, "begins like a web page as well")
    yield Span(0, len(data))


_CLEANERS: Final[dict[str, Callable[[Source], Iterator[Piece]]]] = {
    jpeg.TYPE: jpeg.clean,
    png.TYPE: png.clean,
    webp.TYPE: webp.clean,
    ogg.TYPE: ogg.clean,
    PDF: _clean_pdf,
    bmff.HEIC: bmff.clean_image,
    **dict.fromkeys(bmff.FILMS, bmff.clean_film),
}

#: Every type that is taken.
TYPES: Final = tuple(sorted(_CLEANERS))


def _words_for(head: bytes) -> str:
    for magic, words in _REFUSED:
        if head.startswith(magic):
            return words
    if _MARKUP.search(head):
        return "a web page or a drawing that can run scripts"
    return "of no type that is known here" if head else "empty"
