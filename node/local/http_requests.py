"""Reading a request of the intake: bounded in bytes and in time, one meaning, every wrong member named.

Nothing that stood in a request is repeated in what is refused but the *name* of a member, and that name goes to the
caller alone, never to a log.
"""

from __future__ import annotations

import asyncio
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

import msgspec
from aiohttp import web

from node.deadlines.slot import DUE_WORDS, SLOT_MAX, slots_due
from node.local.api_types import LIST_MAX
from node.local.http_problems import BODY_MAX_BYTES, TIMEOUT, UNSUPPORTED_TYPE
from node.local.recording import RequestKey
from node.store.local_records import ComplaintFilter, HeldComplaint
from node.tracked import STATES
from sync_protocol.change_types import Part
from sync_protocol.complaint import State
from sync_protocol.errors import Refused, malformed, too_large
from sync_protocol.line import checks_of
from sync_protocol.strict_json import format_object, parse_object
from sync_protocol.values import parse_code, parse_source_id, parse_tracking

KEY_MAX_CHARACTERS: Final = 255  # longer than any UUID, message id or hash that people use as a key
NAME_MAX_CHARACTERS: Final = 64  # of a foreign member's name that an answer repeats
PAGE_DEFAULT: Final = 50
OURS, OFFERED, ELSEWHERE, ALL = "ours", "offered", "elsewhere", "all"
WHERE: Final = (OURS, OFFERED, ELSEWHERE, ALL)  # whose complaints a list shows
TOKEN_NAME: Final = web.RequestKey("token_name", str)

_checks: Final = lru_cache(maxsize=64)(checks_of)  # one entry for each type of request
_ONCE: Final = frozenset({"unit", "source_system", "source_id", "tracking", "due", "where", "after", "limit"})
_PAGING: Final = frozenset({"after", "limit"})
_KEY: Final = re.compile(f"[ -~]{{1,{KEY_MAX_CHARACTERS}}}")
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(\w+)`")
_TOO_LONG: Final = re.compile(r"Expected `(str|array|object)` of length <= (\d+)")


async def read_fields(request: web.Request, timeout_s: float) -> dict[str, Any]:
    """The body's JSON object.

    Raises Refused: unsupported-media-type, unsupported-encoding, too-large, timeout, malformed.
    """
    if request.content_type != "application/json" or (request.charset or "utf-8").lower() not in ("utf-8", "us-ascii"):
        step = {"next": "Send Content-Type: application/json."}
        raise Refused(UNSUPPORTED_TYPE, "a body is application/json, in UTF-8", where="Content-Type", members=step)
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Refused("unsupported-encoding", "a body is sent as it is, not compressed", where="Content-Encoding")
    return parse_object(await read_body(request, timeout_s), where="body")


async def read_body(request: web.Request, timeout_s: float, limit: int = BODY_MAX_BYTES) -> bytes:
    """The body as it is. Raises Refused: too-large, timeout, malformed."""
    if (request.content_length or 0) > limit:
        raise too_large("body", limit)
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > limit:
                    raise too_large("body", limit)
    except TimeoutError:
        raise Refused(TIMEOUT, f"the body did not arrive within {timeout_s:g} seconds") from None
    except (web.RequestPayloadError, ConnectionError):
        raise malformed("the body ended before its announced end", "body") from None
    return bytes(body)


def convert(fields: Mapping[str, Any], kind: Any) -> Any:
    """The object as one of the request types. Raises Refused (malformed, too-large), naming the member."""
    try:
        body = msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise _wrong_member(str(error)) from None
    _check_members(body, "")
    return body


def _check_members(body: msgspec.Struct, place: str) -> None:
    """What the types cannot say: the fold would find it as well, but without the member's name."""
    for name, written, check in _checks(type(body)):
        value = getattr(body, name)
        if isinstance(value, Part):
            _check_members(value, f"{place}{written}.")
        elif value is not None:
            try:
                check(value)
            except Refused as refused:
                raise malformed(refused.detail, place + written) from None


def _wrong_member(words: str) -> Refused:
    """msgspec's words without the value that stood there."""
    detail, _, path = words.rpartition(" - at `$")
    if not detail:
        detail, path = words, ""
    place = path.rstrip("`").lstrip(".")
    unknown, missing, long = _UNKNOWN.match(detail), _MISSING.match(detail), _TOO_LONG.match(detail)
    if unknown:
        name = unknown[1] if len(unknown[1]) <= NAME_MAX_CHARACTERS else unknown[1][:NAME_MAX_CHARACTERS] + "…"
        return malformed("this request has no such member", ".".join(filter(None, (place, name))))
    if missing:
        return malformed("this member is missing", ".".join(filter(None, (place, missing[1]))))
    if long:
        return too_large(place, int(long[2]), "items" if long[1] == "array" else "characters")
    if detail.startswith("Invalid"):  # … enum value 'what stood there'
        return malformed("none of the words that are allowed here", place or "body")
    return malformed(detail, place or "body")


def request_key(request: web.Request, what: str, fields: dict[str, Any]) -> RequestKey | None:
    """What makes this request repeatable, None without an Idempotency-Key. Raises Refused(malformed).

    Who asks is the token's name, so that a new token of the same client may repeat what the old one asked. What is
    asked is `what` (the call and the complaint) and the object itself: another spelling of the same JSON is the same.
    """
    keys = request.headers.getall("Idempotency-Key", [])
    if not keys:
        return None
    if len(keys) != 1 or not _KEY.fullmatch(keys[0]):
        raise malformed(f"wants 1 to {KEY_MAX_CHARACTERS} printable ASCII characters, once", "Idempotency-Key")
    who = f"{request[TOKEN_NAME]}\n{keys[0]}".encode()
    return RequestKey(sha256(who).digest(), sha256(f"{what}\n".encode() + format_object(fields)).digest())


def read_filter(request: web.Request, agency: str, now_ms: int) -> ComplaintFilter:
    """Which complaints a list of this agency's node asks for; what is due, as of now.

    Raises Refused(malformed) for a parameter that is unknown or ill-formed.
    """
    query = request.query
    for name in query:
        if name != "state" and name not in _ONCE:
            raise malformed("this call has no such parameter", name[:NAME_MAX_CHARACTERS])
        if name in _ONCE and len(query.getall(name)) > 1:
            raise malformed("may be given once", name)
    if ("source_id" in query) != ("source_system" in query):
        raise malformed("source_system and source_id belong together", "source_id")
    where = query.get("where", OURS)
    if where not in WHERE:
        raise malformed(f"is one of {', '.join(WHERE)}", "where")
    due = query.get("due")
    if due is not None and due not in DUE_WORDS:
        raise malformed("is one of " + ", ".join(DUE_WORDS), "due")
    return ComplaintFilter(
        states=[_state(name) for name in query.getall("state", [])],
        unit=parse_code(query["unit"], "unit") if "unit" in query else None,
        source_system=parse_code(query["source_system"], "source_system") if "source_system" in query else None,
        source_id=parse_source_id(query["source_id"], "source_id") if "source_id" in query else None,
        tracking=parse_tracking(query["tracking"]) if "tracking" in query else None,
        owner=agency if where == OURS else None,
        offered_to=agency if where == OFFERED else None,
        not_owner=agency if where == ELSEWHERE else None,
        before_no=_before(query["after"]) if "after" in query and due is None else None,
        slots=None if due is None else slots_due(due, now_ms),
        after=None if due is None or "after" not in query else _behind(query["after"]),
        limit=parse_limit(query["limit"]) if "limit" in query else PAGE_DEFAULT,
    )


def _state(name: str) -> State:
    if name not in STATES:
        raise malformed("not a state of a complaint", "state")
    return STATES[name]


def read_page(request: web.Request) -> tuple[str | None, int]:
    """`after` and `limit` of a list that has no other parameter. Raises Refused(malformed)."""
    query = request.query
    for name in query:
        if name not in _PAGING:
            raise malformed("this call has no such parameter", name[:NAME_MAX_CHARACTERS])
        if len(query.getall(name)) > 1:
            raise malformed("may be given once", name)
    return query.get("after"), parse_limit(query["limit"]) if "limit" in query else PAGE_DEFAULT


def parse_limit(text: str) -> int:
    """How many lines a page has. Raises Refused(malformed)."""
    if not re.fullmatch("[0-9]{1,3}", text) or not 1 <= int(text) <= LIST_MAX:
        raise malformed(f"wants a number from 1 to {LIST_MAX}", "limit")
    return int(text)


def format_next(wanted: ComplaintFilter, last: HeldComplaint) -> str:
    """Where the next page begins: after the complaint shown last."""
    if wanted.slots is None or last.slot is None:
        return format_cursor(last.no)
    return urlsafe_b64encode(last.slot.to_bytes(4, "big") + last.no.to_bytes(8, "big")).decode("ascii")


def _behind(cursor: str) -> tuple[int, int]:
    """Slot and number of the complaint shown last in a list of what is due."""
    try:
        raw = urlsafe_b64decode(cursor.encode("ascii"))
    except ValueError:
        raw = b""
    slot, number = int.from_bytes(raw[:4], "big"), int.from_bytes(raw[4:], "big")
    if len(raw) != 12 or len(cursor) != 16 or slot > SLOT_MAX or number >= 2**63:
        raise malformed("not a `next` that this node gave", "after")
    return slot, number


def format_cursor(number: int) -> str:
    """Where the next page of a list by age begins: after the complaint of that number."""
    return urlsafe_b64encode(number.to_bytes(8, "big")).decode("ascii").rstrip("=")


def _before(cursor: str) -> int:
    try:
        raw = urlsafe_b64decode(cursor.encode("ascii") + b"=")
    except ValueError:
        raw = b""
    number = int.from_bytes(raw, "big")
    if len(raw) != 8 or number >= 2**63 or format_cursor(number) != cursor:
        raise malformed("not a `next` that this node gave", "after")
    return number
