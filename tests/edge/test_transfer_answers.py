"""What cannot be in a transfer is refused at the node's API, each with its own answer and the next step; nothing of it
is recorded (issue 5, bad input)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, cast

import pytest
from aiohttp.test_utils import TestClient, TestServer

from node.local.abroad import Abroad
from node.local.federation import Federation
from node.local.http import build_app
from node.local.tokens import create_token
from sync_protocol.values import AgencyId
from tests.edge.hub_lab import Lab, LabRandomness
from tests.edge.inbox_lab import DESK, Peer, settle_down

CITY, REGENCY = AgencyId("35.71"), AgencyId("35.06")
AGENCIES = (CITY, REGENCY, DESK)


@dataclass
class Counter:
    """An officer's desk at one node."""

    peer: Peer
    client: TestClient[Any, Any]
    token: str

    async def change(self, complaint: str, type_: str, **members: Any) -> tuple[int, str, str, str]:
        """Status, kind, verdict and words of the answer, which must be a problem with a next step."""
        response = await self.client.post(
            f"/v1/complaints/{complaint}/changes",
            json={"type": type_} | members,
            headers={"Authorization": f"Bearer {self.token}"},
        )
        body = await response.json(content_type=None)
        assert body["next"], body
        return response.status, str(body["type"]).rpartition(":")[2], body.get("verdict", ""), body["detail"]


@pytest.fixture
async def counters(nodes: list[Peer]) -> AsyncIterator[list[Counter]]:
    made = [await _counter(node) for node in nodes]
    yield made
    for counter in made:
        await counter.client.close()


async def _counter(peer: Peer) -> Counter:
    clock, federation = peer.pusher.clock, cast("Federation", peer.service.minting.rules)
    await federation.read_rules(peer.store)
    app = build_app(peer.service, peer.store, clock, LabRandomness(7), abroad=Abroad(peer.inbox, federation, peer.link))
    token = await create_token(peer.store, clock, LabRandomness(len(peer.agency)), "loket-1")
    client: TestClient[Any, Any] = TestClient(TestServer(app))
    await client.start_server()
    return Counter(peer, client, token)


async def test_every_impossible_step_of_a_transfer_is_refused_with_its_own_answer(
    lab: Lab, nodes: list[Peer], counters: list[Counter]
) -> None:
    at_city, at_regency, at_desk = counters
    city, regency, _ = nodes
    complaint = await city.receive()
    nowhere = "35.71:01890000-0000-7000-8000-000000000000"
    told = [
        await at_city.change(complaint, "offered", to="99.99", reason="x"),
        await at_city.change(complaint, "offered", to=str(CITY), reason="x"),
        await at_city.change(complaint, "accepted", offer="A" * 43),
        await at_city.change(complaint, "recalled", reason="x"),
        await at_regency.change(nowhere, "accepted", offer="A" * 43),
    ]
    await city.offer(complaint, REGENCY)
    offer = await city.offer_of(complaint)
    told += [
        await at_city.change(complaint, "accepted", offer=offer),
        await at_city.change(complaint, "amended", category="jalan"),
    ]
    await settle_down(nodes, lab)
    stale = await regency.offer_of(complaint)
    await city.withdraw(complaint)
    await city.offer(complaint, REGENCY)
    await settle_down(nodes, lab)
    told += [
        await at_regency.change(complaint, "accepted", offer=stale),
        await at_regency.change(complaint, "amended", category="jalan"),
        await at_desk.change(complaint, "recalled", reason="x"),
    ]
    assert [(status, kind, verdict) for status, kind, verdict, _ in told] == [
        (409, "change-refused", "unknown_agency"),
        (409, "change-refused", "bad_target"),
        (409, "change-refused", "no_offer"),
        (409, "change-refused", "not_desk"),
        (404, "not-found", ""),
        (409, "change-refused", "not_offered"),
        (409, "change-refused", "under_offer"),
        (409, "change-refused", "no_offer"),
        (409, "change-refused", "not_owner"),
        (409, "change-refused", "not_yet"),
    ]
    words = [detail for *_, detail in told]
    assert len(set(words)) == len(words), words
    await settle_down(nodes, lab)
    assert await city.types(complaint) == ["received", "offered", "withdrawn", "offered"]
    assert await regency.types(complaint) == ["received", "offered", "withdrawn", "offered"]


async def test_two_answers_to_one_offer_are_refused_the_second_time(
    lab: Lab, nodes: list[Peer], counters: list[Counter]
) -> None:
    city, regency, _ = nodes
    complaint = await city.receive()
    await city.offer(complaint, REGENCY)
    await settle_down(nodes, lab)
    offer = await regency.offer_of(complaint)
    await regency.decline(complaint)
    status, _, verdict, detail = await counters[1].change(complaint, "accepted", offer=offer)
    assert (status, verdict, detail) == (409, "no_offer", "the complaint is not under offer")
