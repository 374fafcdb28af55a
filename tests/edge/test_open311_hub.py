"""Open311 on the hub: facts of all agencies, no word, nothing taken in; over HTTP, lists on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from aiohttp import web

from node.channels.open311 import hub_desk
from node.config_data import config_file
from node.hub.hub import Hub
from node.wiring.open311 import add_to_hub
from sync_protocol.line import format_change, parse_change
from sync_protocol.merkle import leaf_hash
from sync_protocol.values import b64u_encode, format_timestamp, format_tracking, parse_timestamp
from tests.edge.hub_lab import Agency, Answer, Lab, projected, running_hub
from tests.edge.open311_lab import to_plain

V2 = "/open311/v2"
DESK = "https://desk.example/open311/v2"
DAY_MS = 86_400_000
MONDAY_MS = parse_timestamp("2026-02-02T03:00:00.000Z")


def with_open311(place: Path, post_url: str | None = None) -> Callable[[web.Application, Hub], None]:
    """Wires the endpoint as `simpul hub serve` does."""
    table = place / "open311.toml"
    table.write_text(config_file("open311.example.toml").read_text(encoding="utf-8"), encoding="utf-8")
    return lambda app, hub: add_to_hub(app, hub, table, post_url)


BOTH = pytest.mark.parametrize("options", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Where the projection is."""
    return (
        {}
        if getattr(request, "param", "sqlite") == "sqlite"
        else {"projection_url": str(request.getfixturevalue("postgres_url"))}
    )


@pytest.fixture
async def lab(options: dict[str, Any], tmp_path: Path) -> AsyncIterator[Lab]:
    prepare = with_open311(tmp_path, DESK)
    async with running_hub(tmp_path, prepare=prepare, **options) as running:
        running.clock.at_ms = max(running.clock.at_ms, MONDAY_MS)
        await running.enrol("33.75")
        await running.enrol("35.71")
        yield running


async def get(lab: Lab, resource: str, **query: str) -> Answer:
    """Once everything is projected; without any credentials."""
    await projected(lab)
    return await lab.call("GET", f"{V2}/{resource}" + (f"?{urlencode(query)}" if query else ""))


async def receive(agency: Agency, *, days_ago: float = 0, received_days_ago: float | None = None, **data: str) -> str:
    """A complaint that was recorded so many days ago, and received then or earlier."""
    lab, now_ms = agency.lab, agency.lab.clock.at_ms
    lab.clock.at_ms = now_ms - int(days_ago * DAY_MS)
    complaint = agency.complaint()
    received_ms = now_ms - int((days_ago if received_days_ago is None else received_days_ago) * DAY_MS)
    codes = {
        "channel": "web",
        "category": "jalan",
        "received_at": format_timestamp(received_ms),
        "tracking": format_tracking("PKL", int.from_bytes(lab.randomness.bytes(8), "big") >> 4),
        "visibility": "public",
    }
    line = agency.change(complaint, "received", codes | data, rev=1, content=True)
    lab.clock.at_ms = now_ms
    await agency.push_new([line], [agency.content("PERKATAAN WARGA")])
    return complaint


async def ids(lab: Lab, **query: str) -> list[str]:
    answer = await get(lab, "requests.json", **query)
    assert answer.status == 200, answer.body
    return [one["service_request_id"] for one in answer.json]


@BOTH
async def test_facts_of_every_agency_are_shown_and_not_a_word(lab: Lab) -> None:
    road = await receive(lab.agencies["33.75"], days_ago=1)
    other = await receive(lab.agencies["35.71"], category="sampah")
    answer = await get(lab, "requests.json")
    assert [one["service_request_id"] for one in answer.json] == [other, road]
    first, second = answer.json
    assert (second["service_code"], second["agency_responsible"], second["status"]) == (
        "jalan-rusak", "Kota Pekalongan", "open",
    )  # fmt: skip
    assert first["service_code"] == "lainnya"
    assert second["requested_datetime"] == "2026-02-01T03:00:00Z"
    assert second["expected_datetime"] > second["requested_datetime"]
    assert (second["description"], second["address"], second["lat"]) == (None, None, None)
    for resource in ("requests.xml", f"requests/{road}.xml"):
        raw = (await get(lab, resource)).body
        assert road.encode() in raw
        assert b"PERKATAAN" not in raw
        assert b"PKL-" not in raw


@pytest.mark.parametrize("visibility", ["confidential", "anonymous-confidential"])
async def test_what_is_confidential_is_in_no_list(lab: Lab, visibility: str) -> None:
    hidden = await receive(lab.agencies["33.75"], visibility=visibility)
    shown = await receive(lab.agencies["33.75"], visibility="anonymous")
    assert await ids(lab) == [shown]
    assert await ids(lab, service_request_id=f"{hidden},{shown}") == [shown]
    assert await ids(lab, jurisdiction_id="33.75", service_code="jalan-rusak") == [shown]
    assert (await get(lab, f"requests/{hidden}.json")).json[0]["description"] is None


@BOTH
async def test_jurisdictions_are_the_enrolled_agencies_and_follow_the_owner(lab: Lab) -> None:
    first, second = lab.agencies["33.75"], lab.agencies["35.71"]
    complaint = await receive(first)
    kept = await receive(first)
    offer = first.change(complaint, "offered", {"reason": "jurisdiction", "to": "35.71"}, rev=2)
    await first.push_new([offer])
    accept = second.change(complaint, "accepted", {"offer": b64u_encode(leaf_hash(offer))}, rev=3)
    await second.push_new([accept])
    assert await ids(lab, jurisdiction_id="33.75") == [kept]
    assert await ids(lab, jurisdiction_id="35.71") == [complaint]
    (one,) = (await get(lab, f"requests/{complaint}.json", jurisdiction_id="35.71")).json
    assert (one["service_code"], one["agency_responsible"]) == ("jalan-rusak-kediri", "Kota Kediri")
    assert (await get(lab, f"requests/{complaint}.json", jurisdiction_id="33.75")).status == 404
    unknown = await get(lab, "requests.json", jurisdiction_id="13.71")
    assert (unknown.status, unknown.json[0]["code"]) == (404, 404)


@BOTH
async def test_statuses_dates_codes_and_ids_choose(lab: Lab) -> None:
    agency = lab.agencies["33.75"]
    fresh = await receive(agency)
    middle = await receive(agency, days_ago=30, category="penerangan-jalan")
    old = await receive(agency, days_ago=100)
    late = await receive(agency, days_ago=27, received_days_ago=31)
    closed = await receive(agency, days_ago=2)
    for rev, (type_, data) in enumerate(
        [("verified", {"class": "aspiration"}), ("assigned", {"unit": "pu"}), ("answered", {}),
         ("closed", {"by": "system", "reason": "no_reply"})], start=2,
    ):  # fmt: skip
        await agency.push_new([agency.change(closed, type_, dict(data), rev=rev)])
    assert await ids(lab) == [fresh, closed, late, middle]
    assert await ids(lab, status="closed") == [closed]
    assert await ids(lab, status="open") == [fresh, late, middle]
    assert await ids(lab, service_code="penerangan-jalan") == [middle]
    assert await ids(lab, end_date="2026-01-03T04:00:00Z") == [late, middle, old]
    assert await ids(lab, start_date="2026-01-02T00:00:00Z", end_date="2026-01-02T23:59:59Z") == [late]
    assert set(await ids(lab, service_request_id=f"{old},{fresh}", status="closed")) == {old, fresh}
    (one,) = (await get(lab, f"requests/{closed}.json")).json
    assert (one["status"], one["updated_datetime"], one["expected_datetime"]) == (
        "closed",
        "2026-02-02T03:00:00Z",
        None,
    )


@BOTH
async def test_pages_show_every_request_once(lab: Lab) -> None:
    made = []
    for number in range(9):
        visibility = "confidential" if number % 4 == 1 else "public"
        one = await receive(lab.agencies["33.75"], days_ago=number, visibility=visibility)
        made += [one] if visibility == "public" else []
    seen = [one for page in range(1, 5) for one in await ids(lab, page=str(page), page_size="2")]
    assert seen == made


async def test_whoever_wants_to_report_is_sent_to_the_desk_with_what_was_asked(lab: Lab) -> None:
    answer = await lab.call("POST", f"{V2}/requests.json?jurisdiction_id=33.75", data=b"x" * 10, allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (307, f"{DESK}/requests.json?jurisdiction_id=33.75")
    for method, resource in (("GET", "tokens/abc.xml"), ("POST", "servicerequestupdates.xml")):
        sent = await lab.call(method, f"{V2}/{resource}", allow_redirects=False)
        assert (sent.status, sent.headers["Location"]) == (307, f"{DESK}/{resource}")
        assert to_plain(sent.body)[0] == "errors"
    told = (await lab.call("GET", "/open311/discovery.json")).json
    assert [one["url"] for one in told["endpoints"]] == [f"{lab.url}{V2}", DESK]


async def test_a_redirect_leads_to_the_desk_and_nowhere_else(lab: Lab) -> None:
    for hostile in ("//evil.example", "..//evil.example", "x\r\nSet-Cookie: a=b", "@evil.example", "\\evil.example"):
        answer = await lab.call("GET", f"{V2}/tokens/{quote(hostile, safe='')}.xml", allow_redirects=False)
        location = answer.headers.get("Location", "")
        assert (answer.status, location) == (307, f"{DESK}/tokens/{quote(hostile)}.xml")
        assert "Set-Cookie" not in answer.headers


async def test_without_a_desk_nothing_is_taken_in_and_that_is_said(tmp_path: Path) -> None:
    async with running_hub(tmp_path, prepare=with_open311(tmp_path)) as lab:
        answer = await lab.call("POST", f"{V2}/requests.xml", data=b"service_code=jalan-rusak")
        assert answer.status == 400
        assert to_plain(answer.body)[0] == "errors"
        assert (await lab.call("GET", f"{V2}/tokens/x.xml")).status == 404
        assert len((await lab.call("GET", "/open311/discovery.json")).json["endpoints"]) == 1


async def test_updates_are_at_the_agencys_endpoint(lab: Lab) -> None:
    assert (await get(lab, "servicerequestupdates.xml")).status == 404


async def test_what_would_look_through_the_whole_country_is_refused(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_desk, "PIECE", 2)
    monkeypatch.setattr(hub_desk, "LOOKED_MAX", 4)
    for number in range(5):
        await receive(lab.agencies["33.75"], days_ago=number)
    assert len(await ids(lab, page_size="3")) == 3
    assert len(await ids(lab, page_size="4")) == 4
    assert (await get(lab, "requests.json", service_code="penerangan-jalan")).status == 400


async def test_a_hub_without_the_setting_has_no_endpoint(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as lab:
        assert (await lab.call("GET", f"{V2}/services.xml")).kind == "not-found"


async def test_a_line_that_only_the_intake_accepts_does_not_break_the_list(lab: Lab) -> None:
    agency = lab.agencies["33.75"]
    shown = await receive(agency)
    odd = format_change(
        id=agency.uuid(), complaint=agency.complaint(), rev=1, type="imported", at=format_timestamp(lab.clock.at_ms),
        role="officer", unit=None, content=False,
        data={
            "channel": "other", "received_at": "1970-01-01T00:00:00.000Z", "state": "archived", "visibility": "public",
            "closed_at": "9999-12-31T23:59:59.999Z", "tracking": format_tracking("PKL", 7),
        },
    )  # fmt: skip
    await agency.push_new([odd], [])
    assert await ids(lab) == [shown]
    (one,) = (await get(lab, f"requests/{parse_change(odd).complaint}.json")).json
    assert (one["requested_datetime"], one["updated_datetime"]) == ("1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z")
