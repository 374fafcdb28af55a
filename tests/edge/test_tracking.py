"""A tracking number shows its complaint's public part, and nothing else to anybody (protocol §7.7)."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import TestClient, TestServer

from node.guessing import MISSES_MAX, WINDOW_S, Guessing
from node.hub.tracking import hash_of
from node.local.http import build_app
from node.local.tracking import find_tracked
from node.store.local_base import fetch
from sync_protocol.errors import Unavailable
from sync_protocol.values import AgencyId, format_tracking
from tests.edge.hub_lab import Lab, LabRandomness
from tests.edge.inbox_lab import Peer, settle_down

CITY, REGENCY = AgencyId("35.71"), AgencyId("35.06")
AGENCIES = (CITY, REGENCY)


async def answered(node: Peer, visibility: str) -> tuple[str, str]:
    """An answered complaint, and its number."""
    complaint = await node.receive(visibility=visibility)
    await node.change("verified", complaint, **{"class": "complaint_ordinary"})
    await node.change("assigned", complaint, unit="dinas-pupr")
    await node.change("answered", complaint, said="Sudah diperbaiki.")
    await node.change("noted", complaint, said="Rahasia dapur.")
    return complaint, (await node.state(complaint)).tracking


async def make_unreadable(node: Peer) -> None:
    """As what was said came back from the log, where another program of the agency had written it."""
    async with node.store.writing() as connection:
        query = "UPDATE change SET content = ? WHERE instr(line, ?) RETURNING no"
        assert await fetch(connection, query, (b'{"text":"x"}', b'"type":"answered"'))


async def track_everything(lab: Lab) -> None:
    await lab.hub.projector.catch_up()
    size = lab.hub.log.size
    while await lab.hub.projection.tracked_to() < size:  # the serving hub reads on as well, and may be quicker
        await lab.hub.tracker.step(size)


async def test_the_hub_shows_what_was_done_and_nothing_that_was_said(lab: Lab, nodes: list[Peer]) -> None:
    city, regency = nodes
    complaint, number = await answered(city, "public")
    await city.offer(complaint, REGENCY)
    await settle_down(nodes, lab)
    await regency.accept(complaint)
    await settle_down(nodes, lab)
    await track_everything(lab)
    for spelling in (number, number.lower(), number.replace("-", ""), number.replace("-", " ")):
        answer = await lab.call("GET", f"/v1/track/{spelling}")
        assert answer.status == 200, answer.body
        assert (answer.json["tracking"], answer.json["owner"], answer.json["state"]) == (number, REGENCY, "received")
    done = [(one["type"], one["agency"]) for one in answer.json["history"]]
    assert done[-2:] == [("offered", CITY), ("accepted", REGENCY)]
    for secret in (b"berlubang", b"diperbaiki", b"dapur", complaint.encode()):
        assert secret not in answer.body


async def test_a_node_shows_its_answer_unless_the_complaint_is_confidential(lab: Lab, nodes: list[Peer]) -> None:
    city, _ = nodes
    app = build_app(city.service, city.store, city.pusher.clock, LabRandomness(9))
    async with TestClient(TestServer(app)) as client:
        for visibility, texts in (
            ("public", ["Sudah diperbaiki."]),
            ("confidential", []),
            ("anonymous-confidential", []),
        ):
            complaint, number = await answered(city, visibility)
            response = await client.get(f"/v1/track/{number.lower()}")
            body = await response.json()
            assert [one["text"] for one in body["history"] if one["text"]] == texts
            assert (body["state"], body["owner"]) == ("answered", CITY)
            raw = await response.text()
            assert "berlubang" not in raw
            assert "dapur" not in raw
            assert complaint not in raw
        assert (await client.get("/v1/track/" + format_tracking("KDR", 5))).status == 404
        assert (await client.get("/v1/track/nonsense")).status == 404


async def test_another_agency_cannot_take_a_number_for_itself(lab: Lab, nodes: list[Peer]) -> None:
    """A line may claim any number; the first complaint that has it is not hidden by the second."""
    city, regency = nodes
    complaint, number = await answered(city, "public")
    theirs = await regency.receive(tracking=number)
    await settle_down(nodes, lab)
    await track_everything(lab)
    assert len(await lab.hub.projection.tracked(hash_of(number))) == 2
    answer = await lab.call("GET", f"/v1/track/{number}")
    assert answer.json["owner"] == CITY
    assert theirs != complaint
    await regency.offer(theirs, CITY)
    await settle_down(nodes, lab)
    assert (await city.state(theirs)).tracking == number
    async with TestClient(TestServer(build_app(city.service, city.store, city.pusher.clock, LabRandomness(9)))) as node:
        shown = await (await node.get(f"/v1/track/{number}")).json()
    assert (shown["owner"], shown["state"]) == (CITY, "answered")
    assert await find_tracked(city.store, number) == await city.held(complaint)


async def test_an_old_backup_shows_no_words_that_may_be_erased_by_now(nodes: list[Peer]) -> None:
    city, _ = nodes
    _, number = await answered(city, "public")
    await city.store.set_behind(is_behind=True)
    async with TestClient(TestServer(build_app(city.service, city.store, city.pusher.clock, LabRandomness(9)))) as node:
        shown = await (await node.get(f"/v1/track/{number}")).json()
    assert shown["state"] == "answered"
    assert {one["text"] for one in shown["history"]} == {None}


async def test_words_that_cannot_be_read_hide_nothing_else(nodes: list[Peer]) -> None:
    city, _ = nodes
    _, number = await answered(city, "public")
    await make_unreadable(city)
    async with TestClient(TestServer(build_app(city.service, city.store, city.pusher.clock, LabRandomness(9)))) as node:
        answer = await node.get(f"/v1/track/{number}")
        shown = await answer.json()
    assert (answer.status, shown["state"]) == (200, "answered")
    assert [one["text"] for one in shown["history"] if one["type"] == "answered"] == [None]


async def test_who_guesses_is_sent_away_and_nobody_else_is(lab: Lab, nodes: list[Peer]) -> None:
    city, _ = nodes
    _, number = await answered(city, "public")
    await settle_down(nodes, lab)
    await track_everything(lab)
    for guess in range(MISSES_MAX):
        assert (await lab.call("GET", "/v1/track/" + format_tracking("KDR", guess))).status == 404
    answer = await lab.call("GET", f"/v1/track/{number}")
    assert (answer.status, answer.kind) == (503, "busy")
    assert 0 < int(answer.headers["Retry-After"]) <= WINDOW_S


def test_misses_are_counted_by_subscriber_and_forgotten_in_time() -> None:
    class Clock:
        now_s = 100.0

        def now_ms(self) -> int:
            return 0

        def monotonic_s(self) -> float:
            return self.now_s

        async def sleep(self, seconds: float) -> None:
            raise AssertionError(seconds)

    clock = Clock()
    guessing = Guessing(clock)
    for number in range(MISSES_MAX):
        guessing.check("2001:db8::1")
        guessing.miss(f"2001:db8::{number:x}")
    with pytest.raises(Unavailable):
        guessing.check("2001:db8::ffff")
    guessing.check("2001:db8:0:1::1")
    guessing.check("192.0.2.1")
    clock.now_s += WINDOW_S + 1
    guessing.check("2001:db8::1")
