"""Why a change line was refused, member by member: the slow look after the quick one said no (protocol §2.1, §2.2).

Never decides: `line.parse_change` has decided already. It only finds words that an operator, or an author, can use.
"""

from __future__ import annotations

import re
from typing import Any, Final

from sync_protocol.change_types import MEMBERS, Member
from sync_protocol.errors import Refused, malformed
from sync_protocol.limits import CHANGE_LINE_MAX_BYTES
from sync_protocol.line_parts import CHECKS, parse_actor, parse_known_code
from sync_protocol.strict_json import format_object, parse_object
from sync_protocol.values import ComplaintId, parse_integer, parse_timestamp, parse_uuid

_LINE_MEMBERS: Final = ("actor", "at", "complaint", "content", "data", "id", "rev", "type")


def fault_of(line: bytes) -> Refused:
    """The Refused(malformed) that describes the first fault of a change line, its `where` the member at fault."""
    if len(line) > CHANGE_LINE_MAX_BYTES:
        return malformed(f"longer than {CHANGE_LINE_MAX_BYTES} bytes", "change line")
    try:
        members = parse_object(line, where="change line")
        _check_members(members)
        _check_data(members["type"], members["data"])
        canonical = format_object(members)
    except Refused as refused:
        return refused
    if line != canonical:
        return malformed("not canonical JSON (RFC 8785)", "change line")
    return malformed("not a change line", "change line")


def _check_members(members: dict[str, Any]) -> None:
    if tuple(sorted(members)) != _LINE_MEMBERS:
        raise malformed(f"wants exactly the members {', '.join(_LINE_MEMBERS)}", "change line")
    for name in ("at", "complaint", "id", "type"):
        if not isinstance(members[name], str):
            raise malformed("wants a string", name)
    parse_timestamp(members["at"])
    ComplaintId.parse(members["complaint"])
    parse_uuid(members["id"])
    parse_integer(members["rev"], "rev", 1)
    parse_integer(members["content"], "content", 0, 1)
    parse_known_code(members["type"])
    if not isinstance(members["actor"], dict):
        raise malformed("not an actor {role, unit?}", "actor")
    parse_actor(_text_of(members["actor"]))


def _check_data(change_type: str, data: Any) -> None:
    if not isinstance(data, dict):
        raise malformed("wants an object", "data")
    if change_type not in MEMBERS:
        return
    expected = MEMBERS[change_type][1]
    for name in data:
        if name not in {member.name for member in expected}:
            raise malformed(f"{change_type} has no such member", f"data.{name}"[:60])
    for member in expected:
        _check_member(member, data)


def _check_member(member: Member, data: dict[str, Any]) -> None:
    where = f"data.{member.name}"
    if member.name not in data:
        if member.optional:
            return
        raise malformed("is missing", where)
    found = re.fullmatch(member.kind.pattern, _text_of(data[member.name]))
    if found is None:
        raise malformed("not a value that this member can have", where)
    if member.kind.check is not None:
        try:
            CHECKS[member.kind.check](found[1])
        except Refused as refused:
            raise malformed(refused.detail, where) from None


def _text_of(value: Any) -> str:
    return format_object({"": value})[4:-1].decode("utf-8")
