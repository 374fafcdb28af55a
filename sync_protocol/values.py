"""Value types: one value, one spelling (protocol §1). Parser and formatter stand side by side."""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Final, Self

from sync_protocol.errors import malformed
from sync_protocol.limits import AGENCY_ID_MAX, CODE_MAX, INTEGER_MAX, SOURCE_ID_MAX

AGENCY_PATTERN: Final = r"[a-z0-9]+(?:[.-][a-z0-9]+)*"
CODE_PATTERN: Final = r"[a-z0-9]+(?:[._-][a-z0-9]+)*"
UUID_PATTERN: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
TIMESTAMP_PATTERN: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{3}Z"
AREA_PATTERN: Final = r"[0-9]{2}(?:\.[0-9]{2}(?:\.[0-9]{2}(?:\.[0-9]{4})?)?)?"
SOURCE_ID_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9._:/-]*"
TRACKING_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
TRACKING_PATTERN: Final = r"[A-Z0-9]{1,8}(?:-[0-9A-HJKMNP-TV-Z]{4}){3}-[0-9A-Z]"
TRACKING_RANDOM_BITS: Final = 60

_AGENCY = re.compile(AGENCY_PATTERN)
_CODE = re.compile(CODE_PATTERN)
_LONG_DIGITS = re.compile(r"[0-9]{10}")
_UUID = re.compile(UUID_PATTERN)
_TIMESTAMP = re.compile(TIMESTAMP_PATTERN)
_SOURCE_ID = re.compile(SOURCE_ID_PATTERN)
_NIK_DIGITS = re.compile(r"[0-9]{16}")
_TRACKING = re.compile(TRACKING_PATTERN)
_B64U = re.compile(r"[A-Za-z0-9_-]*")
_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_FROM_URL: Final = str.maketrans("-_", "+/")
_DAY_MS: Final = 86_400_000
_MOD36: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class AgencyId(str):
    """An agency's name, checked (protocol §1.2)."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises Refused(malformed)."""
        if len(text) > AGENCY_ID_MAX or not _AGENCY.fullmatch(text):
            raise malformed("not an agency code (lower-case letters, digits, dots and hyphens, 64 at most)", "agency")
        return cls(text)


class Digest(bytes):
    """32 bytes of SHA-256, checked in length only."""

    __slots__ = ()

    def __new__(cls, raw: bytes) -> Self:
        """Raises Refused(malformed)."""
        if len(raw) != 32:
            raise malformed("a digest has 32 bytes", "digest")
        return super().__new__(cls, raw)

    @classmethod
    def parse(cls, text: str, where: str = "digest") -> Self:
        """From 43 characters of canonical base64url. Raises Refused(malformed)."""
        return cls(b64u_decode(text, 32, where))

    @property
    def b64u(self) -> str:
        """43 characters of base64url."""
        return b64u_encode(self)


class ComplaintId(str):
    """`<agency>:<uuid>`; `agency` is the one that minted it (protocol §1.2)."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises Refused(malformed)."""
        agency, colon, uuid = text.rpartition(":")
        if not colon or len(agency) > AGENCY_ID_MAX or not _AGENCY.fullmatch(agency) or not _UUID.fullmatch(uuid):
            raise malformed("not a complaint id (<agency>:<UUIDv7>)", "complaint")
        return cls(text)

    @property
    def agency(self) -> AgencyId:
        """The minting agency."""
        return AgencyId(self.rpartition(":")[0])

    @property
    def uuid(self) -> str:
        """The UUIDv7 part."""
        return self.rpartition(":")[2]


def sha256_digest(data: bytes) -> Digest:
    """SHA-256 as a Digest."""
    return Digest(sha256(data).digest())


def b64u_encode(raw: bytes) -> str:
    """base64url without padding."""
    return b2a_base64(raw, newline=False).translate(_TO_URL).rstrip(b"=").decode("ascii")


def b64u_decode(text: str, length: int | None = None, where: str = "base64url") -> bytes:
    """Canonical base64url only: no padding, no foreign character, no spare bits. Raises Refused(malformed)."""
    if length is not None and len(text) != (length * 8 + 5) // 6:
        raise malformed(f"wants {length} bytes in base64url without padding", where)
    if not _B64U.fullmatch(text) or len(text) % 4 == 1:
        raise malformed("not base64url without padding", where)
    raw = a2b_base64(text.translate(_FROM_URL) + "=" * (-len(text) % 4))
    if b64u_encode(raw) != text:
        raise malformed("base64url with spare bits set", where)
    return raw


def b64_encode(raw: bytes) -> str:
    """Standard base64 with padding, as C2SP notes want it."""
    return b2a_base64(raw, newline=False).decode("ascii")


def b64_decode(text: str, where: str = "base64") -> bytes:
    """Canonical standard base64 with padding. Raises Refused(malformed)."""
    try:
        raw = a2b_base64(text, strict_mode=True)
    except ValueError:
        raise malformed("not base64", where) from None
    if b2a_base64(raw, newline=False).decode("ascii") != text:
        raise malformed("base64 that is not canonical", where)
    return raw


def b64_decode_all(texts: Sequence[str], where: str = "base64") -> list[bytes]:
    """`b64_decode` of each, in bulk: the hashes of a proof. Raises Refused(malformed)."""
    try:
        raws = [a2b_base64(text, strict_mode=True) for text in texts]
    except ValueError:
        raise malformed("not base64", where) from None
    if [b2a_base64(raw, newline=False).decode("ascii") for raw in raws] != [*texts]:
        raise malformed("base64 that is not canonical", where)
    return raws


def parse_code(text: str, where: str = "code") -> str:
    """A code of protocol §1.2; too short a room for a NIK or a telephone number. Raises Refused(malformed)."""
    if len(text) > CODE_MAX or not _CODE.fullmatch(text) or _LONG_DIGITS.search(text):
        raise malformed("not a code (lower-case letters and digits joined by . _ -, no long numbers)", where)
    return text


def parse_source_id(text: str, where: str = "source.id") -> str:
    """Another system's own number for a complaint. Raises Refused(malformed)."""
    if len(text) > SOURCE_ID_MAX or not _SOURCE_ID.fullmatch(text) or _NIK_DIGITS.search(text):
        raise malformed("not a source id (letters, digits and . _ : / -, 40 at most)", where)
    return text


def parse_uuid(text: str, where: str = "id") -> str:
    """A lower-case UUIDv7. Raises Refused(malformed)."""
    if len(text) != 36 or not _UUID.fullmatch(text):
        raise malformed("not a UUIDv7 in lower case", where)
    return text


def make_uuid7(at_ms: int, random_bits: int) -> str:
    """The UUIDv7 (RFC 9562 §5.7) of a moment, in milliseconds since 1970, and 74 random bits that the caller drew."""
    value = (at_ms & 2**48 - 1) << 80 | 7 << 76 | (random_bits >> 62 & 0xFFF) << 64 | 2 << 62 | random_bits & 2**62 - 1
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def parse_integer(value: object, where: str, least: int = 0, most: int = INTEGER_MAX) -> int:
    """A JSON integer within bounds; bool and float are none. Raises Refused(malformed)."""
    if type(value) is not int or not least <= value <= most:
        raise malformed(f"wants an integer from {least} to {most}", where)
    return value


@lru_cache(maxsize=4096)
def is_calendar_day(day: str) -> bool:
    """Whether `YYYY-MM-DD` (already of that shape) exists and lies in 1970 … 9999."""
    try:
        return datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC).year >= 1970
    except ValueError:
        return False


def parse_timestamp(text: str, where: str = "at") -> int:
    """Milliseconds since 1970 of a timestamp of protocol §1.1. Raises Refused(malformed)."""
    if len(text) != 24 or not _TIMESTAMP.fullmatch(text) or not is_calendar_day(text[:10]):
        raise malformed("not a timestamp (YYYY-MM-DDTHH:MM:SS.mmmZ)", where)
    seconds = int(datetime.fromisoformat(text[:19] + "+00:00").timestamp())
    return seconds * 1000 + int(text[20:23])


def format_timestamp(at_ms: int) -> str:
    """The one spelling of a moment given in milliseconds since 1970."""
    day, rest_ms = divmod(at_ms, _DAY_MS)
    minutes, rest_ms = divmod(rest_ms, 60_000)
    return f"{_calendar_day(day)}T{minutes // 60:02d}:{minutes % 60:02d}:{rest_ms // 1000:02d}.{rest_ms % 1000:03d}Z"


@lru_cache(maxsize=4096)
def _calendar_day(day: int) -> str:
    """`YYYY-MM-DD` of a day counted from 1970."""
    return f"{datetime.fromtimestamp(day * 86_400, UTC):%Y-%m-%d}"


def tracking_check_character(body: str) -> str:
    """ISO 7064 MOD 37,36 over `0-9A-Z`."""
    product = 36
    for character in body:
        total = (product + _MOD36.index(character)) % 36 or 36
        product = total * 2 % 37
    return _MOD36[(37 - product) % 36]


def format_tracking(prefix: str, random_bits: int) -> str:
    """The tracking number for 60 random bits under an agency's prefix (protocol §1.2)."""
    letters = "".join(TRACKING_ALPHABET[random_bits >> shift & 31] for shift in range(55, -1, -5))
    check = tracking_check_character(prefix + letters)
    return "-".join((prefix, letters[0:4], letters[4:8], letters[8:12], check))


def parse_tracking(text: str, where: str = "tracking") -> str:
    """The canonical spelling of what a person typed: case, blanks, hyphens ignored. Raises Refused(malformed)."""
    bare = re.sub(r"[\s-]+", "", text[:64]).upper()
    prefix, letters, check = bare[:-13], bare[-13:-1], bare[-1:]
    canonical = "-".join((prefix, letters[0:4], letters[4:8], letters[8:12], check))
    if len(text) > 64 or not _TRACKING.fullmatch(canonical) or tracking_check_character(prefix + letters) != check:
        raise malformed("not a tracking number; please compare it with the receipt", where)
    return canonical
