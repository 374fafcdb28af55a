"""What clients of Open311 write: forms, filters, dates; and the table of services that an operator writes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, urlencode

from node.channels.open311.documents import Document, Many, clean, to_json, to_xml
from node.channels.open311.moments import format_moment, parse_moment
from node.channels.open311.queries import PAGE_MAX, SHOWN_MAX, read_wanted
from node.channels.open311.reports import FORM_MAX_BYTES, read_form, read_reply, read_report
from node.channels.open311.services import TABLE_MAX_BYTES, Services, read_services
from node.config_data import config_file
from sync_protocol.errors import Refused
from sync_protocol.line import format_content
from tests.channels.open311_reader import same_in_xml
from tests.fuzz.target import Target, must, text_of

QUERY_MAX_BYTES = 8_192  # a node reads no longer line of a request
NOW_MS = 1_782_000_000_000


@lru_cache(maxsize=1)
def _services() -> Services:
    table = read_services(config_file("open311.example.toml").read_text(encoding="utf-8"))
    return Services(table, own="33.75")


def _report(data: bytes) -> Any:
    report = read_report(read_form(data), _services(), None)
    try:
        line = format_content(report.content, bytes(16))
    except Refused as refused:  # every field within its bounds, and all of them together over those of a line
        must(refused.kind == "too-large", "a report that is no content line")
        return report
    must(b"\n" not in line, "a line with a line feed")
    return report


def _wanted(data: bytes) -> Any:
    pairs = parse_qsl(text_of(data), errors="replace")
    wanted = read_wanted(pairs, None, NOW_MS)
    must(0 < wanted.take <= PAGE_MAX and wanted.skip + wanted.take <= SHOWN_MAX, "a page beyond the bounds")
    return wanted


def _moment(data: bytes) -> int:
    at_ms = parse_moment(text_of(data), "start_date")
    must(parse_moment(format_moment(max(at_ms, 0)), "x") == max(at_ms, 0), "a date that is written otherwise")
    return at_ms


def _words(data: bytes) -> Document:
    document = Document("errors", Many("error", [{"code": 400, "description": clean(text_of(data))}]))
    must(same_in_xml(document, to_xml(document)) == [{"code": 400, "description": clean(text_of(data))}], "other words")
    to_json(document)
    return document


def _forms() -> Sequence[bytes]:
    place = {"lat": "-6.8886", "long": "109.6753", "description": "Lampu padam.\nGelap."}
    asked = {"attribute[KEADAAN]": "padam", "attribute[TIANG]": "P-17", "email": "a@example.org", "api_key": "x"}
    return [
        urlencode({"service_code": "penerangan-jalan", **place, **asked}).encode(),
        urlencode({"service_code": "lainnya", "address_string": "Di sini", "external_id": "7"}).encode(),
    ]


def _queries() -> Sequence[bytes]:
    return [
        b"start_date=2026-05-24T00:00:00Z&end_date=2026-06-24T00:00:00%2B07:00&status=open,closed&service_code=a,b",
        b"service_request_id=33.75:01890000-0000-7000-8000-000000000000,x&page=2&page_size=50",
    ]


def _hostile_forms() -> Iterable[bytes]:
    yield b"&" * FORM_MAX_BYTES
    yield b"a=1&" * (FORM_MAX_BYTES // 4)
    yield b"description=" + b"%25" * (FORM_MAX_BYTES // 3 - 4)
    yield b"service_code=lainnya&" + b"&".join(b"attribute[A%d]=%d" % (number, number) for number in range(190))
    yield b"service_code=lainnya&" + b"attribute[" * (FORM_MAX_BYTES // 10 - 3)
    yield b"service_code=lainnya&lat=1" + b"0" * (FORM_MAX_BYTES - 40)


def _hostile_queries() -> Iterable[bytes]:
    for name in (b"service_code", b"service_request_id", b"status"):
        yield name + b"=" + b"a," * (QUERY_MAX_BYTES // 2 - 20)
        yield (name + b"=a&") * (QUERY_MAX_BYTES // 25)
    yield b"page=" + b"9" * (QUERY_MAX_BYTES - 10)
    yield b"start_date=" + b"2" * (QUERY_MAX_BYTES - 20)


def targets() -> Sequence[Target]:
    return (
        Target("open311-report", _report, _forms, limit=FORM_MAX_BYTES, hostile=_hostile_forms),
        Target(
            "open311-reply",
            lambda data: read_reply(read_form(data)),
            lambda: [b"service_request_id=33.75:x&description=Masih+padam.&update_id=9&token=PKL-1"],
            limit=FORM_MAX_BYTES,
        ),
        Target("open311-filter", _wanted, _queries, limit=QUERY_MAX_BYTES, hostile=_hostile_queries),
        Target("open311-date", _moment, lambda: [b"2026-01-31T08:00:00Z", b"2026-01-31T15:00:00.25+07:00"]),
        Target("open311-words", _words, lambda: [b"Jalan & <rusak>\r\n", "é\U0001f6a7".encode()]),
        Target(
            "open311-table",
            lambda data: read_services(data.decode("utf-8", "replace")),
            lambda: [config_file("open311.example.toml").read_bytes()],
            limit=TABLE_MAX_BYTES,
        ),
    )
