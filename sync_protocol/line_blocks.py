"""Blocks of lines as intake looks at them: number, bytes and lengths, never meaning (protocol §2, §8 step 10)."""

from __future__ import annotations

from codecs import getincrementaldecoder
from typing import Final

from sync_protocol.errors import malformed, too_large
from sync_protocol.hidden_lines import has_hidden_line
from sync_protocol.limits import CONTENT_LINE_MAX_BYTES
from sync_protocol.line import check_line_bytes

_PIECE_BYTES: Final = 1024 * 1024


def check_change_block(block: bytes, changes: int) -> list[bytes]:
    """The lines, without LF, of a block of exactly `changes` change lines, none hidden.

    Raises Refused (malformed, too-large).
    """
    lines = check_line_bytes(block, changes)
    _check_no_empty_line(lines, "change lines")
    if has_hidden_line(block):
        raise malformed("a change line is hidden", "change lines")
    return lines


def check_content_block(block: bytes, lines_max: int) -> list[bytes]:
    """The lines, without LF, of a block of at most `lines_max` content lines, literal or hidden.

    Raises Refused (malformed, too-large).
    """
    lines = block.split(b"\n", lines_max)
    if lines.pop():
        raise malformed("more content lines than the manifest says, or the last one has no LF", "content lines")
    _check_no_empty_line(lines, "content lines")
    if lines and max(map(len, lines)) > CONTENT_LINE_MAX_BYTES:
        raise too_large("content line", CONTENT_LINE_MAX_BYTES)
    if b"\r" in block:
        raise malformed("a content line holds a CR", "content lines")
    _check_utf8(block)
    return lines


def _check_utf8(block: bytes) -> None:
    """In pieces: one letter of four bytes makes four bytes of every other as well, of the text that is thrown away."""
    if block.isascii():
        return
    decode = getincrementaldecoder("utf-8")().decode
    try:
        for start in range(0, len(block), _PIECE_BYTES):
            decode(block[start : start + _PIECE_BYTES])
        decode(b"", final=True)
    except UnicodeDecodeError:
        raise malformed("a content line is not UTF-8", "content lines") from None


def _check_no_empty_line(lines: list[bytes], where: str) -> None:
    if b"" in lines:  # a tenth of what looking for two LFs in a row costs, where every line ends in one
        raise malformed("an empty line", where)


def split_block(block: bytes) -> list[bytes]:
    """The lines, without LF, of a block that ends in LF or is empty. Raises Refused(malformed)."""
    lines = block.split(b"\n")
    if lines.pop():
        raise malformed("the last line has no LF", "content lines")
    return lines
