"""Change lines and content lines: what was done, and what was said (protocol §2).

A change line has exactly one spelling. `parse_change` takes nothing else and raises nothing but Refused, whatever the
bytes; `format_change` writes what `parse_change` reads back. Parsing is the hot path of every audit, so it looks at a
line in one pass of a loose pattern, and then at each part exactly: parts that come again and again (actors, codes,
days, agencies, most `data` objects) are remembered once they have been found good, in caches of bounded size.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from sync_protocol.change_types import MEMBERS, Data, UnknownData
from sync_protocol.errors import Refused, malformed, too_large
from sync_protocol.limits import CHANGE_LINE_MAX_BYTES, CONTENT_LINE_MAX_BYTES, INTEGER_MAX
from sync_protocol.line_faults import fault_of
from sync_protocol.line_parts import DATA_PARSERS, Actor, parse_actor, parse_known_agency, parse_known_code
from sync_protocol.strict_json import format_object, parse_object
from sync_protocol.values import TIMESTAMP_PATTERN, b64u_decode, b64u_encode, is_calendar_day


class Change(msgspec.Struct, frozen=True, gc=False):
    """One change line, typed. `data` is the Struct that `change_types.MEMBERS` names for `type`, or UnknownData."""

    actor: Actor
    at: str
    complaint: str
    content: bool
    data: Data
    id: str
    rev: int
    type: str

    @property
    def known(self) -> bool:
        """Whether the fold knows this type (protocol §9.3, `unknown_type`)."""
        return self.type in MEMBERS

    @property
    def minted_by(self) -> str:
        """The agency that the complaint names."""
        return self.complaint[:-37]


def parse_change(line: bytes) -> Change:
    """One change line without its LF (protocol §2.1, §2.2). Raises Refused(malformed).

    A type that the fold does not know is not malformed: its data is UnknownData.
    """
    try:
        found = _LINE(line.decode("ascii"))
    except UnicodeDecodeError:
        raise fault_of(line) from None
    if found is None or len(line) > CHANGE_LINE_MAX_BYTES:
        raise fault_of(line)
    actor, at, agency, uuid, content, data, change_id, rev, change_type = found.groups()
    if (
        (uuid + change_id).encode().translate(_SHAPE) != _TWO_UUIDS
        or (uuid[14] != "7" or change_id[14] != "7" or uuid[19] not in "89ab" or change_id[19] not in "89ab")
        or not is_calendar_day(at[:10])
        or int(rev) > INTEGER_MAX
    ):
        raise fault_of(line)
    try:
        return Change(
            parse_actor(actor),
            at,
            parse_known_agency(agency) + ":" + uuid,
            content == "1",
            DATA_PARSERS[change_type](data) if change_type in DATA_PARSERS else _unknown(change_type, data),
            change_id,
            int(rev),
            change_type,
        )
    except Refused:
        raise fault_of(line) from None


def format_change(
    *,
    id: str,  # noqa: A002 - the member's name on the wire
    complaint: str,
    rev: int,
    type: str,  # noqa: A002 - the member's name on the wire
    at: str,
    role: str,
    unit: str | None = None,
    data: Mapping[str, object],
    content: bool,
) -> bytes:
    """The canonical line, without LF. Raises Refused(malformed) for what the fold calls malformed or unknown_type."""
    if type not in MEMBERS:
        raise malformed("not a type of change that this protocol knows", "type")
    actor = {"role": role} if unit is None else {"role": role, "unit": unit}
    members = {"actor": actor, "at": at, "complaint": complaint, "content": int(content)}
    line = format_object(members | {"data": dict(data), "id": id, "rev": rev, "type": type})
    parse_change(line)
    return line


def check_line_bytes(block: bytes) -> list[bytes]:
    """What intake asks of change lines (protocol §2.1): bytes 0x21 … 0x7E, 2,048 at most. Returns the lines without LF.

    `block` is all change lines, each with its LF. Raises Refused(malformed | too-large) naming the first line at fault.
    """
    if block and block[-1] != 0x0A:
        raise malformed("the last change line has no LF", "change lines")
    lines = block.split(b"\n")
    lines.pop()
    if block.translate(None, _LINE_BYTES + b"\n") or (lines and max(map(len, lines)) > CHANGE_LINE_MAX_BYTES):
        raise _first_bad_line(lines)
    return lines


def _first_bad_line(lines: Sequence[bytes]) -> Refused:
    for number, line in enumerate(lines):
        if len(line) > CHANGE_LINE_MAX_BYTES:
            return too_large(f"change line {number}", CHANGE_LINE_MAX_BYTES)
        if line.translate(None, _LINE_BYTES):
            return malformed("a change line holds bytes from 0x21 to 0x7E only", f"change line {number}")
    raise AssertionError("called for a block without fault")


def format_content(fields: Mapping[str, object], salt: bytes) -> bytes:
    """One content line, without LF, from what was said and 16 fresh random bytes (protocol §2.3).

    Raises Refused(malformed | too-large): a field named `salt`, a value that JSON cannot say strictly (floats, lone
    surrogates, nesting over 4), a line over 32 KiB.
    """
    if "salt" in fields or len(salt) != 16:
        raise malformed("wants 16 bytes of salt, and no field of that name", "content")
    line = format_object({**fields, "salt": b64u_encode(salt)})
    parse_content(line)
    return line


def parse_content(line: bytes) -> dict[str, Any]:
    """What was said, `salt` included, from one content line without its LF. Raises Refused(malformed | too-large)."""
    if len(line) > CONTENT_LINE_MAX_BYTES:
        raise too_large("content line", CONTENT_LINE_MAX_BYTES)
    if b"\r" in line or b"\n" in line:
        raise malformed("a content line holds neither CR nor LF", "content")
    said = parse_object(line, where="content")
    salt = said.get("salt")
    if not isinstance(salt, str):
        raise malformed("a content line needs its salt", "content.salt")
    b64u_decode(salt, 16, "content.salt")
    return said


_LINE_BYTES: Final = bytes(range(0x21, 0x7F))

# Members stand in RFC 8785 order, so one pattern finds them all. It is loose where an exact look is cheaper afterwards:
# uuids are compared by shape (a hexadecimal digit becomes `0`), the other parts by the functions of `line_parts.py`.
_LINE: Final = re.compile(
    r'\{"actor":(\{[^}]*\}),"at":"(' + TIMESTAMP_PATTERN + r')","complaint":"([a-z0-9.-]+):(.{36})","content":([01]),'
    r'"data":(\{.*\}),"id":"(.{36})","rev":([1-9][0-9]{0,15}),"type":"([a-z0-9._-]+)"\}'
).fullmatch
_SHAPE: Final = bytes(0x30 if chr(byte) in "0123456789abcdef" else byte for byte in range(256))
_TWO_UUIDS: Final = 2 * b"00000000-0000-0000-0000-000000000000"


def _unknown(change_type: str, data: str) -> UnknownData:
    """Any canonical object will do: what it means is for a later fold."""
    parse_known_code(change_type)
    text = data.encode()
    if text.translate(None, _LINE_BYTES) or format_object(parse_object(text, where="data", depth_max=3)) != text:
        raise malformed("not canonical JSON (RFC 8785) of bytes 0x21 to 0x7E", "data")
    return UnknownData(data)
