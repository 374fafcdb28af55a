"""Change sets on the wire: two zstd frames, or gzip, or nothing (protocol §3.3).

Every size is capped while decompressing, never after: neither a bomb nor a lying header makes more memory than the
limits allow. Whoever judges a manifest first reads it with `peek_head`, which makes next to none.
"""

from __future__ import annotations

import sys
import zlib
from dataclasses import dataclass, field
from typing import Final, Protocol

from sync_protocol.change_set import split_parts
from sync_protocol.errors import Refused, malformed, too_large
from sync_protocol.limits import SET_MAX_BYTES, WIRE_MAX_BYTES

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = [
    "ENCODINGS",
    "Parts",
    "compress_frames",
    "compress_part",
    "decode_body",
    "decompress_part",
    "peek_head",
    "zstd",
]

ENCODINGS: Final = ("zstd", "gzip", "identity")

_MAGIC: Final = b"\x28\xb5\x2f\xfd"  # of a data frame; skippable frames have others and are refused
_WINDOW_LOG_MAX: Final = 23  # 8 MiB, what RFC 9659 lets a sender use in HTTP
_WRITING: Final[dict[int, int]] = {
    zstd.CompressionParameter.compression_level: 3,
    zstd.CompressionParameter.content_size_flag: 1,
    zstd.CompressionParameter.checksum_flag: 1,
}
_READING: Final[dict[int, int]] = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG_MAX}
_GZIP_ONLY: Final = zlib.MAX_WBITS | 16
_PEEK_BYTES: Final = 16_384  # given to a decompressor at a time, so that it never copies a body that is not wanted


@dataclass(frozen=True, slots=True)
class Parts:
    """A set decompressed, in its two parts. The frames are what came, None where it did not come in zstd."""

    head: bytes = field(repr=False)
    contents: bytes = field(repr=False)
    head_frame: bytes | None = field(default=None, repr=False)
    contents_frame: bytes | None = field(default=None, repr=False)


def compress_frames(head: bytes, contents: bytes) -> tuple[bytes, bytes]:
    """The two frames of a set; no bytes at all for empty contents. Both together are its body in `zstd`."""
    return compress_part(head), compress_part(contents) if contents else b""


def compress_part(part: bytes) -> bytes:
    """One zstd frame that states its size and carries a checksum."""
    return zstd.compress(part, options=_WRITING)


def decompress_part(frame: bytes, limit: int = SET_MAX_BYTES) -> bytes:
    """What one zstd frame holds; no bytes hold nothing. Raises Refused: too-large beyond `limit`, else malformed."""
    part, rest = _read_frame(frame, limit) if frame else (b"", b"")
    if rest:
        raise malformed("something follows the zstd frame", "body")
    return part


def stated_bytes(frame: bytes) -> int | None:
    """What a zstd frame says that it holds, None if it does not say; no bytes hold nothing. Raises Refused(malformed).

    `decompress_part` gives that much or refuses.
    """
    if not frame:
        return 0
    try:
        return zstd.get_frame_info(frame).decompressed_size
    except zstd.ZstdError:
        raise _bad_frame() from None


def decode_body(body: bytes, encoding: str | None, limit: int = SET_MAX_BYTES) -> Parts:
    """A set's two parts from the body of a message and its Content-Encoding (None: identity).

    Raises Refused: too-large over a limit (`limit` for what is decompressed), unsupported-encoding, malformed for
    everything else that is not one of the three forms, whole and alone. In gzip and identity the parts are told apart
    by the manifest, which is read for that.
    """
    match _encoding_of(body, encoding):
        case "zstd":
            return _read_frames(body, limit)
        case "gzip":
            return Parts(*split_parts(_gunzip(body, limit)))
        case _:
            return Parts(*split_parts(body))


def peek_head(body: bytes, encoding: str | None, limit: int) -> bytes:
    """How a set begins: until its first LF at least, `limit` bytes at most, whatever the rest holds.

    A few KiB of memory, and one block of zstd (128 KiB). Raises Refused as `decode_body`, for what stands so far.
    """
    match _encoding_of(body, encoding):
        case "zstd":
            _check_frame_start(body, SET_MAX_BYTES)
            return _peek(zstd.ZstdDecompressor(options=_READING), body, limit)
        case "gzip":
            return _peek(zlib.decompressobj(_GZIP_ONLY), body, limit)
        case _:
            return body[:limit]


def _encoding_of(body: bytes, encoding: str | None) -> str:
    """Its name. Raises Refused: too-large, unsupported-encoding."""
    if len(body) > WIRE_MAX_BYTES:
        raise too_large("body", WIRE_MAX_BYTES)
    name = (encoding or "identity").strip().lower()
    if name not in ENCODINGS:
        raise Refused("unsupported-encoding", "wants Content-Encoding zstd, gzip or identity", where="Content-Encoding")
    return name


class _Decompressor(Protocol):
    """What zstd and zlib have in common."""

    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _peek(decompressor: _Decompressor, body: bytes, limit: int) -> bytes:
    held = b""
    try:
        for start in range(0, len(body), _PEEK_BYTES):
            held += decompressor.decompress(body[start : start + _PEEK_BYTES], limit - len(held))
            if decompressor.eof or len(held) >= limit or b"\n" in held:
                break
    except (zstd.ZstdError, zlib.error):
        raise malformed(
            "damaged zstd or gzip, or zstd with a dictionary or more than 8 MiB of window", "body"
        ) from None
    return held


def _read_frames(body: bytes, limit: int) -> Parts:
    head, rest = _read_frame(body, limit)
    contents, after = _read_frame(rest, limit - len(head)) if rest else (b"", b"")
    if after:
        raise malformed("something follows the second zstd frame", "body")
    return Parts(head, contents, body[: len(body) - len(rest)], rest)


def _read_frame(data: bytes, limit: int) -> tuple[bytes, bytes]:
    """What the first frame of `data` holds, and the bytes after the frame."""
    _check_frame_start(data, limit)
    decompressor = zstd.ZstdDecompressor(options=_READING)
    try:
        held = decompressor.decompress(data, max_length=limit + 1)
    except zstd.ZstdError:
        raise _bad_frame() from None
    if len(held) > limit:
        raise too_large("change set", SET_MAX_BYTES)
    if not decompressor.eof:
        raise malformed("the zstd frame is cut short", "body")
    return held, decompressor.unused_data


def _check_frame_start(data: bytes, limit: int) -> None:
    """What a frame says of itself. Raises Refused: malformed, too-large."""
    if not data.startswith(_MAGIC):
        raise malformed("not a zstd frame", "body")
    try:
        stated = zstd.get_frame_info(data).decompressed_size
    except zstd.ZstdError:
        raise _bad_frame() from None
    if stated is not None and stated > limit:
        raise too_large("change set", SET_MAX_BYTES)


def _bad_frame() -> Refused:
    return malformed("damaged zstd frame, or one that wants a dictionary or more than 8 MiB of window", "body")


def _gunzip(body: bytes, limit: int) -> bytes:
    """What the one member of a gzip file holds."""
    decompressor = zlib.decompressobj(_GZIP_ONLY)
    try:
        held = decompressor.decompress(body, limit + 1)
    except zlib.error:
        raise malformed("damaged gzip", "body") from None
    if len(held) > limit:
        raise too_large("change set", SET_MAX_BYTES)
    if not decompressor.eof:
        raise malformed("the gzip member is cut short", "body")
    if decompressor.unused_data:
        raise malformed("something follows the gzip member", "body")
    return held
