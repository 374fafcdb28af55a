"""Exact checks of the single values of a change line (protocol §1.1, §1.2).

Each takes a value that already has its JSON type, returns None, and raises Refused(malformed). What comes again and
again (codes, agencies, days, prefixes) is remembered once it has been found good, in caches of bounded size.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from sync_protocol.errors import malformed
from sync_protocol.values import (
    AREA_PATTERN,
    TIMESTAMP_PATTERN,
    TRACKING_ALPHABET,
    AgencyId,
    b64u_decode,
    is_calendar_day,
    parse_code,
    parse_source_id,
)

_CACHE: Final = 8_192  # entries of one cache: more distinct units or codes than an agency has


@lru_cache(_CACHE)
def check_code(text: str) -> None:
    """A code."""
    parse_code(text)


@lru_cache(_CACHE)
def check_agency(text: str) -> None:
    """An agency's name."""
    AgencyId.parse(text)


@lru_cache(_CACHE)
def check_area(text: str) -> None:
    """A Kemendagri code of one to four levels."""
    if not _AREA(text):
        raise malformed("not an area (dd, dd.dd, dd.dd.dd or dd.dd.dd.dddd)", "area")


@lru_cache(_CACHE)
def check_media_type(text: str) -> None:
    """`type/subtype`, with no room for a NIK or a telephone number."""
    if not _MEDIA_TYPE(text) or _LONG_DIGITS(text):
        raise malformed("not a media type", "media_type")


def check_timestamp(text: str) -> None:
    """The one spelling of a moment."""
    if not _TIMESTAMP(text) or not is_calendar_day(text[:10]):
        raise malformed("not a timestamp (YYYY-MM-DDTHH:MM:SS.mmmZ)", "timestamp")


def check_uuids(complaint: str, change_id: str) -> None:
    """A complaint id and a change id, looked at together because every line has both."""
    minted, uuid = complaint[:-37], complaint[-37:]
    shape = (uuid + change_id).encode().translate(_HEX_DIGITS)  # every hexadecimal digit becomes 0
    if len(change_id) != 36 or shape != _TWO_UUIDS or uuid[15] != "7" or change_id[14] != "7":
        raise malformed("not UUIDv7s in lower case", "id")
    if uuid[20] not in "89ab" or change_id[19] not in "89ab":
        raise malformed("not UUIDs of the RFC 9562 variant", "id")
    check_agency(minted)


def check_tracking(text: str) -> None:
    """A tracking number in its canonical spelling, with its check character (ISO 7064 MOD 37,36)."""
    try:
        prefix, first, second, third, check = text.split("-")
        product = _after_prefix(prefix)
        for four in (first, second, third):  # anything but four letters of the alphabet has no pair in the table
            product = _PAIRS[four[2:]][_PAIRS[four[:2]][product]]
    except (ValueError, KeyError):
        raise malformed("not a tracking number", "tracking") from None
    if _MOD36[(37 - product) % 36] != check:
        raise malformed("a tracking number whose check character is wrong", "tracking")


def check_trackings(texts: Sequence[str]) -> None:
    """Many tracking numbers in under half the time: all the first pairs of letters side by side, then the second …"""
    prefixes = {text[:-_AFTER_PREFIX] for text in texts}
    if len(prefixes) != 1 or len(set(map(len, texts))) != 1:  # an agency has one prefix; a hand-over brings others
        for text in texts:
            check_tracking(text)
        return
    width = len(texts[0])
    steps = _INTEGER_PAIRS
    try:
        joined = "".join(texts).encode("ascii")
        start = _after_prefix(prefixes.pop())
        columns = [_pairs_at(joined, width, place) for place in _PAIR_PLACES]
        products = [
            steps[f][steps[e][steps[d][steps[c][steps[b][steps[a][start]]]]]]
            for a, b, c, d, e, f in zip(*columns, strict=True)
        ]
    except (ValueError, KeyError):
        raise malformed("not a tracking number", "tracking") from None
    hyphens = [joined[width + place :: width] for place in _HYPHEN_PLACES]
    if (
        any(column.strip(b"-") for column in hyphens)
        or bytes(products).translate(_CHECKS) != joined[width - 1 :: width]
    ):
        raise malformed("not a tracking number, or its check character is wrong", "tracking")


def _pairs_at(joined: bytes, width: int, place: int) -> list[int]:
    """The two letters at `place` (from the end) of every text, as one integer each."""
    pairs = bytearray(2 * (len(joined) // width))
    pairs[::2] = joined[width + place :: width]
    pairs[1::2] = joined[width + place + 1 :: width]
    return memoryview(pairs).cast("H").tolist()


def check_source_id(text: str) -> None:
    """Another system's own number."""
    parse_source_id(text)


def check_leaf_hash(text: str) -> None:
    """43 characters of base64url."""
    b64u_decode(text, 32, "leaf hash")


def check_leaf_hashes(texts: tuple[str, ...]) -> None:
    """Several of them."""
    for text in texts:
        check_leaf_hash(text)


@lru_cache(_CACHE)
def _after_prefix(prefix: str) -> int:
    """Where the check stands after an agency's prefix. Raises KeyError for a character that is none of a prefix."""
    if not 1 <= len(prefix) <= 8:
        raise KeyError(prefix)
    product = 36
    for character in prefix:
        product = _STEPS[character][product]
    return product


_AREA: Final = re.compile(AREA_PATTERN).fullmatch
_MEDIA_TYPE: Final = re.compile("[a-z0-9.+-]{1,30}/[a-z0-9.+-]{1,40}").fullmatch
_LONG_DIGITS: Final = re.compile("[0-9]{10}").search
_TIMESTAMP: Final = re.compile(TIMESTAMP_PATTERN).fullmatch
_HEX_DIGITS: Final = bytes(0x30 if chr(byte) in "0123456789abcdef" else byte for byte in range(256))
_TWO_UUIDS: Final = b":00000000-0000-0000-0000-000000000000" + b"00000000-0000-0000-0000-000000000000"

# The inner step of the check as tables: character, or pair of characters -> (product before -> product after).
_MOD36: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_STEPS: Final = {
    character: bytes(((before + value) % 36 or 36) * 2 % 37 for before in range(256))
    for value, character in enumerate(_MOD36)
}
_PAIRS: Final = {
    left + right: _STEPS[left].translate(_STEPS[right]) for left in TRACKING_ALPHABET for right in TRACKING_ALPHABET
}
_INTEGER_PAIRS: Final = {int.from_bytes(pair.encode(), sys.byteorder): step for pair, step in _PAIRS.items()}
_CHECKS: Final = bytes(ord(_MOD36[(37 - product) % 36]) if product <= 36 else 0 for product in range(256))
# Counted from the end of `PREFIX-XXXX-XXXX-XXXX-C`.
_AFTER_PREFIX: Final = 17
_PAIR_PLACES: Final = (-16, -14, -11, -9, -6, -4)
_HYPHEN_PLACES: Final = (-17, -12, -7, -2)
