"""Fuzz targets: what gateways of channels and proxies hand over, and what people typed there."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

import msgspec

from node.channels.kannel_request import QUERY_MAX_BYTES, IncomingSms, read_parameters, read_sms
from node.channels.phone import normal_number
from node.channels.sms_keywords import load_keywords
from node.channels.sms_reply import SMS_MAX_CHARACTERS, status
from node.channels.sms_text import AsksStatus, Report, parse_message
from node.deadlines.slot import HOUR_MS
from node.local.http import HEADERS_MAX_BYTES
from node.tracked import STATES, Tracked, read_tracked
from node.web.callers import caller_address
from sync_protocol.values import format_tracking, parse_timestamp, parse_tracking
from sync_protocol.wire import BODY_MAX_BYTES
from tests.fuzz.target import Target, must, text_of

AT = "2026-02-02T03:00:00.000Z"
QUERIES = (
    b"from=6281234567890&to=1708&text=PekalonganKota+jalan+rusak&ts=2026-01-05+03:04&id=a-1&coding=0&charset=UTF-8&udh=",
    b"from=%2B6281234567890&text=%00K%00e%00d%00i%00r%00i%00+%00x&id=a-2&coding=2&charset=UTF-16BE&udh=%05%00%03%2A%02%01",
    b"id=a-3&text=status+3375+7k3m+9qxa+20bd+c&ts=1767582240",
)

PEER, TRUSTED = "127.0.0.1", (ip_network("127.0.0.0/8"), ip_network("fd00::/8"))
FORWARDED = (
    b"203.0.113.7",
    b"198.51.100.1, 203.0.113.7, 127.0.0.2",
    b"2001:db8::7\nfd00::1",
    b"unknown,",
    b"::ffff:127.0.0.3",
)
NUMBER = format_tracking("3375", 7)
# fmt: off
ANSWERS = tuple(
    msgspec.json.encode(
        {
            "tracking": NUMBER, "state": "verified", "owner": "35.71", "offered_to": offered_to, "class": None,
            "received_at": AT, "closed_by": None, "due_at": due_at, "duty": due_at and "settle", "overdue": False,
            "history": [{"type": "received", "at": AT, "agency": "33.75", "text": None}], "as_of": AT,
        }
    )
    for offered_to, due_at in ((None, None), ("35.06", "2026-02-05T17:00:00.000Z"))
)
# fmt: on


def _sms(query: bytes) -> IncomingSms:
    sms = read_sms(read_parameters(query))
    normal_number(sms.sender)
    message = parse_message(sms.text, load_keywords())
    if isinstance(message, Report):
        must(message.text.strip(), "a report without words")
        must(message.agency is None or message.keyword, "an agency that nothing named")
    if isinstance(message, AsksStatus) and message.tracking is not None:
        must(parse_tracking(message.tracking) == message.tracking, "a number in another spelling")
    must(sms.part is None or 1 <= sms.part.number <= sms.part.total, "a part beyond its message")
    return sms


def _tracked(data: bytes) -> Tracked:
    found = read_tracked(data, NUMBER)
    due_hour = None if found.due_at is None else parse_timestamp(found.due_at) // HOUR_MS
    text = status(found.tracking, STATES[found.state], found.owner, due_hour, found.offered_to)
    must(len(text) <= SMS_MAX_CHARACTERS, "more than one SMS")
    return found


def _forwarded(data: bytes) -> str | None:
    found = caller_address(PEER, text_of(data).split("\n"), TRUSTED)
    if found != PEER:
        address = ip_address(found or "")
        must(found == str(address), "an address in another spelling")
        must(not any(address in network for network in TRUSTED), "a proxy that was taken for a caller")
    return found


def targets() -> Sequence[Target]:
    """All of this module."""
    return (
        Target("sms", _sms, lambda: QUERIES, None, QUERY_MAX_BYTES),
        Target("forwarded-for", _forwarded, lambda: FORWARDED, None, HEADERS_MAX_BYTES),
        Target("tracked-answer", _tracked, lambda: ANSWERS, None, BODY_MAX_BYTES),
    )
