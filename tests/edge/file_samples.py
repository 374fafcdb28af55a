"""Small files of every type that is taken, made here byte by byte, with a place in them that must not leak."""

from __future__ import annotations

import struct
import zlib

PLACE = b"-6.8886,109.6753"  # what a telephone writes beside a photograph
CAMERA = b"Telepon Saya 12"
SCAN = b"\x12\x34\xff\x00\x56\xff\xd0\x78" * 8  # stuffed bytes and restarts


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body


def exif(orientation: int | None = 6, order: str = ">") -> bytes:
    """An Exif block with a camera, a place, and how the image is turned."""
    entries = [] if orientation is None else [struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)]
    entries += [struct.pack(f"{order}HHII", 0x010F, 2, len(CAMERA), 60), struct.pack(f"{order}HHII", 0x8825, 4, 1, 90)]
    start = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(f"{order}I", 8)
    return start + struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4) + CAMERA + PLACE


def jpeg(*, orientation: int | None = 6, order: str = ">", extra: bytes = b"", trailer: bytes = b"") -> bytes:
    return b"".join(
        [
            b"\xff\xd8",
            segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0"),
            segment(0xE1, b"Exif\0\0" + exif(orientation, order)),
            segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta>" + PLACE),
            segment(0xED, b"Photoshop 3.0\0" + PLACE),
            segment(0xFE, PLACE),
            extra,
            segment(0xDB, bytes(65)),
            segment(0xC0, b"\x08\0\x08\0\x08\x01\x01\x11\0"),
            segment(0xC4, bytes(20)),
            segment(0xDA, b"\x01\x01\0\0\x3f\0"),
            SCAN,
            b"\xff\xd9",
            trailer,
        ]
    )


def big_jpeg(size: int) -> bytes:
    """About so many bytes, of which the scan is nearly all."""
    whole = jpeg()
    at = whole.index(SCAN)
    return whole[:at] + (b"\x5a\xa5" * (max(size - len(whole), 2) // 2)) + whole[at:]


def chunk(name: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")


def png(*, extra: bytes = b"", trailer: bytes = b"") -> bytes:
    pixels = zlib.compress(b"\0\xff\xff\xff")
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)),
            chunk(b"eXIf", exif()),
            chunk(b"tEXt", b"Location\0" + PLACE),
            extra,
            chunk(b"IDAT", pixels),
            chunk(b"IEND", b""),
            trailer,
        ]
    )


def riff(name: bytes, body: bytes) -> bytes:
    return name + len(body).to_bytes(4, "little") + body + bytes(len(body) % 2)


def webp(*, trailer: bytes = b"") -> bytes:
    body = b"".join(
        [
            riff(b"VP8X", b"\x0c\0\0\0\0\0\0\0\0\0"),
            riff(b"VP8L", b"\x2f\0\0\0\0\x07\x10"),
            riff(b"EXIF", exif()),
            riff(b"XMP ", PLACE),
        ]
    )
    return b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"WEBP" + body + trailer


def box(name: bytes, *inner: bytes) -> bytes:
    body = b"".join(inner)
    return (len(body) + 8).to_bytes(4, "big") + name + body


def long_box(name: bytes, body: bytes) -> bytes:
    return (1).to_bytes(4, "big") + name + (len(body) + 16).to_bytes(8, "big") + body


def track(handler: bytes, *more: bytes) -> bytes:
    return box(b"trak", box(b"tkhd", bytes(84)), box(b"mdia", box(b"hdlr", bytes(8), handler, bytes(13)), *more))


def film(brand: bytes = b"isom", *, trailer: bytes = b"", notes_in_track: bool = True) -> bytes:
    notes = box(b"udta", box(b"\xa9xyz", PLACE))
    moov = box(
        b"moov",
        box(b"mvhd", bytes(100)),
        track(b"vide", notes if notes_in_track else b""),
        track(b"soun"),
        track(b"meta", box(b"minf", PLACE)),
        notes,
        box(b"meta", bytes(4), PLACE),
    )
    uuid = long_box(b"uuid", bytes(16) + PLACE)
    return box(b"ftyp", brand, bytes(4), brand) + moov + uuid + box(b"mdat", b"samples" * 10) + trailer


def heic(*, trailer: bytes = b"") -> bytes:
    """Three items: the image, Exif in the file, XMP in `idat`."""
    notes = bytes(4) + b"Exif" + exif()

    def infe(item: int, kind: bytes) -> bytes:
        return box(b"infe", b"\x02\0\0\0", item.to_bytes(2, "big"), bytes(2), kind, b"\0")

    def meta(image_at: int) -> bytes:
        def iloc(item: int, method: int, start: int, length: int) -> bytes:
            return struct.pack(">HHHHII", item, method, 0, 1, start, length)

        places = [iloc(1, 0, image_at, 7), iloc(2, 0, image_at + 7, len(notes)), iloc(3, 1, 0, len(PLACE))]
        return box(
            b"meta",
            bytes(4),
            box(b"hdlr", bytes(8), b"pict", bytes(13)),
            box(b"iinf", bytes(4), (3).to_bytes(2, "big"), infe(1, b"hvc1"), infe(2, b"Exif"), infe(3, b"mime")),
            box(b"iloc", b"\x01\0\0\0", b"\x44\0", (3).to_bytes(2, "big"), *places),
            box(b"idat", PLACE),
        )

    start = box(b"ftyp", b"heic", bytes(4), b"mif1heic")
    image_at = len(start) + len(meta(0)) + 8
    return start + meta(image_at) + box(b"mdat", b"picture", notes) + trailer


def page(body: bytes) -> bytes:
    return b"OggS\0\2" + bytes(20) + bytes([1, len(body)]) + body


def ogg(*, trailer: bytes = b"") -> bytes:
    return page(b"OpusHead" + bytes(11)) + page(b"OpusTags" + bytes(8)) + page(b"sound") + trailer


def pdf(*, inside: bytes = b"", trailer: bytes = b"") -> bytes:
    return b"%PDF-1.7\n" + inside + b"1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\n%%EOF\n" + trailer


def archive() -> bytes:
    """A ZIP file with one member, as it is hung on a photograph."""
    return b"PK\x03\x04" + bytes(26) + b"index.html<script>alert(1)</script>" + b"PK\x05\x06" + bytes(18)
