"""Who plays: a real hub, the national desk beside it, a city and a regency, each with a real server; and a calendar."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlencode

import aiohttp

from node.deadlines.tables import Deadlines, deadlines_of_tables
from node.directory import load_directory
from node.local.abroad import Abroad
from node.local.federation import Federation
from node.local.http import build_app
from node.local.hub_session import HubSession
from node.local.inbox import Inbox
from node.local.measuring import measure
from node.local.sweeper import sweep
from node.local.tokens import create_token
from node.serving import listening
from node.settings import NodeSettings
from node.settings_file import make_settings
from node.wiring.sms import add_sms
from sync_protocol.outbox import HEARTBEAT_EVERY_MS
from sync_protocol.values import AgencyId, parse_timestamp
from tests.edge.hub_lab import Lab, LabClock, LabRandomness, running_hub
from tests.edge.inbox_lab import DESK, Peer, peer
from tests.scene.twice import Count, StaleLink, TwiceClient, TwiceLink

CITY: Final = AgencyId("35.71")
REGENCY: Final = AgencyId("35.06")
NAMES: Final = {DESK: "Kementerian PANRB", CITY: "Kota Kediri 35.71", REGENCY: "Kab. Kediri 35.06"}
TICK_MS: Final = 2 * 3_600_000  # as far apart as ticks may be without the hub counting as away (docs/deadlines.md)
BEGINS_AT: Final = "2026-02-17T12:00:00.000Z"  # Tuesday, 19.00 in Kediri; it is Imlek, and Monday was one with it
SECRET: Final = "rahasia-gerbang-sms"


@dataclass
class Office:
    """An agency: its node, and a client that stands for its officers' desk."""

    name: str
    peer: Peer
    client: TwiceClient
    token: str
    deadlines: Deadlines
    pages: Count
    late_reader: Inbox
    _keys: int = 0

    @property
    def agency(self) -> AgencyId:
        """Its code."""
        return self.peer.agency

    @property
    def link(self) -> TwiceLink:
        """Its way to the hub."""
        return cast("TwiceLink", self.peer.link)

    async def change(self, complaint: str, change_type: str, **members: Any) -> None:
        """Recorded over the API, with an Idempotency-Key."""
        self._keys += 1
        headers = {**self._authorization, "Idempotency-Key": f"{self.agency}-{self._keys}"}
        path = f"/v1/complaints/{complaint}/changes"
        await self.client.ask("POST", path, {"type": change_type} | members, headers)

    async def complaint(self, complaint: str) -> Any:
        """As its API shows it now: `complaint` and `history`."""
        return await self.client.read(f"/v1/complaints/{complaint}", self._authorization)

    async def sms(self, text: str, message: str) -> str:
        """What is answered to an SMS; smsbox hands it over with its id."""
        return (await self.client.ask("GET", _sms_path(text, message))).decode()

    async def asks_by_sms(self, text: str, message: str) -> str:
        """The same for a question, asked twice: what is answered is how it stands at that moment."""
        first, second = [await self.client.read_text(_sms_path(text, message)) for _ in range(2)]
        assert first == second
        return first

    async def list_complaints(self) -> list[Any]:
        """Those that it owns."""
        items: list[Any] = (await self.client.read("/v1/complaints", self._authorization))["items"]
        return items

    async def close_what_is_quiet(self) -> int:
        """What a serving node does every minute, twice in a row; how many complaints closed themselves."""
        peer, clock = self.peer, self.peer.pusher.clock
        await measure(peer.store, self.deadlines, str(self.agency))
        closed = await sweep(peer.store, peer.service, clock)
        assert await sweep(peer.store, peer.service, clock) == 0, "a complaint closed itself twice"
        return closed

    async def take_in(self) -> int:
        """Reads the inbox by two readers, of whom one gets every page late; how many items the late one got."""
        before = self.pages.messages
        await self.late_reader.drain()
        return self.pages.messages - before

    @property
    def _authorization(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


def _sms_path(text: str, message: str) -> str:
    named = {"from": "6281234567890", "to": "1708", "text": text, "id": message, "secret": SECRET}
    return f"/sms?{urlencode(named)}"


@dataclass
class Country:
    """Everybody, and what day it is."""

    lab: Lab
    desk: Office
    city: Office
    regency: Office
    deadlines: Deadlines
    closed: dict[AgencyId, int] = field(default_factory=dict)

    @property
    def offices(self) -> Sequence[Office]:
        """The three."""
        return self.desk, self.city, self.regency

    async def until(self, moment: str) -> None:
        """Time goes by: the hub ticks every two hours, nodes report every day; in the end quiet complaints close."""
        end_ms, clock = parse_timestamp(f"{moment}:00.000Z"), self.lab.clock
        assert end_ms >= clock.at_ms, "time does not go back"
        while clock.at_ms < end_ms:
            clock.at_ms = min(clock.at_ms + TICK_MS, end_ms)
            await self.lab.hub.appender.append_statement(self.lab.hub.statements.tick)
            for office in self.offices:
                if clock.at_ms - office.link.pushed_at_ms >= HEARTBEAT_EVERY_MS:
                    await office.peer.push()
        for office in self.offices:
            closed = await office.close_what_is_quiet()
            self.closed[office.agency] = self.closed.get(office.agency, 0) + closed

    async def spread(self) -> None:
        """Until nobody has anything to send or to take in any more."""
        for _ in range(20):
            for office in self.offices:
                await office.peer.push()
            await self.lab.hub.projector.catch_up()
            if not sum([await office.take_in() for office in self.offices]):
                return
        raise AssertionError("it does not come to rest")


@asynccontextmanager
async def country(place: Path) -> AsyncIterator[Country]:
    """A hub and three agencies, enrolled, in an empty folder."""
    deadlines, clock = deadlines_of_tables(), LabClock()
    clock.at_ms = parse_timestamp(BEGINS_AT)
    async with AsyncExitStack() as stack:
        lab = await stack.enter_async_context(running_hub(place, clock=clock))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        desk, city, regency = [
            await stack.enter_async_context(_office(lab, agency, place, session, deadlines))
            for agency in (DESK, CITY, REGENCY)
        ]
        played = Country(lab, desk, city, regency, deadlines)
        await played.spread()
        yield played


@asynccontextmanager
async def _office(
    lab: Lab, agency: AgencyId, place: Path, session: aiohttp.ClientSession, deadlines: Deadlines
) -> AsyncIterator[Office]:
    listed = load_directory()[agency]
    randomness = LabRandomness(sum(agency.encode()))
    clock: Any = lab.clock
    async with peer(
        lab,
        agency,
        place / agency,
        seed=sum(agency.encode()),
        prefix=listed.prefix,
        deadlines=deadlines,
        link_type=TwiceLink,
    ) as node:
        federation = cast("Federation", node.service.minting.rules)
        await federation.read_rules(node.store)
        abroad = Abroad(node.inbox, federation, node.link)
        token = await create_token(node.store, clock, randomness, "loket-1")
        app = build_app(node.service, node.store, clock, randomness, abroad=abroad)
        settings = _settings(lab, agency, place)
        options = add_sms(app, node.service, node.store, clock, settings, abroad, node.link)
        async with listening(app, "127.0.0.1", 0, options=options) as url:
            pages = Count()
            late = _late_reader(node, pages)
            yield Office(NAMES[agency], node, TwiceClient(url, session), token, deadlines, pages, late)


def _late_reader(node: Peer, pages: Count) -> Inbox:
    """A second process of the same directory, as it were: its pages are old when they come."""
    session = HubSession(node.store, node.link, node.pusher.keys, node.agency)
    stale = StaleLink(node.link, node.inbox.drain, pages)
    return Inbox(node.store, stale, session, Federation(), node.pusher.clock, node.agency)


def _settings(lab: Lab, agency: AgencyId, place: Path) -> NodeSettings:
    """The desk takes in SMS; the others do not."""
    named = {"agency": str(agency), "hub_url": lab.url, "vkey": lab.vkey.format(), "directory": place / agency}
    return make_settings(NodeSettings, named | ({"sms_secret": SECRET} if agency == DESK else {}))
