"""Change lines and content lines: what was done, and what was said (protocol §2).

A change line has exactly one spelling. `parse_change` takes nothing else and raises nothing but Refused, whatever the
bytes; `format_change` writes what `parse_change` reads back. One spelling is made sure of by writing the line again
from what was read and comparing: that is both the shortest rule and the fastest.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, TypeAlias, cast, get_args, get_origin, get_type_hints

import msgspec

from sync_protocol import line_values as values
from sync_protocol.change_types import DATA_TYPES, Actor, Data, Part, Role, Timestamp, UnknownData
from sync_protocol.errors import Refused, malformed, too_large
from sync_protocol.limits import CHANGE_LINE_MAX_BYTES, CONTENT_LINE_MAX_BYTES, INTEGER_MAX
from sync_protocol.strict_json import format_object, parse_object
from sync_protocol.values import b64u_decode, b64u_encode

CONTENT_MARK_CHARACTERS: Final = 12  # 48 random bits: no two changes of one set share them by chance
ERASED_LINE: Final = b'"type":"erased"}'  # how the line of an `erased` ends, and no other line

__all__ = [
    "ERASED_LINE",
    "Actor",
    "Change",
    "check_line_bytes",
    "content_mark",
    "format_change",
    "format_content",
    "parse_change",
    "parse_content",
    "readable_content",
]


class Change(Part, frozen=True):
    """One change line, typed. `data` is of the type that `change_types.DATA_TYPES` names, else UnknownData."""

    actor: Actor
    at: Timestamp
    complaint: str
    content: Literal[0, 1]
    data: Data
    id: str
    rev: Annotated[int, msgspec.Meta(ge=1, le=INTEGER_MAX)]
    type: str

    @property
    def known(self) -> bool:
        """Whether the fold knows this type (protocol §9.3, `unknown_type`)."""
        return self.type in DATA_TYPES

    @property
    def minted_by(self) -> str:
        """The agency that the complaint names."""
        return self.complaint[:-37]


def parse_change(line: bytes) -> Change:
    """One change line without its LF (protocol §2.1, §2.2). Raises Refused(malformed).

    A type that the fold does not know is not malformed: its data is UnknownData.
    """
    if len(line) > CHANGE_LINE_MAX_BYTES:
        raise malformed(f"longer than {CHANGE_LINE_MAX_BYTES} bytes", "change line")
    decode = DECODERS.get(type_on(line))
    if decode is None:
        return _parse_unknown(line)
    try:
        change = decode(line)
        canonical = encode_change(change) == line
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise _fault(error) from None
    if not canonical:
        raise malformed("not canonical JSON (RFC 8785)", "change line")
    values.check_timestamp(change.at)
    values.check_uuids(change.complaint, change.id)
    if change.actor.unit is not None:
        values.check_code(change.actor.unit)
    _VERIFIERS[change.type](change.data)
    return change


def type_on(line: bytes) -> bytes:
    """The type of a line in canonical order, where `"type":"…"}` stands last; of any other line, any bytes."""
    return line[line.rfind(b'"', 0, -2) + 1 : -2]


def _parse_unknown(line: bytes) -> Change:
    """A type that is not in the table: any canonical `data` will do, what it means is for a later fold."""
    if line.translate(None, _LINE_BYTES):
        raise malformed("holds bytes from 0x21 to 0x7E only", "change line")
    members = parse_object(line, where="change line")
    if format_object(members) != line:
        raise malformed("not canonical JSON (RFC 8785)", "change line")
    data = members.get("data")
    if not isinstance(data, dict):
        raise malformed("wants an object", "data")
    try:
        change = msgspec.convert({**members, "data": {}}, Change)
    except (msgspec.ValidationError, ValueError) as error:
        raise _fault(error) from None
    values.check_timestamp(change.at)
    values.check_uuids(change.complaint, change.id)
    values.check_code(change.type)
    if change.actor.unit is not None:
        values.check_code(change.actor.unit)
    return msgspec.structs.replace(change, data=UnknownData(format_object(data).decode("ascii")))


def _fault(error: Exception) -> Refused:
    """Which member is wrong. Never repeats what stood there: it may be what must not be in a log."""
    text = str(error)
    place = _PLACE.search(text)
    where = place[1] if place else "change line"
    if text.startswith("Object missing required field"):
        return malformed(text.split(" - at", maxsplit=1)[0], where)
    return malformed("not a value that protocol §2 allows here", where)


def format_change(
    *,
    id: str,  # noqa: A002 - the member's name on the wire
    complaint: str,
    rev: int,
    type: str,  # noqa: A002 - the member's name on the wire
    at: str,
    role: Role | str,
    unit: str | None = None,
    data: Mapping[str, object],
    content: bool,
) -> bytes:
    """The canonical line, without LF. Raises Refused(malformed) for what the fold calls malformed or unknown_type."""
    if type not in DATA_TYPES:
        raise malformed("not a type of change that this protocol knows", "type")
    actor = {"role": role} if unit is None else {"role": role, "unit": unit}
    members = {"actor": actor, "at": at, "complaint": complaint, "content": int(content)}
    line = format_object(members | {"data": dict(data), "id": id, "rev": rev, "type": type})
    parse_change(line)
    return line


def check_line_bytes(block: bytes, count: int | None = None) -> list[bytes]:
    """What intake asks of change lines (protocol §2.1): bytes 0x21 … 0x7E, 2,048 at most. Returns the lines without LF.

    `block` is all change lines, each with its LF; `count`, if given, is how many there must be, and no more are split
    off. Raises Refused(malformed | too-large) naming the first line at fault.
    """
    lines = block.split(b"\n", -1 if count is None else count)
    if lines.pop() or (count is not None and len(lines) != count):
        raise malformed("not as many change lines as announced, or the last one has no LF", "change lines")
    if block.translate(None, _BLOCK_BYTES) or (lines and max(map(len, lines)) > CHANGE_LINE_MAX_BYTES):
        raise _first_bad_line(lines)
    return lines


def _first_bad_line(lines: Sequence[bytes]) -> Refused:
    for number, line in enumerate(lines):
        if len(line) > CHANGE_LINE_MAX_BYTES:
            return too_large(f"change line {number}", CHANGE_LINE_MAX_BYTES)
        if line.translate(None, _LINE_BYTES):
            return malformed("a change line holds bytes from 0x21 to 0x7E only", f"change line {number}")
    raise AssertionError("called for a block without fault")


def content_mark(change_id: str) -> str:
    """What a content line says of the change that it belongs to: `of`, twelve characters (protocol §2.3)."""
    return change_id[-CONTENT_MARK_CHARACTERS:]


def format_content(fields: Mapping[str, object], salt: bytes, change_id: str | None = None) -> bytes:
    """One content line, without LF, from what was said and 16 fresh random bytes (protocol §2.3).

    With the id of its change it can be shown in excerpts; a node always gives it.

    Raises Refused(malformed | too-large): a field named `salt`, a value that strict JSON cannot say (floats, lone
    surrogates, nesting over 4), a line over 32 KiB.
    """
    if "salt" in fields or "of" in fields or len(salt) != 16:
        raise malformed("wants 16 bytes of salt, and no field called salt or of", "content")
    mark = {} if change_id is None else {"of": content_mark(change_id)}
    line = format_object({**fields, **mark, "salt": b64u_encode(salt)})
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


def readable_content(line: bytes | None) -> dict[str, Any] | None:
    """As `parse_content`; None where no line is held, and of one that cannot be read.

    A line of one's own may have come back from the log as another program wrote it: it hides nothing else.
    """
    if line is None:
        return None
    try:
        return parse_content(line)
    except Refused:
        return None


Check: TypeAlias = Callable[[Any], None]


def checks_of(struct: type[msgspec.Struct]) -> list[tuple[str, str, Check]]:
    """Every check named in the annotations of a Struct: Python's name of the field, the wire's name, the check."""
    hints = get_type_hints(struct, include_extras=True)
    return [
        (field.name, field.encode_name, check)
        for field in msgspec.structs.fields(struct)
        for check in _checks_in(hints[field.name])
    ]


def _checks_in(annotation: Any) -> list[Check]:
    """The check functions that an annotation carries, looking through `… | None` and into Structs."""
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return [_verifier_of(annotation)]
    if get_origin(annotation) is Annotated:
        return [extra for extra in annotation.__metadata__ if callable(extra)]
    return [check for inner in get_args(annotation) for check in _checks_in(inner)]


def _verifier_of(struct: type[Part]) -> Callable[[Part], None]:
    """The function that runs every check of a Struct, and of the Structs inside it."""
    checks = [(name, f"data.{written}", check) for name, written, check in checks_of(struct)]

    def verify(part: Part) -> None:
        for name, where, check in checks:
            value = getattr(part, name)
            if value is not None:
                try:
                    check(value)
                except Refused as refused:
                    raise malformed(refused.detail, where) from None

    return verify


def _decoder_of(change_type: str, struct: type[Data]) -> Callable[[bytes], Change]:
    line_type = cast(
        "type[Change]",
        msgspec.defstruct(f"Change_{change_type}", [("data", struct)], bases=(Change,), frozen=True, gc=False),
    )
    return msgspec.json.Decoder(line_type).decode


#: type, as it stands on the line -> decoder of its lines, which knows JSON types and vocabularies
DECODERS: Final = {name.encode(): _decoder_of(name, struct) for name, struct in DATA_TYPES.items()}
encode_change: Final = msgspec.json.Encoder().encode
encode_changes: Final = msgspec.json.Encoder().encode_lines  # each with its LF
_VERIFIERS: Final = {name: _verifier_of(struct) for name, struct in DATA_TYPES.items()}
_PLACE: Final = re.compile(r"at `\$\.([a-z_.]+)")
_LINE_BYTES: Final = bytes(range(0x21, 0x7F))
_BLOCK_BYTES: Final = _LINE_BYTES + b"\n"
