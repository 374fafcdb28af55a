"""Connections that ask for nothing are ended, and those that work are not (node/connections.py)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import web

from node.connections import LOOK_EVERY_S, Connections
from node.hub.admission import ALONE_MAX, IN_LINE_MAX
from tests.edge.hub_lab import Lab, running_hub

MOST = 20
ASKS = b"GET /v1/hub HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with running_hub(tmp_path, projector=False, connections_max=MOST) as running:
        yield running


async def connect(lab: Lab, head: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = lab.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head)
    return reader, writer


async def ended(streams: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> int:
    """How many of these the hub has ended."""
    count = 0
    for reader, _ in streams:
        try:
            async with asyncio.timeout(0.01):
                count += await reader.read(1) == b""
        except ConnectionError:
            count += 1
        except TimeoutError:
            pass
    return count


async def test_slow_heads_beyond_the_limit_are_ended_and_nodes_go_on(lab: Lab) -> None:
    agency = await lab.enrol("33.75")
    slow = [await connect(lab, b"GET /v1/hub HTTP/1.1\r\nX-Slow: a") for _ in range(3 * MOST)]
    async with asyncio.timeout(30):
        while await ended(slow) < 2 * MOST:  # noqa: ASYNC110 - another task's work
            await asyncio.sleep(0.1)
    for _ in range(5):
        await agency.push_new(1)
    for _, writer in slow:
        writer.transport.abort()


async def test_a_body_that_is_on_its_way_outlives_a_flood_of_connections(lab: Lab) -> None:
    agency = await lab.enrol("33.75")
    body = agency.cut(3).text

    async def slowly() -> AsyncIterator[bytes]:
        yield body[:50]
        await asyncio.sleep(2)
        yield body[50:]

    push = asyncio.create_task(agency.send(slowly(), 1, encoding=None))
    await asyncio.sleep(0.1)
    silent = [await connect(lab, b"") for _ in range(3 * MOST)]
    assert (await push).status == 201
    for _, writer in silent:
        writer.transport.abort()


async def first_byte(reader: asyncio.StreamReader) -> bytes:
    """Of an answer; nothing where the hub has ended the connection."""
    try:
        async with asyncio.timeout(20):
            return await reader.read(1)
    except ConnectionError:
        return b""


async def slow_newcomer(lab: Lab) -> bytes:
    """What somebody gets that has only just come, on a line on which a head takes longer than two looks."""
    reader, writer = await connect(lab, b"GET /v1/hub HTTP/1.1\r\n")
    await asyncio.sleep(2.5 * LOOK_EVERY_S)
    with suppress(ConnectionError):
        writer.write(b"Host: x\r\n\r\n")
    got = await first_byte(reader)
    writer.transport.abort()
    return got


async def begin_bodies(lab: Lab, count: int) -> list[asyncio.StreamWriter]:
    """So many requests whose bodies do not come."""
    head = b"PUT /v1/agencies/33.75/change-sets/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n"
    return [(await connect(lab, head))[1] for _ in range(count)]


async def until_at_work(lab: Lab, admitted: int, waiting: int) -> None:
    wanted = f"simpul_hub_admitted {admitted}.0\n", f"simpul_hub_in_line {waiting}.0\n"
    async with asyncio.timeout(20):
        while True:
            said = (await lab.call("GET", "/metrics")).body.decode()
            if all(line in said for line in wanted):
                return
            await asyncio.sleep(0.02)


def abort(writers: Iterable[asyncio.StreamWriter]) -> None:
    for writer in writers:
        writer.transport.abort()


async def test_requests_that_fill_the_limit_do_not_keep_newcomers_out_nor_do_those_who_died_in_line(lab: Lab) -> None:
    busy = await begin_bodies(lab, ALONE_MAX + IN_LINE_MAX)
    assert len(busy) > MOST
    try:
        await until_at_work(lab, ALONE_MAX, IN_LINE_MAX)
        assert await slow_newcomer(lab) == b"H"
        abort(busy[ALONE_MAX:])
        assert await slow_newcomer(lab) == b"H"
    finally:
        abort(busy)
        await until_at_work(lab, 0, 0)


async def test_connections_that_asked_once_and_stay_do_not_keep_newcomers_out(lab: Lab) -> None:
    stay = [await connect(lab, ASKS) for _ in range(MOST)]
    try:
        assert {await first_byte(reader) for reader, _ in stay} == {b"H"}
        assert await slow_newcomer(lab) == b"H"
    finally:
        abort(writer for _, writer in stay)


async def test_requests_that_work_on_for_callers_who_are_gone_take_nobodys_place() -> None:
    connections, goes_on = Connections(2), asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.Response:
        connections.begin(request.protocol)
        if request.path == "/work":
            await goes_on.wait()
        connections.end(request.protocol)
        return web.Response()

    server = web.Server(handler)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    host, port = listener.sockets[0].getsockname()
    for path in ("/work", "/work", "/work", "/"):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        if path == "/work":
            await until(lambda: server.requests_count == len(server.connections))
            writer.transport.abort()
    assert await first_byte(reader) == b"H"
    await until(lambda: sum(known.transport is None for known in server.connections) == 3)
    connections.look(server.connections, asyncio.get_running_loop().time())
    assert (connections.count, connections.ended) == (1, 0)
    goes_on.set()
    writer.transport.abort()
    await until(lambda: not server.connections)
    listener.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - another task's work
            await asyncio.sleep(0.01)


async def test_heads_of_more_than_a_few_kilobytes_are_refused(lab: Lab) -> None:
    for headers in ({"X-Long": "a" * 5_000}, {f"X-{number}": "a" for number in range(60)}):
        assert (await lab.call("GET", "/v1/hub", headers=headers)).status == 400
