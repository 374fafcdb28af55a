"""Fuzz targets: what gateways of channels hand over, and what people typed there."""

from __future__ import annotations

from collections.abc import Sequence

from node.channels.kannel_request import QUERY_MAX_BYTES, IncomingSms, read_parameters, read_sms
from node.channels.phone import normal_number
from node.channels.sms_keywords import load_keywords
from node.channels.sms_text import AsksStatus, Report, parse_message
from sync_protocol.values import parse_tracking
from tests.fuzz.target import Target, must

QUERIES = (
    b"from=6281234567890&to=1708&text=PekalonganKota+jalan+rusak&ts=2026-01-05+03:04&id=a-1&coding=0&charset=UTF-8&udh=",
    b"from=%2B6281234567890&text=%00K%00e%00d%00i%00r%00i%00+%00x&id=a-2&coding=2&charset=UTF-16BE&udh=%05%00%03%2A%02%01",
    b"id=a-3&text=status+3375+7k3m+9qxa+20bd+c&ts=1767582240",
)


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


def targets() -> Sequence[Target]:
    """All of this module."""
    return (Target("sms", _sms, lambda: QUERIES, None, QUERY_MAX_BYTES),)
