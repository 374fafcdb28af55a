"""A client that others wrote, `georeport`, on our endpoints: what it reads is what was reported, in both forms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import requests
from georeport import GeoReport

from tests.edge.hub_lab import projected, running_hub
from tests.edge.open311_lab import REPORT, V2, Open311, open311
from tests.edge.test_open311_hub import receive, with_open311


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Open311]:
    async with open311(tmp_path) as running:
        yield running


def client(lab: Open311, form: str, jurisdiction: str | None = None) -> Any:
    return GeoReport(lab.api.url + V2, jurisdiction=jurisdiction, output_format=form)


@pytest.mark.parametrize("form", ["json", "xml"])
@pytest.mark.parametrize("jurisdiction", [None, "33.75"])
async def test_the_client_finds_services_definitions_and_requests(
    lab: Open311, form: str, jurisdiction: str | None
) -> None:
    first = (await lab.report())["service_request_id"]
    second = (await lab.complaint(category="jalan")).complaint
    peer = client(lab, form, jurisdiction)
    services = await asyncio.to_thread(peer.get_service_list)
    assert {"penerangan-jalan", "lainnya"} <= {one["service_code"] for one in services}
    definition = await asyncio.to_thread(peer.get_service_definition, "penerangan-jalan")
    assert definition["service_code"] == "penerangan-jalan"
    found = await asyncio.to_thread(peer.get_service_requests)
    assert [one["service_request_id"] for one in found] == [second, first]
    both = await asyncio.to_thread(peer.get_service_requests, service_request_id=f"{first},{second}")
    assert {one["service_request_id"] for one in both} == {first, second}
    one = await asyncio.to_thread(peer.get_service_request, first)
    assert one["description"] == REPORT["description"]
    assert float(one["lat"]) == float(REPORT["lat"])


async def test_the_client_filters_by_code_status_and_dates(lab: Open311) -> None:
    made = [(await lab.complaint(category="jalan", days_ago=days)).complaint for days in (1, 40)]
    peer = client(lab, "json")
    now = (await lab.get(f"requests/{made[0]}.json")).body[0]["requested_datetime"]
    assert await asyncio.to_thread(peer.get_service_requests, service_code="lainnya") == []
    assert await asyncio.to_thread(peer.get_service_requests, status="closed") == []
    found = await asyncio.to_thread(peer.get_service_requests, service_code="jalan-rusak", start_date=now)
    assert [one["service_request_id"] for one in found] == [made[0]]
    earlier = await asyncio.to_thread(peer.get_service_requests, status="open", end_date="2026-01-01T00:00:00Z")
    assert earlier == []


async def test_the_client_reads_the_hub_as_well(tmp_path: Path) -> None:
    async with running_hub(tmp_path, prepare=with_open311(tmp_path)) as hub:
        made = [await receive(await hub.enrol(code)) for code in ("33.75", "35.71")]
        await projected(hub)
        for form in ("json", "xml"):
            peer = GeoReport(hub.url + V2, output_format=form)
            assert len(await asyncio.to_thread(peer.get_service_list)) == 5
            found = await asyncio.to_thread(peer.get_service_requests)
            assert {one["service_request_id"] for one in found} == set(made)
            one = await asyncio.to_thread(peer.get_service_request, made[1])
            assert (one["agency_responsible"], one["description"]) == ("Kota Kediri", None)


@pytest.mark.parametrize("form", ["json", "xml"])
async def test_the_client_hears_of_what_is_not_there(lab: Open311, form: str) -> None:
    peer = client(lab, form, "nowhere.gov")
    for ask in (peer.get_service_list, peer.get_service_requests):
        with pytest.raises(requests.HTTPError, match="404"):
            await asyncio.to_thread(ask)
    with pytest.raises(requests.HTTPError, match="404"):
        await asyncio.to_thread(client(lab, form).get_service_request, "nothing")
