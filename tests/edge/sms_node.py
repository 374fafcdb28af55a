"""A node that takes in SMS, as smsbox meets it: a real server on a free port, a real database file."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from node.config_data import config_file
from node.deadlines.tables import deadlines_of_tables
from node.local.abroad import Abroad
from node.local.http import build_app
from node.local.hub_ports import TrackingLink
from node.local.recording import Command, LocalRules, Minting
from node.local.service import LocalService
from node.serving import listening
from node.settings import NodeSettings, networks_in
from node.settings_file import make_settings
from node.store.local_records import ComplaintFilter, HeldComplaint
from node.store.local_store import SqlLocalStore
from node.system import SystemRandomness
from node.tracked import Tracked
from node.web.callers import TRUSTED_PROXIES
from node.wiring.sms import add_sms
from sync_protocol.errors import Refused
from sync_protocol.line import parse_change, parse_content
from sync_protocol.values import AgencyId
from tests.edge.node_api import MovableClock

DESK = "kementerian-panrb"
SECRET = "c0rrect-horse-battery"
SENDER = "6281234567890"


@dataclass
class SmsAnswer:
    status: int
    text: str
    kind: str


@dataclass
class SmsNode:
    """A client that writes SMS, and the parts behind the server that tests look at."""

    url: str
    session: aiohttp.ClientSession
    store: SqlLocalStore
    service: LocalService
    clock: MovableClock

    async def raw(
        self, query: str, *, method: str = "GET", data: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> SmsAnswer:
        """A request with that query, to the byte."""
        address = URL(f"{self.url}/sms?{query}", encoded=True)
        async with self.session.request(method, address, data=data, headers=headers) as response:
            text = await response.text()
            is_problem = response.content_type == "application/problem+json"
            kind = str(json.loads(text)["type"]).rpartition(":")[2] if is_problem else ""
            return SmsAnswer(response.status, text, kind)

    async def send(self, text: str, message: str, *, sender: str = SENDER, **parameters: str) -> SmsAnswer:
        """An SMS as smsbox hands it over."""
        named = {"from": sender, "to": "1708", "text": text, "id": message, "charset": "UTF-8"} | parameters
        return await self.raw(URL.build(query=named).raw_query_string)

    async def tell(self, text: str, message: str, **parameters: str) -> str:
        """What is answered, which must be an SMS."""
        answer = await self.send(text, message, **parameters)
        assert answer.status == 200, answer.text
        return answer.text

    async def held(self) -> list[HeldComplaint]:
        """Every complaint, newest first."""
        return await self.store.complaints(ComplaintFilter(limit=1_000))

    async def changes(self, complaint: HeldComplaint) -> list[tuple[str, Any, dict[str, Any]]]:
        """(type, data, what was said) of each change."""
        found = []
        for change in await self.store.complaint_changes(complaint.no):
            line = parse_change(change.line)
            found.append((line.type, line.data, {} if change.content is None else parse_content(change.content)))
        return found

    async def record(self, complaint: HeldComplaint, change_type: str, **members: Any) -> None:
        """A change by an officer."""
        await self.service.record(Command(type=change_type, complaint=str(complaint.id), **members))


class NoNumbers:
    """A hub that knows no number; counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def track(self, tracking: str) -> Tracked:
        self.asked += 1
        raise Refused("not-found", f"there is no complaint {tracking}", where="number")


@asynccontextmanager
async def sms_node(
    place: Path,
    *,
    agency: str = DESK,
    secret: str = "",
    allow: str = "127.0.0.1",
    proxies: str = "",
    is_agency: Callable[[str], bool] = lambda _: True,
    abroad: Abroad | None = None,
    hub: TrackingLink | None = None,
) -> AsyncIterator[SmsNode]:
    """A node of that agency that serves with these settings."""
    example = {"hub_url": "https://hub.example", "directory": place, "sms_secret": secret, "sms_allow": allow}
    vkey = next(line for line in config_file("node.example.toml").read_text().splitlines() if line.startswith("vkey"))
    settings = make_settings(NodeSettings, {**example, "agency": agency, "vkey": vkey.split('"')[1]})
    clock, randomness = MovableClock(), SystemRandomness()
    await asyncio.to_thread(place.mkdir, parents=True, exist_ok=True)
    store = await SqlLocalStore.create(place / "node.db")
    try:
        deadlines = deadlines_of_tables()
        minting = Minting(AgencyId(agency), "PANRB", clock, randomness, LocalRules(DESK), is_agency, deadlines)
        async with LocalService(store, minting) as service:
            app = build_app(service, store, clock, randomness)
            app[TRUSTED_PROXIES] = networks_in(proxies)
            options = add_sms(app, service, store, clock, settings, abroad or Abroad(), hub or NoNumbers())
            async with listening(app, "127.0.0.1", 0, options=options) as url, aiohttp.ClientSession() as session:
                yield SmsNode(url, session, store, service, clock)
    finally:
        await store.close()
