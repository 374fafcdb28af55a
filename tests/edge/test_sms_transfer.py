"""An SMS at the desk's node and what becomes of it: real nodes, a real hub, and STATUS all the way."""

from __future__ import annotations

import asyncio
from typing import cast

from node.channels.guesses import GuessLimit
from node.channels.kannel_request import IncomingSms
from node.channels.routing import Place, Router
from node.channels.sms import Refill, SmsChannel
from node.channels.sms_keywords import load_keywords
from node.channels.sms_status import StatusDesk
from node.directory import load_directory
from node.local.abroad import Abroad
from node.local.federation import Federation
from node.local.recording import Command, Recorded
from node.store.local_records import ComplaintFilter
from sync_protocol.evidence import EvidenceFile
from sync_protocol.values import AgencyId
from sync_protocol.wire import InboxPage
from tests.edge.hub_lab import Lab
from tests.edge.inbox_lab import DESK, Peer, settle_down
from tests.edge.node_api import MovableClock
from tests.edge.test_tracking import track_everything

CITY, REGENCY = AgencyId("35.71"), AgencyId("35.06")
AGENCIES = (DESK, CITY, REGENCY)


async def channel_of(desk: Peer) -> SmsChannel:
    """As `serve` wires it."""
    clock = desk.pusher.clock
    federation = cast("Federation", desk.service.minting.rules)
    await federation.read_rules(desk.store)
    router = Router(desk.service, Abroad(desk.inbox, federation, desk.link), clock)
    directory = load_directory()
    statuses = StatusDesk(desk.store, desk.link, desk.agency, directory, clock, GuessLimit(clock))
    refill = Refill(desk.store, clock)
    return SmsChannel(desk.service, desk.store, clock, load_keywords(), directory, router, statuses, refill)


def sms(text: str, message: str) -> IncomingSms:
    return IncomingSms(message, "6281234567890", "1708", text, None, None)


async def test_status_follows_a_complaint_from_agency_to_agency(lab: Lab, nodes: list[Peer]) -> None:
    desk, city, regency = nodes
    channel = await channel_of(desk)
    receipt = await channel.answer(sms("KediriKota jalan rusak", "m-1"))
    (held,) = await desk.store.complaints(ComplaintFilter())
    complaint, number = str(held.id), held.state.tracking
    assert f"nomor {number} diteruskan ke Kota Kediri" in receipt
    asked = sms(f"STATUS {number}", "m-2")
    assert "sedang diteruskan ke Kota Kediri" in await channel.answer(asked)

    await settle_down(nodes, lab)
    await city.decline(complaint)
    await settle_down(nodes, lab)
    assert "diterima, instansi: Kementerian" in await channel.answer(asked)

    await desk.offer(complaint, REGENCY)
    await settle_down(nodes, lab)
    await regency.accept(complaint)
    await regency.change("verified", complaint, **{"class": "complaint_ordinary"})
    await settle_down(nodes, lab)
    await track_everything(lab)
    assert "sudah diverifikasi, instansi: Kabupaten Kediri. Batas berikutnya" in await channel.answer(asked)

    await regency.change("assigned", complaint, unit="dinas-pupr")
    await regency.change("answered", complaint, "Sudah kami perbaiki.")
    await settle_down(nodes, lab)
    await track_everything(lab)
    assert "sudah dijawab, instansi: Kabupaten Kediri. Batas berikutnya" in await channel.answer(asked)
    assert await channel.answer(sms("KediriKota jalan rusak", "m-1")) == receipt
    assert await desk.types(complaint) == [
        *("received", "offered", "declined", "offered", "accepted", "verified", "assigned", "answered")
    ]


async def test_the_hub_is_asked_who_takes_part_before_anything_is_offered(nodes: list[Peer]) -> None:
    channel = await channel_of(nodes[0])
    assert "belum terhubung" in await channel.answer(sms("PekalonganKota jalan rusak", "m-1"))
    (held,) = await nodes[0].store.complaints(ComplaintFilter())
    assert held.state.offer_to is None


class SilentLink:
    """Never says who takes part; counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def agencies(self) -> set[str]:
        self.asked += 1
        await asyncio.Event().wait()
        raise AssertionError("it never answers")

    async def inbox(self, after: str, wait_s: float) -> InboxPage:
        raise AssertionError("not asked here")

    async def evidence(self, complaint: str) -> EvidenceFile:
        raise AssertionError("not asked here")


async def test_a_hub_that_is_silent_is_waited_for_shortly_and_once_a_minute(nodes: list[Peer]) -> None:
    desk, hub, clock, federation = nodes[0], SilentLink(), MovableClock(), Federation()
    federation.learn([DESK])
    router = Router(desk.service, Abroad(None, federation, hub), clock, look_up_timeout_s=0.05)
    for _ in range(3):
        assert await router.route(await received(desk), CITY, "") is Place.NAMED_AGENCY
    assert hub.asked == 1
    assert federation.is_agency(CITY)  # as with a hub that is away: the log will judge


async def received(node: Peer) -> Recorded:
    data = {"channel": "sms", "visibility": "anonymous", "received_at": "2026-01-05T03:04:05.000Z"}
    return (await node.service.record(Command("received", data, {"text": "Jalan rusak."}))).recorded
