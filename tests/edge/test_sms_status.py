"""STATUS by SMS of complaints that live elsewhere: the hub is asked, shortly, and nobody is told what is not so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from node.channels.guesses import MISSES_MAX, GuessLimit
from node.channels.sms_status import StatusDesk
from node.deadlines.tables import deadlines_of_tables
from node.directory import load_directory
from node.guessing import MISSES_MAX as HUB_MISSES_MAX
from node.hub import tracking
from node.link.hub_client import HubClient
from node.link.request_signature import sign_request
from node.link.transport import Transport
from node.local.measuring import measure
from node.local.tracking import tracked_of
from node.system import SystemClock, SystemRandomness
from node.tracked import Tracked
from sync_protocol.errors import Refused, Unavailable
from sync_protocol.values import AgencyId, format_tracking
from tests.edge.hub_lab import Lab
from tests.edge.inbox_lab import DESK, Peer, settle_down
from tests.edge.sms_node import NoNumbers, sms_node
from tests.edge.test_sms_http import tracking_in
from tests.edge.test_tracking import answered, track_everything

CITY, REGENCY = AgencyId("35.71"), AgencyId("35.06")
AGENCIES = (DESK, CITY, REGENCY)
PHONE = "+6281234567890"


def statuses(node: Peer, hub: Any = None) -> StatusDesk:
    clock = node.pusher.clock
    return StatusDesk(node.store, hub or node.link, node.agency, load_directory(), clock, GuessLimit(clock), 0.3)


@pytest.mark.parametrize("visibility", ["public", "confidential"])
async def test_a_number_that_only_another_agency_has_is_answered_by_what_the_hub_knows_and_not_a_word(
    lab: Lab, nodes: list[Peer], visibility: str
) -> None:
    desk, city, _ = nodes
    _, number = await answered(city, visibility)
    await settle_down(nodes, lab)
    await track_everything(lab)
    text = await statuses(desk).answer(number, PHONE)
    assert f"Laporan {number} sudah dijawab, instansi: Kota Kediri. Batas berikutnya " in text
    for said in ("diperbaiki", "berlubang", "dapur"):
        assert said not in text


class Away:
    """A hub that answers nothing, or that it cannot."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    async def track(self, tracking: str) -> Tracked:
        if self.error is None:
            await asyncio.Event().wait()
        raise self.error or AssertionError(tracking)


@pytest.mark.parametrize("error", [None, Unavailable("x"), Refused("unauthorised", "clocks"), Refused("busy", "x")])
async def test_while_the_hub_is_away_nobody_is_told_that_a_number_does_not_exist_nor_counted(
    nodes: list[Peer], error: Exception | None
) -> None:
    desk = statuses(nodes[0], Away(error))
    numbers = [format_tracking("KDR", guess) for guess in range(MISSES_MAX + 1 if error else 1)]
    for number in numbers:
        text = await desk.answer(number, PHONE)
        assert "coba lagi beberapa saat lagi" in text
        assert "tidak ditemukan" not in text
    back = replace(desk, hub=NoNumbers())
    assert "tidak ditemukan" in await back.answer(numbers[-1], PHONE)


async def test_only_what_the_hub_says_is_not_there_counts_as_a_guess(nodes: list[Peer]) -> None:
    hub = NoNumbers()
    desk = statuses(nodes[0], hub)
    for guess in range(MISSES_MAX):
        assert "tidak ditemukan" in await desk.answer(format_tracking("KDR", guess), PHONE)
    assert "Terlalu banyak" in await desk.answer(format_tracking("KDR", MISSES_MAX), PHONE)
    assert hub.asked == MISSES_MAX


async def test_attack_telephones_that_guess_do_not_keep_the_hubs_answer_from_others(
    lab: Lab, nodes: list[Peer]
) -> None:
    """All who write to 1708 come to the hub from one address, the desk's."""
    desk, city, _ = nodes
    _, number = await answered(city, "public")
    await settle_down(nodes, lab)
    await track_everything(lab)
    asked = statuses(desk)
    for guess in range(HUB_MISSES_MAX + 1):
        phone = f"+62812000000{guess // MISSES_MAX:02}"
        assert "tidak ditemukan" in await asked.answer(format_tracking("KDR", guess), phone)
    assert "sudah dijawab" in await asked.answer(number, PHONE)


async def test_a_hub_that_reads_its_log_again_says_of_no_number_that_it_does_not_exist(
    lab: Lab, nodes: list[Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after every update of the deadlines' tables, for as long as it takes."""
    desk, city, _ = nodes
    _, number = await answered(city, "public")
    await settle_down(nodes, lab)
    monkeypatch.setattr(tracking, "BEHIND_MAX", 0)
    monkeypatch.setattr(lab.hub.leader, "is_leading", False)  # else it reads them by itself, within a second
    await lab.hub.projector.drop()
    await lab.hub.projector.catch_up()
    answer = await lab.call("GET", f"/v1/track/{number}")
    assert (answer.status, answer.kind) == (503, "busy")
    asked = statuses(desk)
    for _ in range(MISSES_MAX + 1):
        assert "coba lagi beberapa saat lagi" in await asked.answer(number, PHONE)
    await track_everything(lab)
    assert "sudah dijawab" in await asked.answer(number, PHONE)
    assert (await lab.call("GET", f"/v1/track/{format_tracking('KDR', 1)}")).status == 404


async def test_a_signature_that_does_not_hold_opens_nothing_at_the_hub(lab: Lab, nodes: list[Peer]) -> None:
    _, number = await answered(nodes[1], "public")
    await settle_down(nodes, lab)
    await track_everything(lab)
    url = f"{lab.url}/v1/track/{number}"
    signed = sign_request(nodes[0].pusher.keys.current(), "GET", url, now_ms=lab.clock.now_ms())
    assert (await lab.call("GET", f"/v1/track/{number}", headers=dict(signed))).status == 200
    other = format_tracking("KDR", 1)
    answer = await lab.call("GET", f"/v1/track/{other}", headers=dict(signed))
    assert (answer.status, answer.kind) == (401, "unauthorised")
    answer = await lab.call("GET", f"/v1/track/{number}", headers={"Signature": "x"})
    assert (answer.status, answer.kind) == (401, "unauthorised")


GOOD: dict[str, Any] = {
    "tracking": format_tracking("KDR", 7), "state": "verified", "owner": "35.71", "offered_to": None, "class": None,
    "received_at": "2026-02-02T03:00:00.000Z", "closed_by": None, "due_at": "2026-02-05T17:00:00.000Z",
    "duty": "verify", "overdue": False, "history": [], "as_of": "2026-02-02T03:00:00.000Z",
}  # fmt: skip


@pytest.fixture
async def liar(nodes: list[Peer]) -> AsyncIterator[tuple[dict[str, Any], StatusDesk]]:
    """What a hub answers, and a desk that asks it."""
    says: dict[str, Any] = dict(GOOD)
    app = web.Application()

    async def track(request: web.Request) -> web.Response:
        return web.json_response(says)

    app.router.add_get("/v1/track/{number}", track)
    async with TestServer(app) as server:
        transport = Transport(str(server.make_url("")), clock=SystemClock(), randomness=SystemRandomness())
        link = HubClient(transport, nodes[0].agency, nodes[0].pusher.keys.current)
        yield says, statuses(nodes[0], link)
        await link.close()


async def test_attack_what_cannot_be_a_hubs_answer_is_in_no_sms(liar: tuple[dict[str, Any], StatusDesk]) -> None:
    says, desk = liar
    number = str(GOOD["tracking"])
    assert "sudah diverifikasi, instansi: Kota Kediri. Batas berikutnya 05-02-2026." in await desk.answer(number, PHONE)
    for changed in (
        {"tracking": format_tracking("KDR", 8)},
        {"state": "Hubungi 0812-3456"},
        {"state": "none"},
        {"owner": "Kirim pulsa ke 0812"},
        {"offered_to": "<b>"},
        {"due_at": "besok"},
        {"due_at": "9999-12-31T23:59:59.999Z"},
        {"history": None},
    ):
        says.clear()
        says.update(GOOD | changed)
        assert "coba lagi beberapa saat lagi" in await desk.answer(number, PHONE), changed


async def test_sms_and_page_tell_the_same_deadline(tmp_path: Path) -> None:
    async with sms_node(tmp_path) as node:
        number = tracking_in(await node.tell("Kediri jalan rusak", "m-1"))

        async def told() -> tuple[str, str | None]:
            async with node.session.get(f"{node.url}/v1/track/{number}") as response:
                return await node.tell(f"STATUS {number}", "m-2"), (await response.json())["due_at"]

        text, due_at = await told()
        assert due_at is not None
        assert text.endswith(f" Batas berikutnya {due_at[8:10]}-{due_at[5:7]}-{due_at[:4]}.")
        (held,) = await node.held()
        await node.record(held, "information_requested", content={"text": "Di mana?"})
        text, due_at = await told()
        assert due_at is None
        assert "Batas" not in text


async def test_of_a_complaint_handed_over_the_owners_deadline_is_told_by_the_hub_or_none(
    lab: Lab, nodes: list[Peer]
) -> None:
    desk, city, _ = nodes
    complaint = await desk.receive()
    number = (await desk.state(complaint)).tracking
    await desk.offer(complaint, CITY)
    await settle_down(nodes, lab)
    await city.accept(complaint)
    await settle_down(nodes, lab)
    await track_everything(lab)
    await measure(desk.store, deadlines_of_tables(), str(desk.agency))
    shown = await tracked_of(desk.store, await desk.held(complaint), str(desk.agency), 0)
    assert shown.due_at is None
    assert "diterima, instansi: Kota Kediri. Batas berikutnya " in await statuses(desk).answer(number, PHONE)
    away = await statuses(desk, Away(None)).answer(number, PHONE)
    assert away == f"Laporan {number} diterima, instansi: Kota Kediri."
    await city.change("verified", complaint, **{"class": "complaint_ordinary"})
    await city.push()
    await lab.hub.projector.catch_up()
    await track_everything(lab)  # the hub is ahead of what was verified here
    assert await statuses(desk).answer(number, PHONE) == away
