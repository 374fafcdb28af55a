"""A page of an agency's sets, as the hub hands them back to it: many in one answer (protocol §7.1).

For each set, in order of seq: its receipt, then its two zstd frames as they stand, each preceded by its length in four
bytes, big-endian. Parsing tells them apart and bounds them; what they hold is decompressed and verified one by one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from sync_protocol.errors import malformed, too_large
from sync_protocol.limits import WIRE_MAX_BYTES
from sync_protocol.receipt import RECEIPT_MAX_BYTES

SET_PAGE_MEDIA_TYPE: Final = "application/vnd.simpul.change-sets"
PAGE_SETS_MAX: Final = 500  # a heartbeat and its receipt are some 2 KiB: a MiB of those
PAGE_BYTES: Final = 1024 * 1024  # no further set is begun beyond it: minutes on the slowest line, lost if that breaks
_LENGTH_BYTES: Final = 4
PAGE_MAX_BYTES: Final = PAGE_BYTES + WIRE_MAX_BYTES + RECEIPT_MAX_BYTES + 2 * _LENGTH_BYTES  # the last set may be long


@dataclass(frozen=True, slots=True)
class PagedSet:
    """One set: the receipt as it was issued, and the body that a `GET` of it alone has in `zstd`."""

    receipt: bytes = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def page_bytes(self) -> int:
        """What it takes of a page."""
        return len(self.receipt) + len(self.body) + 2 * _LENGTH_BYTES


def format_page(sets: Iterable[PagedSet]) -> bytes:
    """The bytes that `parse_page` reads back, if they are within its bounds."""
    parts = [part for one in sets for part in (one.receipt, one.body)]
    return b"".join(piece for part in parts for piece in (len(part).to_bytes(_LENGTH_BYTES, "big"), part))


def parse_page(data: bytes) -> list[PagedSet]:
    """Raises Refused: too-large, malformed."""
    if len(data) > PAGE_MAX_BYTES:
        raise too_large("page", PAGE_MAX_BYTES)
    sets: list[PagedSet] = []
    place = 0
    while place < len(data):
        if len(sets) == PAGE_SETS_MAX:
            raise too_large("page", PAGE_SETS_MAX, "sets")
        receipt, place = _part(data, place, RECEIPT_MAX_BYTES, "receipt")
        body, place = _part(data, place, WIRE_MAX_BYTES, "body")
        sets.append(PagedSet(receipt, body))
    return sets


def _part(data: bytes, place: int, limit: int, where: str) -> tuple[bytes, int]:
    """The part that begins at `place`, and where the next one begins."""
    start = place + _LENGTH_BYTES
    length = int.from_bytes(data[place:start], "big")
    if length > limit:
        raise too_large(where, limit)
    if not length or start + length > len(data):
        raise malformed("a page has whole receipts and sets, none empty", where)
    return data[start : start + length], start + length
