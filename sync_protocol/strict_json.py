"""JSON with one meaning: UTF-8, no duplicate keys, integers only, bounded nesting and number of values (protocol §1.1).

For the small documents that are signed or steer something (JWS headers and payloads, bodies of calls). Change lines
have their own, faster reader; content lines are not decoded on the way.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

from sync_protocol.errors import Refused, malformed, too_large
from sync_protocol.limits import INTEGER_MAX, JSON_DEPTH_MAX, JSON_VALUES_MAX

_INTEGER_DIGITS_MAX: Final = 17  # a sign and the sixteen digits of 2**53 - 1
# Of a text without escapes. Takes an unterminated string to the end, so that no quote makes the search start over.
_STRING: Final = re.compile(rb'"[^"]*+"?')
_BRACKET: Final = re.compile(rb"[\[\]{}]")


def parse_object(data: bytes, *, where: str, depth_max: int = JSON_DEPTH_MAX) -> dict[str, Any]:
    """The JSON object in `data`; members are str, int, bool, None, list or dict of these.

    The caller bounds the length of `data` first; time is linear in it. The object itself is depth 1. Raises
    Refused(malformed) with `where` for anything else: not UTF-8, BOM, duplicate keys at any depth, floats, NaN, numbers
    beyond ±(2**53 - 1), "-0", lone surrogates, deeper nesting; Refused(too-large) beyond JSON_VALUES_MAX values.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise malformed("not UTF-8", where) from None
    _check_shape(data, depth_max, where)
    try:
        value = _DECODER.decode(text)
    except Refused as refused:
        raise malformed(refused.detail, where) from None
    except ValueError:
        raise malformed("not JSON", where) from None
    if not isinstance(value, dict):
        raise malformed("not a JSON object", where)
    if b"\\u" in data:
        _check_surrogates(value, where)
    return value


def format_object(members: dict[str, Any]) -> bytes:
    """The canonical spelling (RFC 8785) of an object whose keys are ASCII and whose numbers are integers.

    Raises Refused(malformed) for what JSON cannot say.
    """
    try:
        text = json.dumps(members, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
        return text.encode("utf-8")
    except (TypeError, ValueError, RecursionError):
        raise malformed("cannot be written as JSON") from None


def _check_shape(data: bytes, depth_max: int, where: str) -> None:
    """Before decoding, because the decoder recurses, and makes objects of what takes two bytes here."""
    opened, commas = data.count(b"{") + data.count(b"["), data.count(b",")
    if opened <= depth_max and commas <= JSON_VALUES_MAX:
        return
    bare = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    if bare.count(b'"') > 4 * JSON_VALUES_MAX:  # a member has a name and a value
        raise too_large(where, JSON_VALUES_MAX, "values")
    bare = _STRING.sub(b"", bare)
    if bare.count(b"{") + bare.count(b"[") + bare.count(b",") > JSON_VALUES_MAX:
        raise too_large(where, JSON_VALUES_MAX, "values")
    depth = 0
    for bracket in _BRACKET.finditer(bare):
        if bracket.group() in b"[{":
            depth += 1
            if depth > depth_max:
                raise malformed(f"nested deeper than {depth_max}", where)
        else:
            depth -= 1


def _check_surrogates(value: dict[str, Any], where: str) -> None:
    """An escape can smuggle half a character in, which no UTF-8 text can hold."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise malformed("half of a surrogate pair", where) from None


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise malformed("duplicate key")
    return members


def _integer(digits: str) -> int:
    if len(digits) > _INTEGER_DIGITS_MAX or digits == "-0":
        raise malformed("number out of bounds")
    value = int(digits)
    if not -INTEGER_MAX <= value <= INTEGER_MAX:
        raise malformed("number out of bounds")
    return value


def _refuse_number(_: str) -> NoReturn:
    raise malformed("only integers are numbers here")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_integer, parse_float=_refuse_number, parse_constant=_refuse_number
)
