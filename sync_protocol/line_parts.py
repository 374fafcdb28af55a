"""The parts of a change line: exact checks of single values, and a parser of each type's `data` (protocol §1.2, §2.2).

Made from the table in `change_types.py`. A check takes the text of a value that already has the form of the table's
pattern, returns the value, and raises Refused(malformed).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final

import msgspec

from sync_protocol.change_types import MEMBERS, ROLES, Data, Member, Source
from sync_protocol.errors import malformed
from sync_protocol.values import AgencyId, is_calendar_day, parse_code, parse_integer, parse_source_id

_CACHE: Final = 8_192  # entries of one cache: more distinct units, codes or actors than any one set uses


class Actor(msgspec.Struct, frozen=True, gc=False):
    """Who did it: a role, and the unit of the agency if one is named."""

    role: str
    unit: str | None = None


_ACTOR: Final = re.compile(rf'\{{"role":"({"|".join(ROLES)})"(?:,"unit":"([a-z0-9._-]{{1,40}})")?\}}').fullmatch
parse_known_code: Final = lru_cache(_CACHE)(parse_code)
parse_known_agency: Final = lru_cache(_CACHE)(AgencyId.parse)


@lru_cache(_CACHE)
def parse_actor(text: str) -> Actor:
    found = _ACTOR(text)
    if found is None:
        raise malformed("not an actor {role, unit?}", "actor")
    role, unit = found.groups()
    return Actor(role, unit if unit is None else parse_code(unit, "actor.unit"))


def _timestamp(text: str) -> str:
    if not is_calendar_day(text[:10]):
        raise malformed("a day that does not exist", "timestamp")
    return text


@lru_cache(_CACHE)
def _after_prefix(prefix: str) -> int:
    """Where the check of ISO 7064 MOD 37,36 stands after an agency's prefix."""
    product = 36
    for character in prefix:
        product = _STEPS[character][product]
    return product


def _tracking(text: str) -> str:
    prefix, first, second, third, check = text.split("-")
    product = _after_prefix(prefix)
    for character in first + second + third:
        product = _STEPS[character][product]
    if _MOD36[(37 - product) % 36] != check:
        raise malformed("the check character does not belong to it", "tracking")
    return text


_MOD36: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#: character -> (product before -> product after), the inner step of ISO 7064 MOD 37,36 as a table
_STEPS: Final = {
    character: bytes(((before + value) % 36 or 36) * 2 % 37 for before in range(37))
    for value, character in enumerate(_MOD36)
}


def _source(text: str) -> Source:
    number, system = text[7:-2].split('","system":"')
    return Source(parse_source_id(number), parse_known_code(system))


def _integer(text: str) -> int:
    return parse_integer(int(text), "data")


def _leaves(text: str) -> tuple[str, ...]:
    return tuple(text[1:-1].split('","'))


def _media_type(text: str) -> str:
    if _LONG_DIGITS(text):
        raise malformed("no long numbers in a media type", "media_type")
    return text


_LONG_DIGITS: Final = re.compile("[0-9]{10}").search
#: the check that a `Kind` names -> the function
CHECKS: Final[Mapping[str, Callable[[str], object]]] = {
    "code": parse_known_code,
    "agency": parse_known_agency,
    "timestamp": _timestamp,
    "tracking": _tracking,
    "source": _source,
    "integer": _integer,
    "leaves": _leaves,
    "media_type": _media_type,
}


def _parser_of(struct: type[Data], members: Sequence[Member]) -> Callable[[str], Data]:
    """The parser of one type's `data`, from its row in `MEMBERS`: takes the JSON text, raises Refused(malformed)."""
    # Every member is preceded by a comma in the text that is matched, so optional ones may stand anywhere.
    pattern = "".join(
        f'(?:,"{member.name}":{member.kind.pattern})' + ("?" if member.optional else "") for member in members
    )
    fullmatch = re.compile(pattern).fullmatch
    written = {field.encode_name: field.name for field in msgspec.structs.fields(struct)}  # class -> class_
    names = [written[member.name] for member in members]
    checks = [(place, CHECKS[member.kind.check]) for place, member in enumerate(members) if member.kind.check]

    def parse(text: str) -> Data:
        inner = text[1:-1]
        found = fullmatch("," + inner if inner else "")
        if found is None:
            raise malformed("not the data of this type", "data")
        values: list[object] = list(found.groups())
        for place, check in checks:
            value = values[place]
            if value is not None:
                values[place] = check(value)
        return struct(**dict(zip(names, values, strict=True)))

    return parse


#: Types whose data is new on nearly every line; the data of all others is remembered.
_SELDOM_REPEATED: Final = frozenset({"received", "imported", "accepted", "declined", "withdrawn", "erased", "attached"})
DATA_PARSERS: Final = {
    name: _parser_of(*row) if name in _SELDOM_REPEATED else lru_cache(_CACHE)(_parser_of(*row))
    for name, row in MEMBERS.items()
}
