"""Admission at a real hub: who floods takes turns, whatever it floods with; strangers take nobody's place (§7.4).

What is counted is the order of service and the places taken, not seconds: seconds belong to the machine.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from node.hub.admission import FIRST_BYTES
from node.hub.passes import Passes
from node.link.hub_client import HubClient
from node.link.transport import Transport
from sync_protocol.backoff import spread_s
from sync_protocol.change_set import ChangeSet
from sync_protocol.compression import compress_frames
from sync_protocol.limits import WIRE_MAX_BYTES
from sync_protocol.problems import Busy
from sync_protocol.statement import Role
from sync_protocol.wire import ADMISSION_HEADER
from tests.edge.hub_lab import Agency, Answer, Lab, LabRandomness, running_hub
from tests.edge.hub_requests import read

FLOOD = 40  # calls of the flooder at any time
CHANGES = 200
MIB = 1024 * 1024


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with running_hub(tmp_path, projector=False) as running:
        yield running


def body_of(change_set: ChangeSet) -> bytes:
    return b"".join(compress_frames(change_set.head, change_set.contents))


def pass_of(lab: Lab, agency: Agency) -> dict[str, str]:
    passes = Passes(lab.hub.speaking(Role.LOG), lab.clock)
    return {ADMISSION_HEADER: passes.issue(agency.code), "Content-Encoding": "zstd"}


async def put(lab: Lab, agency: Agency, seq: int, body: object, headers: dict[str, str]) -> Answer:
    return await lab.call("PUT", f"/v1/agencies/{agency.code}/change-sets/{seq}", data=body, headers=headers)


class Served:
    """In which order calls were answered by the hub's appender, judge or door: one name each."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def between(self, first: int, last: int, name: str) -> int:
        """How many of `name` came in that stretch."""
        return self.names[first:last].count(name)


Flood = Callable[[], Awaitable[Answer]]


@asynccontextmanager
async def flooding(call: Flood, served: Served, *, at_once: int = FLOOD) -> AsyncIterator[list[int]]:
    """So many callers that never stop, whatever they are told."""
    statuses: list[int] = []

    async def shout() -> None:
        while True:
            answer = await call()
            statuses.append(answer.status)
            if answer.status != 503:
                served.names.append("flood")

    callers = [asyncio.create_task(shout()) for _ in range(at_once)]
    try:
        while not statuses:  # noqa: ASYNC110 - another task's work
            await asyncio.sleep(0.01)
        yield statuses
    finally:
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)


async def turns_waited(lab: Lab, victim: Agency, call: Flood, pushes: int = 12) -> list[int]:
    """How many of the flooder's calls were served while each of the victim's pushes was under way."""
    served, waited = Served(), []
    headers = pass_of(lab, victim)
    sets = []
    for _ in range(pushes):
        change_set = victim.cut(CHANGES)
        victim.took(change_set)
        sets.append((change_set.manifest.manifest.seq, body_of(change_set)))
    async with flooding(call, served):
        for seq, body in sets:
            begun = len(served.names)
            answer = await put(lab, victim, seq, body, headers)
            assert answer.status == 201, answer.body
            waited.append(served.between(begun, len(served.names), "flood"))
    return waited


async def flood_of_valid_sets(lab: Lab, flooder: Agency) -> Flood:
    sets = []
    for _ in range(60):
        change_set = flooder.cut(CHANGES)
        flooder.took(change_set)
        sets.append((change_set.manifest.manifest.seq, body_of(change_set)))
    waiting = iter(sets * 1_000)
    headers = pass_of(lab, flooder)

    async def call() -> Answer:
        seq, body = next(waiting)
        return await put(lab, flooder, seq, body, headers)

    return call


async def flood_of_repeats(lab: Lab, flooder: Agency) -> Flood:
    change_set = flooder.cut(CHANGES)
    assert (await flooder.push(change_set)).status == 201
    body, headers = body_of(change_set), pass_of(lab, flooder)
    return lambda: put(lab, flooder, 1, body, headers)


async def flood_of_garbage(lab: Lab, flooder: Agency) -> Flood:
    headers = {"Content-Encoding": "zstd"}
    return lambda: put(lab, flooder, 1, b"\x28\xb5\x2f\xfd" + bytes(60_000), headers)


async def flood_of_garbage_in_another_name(lab: Lab, _flooder: Agency) -> Flood:
    return await flood_of_garbage(lab, lab.agencies["35.71"])


@pytest.mark.parametrize(
    "flood", [flood_of_valid_sets, flood_of_repeats, flood_of_garbage, flood_of_garbage_in_another_name]
)
async def test_a_flood_is_served_one_turn_for_each_turn_of_another(
    lab: Lab, flood: Callable[[Lab, Agency], Awaitable[Flood]]
) -> None:
    flooder, victim = await lab.enrol("33.75"), await lab.enrol("35.71")
    waited = await turns_waited(lab, victim, await flood(lab, flooder))
    # A push takes three turns: two with the threads, one with the log. The first finds what was begun before it.
    assert statistics.median(waited[1:]) <= 3, waited


async def test_a_name_in_an_address_is_not_a_share(lab: Lab) -> None:
    victim = await lab.enrol("35.71")
    gate = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield b"\x28"
        await gate.wait()

    strangers = [asyncio.create_task(put(lab, victim, 1, stalled(), {})) for _ in range(60)]
    await asyncio.sleep(0.3)
    change_set = victim.cut(3)
    async with asyncio.timeout(20):
        answer = await put(lab, victim, 1, body_of(change_set), pass_of(lab, victim))
    assert answer.status == 201
    gate.set()
    await asyncio.gather(*strangers, return_exceptions=True)


@pytest.mark.slow
async def test_slow_strangers_give_way_to_one_that_waits(tmp_path: Path) -> None:
    async with running_hub(tmp_path, projector=False, requests_max=4) as lab:
        agencies = [await lab.enrol(f"33.{number}") for number in range(10, 16)]
        gate = asyncio.Event()

        async def trickling() -> AsyncIterator[bytes]:
            while not gate.is_set():
                yield b"\x28"
                await asyncio.sleep(0.02)

        slow = [asyncio.create_task(put(lab, agency, 1, trickling(), {})) for agency in agencies[:5]]
        await asyncio.sleep(0.3)
        async with asyncio.timeout(60):
            answer = await agencies[5].push(agencies[5].cut(1))
        assert answer.status == 201
        gate.set()
        await asyncio.gather(*slow, return_exceptions=True)


async def test_a_line_that_broke_unnoticed_does_not_keep_its_own_agency_out(lab: Lab) -> None:
    agency, other = await lab.enrol("33.75"), await lab.enrol("35.71")
    await other.push_new(1)
    gate = asyncio.Event()
    body = body_of(agency.cut(3))

    async def broken() -> AsyncIterator[bytes]:
        yield body[:100]
        await gate.wait()

    lost = asyncio.create_task(put(lab, agency, 1, broken(), pass_of(lab, agency)))
    await asyncio.sleep(0.2)
    async with asyncio.timeout(30):
        assert (await put(lab, agency, 1, body, pass_of(lab, agency))).status == 201
    gate.set()
    await asyncio.gather(lost, return_exceptions=True)


async def test_a_pass_comes_with_what_proves_an_agency_and_with_nothing_else(lab: Lab) -> None:
    agency, other = await lab.enrol("33.75"), await lab.enrol("35.71")
    change_set = agency.cut(1)
    pushed = await agency.push(change_set)
    repeated = await agency.push(change_set)
    asked = await read(lab, agency.signer, "/v1/agencies/33.75/head")
    assert ADMISSION_HEADER not in repeated.headers  # a published set is anybody's to repeat
    passes = Passes(lab.hub.speaking(Role.LOG), lab.clock)
    for given in (pushed.headers[ADMISSION_HEADER], asked.headers[ADMISSION_HEADER]):
        assert passes.holds(given, agency.code)
        assert not passes.holds(given, other.code)
        assert not passes.holds(given[:-1] + ("A" if given[-1] != "A" else "B"), agency.code)
    lab.clock.at_ms += 25 * 3600 * 1000
    assert not passes.holds(pushed.headers[ADMISSION_HEADER], agency.code)


@pytest.mark.parametrize("text", ["", ".", "1.", "9" * 200, "99999999999.x", "é", "-1.x", "٣.x"])
async def test_whoever_shows_a_bad_pass_is_a_stranger_and_nothing_worse(lab: Lab, text: str) -> None:
    agency = await lab.enrol("33.75")
    assert not Passes(lab.hub.speaking(Role.LOG), lab.clock).holds(text, agency.code)


async def test_whoever_waits_for_100_continue_is_asked_for_its_body_when_its_turn_has_come(lab: Lab) -> None:
    agency = await lab.enrol("33.75")
    change_set = agency.cut(3)
    host, port = lab.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = body_of(change_set)
    head = (
        "PUT /v1/agencies/33.75/change-sets/1 HTTP/1.1\r\nHost: x\r\nContent-Encoding: zstd\r\n"
        f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    )
    writer.write(head.encode())
    assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"
    assert await reader.readline() == b"\r\n"
    writer.write(body)
    assert b" 201 " in await reader.readline()
    writer.close()


async def test_of_a_long_repeat_of_what_is_held_nothing_is_kept_in_memory(lab: Lab) -> None:
    agency = await lab.enrol("33.75")
    change_set = agency.cut(2)
    assert (await agency.push(change_set)).status == 201
    claimed: list[float] = []

    async def long() -> AsyncIterator[bytes]:
        yield body_of(change_set)
        for _ in range(6):
            yield bytes(2 * MIB)
            claimed.append(await figure(lab, "simpul_hub_body_bytes"))

    answer = await agency.send(long(), 1)
    assert answer.status == 200
    assert 0 < max(claimed) <= 2 * FIRST_BYTES


async def test_a_long_body_is_counted_whole_once_its_manifest_is_known(lab: Lab) -> None:
    agency = await lab.enrol("33.75")
    body = agency.cut(1).text
    claimed: list[float] = []

    async def long() -> AsyncIterator[bytes]:
        yield body
        yield bytes(2 * MIB)
        for _ in range(500):  # until the hub has read so far
            claimed.append(await figure(lab, "simpul_hub_body_bytes"))
            if claimed[-1] > 2 * FIRST_BYTES:
                break
            await asyncio.sleep(0.01)
        yield bytes(2 * MIB)

    answer = await agency.send(long(), 1, encoding=None)
    assert (answer.status, answer.kind) == (422, "malformed")
    assert max(claimed) == 2 * WIRE_MAX_BYTES  # its length was not told


async def test_the_figures_tell_who_was_turned_away_and_why(lab: Lab) -> None:
    agency, other = await lab.enrol("33.75"), await lab.enrol("35.71")
    await other.push_new(1)
    body = body_of(agency.cut(CHANGES))
    answers = await asyncio.gather(*(put(lab, agency, 1, body, pass_of(lab, agency)) for _ in range(40)))
    away = [answer for answer in answers if answer.status == 503]
    assert away
    assert all(1 <= int(answer.headers["Retry-After"]) <= 60 for answer in away)
    assert await figure(lab, 'simpul_hub_turned_away_total{reason="share"}') == len(away)
    assert await figure(lab, "simpul_hub_admitted") == await figure(lab, "simpul_hub_in_line") == 0
    assert await figure(lab, "simpul_hub_body_bytes") == 0


def client_of(lab: Lab, agency: Agency, seed: int) -> HubClient:
    """The node's own way to the hub."""
    transport = Transport(lab.url, clock=lab.clock, randomness=LabRandomness(seed))
    return HubClient(transport, agency.code, lambda: agency.signer)


async def figure(lab: Lab, name: str) -> float:
    """One line of the hub's figures."""
    text = (await lab.call("GET", "/metrics")).body.decode()
    return next(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name + " "))


async def test_a_herd_larger_than_the_hub_gets_through_by_doing_as_it_is_told(tmp_path: Path) -> None:
    async with running_hub(tmp_path, projector=False, requests_max=4, waiting_max=8) as lab:
        agencies = [await lab.enrol(f"33.{number}") for number in range(10, 50)]
        bodies = [body_of(agency.cut(CHANGES)) for agency in agencies]
        clients = [client_of(lab, agency, place) for place, agency in enumerate(agencies)]
        done: list[float] = []

        async def push(client: HubClient, body: bytes) -> None:
            while True:
                try:
                    await client.push(1, body, 0)
                except Busy as busy:
                    await asyncio.sleep(spread_s(busy.retry_after_s or 1, lab.randomness.fraction()))
                else:
                    done.append(asyncio.get_running_loop().time())
                    return

        try:
            async with asyncio.timeout(60):
                await asyncio.gather(*(push(client, body) for client, body in zip(clients, bodies, strict=True)))
        finally:
            for client in clients:
                await client.close()
        assert len(done) == len(agencies)
        turned_away = await figure(lab, 'simpul_hub_turned_away_total{reason="line"}')
        assert 0 < turned_away < 4 * len(agencies)
