"""Bodies on the wire (protocol §3.3): bounded while decompressing, whole and alone."""

from __future__ import annotations

import gzip
import random
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_protocol.compression import (
    compress_frames,
    compress_part,
    decode_body,
    decompress_part,
    peek_head,
    zstd,
)
from sync_protocol.errors import Refused
from sync_protocol.limits import SET_MAX_BYTES, WIRE_MAX_BYTES
from tests.protocol.set_samples import sample_set, signed_set

SET = sample_set()
FRAMES = compress_frames(SET.head, SET.contents)
BODY = b"".join(FRAMES)
SKIPPABLE = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"skip"
LEGACY_MAGIC = b"\x27\xb5\x2f\xfd"


def frame_of(data: bytes, **options: int) -> bytes:
    return zstd.compress(data, options={zstd.CompressionParameter[name]: value for name, value in options.items()})


def frame_without_size(data: bytes, **options: int) -> bytes:
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter[name]: v for name, v in options.items()})
    return compressor.compress(data) + compressor.flush()


def refusal_of(body: bytes, encoding: str | None = "zstd") -> Refused:
    with pytest.raises(Refused) as refused:
        decode_body(body, encoding)
    return refused.value


def peak_of(work: Callable[[], object]) -> int:
    """The most memory, in bytes, that Python held for it."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_two_frames_come_back_as_the_two_parts_and_are_kept() -> None:
    parts = decode_body(BODY, "zstd")
    assert (parts.head, parts.contents) == (SET.head, SET.contents)
    assert (parts.head_frame, parts.contents_frame) == FRAMES


def test_both_frames_are_one_ordinary_zstd_body() -> None:
    assert zstd.decompress(BODY) == SET.text


def test_our_frames_state_their_size_and_carry_a_checksum() -> None:
    for frame, part in zip(FRAMES, (SET.head, SET.contents), strict=True):
        assert zstd.get_frame_info(frame).decompressed_size == len(part)
        assert frame[4] & 0b100


def test_gzip_and_identity_are_split_by_the_manifest() -> None:
    for body, encoding in ((gzip.compress(SET.text), "gzip"), (SET.text, "identity"), (SET.text, None), (SET.text, "")):
        parts = decode_body(body, encoding)
        assert (parts.head, parts.contents) == (SET.head, SET.contents)
        assert parts.head_frame is None
        assert parts.contents_frame is None


def test_the_name_of_the_encoding_is_read_in_any_case() -> None:
    assert decode_body(BODY, " ZSTD ").head == SET.head


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, zstd", "zstd, zstd", "x-gzip", "*", "dcz"])
def test_other_encodings_are_named_unsupported(encoding: str) -> None:
    assert refusal_of(BODY, encoding).kind == "unsupported-encoding"


def test_contents_may_be_no_frame_or_an_empty_one() -> None:
    heartbeat = signed_set([], [])
    head, contents = compress_frames(heartbeat.head, heartbeat.contents)
    assert contents == b""
    for body in (head, head + compress_part(b"")):
        parts = decode_body(body, "zstd")
        assert (parts.head, parts.contents) == (heartbeat.head, b"")


def test_frames_without_stated_size_or_checksum_are_read() -> None:
    body = frame_without_size(SET.head) + frame_without_size(SET.contents, checksum_flag=0)
    assert zstd.get_frame_info(body).decompressed_size is None
    parts = decode_body(body, "zstd")
    assert (parts.head, parts.contents) == (SET.head, SET.contents)


@pytest.mark.parametrize("level", [-5, 1, 19])
def test_other_levels_are_read(level: int) -> None:
    body = frame_of(SET.head, compression_level=level) + frame_of(SET.contents, compression_level=level)
    assert decode_body(body, "zstd").contents == SET.contents


def test_a_window_of_8_mib_is_read() -> None:
    part = bytes(range(256)) * 36_000
    frame = frame_without_size(part, compression_level=3, window_log=23)
    assert decompress_part(frame) == part


HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "not compressed": SET.text,
    "gzip under another name": gzip.compress(SET.text),
    "old frame format": LEGACY_MAGIC + BODY[4:],
    "a third frame": BODY + compress_part(b""),
    "one byte more": BODY + b"\0",
    "a line feed more": BODY + b"\n",
    "a skippable frame first": SKIPPABLE + BODY,
    "a skippable frame between": FRAMES[0] + SKIPPABLE + FRAMES[1],
    "a skippable frame last": BODY + SKIPPABLE,
    "a skippable frame for contents": FRAMES[0] + SKIPPABLE,
    "magic alone": BODY[:4],
    "a dictionary named": frame_of(SET.head)[:4] + b"\x23\x01\x00\x00" + frame_of(SET.head)[5:],
    "reserved bit of the header": BODY[:4] + bytes([BODY[4] | 0b1000]) + BODY[5:],
    "checksum wrong": FRAMES[0][:-1] + bytes([FRAMES[0][-1] ^ 1]) + FRAMES[1],
    "window of 16 MiB": frame_without_size(b"x" * 1000, window_log=24),
    "window of 128 MiB": frame_without_size(b"x" * 1000, window_log=27),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_zstd_body_with_this_defect_is_malformed(name: str) -> None:
    assert refusal_of(HOSTILE[name]).kind == "malformed"


def stated_size_changed(change: int) -> bytes:
    """The body with a first frame that states another size; 256 to 65,791 bytes are stated in two bytes, less 256."""
    frame = bytearray(FRAMES[0])
    assert frame[4] >> 6 == 1
    stated = int.from_bytes(frame[5:7], "little") + change
    frame[5:7] = stated.to_bytes(2, "little")
    return bytes(frame) + FRAMES[1]


@pytest.mark.parametrize("change", [-300, -1, 1, 5000])
def test_a_header_that_lies_about_its_size_is_malformed(change: int) -> None:
    assert refusal_of(stated_size_changed(change)).kind == "malformed"


def test_every_truncation_of_a_body_is_refused_but_the_one_between_the_frames() -> None:
    """Without its second frame a body is whole in form; that lines are missing is found by counting them."""
    for length in range(len(BODY)):
        if length != len(FRAMES[0]):
            assert refusal_of(BODY[:length]).kind == "malformed"
    assert decode_body(BODY[: len(FRAMES[0])], "zstd").contents == b""


@pytest.mark.parametrize(
    "body",
    [
        compress_part(b"\n" * (SET_MAX_BYTES + 1)),
        frame_without_size(b"\n" * (SET_MAX_BYTES + 1)),
        frame_of(b"\0" * (200 << 20), compression_level=1),
        frame_without_size(b"\0" * (200 << 20), compression_level=1),
        compress_part(b"\n" * SET_MAX_BYTES) + compress_part(b"\n"),
        compress_part(SET.head) + frame_without_size(b"\n" * SET_MAX_BYTES),
    ],
    ids=["stated", "unstated", "200 MiB stated", "200 MiB unstated", "both together", "the second alone"],
)
def test_a_zstd_bomb_is_too_large_and_costs_no_more_memory_than_the_limits(body: bytes) -> None:
    assert peak_of(lambda: refusal_of(body)) < 3 * SET_MAX_BYTES
    refused = refusal_of(body)
    assert (refused.kind, refused.members) == ("too-large", {"limit": SET_MAX_BYTES})


def test_a_gzip_bomb_is_too_large_and_costs_no_more_memory_than_the_limits() -> None:
    compressor = zlib.compressobj(9, wbits=31)
    bomb = b"".join(compressor.compress(b"\0" * (1 << 20)) for _ in range(200)) + compressor.flush()
    assert peak_of(lambda: refusal_of(bomb, "gzip")) < 3 * SET_MAX_BYTES
    assert refusal_of(bomb, "gzip").kind == "too-large"


@pytest.mark.parametrize("encoding", ["zstd", "gzip", "identity", "unknown"])
def test_a_body_over_the_limit_is_too_large_before_it_is_looked_at(encoding: str) -> None:
    assert refusal_of(b"\0" * (WIRE_MAX_BYTES + 1), encoding).kind == "too-large"


GZIPPED = gzip.compress(SET.text, mtime=0)
HOSTILE_GZIP: dict[str, bytes] = {
    "nothing": b"",
    "two members": gzip.compress(SET.head) + gzip.compress(SET.contents),
    "an empty member more": GZIPPED + gzip.compress(b""),
    "trailing zero": GZIPPED + b"\0",
    "bare deflate": zlib.compress(SET.text)[2:-4],
    "zlib": zlib.compress(SET.text),
    "zstd under another name": BODY,
    "checksum wrong": GZIPPED[:-8] + bytes([GZIPPED[-8] ^ 1]) + GZIPPED[-7:],
    "size wrong": GZIPPED[:-1] + b"\1",
}


@pytest.mark.parametrize("name", HOSTILE_GZIP)
def test_a_gzip_body_with_this_defect_is_malformed(name: str) -> None:
    assert refusal_of(HOSTILE_GZIP[name], "gzip").kind == "malformed"


def test_every_truncation_of_a_gzip_body_is_malformed() -> None:
    for length in range(len(GZIPPED)):
        assert refusal_of(GZIPPED[:length], "gzip").kind == "malformed"


def test_a_part_of_its_own_is_one_frame_or_nothing() -> None:
    assert decompress_part(b"") == b""
    assert decompress_part(FRAMES[1]) == SET.contents
    with pytest.raises(Refused):
        decompress_part(BODY)
    with pytest.raises(Refused) as refused:
        decompress_part(FRAMES[1], limit=len(SET.contents) - 1)
    assert refused.value.kind == "too-large"
    assert decompress_part(FRAMES[1], limit=len(SET.contents)) == SET.contents


@given(st.binary(max_size=2000), st.binary(max_size=2000))
def test_any_two_parts_come_back(head: bytes, contents: bytes) -> None:
    parts = decode_body(b"".join(compress_frames(head, contents)), "zstd")
    assert (parts.head, parts.contents) == (head, contents)


@given(st.binary(max_size=200), st.sampled_from(["zstd", "gzip", "identity"]))
def test_any_bytes_are_refused_by_our_own_error(body: bytes, encoding: str) -> None:
    for start in (b"", BODY[:4], BODY[:40], GZIPPED[:10]):
        with pytest.raises(Refused):
            decode_body(start + body, encoding)


PEEKED = 5_000
LONG_HEAD = SET.head + b"A" * (SET_MAX_BYTES - len(SET.head))


@pytest.mark.parametrize("encoding", ["zstd", "gzip", None])
def test_a_peek_shows_the_first_line_whatever_follows(encoding: str | None) -> None:
    bodies = {"zstd": BODY + b"rubbish", "gzip": gzip.compress(SET.text) + b"rubbish", None: SET.text}
    shown = peek_head(bodies[encoding], encoding, PEEKED)
    assert SET.text.startswith(shown[: shown.index(b"\n") + 1])
    assert len(shown) <= PEEKED


@pytest.mark.parametrize("encoding", ["zstd", "gzip"])
def test_a_peek_into_a_bomb_makes_no_memory(encoding: str) -> None:
    body = gzip.compress(LONG_HEAD) if encoding == "gzip" else frame_without_size(LONG_HEAD)
    assert peak_of(lambda: peek_head(body, encoding, PEEKED)) < 256 * 1024
    assert peek_head(body, encoding, PEEKED) == LONG_HEAD[:PEEKED]


def test_a_peek_into_a_large_body_that_hardly_shrinks_makes_no_memory() -> None:
    body = frame_without_size(SET.head + random.Random(1).randbytes(SET_MAX_BYTES // 2))
    assert peak_of(lambda: peek_head(body, "zstd", PEEKED)) < 512 * 1024


def test_a_peek_into_a_million_empty_blocks_ends() -> None:
    empty_blocks = b"\x28\xb5\x2f\xfd\x00\x58" + b"\x00\x00\x00" * 1_000_000
    assert peek_head(empty_blocks, "zstd", PEEKED) == b""


def test_a_peek_refuses_a_frame_that_says_it_is_too_large() -> None:
    with pytest.raises(Refused, match="too-large"):
        peek_head(compress_part(bytes(SET_MAX_BYTES + 1)), "zstd", PEEKED)


@given(st.binary(max_size=300), st.sampled_from(["zstd", "gzip", None, "identity", "br"]), st.integers(0, 9))
def test_a_peek_into_anything_shows_bytes_or_refuses(rubbish: bytes, encoding: str | None, keep: int) -> None:
    for body in (rubbish, BODY[: keep * 10] + rubbish):
        try:
            assert len(peek_head(body, encoding, PEEKED)) <= PEEKED
        except Refused as refused:
            assert refused.kind in {"malformed", "too-large", "unsupported-encoding"}  # noqa: PT017 - either is right
