"""Connections that ask for nothing are ended, and those that work are not (node/connections.py)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.edge.hub_lab import Lab, running_hub

MOST = 20


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


async def test_heads_of_more_than_a_few_kilobytes_are_refused(lab: Lab) -> None:
    for headers in ({"X-Long": "a" * 5_000}, {f"X-{number}": "a" for number in range(60)}):
        assert (await lab.call("GET", "/v1/hub", headers=headers)).status == 400
