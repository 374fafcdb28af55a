"""The endpoint on a desk that does as it is told: who has to wait, and what is never asked of a desk."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from node.channels.open311.documents import Value
from node.channels.open311.endpoint import WAITING_MAX, Answer, Call, Elsewhere, Endpoint, Taken
from node.channels.open311.mapping import Update
from node.channels.open311.queries import RequestsWanted
from node.channels.open311.reports import Reply, Report
from node.channels.open311.services import Services, read_services
from tests.fakes.node_lab import StandingClock

TABLE = 'changed = 2026-01-01\n[[service]]\ncode = "umum"\nname = "Umum"\n'


@dataclass
class SlowDesk:
    """Lists when it is let; everything else is elsewhere."""

    others: Sequence[str] = ()
    is_let: asyncio.Event = field(default_factory=asyncio.Event)
    lists: int = 0

    async def requests(self, wanted: RequestsWanted) -> list[Mapping[str, Value]]:
        self.lists += 1
        await self.is_let.wait()
        return []

    async def request(self, name: str, jurisdiction: str | None) -> Mapping[str, Value]:
        return {"service_request_id": name}

    async def request_id(self, token: str, jurisdiction: str | None) -> str:
        self._away()

    async def updates(self, wanted: RequestsWanted) -> list[Update]:
        self._away()

    def check_takes_in(self) -> None:
        self._away()

    async def client(self, api_key: str | None) -> str:
        self._away()

    async def report(self, client: str, report: Report, key: str | None) -> Taken:
        self._away()

    async def reply(self, client: str, reply: Reply, key: str | None) -> Taken:
        self._away()

    def _away(self) -> NoReturn:
        raise Elsewhere("https://desk.example/open311/v2")


async def unread() -> bytes:
    raise AssertionError("a body is not read for a desk that takes nothing in")


def call(tail: str, method: str = "GET", *query: tuple[str, str]) -> Call:
    return Call(method, tail, query, "", "https://here.example/open311/v2", None, unread)


def endpoint(desk: SlowDesk) -> Endpoint:
    return Endpoint(desk, Services(read_services(TABLE), own="33.75"), StandingClock())


async def test_lists_wait_their_turn_and_who_would_wait_long_is_told_at_once() -> None:
    desk = SlowDesk()
    served = endpoint(desk)
    waiting = [asyncio.create_task(served.answer(call("requests.json"))) for _ in range(WAITING_MAX)]
    await asyncio.sleep(0)
    assert desk.lists == 4
    for tail in ("requests.json", "requests.xml", "servicerequestupdates.json"):
        answer = await served.answer(call(tail))
        assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    assert (await served.answer(call("requests/x.json"))).status == 200
    assert (await served.answer(call("services.json"))).status == 200
    desk.is_let.set()
    answers: list[Answer] = await asyncio.gather(*waiting)
    assert {answer.status for answer in answers} == {200}
    assert (await served.answer(call("requests.json"))).status == 200


async def test_what_cannot_be_meant_is_refused_before_the_desk_is_asked() -> None:
    desk = SlowDesk()
    for query in (("status", "done"), ("page", "0"), ("start_date", "x"), ("jurisdiction_id", "elsewhere")):
        assert (await endpoint(desk).answer(call("requests.json", "GET", query))).status in (400, 404)
    assert desk.lists == 0


async def test_a_desk_that_takes_nothing_in_sends_away_without_reading() -> None:
    for tail in ("requests.xml", "servicerequestupdates.json"):
        answer = await endpoint(SlowDesk()).answer(call(tail, "POST"))
        assert (answer.status, answer.headers["Location"]) == (307, f"https://desk.example/open311/v2/{tail}")
