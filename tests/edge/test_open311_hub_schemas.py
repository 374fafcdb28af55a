"""Every document that the hub's endpoint answers with is of its schema, and says the same in XML: as a node's."""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from georeport import GeoReport

from sync_protocol.line import format_change
from sync_protocol.values import format_timestamp, format_tracking
from tests.edge.hub_lab import Agency, Lab, projected, running_hub
from tests.edge.node_api import Answer
from tests.edge.open311_lab import to_plain
from tests.edge.test_open311_hub import DESK, MONDAY_MS, V2, receive, with_open311
from tests.edge.test_open311_schemas import check, same


@pytest.fixture(params=[DESK, None], ids=["with-desk", "alone"])
async def lab(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Lab]:
    async with running_hub(tmp_path, prepare=with_open311(tmp_path, request.param)) as running:
        running.clock.at_ms = max(running.clock.at_ms, MONDAY_MS)
        await running.enrol("33.75")
        yield running


async def call(lab: Lab, path: str, method: str = "GET") -> Answer:
    """Read as a node's answer is."""
    answer = await lab.call(method, path, allow_redirects=False)
    is_json = "json" in answer.headers["Content-Type"]
    return Answer(answer.status, answer.headers, answer.body, answer.json if is_json else None)


async def both(lab: Lab, resource: str, name: str, status: int = 200, method: str = "GET") -> Any:
    """What the JSON says, which is of that schema, and which the XML says as well."""
    told = check(await call(lab, f"{resource}.json", method), name, status)
    xml = await call(lab, f"{resource}.xml", method)
    assert xml.status == status
    assert xml.headers["Content-Type"] == "text/xml; charset=utf-8"
    assert xml.raw.startswith(b'<?xml version="1.0" encoding="utf-8"?>\n')
    assert same(told, to_plain(xml.raw)[1]), resource
    return told


async def imported(agency: Agency, **data: str) -> str:
    """A complaint of an older system, in the state that it has there."""
    complaint, at = agency.complaint(), format_timestamp(agency.lab.clock.at_ms)
    bits = int.from_bytes(agency.lab.randomness.bytes(8), "big") >> 4
    facts = {"channel": "other", "received_at": at, "visibility": "public", "tracking": format_tracking("PKL", bits)}
    line = format_change(
        id=agency.uuid(), complaint=complaint, rev=1, type="imported", at=at, role="officer", unit=None, content=False,
        data=facts | data,
    )  # fmt: skip
    await agency.push_new([line], [])
    return complaint


async def make_some(lab: Lab) -> dict[str, str]:
    """Requests of every kind: name -> id."""
    agency, at = lab.agencies["33.75"], format_timestamp(lab.clock.at_ms)
    made = {
        "open": await receive(agency),
        "no service of its own": await receive(agency, category="sesuatu-yang-lain"),
        "confidential": await receive(agency, visibility="confidential"),
        "closed": await imported(agency, state="closed", closed_at=at, closed_by="officer", reason="solved"),
        "archived": await imported(agency, state="archived", closed_at=at),
    }
    asked = await receive(agency)
    await agency.push_new([agency.change(asked, "information_requested", rev=2)])
    await projected(lab)
    return made | {"asked": asked}


async def test_every_document_is_of_its_schema_and_the_same_in_xml(lab: Lab) -> None:
    made = await make_some(lab)
    listed = await both(lab, f"{V2}/requests", "requests")
    assert {one["service_request_id"] for one in listed} == set(made.values()) - {made["confidential"]}
    assert {one["status"] for one in listed} == {"open", "closed"}
    for name, request_id in made.items():
        (one,) = await both(lab, f"{V2}/requests/{request_id}", "requests")
        assert (one["service_request_id"], one["description"]) == (request_id, None), name
    assert len(await both(lab, f"{V2}/services", "services")) == 5
    for code in ("penerangan-jalan", "lainnya"):
        assert (await both(lab, f"{V2}/services/{code}", "definition"))["service_code"] == code
    endpoints = (await both(lab, "/open311/discovery", "discovery"))["endpoints"]
    assert len(endpoints) in (1, 2)


async def test_an_empty_country_has_empty_lists(lab: Lab) -> None:
    assert await both(lab, f"{V2}/requests", "requests") == []


async def test_what_is_not_done_here_is_told_in_the_form_of_errors_with_the_way_on_if_there_is_one(lab: Lab) -> None:
    is_alone = len(check(await call(lab, "/open311/discovery.json"), "discovery")["endpoints"]) == 1
    for method, resource, alone in (
        ("POST", "requests", 400),
        ("POST", "servicerequestupdates", 400),
        ("GET", "tokens/none", 404),
    ):
        status = alone if is_alone else 307
        told = await both(lab, f"{V2}/{resource}", "errors", status, method)
        assert {one["code"] for one in told} == {status}
        answer = await call(lab, f"{V2}/{resource}.xml", method)
        assert answer.headers.get("Location") == (None if is_alone else f"{DESK}/{resource}.xml")


ERRORS = [
    ("GET", "servicerequestupdates", "", 404),
    ("GET", "services/none", "", 404),
    ("GET", "requests/none", "", 404),
    ("GET", "nothing", "", 404),
    ("GET", "services", "?jurisdiction_id=nowhere", 404),
    ("GET", "requests", "?jurisdiction_id=13.71", 404),
    ("GET", "services", "?jurisdiction_id=a&jurisdiction_id=b", 400),
    ("GET", "requests", "?status=done", 400),
    ("GET", "requests", "?start_date=yesterday", 400),
    ("GET", "requests", "?page=99999", 400),
    ("POST", "services", "", 400),
    ("PUT", "requests", "", 400),
    ("DELETE", "requests/x", "", 400),
]


async def test_every_error_is_of_its_schema_with_the_status_of_the_specification(lab: Lab) -> None:
    for method, resource, query, status in ERRORS:
        told = check(await call(lab, f"{V2}/{resource}.json{query}", method), "errors", status)
        assert {one["code"] for one in told} == {status}
        xml = await call(lab, f"{V2}/{resource}.xml{query}", method)
        assert (xml.status, xml.headers["Content-Type"]) == (status, "text/xml; charset=utf-8"), (method, resource)
        root, inner = to_plain(xml.raw)
        assert (root, {name for name, _ in inner}) == ("errors", {"error"})
        assert same(told, inner)


def test_the_client_that_others_wrote_can_only_read() -> None:
    """What `georeport` asks is in test_open311_client.py; it takes an api_key and has no call that posts."""
    source = inspect.getsource(inspect.getmodule(GeoReport) or GeoReport)
    assert set(re.findall(r"requests\.(get|post|put|request|Session)\b", source)) == {"get"}
    calls = {name for name, _ in inspect.getmembers(GeoReport, inspect.isfunction) if not name.startswith("_")}
    assert calls == {"get_service_list", "get_service_definition", "get_service_requests", "get_service_request"}
