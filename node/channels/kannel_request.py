"""Reading what smsbox sends for one SMS: a query, or a POST (config/kannel.example.conf). Pure.

Bounded before it is decoded. Everything about bytes is here: percent signs, charsets, parts of long messages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import unquote_to_bytes

from sync_protocol.errors import malformed, too_large

QUERY_MAX_BYTES: Final = 32_768  # forty parts of a long SMS, each byte as %XX, once as text and once as raw
PARAMETERS_MAX: Final = 32  # smsbox knows some twenty escapes
TEXT_MAX_BYTES: Final = 12_000  # in UTF-8: over forty parts; and a content line holds it even if it is all quotes
ID_MAX_CHARACTERS: Final = 128  # Kannel's are UUIDs, of operators' gateways up to twice as long
SENDER_MAX_CHARACTERS: Final = 40  # a telephone number has 16 at most, a name of an operator 11

_ID: Final = re.compile(r"[!-~]+")
_TIMES: Final = ("%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S")
#: By what smsbox calls it (%C, or the charset of a POST) and by the coding (%c) where it calls it nothing.
_CHARSETS: Final[Mapping[str, str]] = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "ascii",
    "ascii": "ascii",
    "iso-8859-1": "latin-1",
    "latin1": "latin-1",
    "latin-1": "latin-1",
    "windows-1252": "cp1252",
    "cp1252": "cp1252",
    "utf-16be": "utf-16-be",
    "utf-16": "utf-16-be",
    "ucs-2": "utf-16-be",
    "ucs2": "utf-16-be",
}
_UCS2_CODING: Final = "2"
_JOINED_SHORT, _JOINED_LONG = 0x00, 0x08  # information elements of a part: reference of one byte, of two


@dataclass(frozen=True, slots=True)
class PartOf:
    """This SMS is number `number` (from 1) of `total` parts; those of one message have one reference."""

    reference: int
    number: int
    total: int


@dataclass(frozen=True, slots=True)
class IncomingSms:
    """One SMS. `id` is the same whenever it is delivered again; `sender` as the gateway has it, "" if it has none."""

    id: str
    sender: str = field(repr=False)
    recipient: str
    text: str = field(repr=False)
    sent_at_ms: int | None
    part: PartOf | None


def read_parameters(query: bytes) -> dict[str, bytes]:
    """Of a query or a form, each at most once. Raises Refused (malformed, too-large)."""
    if len(query) > QUERY_MAX_BYTES:
        raise too_large("query", QUERY_MAX_BYTES)
    pairs = query.split(b"&", PARAMETERS_MAX + 1)
    if len(pairs) > PARAMETERS_MAX:
        raise too_large("query", PARAMETERS_MAX, "parameters")
    found: dict[str, bytes] = {}
    for pair in pairs:
        if pair:
            name, _, value = pair.replace(b"+", b" ").partition(b"=")
            key = unquote_to_bytes(name).decode("ascii", "replace")
            if key in found:
                raise malformed("may be given once", "id" if key == "id" else "query")
            found[key] = unquote_to_bytes(value)
    return found


def read_sms(parameters: Mapping[str, bytes], body: bytes | None = None, body_charset: str = "") -> IncomingSms:
    """One SMS from its parameters, and from the body where that is the text (post-url). Raises Refused.

    Without `id` it is malformed: nobody could tell a repeated message from a new one.
    """
    coding = _word(parameters, "coding")
    charset = body_charset or _word(parameters, "charset")
    said = body if body is not None else parameters.get("text") or parameters.get("raw", b"")
    text = decode_text(said, charset, coding)
    if len(text.encode("utf-8")) > TEXT_MAX_BYTES:
        raise too_large("text", TEXT_MAX_BYTES)
    return IncomingSms(
        id=_identity(parameters),
        sender=_word(parameters, "from"),
        recipient=_word(parameters, "to"),
        text=text,
        sent_at_ms=_moment(_word(parameters, "ts")),
        part=read_part(parameters.get("udh", b"")),
    )


def decode_text(said: bytes, charset: str, coding: str = "") -> str:
    """The text, whatever charset was claimed: what does not fit the claim is read as UTF-8, or else as Windows-1252."""
    claimed = _CHARSETS.get(charset.strip().strip('"').lower())
    if claimed is None and coding == _UCS2_CODING:
        claimed = "utf-16-be"
    for codec in filter(None, (claimed, "utf-8")):
        try:
            return said.decode(codec)
        except UnicodeDecodeError:
            continue
    # Half a letter at the end of a part of a long UCS-2 message: the other half is in the next one.
    return said.decode("utf-16-be" if claimed == "utf-16-be" else "cp1252", "replace")


def read_part(header: bytes) -> PartOf | None:
    """From the user data header of an SMS; None where it is a whole message, or the header makes no sense."""
    place = 1
    while place + 2 <= len(header) and header and header[0] == len(header) - 1:
        kind, length = header[place], header[place + 1]
        value = header[place + 2 : place + 2 + length]
        if len(value) == length and (kind, length) in ((_JOINED_SHORT, 3), (_JOINED_LONG, 4)):
            part = PartOf(int.from_bytes(value[:-2], "big"), number=value[-1], total=value[-2])
            return part if 1 <= part.number <= part.total and part.total > 1 else None
        place += 2 + length
    return None


def _identity(parameters: Mapping[str, bytes]) -> str:
    text = parameters.get("id", b"").decode("ascii", "replace")
    if not text:
        raise malformed("this SMS has no id; add id=%I to get-url", "id")
    if len(text) > ID_MAX_CHARACTERS or not _ID.fullmatch(text):
        raise malformed(f"wants 1 to {ID_MAX_CHARACTERS} printable ASCII characters", "id")
    return text


def _word(parameters: Mapping[str, bytes], name: str) -> str:
    """One of the small parameters; "" where it is none that can be: no report is lost for its sender's strange name."""
    text = parameters.get(name, b"").decode("utf-8", "replace").strip()
    return text if len(text) <= SENDER_MAX_CHARACTERS and text.isascii() and text.isprintable() else ""


def _moment(text: str) -> int | None:
    """When the gateway took it in: %t (UTC) or %T (seconds since 1970); None for anything else."""
    if text.isascii() and text.isdigit() and len(text) <= 11:
        return int(text) * 1000
    for form in _TIMES:
        try:
            return int(datetime.strptime(text, form).replace(tzinfo=UTC).timestamp() * 1000)
        except ValueError:
            continue
    return None
