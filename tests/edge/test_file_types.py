"""What a file is, by its content, and what is taken out of it (node/files, protocol §13.2, §13.3)."""

from __future__ import annotations

import mmap
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from node.files.media import HEAD_BYTES, TYPES, check_claim, clean, sniff
from node.files.pieces import read_pieces
from sync_protocol.errors import Refused
from tests.edge import file_samples as samples

SAMPLES: dict[str, Callable[[], bytes]] = {
    "image/jpeg": samples.jpeg,
    "image/png": samples.png,
    "image/webp": samples.webp,
    "image/heic": samples.heic,
    "application/pdf": samples.pdf,
    "audio/ogg": samples.ogg,
    "video/mp4": samples.film,
    "video/quicktime": lambda: samples.film(b"qt  "),
    "video/3gpp": lambda: samples.film(b"3gp5"),
    "audio/mp4": lambda: samples.film(b"M4A "),
}


def cleaned(data: bytes, media_type: str | None = None) -> bytes:
    return b"".join(read_pieces(data, clean(data, media_type or sniff(data[:HEAD_BYTES]) or "")))


def test_there_is_a_sample_of_every_type_that_is_taken() -> None:
    assert tuple(sorted(SAMPLES)) == TYPES


@pytest.mark.parametrize("media_type", TYPES)
def test_a_file_is_what_its_bytes_say_and_its_place_is_taken_out(media_type: str) -> None:
    data = SAMPLES[media_type]()
    assert check_claim(data, media_type) == media_type
    kept = cleaned(data)
    assert samples.PLACE not in kept
    assert samples.CAMERA not in kept
    assert sniff(kept) == media_type
    assert cleaned(kept) == kept  # nothing is left to take out


@pytest.mark.parametrize("media_type", TYPES)
def test_a_file_read_from_a_disk_is_cleaned_like_one_in_memory(media_type: str, tmp_path: Path) -> None:
    data = SAMPLES[media_type]()
    (tmp_path / "file").write_bytes(data)
    with (tmp_path / "file").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert b"".join(read_pieces(mapped, clean(mapped, media_type))) == cleaned(data)


@pytest.mark.parametrize("media_type", TYPES)
def test_a_file_that_says_to_be_of_another_type_is_refused(media_type: str) -> None:
    other = "image/png" if media_type != "image/png" else "image/jpeg"
    with pytest.raises(Refused, match=f"this is {media_type}") as refused:
        check_claim(SAMPLES[media_type](), other)
    assert refused.value.kind == "file-type"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<!DOCTYPE html><html><script>alert(1)</script>", "web page"),
        (b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>', "scripts"),
        (b'<?xml version="1.0"?><svg/>', "scripts"),
        (b"\xef\xbb\xbf  <HTML><body onload=alert(1)>", "web page"),
        (samples.archive(), "ZIP"),
        (b"MZ\x90\0", "program for Windows"),
        (b"\x7fELF\2\1\1", "program"),
        (b"#!/bin/sh\nrm -r /\n", "script"),
        (b"Rar!\x1a\7\0", "RAR"),
        (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"GIF89a", "GIF"),
        (b"", "empty"),
        (bytes(100), "no type that is known"),
        (samples.box(b"ftyp", b"avif", bytes(4)), "no type that is known"),
        (samples.page(b"\x80theora" + bytes(20)), "no type that is known"),
    ],
)
def test_what_a_computer_would_run_or_open_is_refused_in_words(data: bytes, words: str) -> None:
    for claimed in (None, "image/jpeg", "application/zip"):
        with pytest.raises(Refused, match=words) as refused:
            check_claim(data, claimed)
        assert refused.value.kind == "file-type"


def test_other_names_for_a_type_are_the_same_type() -> None:
    assert check_claim(samples.jpeg(), "IMAGE/JPG; q=1") == "image/jpeg"
    assert check_claim(samples.heic(), "image/heif") == "image/heic"
    assert check_claim(samples.ogg(), "audio/opus") == "audio/ogg"
    assert check_claim(samples.film(b"M4A "), "audio/x-m4a") == "audio/mp4"


@pytest.mark.parametrize("media_type", ["image/jpeg", "image/png", "image/webp"])
def test_what_is_hung_on_a_photograph_is_cut_off(media_type: str) -> None:
    hung = {"image/jpeg": samples.jpeg, "image/png": samples.png, "image/webp": samples.webp}[media_type](
        trailer=samples.archive()
    )
    assert cleaned(hung) == cleaned(SAMPLES[media_type]())


@pytest.mark.parametrize("media_type", sorted(set(TYPES) - {"image/jpeg", "image/png", "image/webp"}))
def test_what_is_hung_on_any_other_file_refuses_it(media_type: str) -> None:
    with pytest.raises(Refused) as refused:
        cleaned(SAMPLES[media_type]() + samples.archive(), media_type)
    assert refused.value.kind == "file-type"


def test_a_pdf_that_is_a_web_page_as_well_is_refused() -> None:
    with pytest.raises(Refused, match="web page"):
        cleaned(samples.pdf(inside=b"<script>alert(1)</script>"))
    with pytest.raises(Refused, match="end is missing"):
        cleaned(b"%PDF-1.4\n" + bytes(5_000))


@pytest.mark.parametrize("order", [">", "<"])
@pytest.mark.parametrize("turned", range(1, 9))
def test_of_exif_the_orientation_alone_stays(order: str, turned: int) -> None:
    kept = cleaned(samples.jpeg(orientation=turned, order=order))
    start = kept.index(b"Exif\0\0MM\0*")
    assert kept[start + 16 : start + 28] == b"\x01\x12\0\x03\0\0\0\x01\0%c\0\0" % turned
    assert kept.count(b"\xff\xe1") == 1


@pytest.mark.parametrize("turned", [None, 0, 9, 65_535])
def test_an_orientation_that_is_none_is_not_written(turned: int | None) -> None:
    assert b"Exif" not in cleaned(samples.jpeg(orientation=turned))


@pytest.mark.parametrize("offset", [0, 7, 12, 2**31, 2**32 - 1])
def test_exif_that_points_nowhere_is_left_out_like_any_other(offset: int) -> None:
    lying = b"\xff\xe1\0\x14Exif\0\0MM\0*" + offset.to_bytes(4, "big") + b"\xff\xff\x01\x12"
    assert lying not in cleaned(samples.jpeg(orientation=None, extra=lying))


def test_offsets_in_a_film_stay_what_they_were() -> None:
    data = samples.film()
    kept = cleaned(data)
    assert len(kept) == len(data)
    assert kept.index(b"mdat") == data.index(b"mdat")
    assert kept.count(b"trak") == 2  # picture and sound
    assert kept[kept.index(b"mdat") :] == data[data.index(b"mdat") :]


def test_a_damaged_chunk_of_a_png_refuses_it() -> None:
    data = bytearray(samples.png())
    data[data.index(b"IDAT") + 6] ^= 1
    with pytest.raises(Refused, match="damaged"):
        cleaned(bytes(data))


def test_a_photograph_that_ends_in_its_scan_gets_its_end() -> None:
    whole = samples.jpeg()
    kept = cleaned(whole[: whole.index(samples.SCAN) + 9])
    assert kept.endswith(samples.SCAN[:9] + b"\xff\xd9")


@pytest.mark.parametrize("media_type", TYPES)
def test_a_file_cut_or_altered_anywhere_is_cleaned_or_refused_and_nothing_else(media_type: str) -> None:
    chance = random.Random(media_type)
    data = SAMPLES[media_type]()
    for _ in range(400):
        broken = bytearray(data[: chance.randrange(len(data) + 1)] if chance.random() < 0.3 else data)
        for _ in range(chance.randrange(4)):
            if broken:
                broken[chance.randrange(len(broken))] = chance.choice((0, 1, 0x7F, 0xFF, chance.randrange(256)))
        try:
            found = check_claim(bytes(broken[:HEAD_BYTES]), None)
            kept = cleaned(bytes(broken), found)
        except Refused as refused:
            assert refused.kind == "file-type"  # noqa: PT017 - the loop asks for either
        else:
            assert len(kept) <= len(broken) + 40  # an end, an orientation


#: Thousands of items of 65,535 extents each, none of which takes a byte.
EMPTY_EXTENTS = samples.box(
    b"meta",
    bytes(4),
    samples.box(b"iinf", bytes(4), b"\0\0"),
    samples.box(b"iloc", bytes(4), b"\0\0", b"\xff\xff", b"\0\1\0\0\xff\xff" * 0xFFFF),
)


@pytest.mark.parametrize(
    "bomb",
    [
        b"\xff\xd8\xff" + b"\xff" * 300_000,
        b"\xff\xd8" + b"\xff\xfe\0\2" * 200_000,
        b"\x89PNG\r\n\x1a\n" + samples.chunk(b"IHDR", bytes(13)) + samples.chunk(b"tEXt", b"") * 120_000,
        b"RIFF" + (4 + 8 * 120_000).to_bytes(4, "little") + b"WEBP" + b"XXXX\0\0\0\0" * 120_000,
        samples.box(b"ftyp", b"isom", bytes(4)) + samples.box(b"free") * 120_000,
        samples.page(b"OpusHead") + samples.page(b"") * 120_000,
        samples.box(b"ftyp", b"heic", bytes(4)) + EMPTY_EXTENTS,
    ],
    ids=["fill", "comments", "texts", "chunks", "boxes", "pages", "extents"],
)
def test_a_file_of_countless_parts_is_refused(bomb: bytes) -> None:
    with pytest.raises(Refused):
        cleaned(bomb)


def test_a_heic_whose_notes_are_said_to_lie_in_its_own_head_is_refused() -> None:
    data = samples.heic()
    entry = (3).to_bytes(2, "big") + b"\0\1\0\0\0\1"  # the XMP item, in `idat`
    assert data.count(entry) == 1
    lying = data.replace(entry, (3).to_bytes(2, "big") + b"\0\0\0\0\0\1")  # from the beginning of the file
    with pytest.raises(Refused, match="overlap"):
        cleaned(lying)


def test_a_heic_of_countless_notes_among_countless_boxes_is_refused_soon() -> None:
    infe = samples.box(b"infe", b"\2\0\0\0", b"\0\1", b"\0\0", b"Exif", b"\0")
    extents = b"".join(struct.pack(">II", 1_000 + number, 1) for number in range(60_000))
    places = struct.pack(">HHHH", 1, 0, 0, 60_000) + extents
    meta = samples.box(
        b"meta",
        bytes(4),
        samples.box(b"iinf", bytes(4), b"\0\1", infe),
        samples.box(b"iloc", b"\1\0\0\0", b"\x44\0", b"\0\1", places),
    )
    bomb = samples.box(b"ftyp", b"heic", bytes(4)) + meta + samples.box(b"free") * 90_000
    with pytest.raises(Refused, match="too many notes"):
        cleaned(bomb)
