"""The link of the demonstration carries bytes both ways, and nothing while it is cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from urllib.parse import urlsplit

import pytest

from node.cli.demo_link import CuttableLink


@pytest.fixture
async def echo_port() -> AsyncIterator[int]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(1000):
            writer.write(piece.upper())
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


async def say(port: int, words: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(words)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


async def test_a_cut_link_carries_nothing_and_a_healed_one_carries_again(echo_port: int) -> None:
    link = CuttableLink("127.0.0.1", echo_port)
    port = urlsplit(await link.open()).port
    assert port is not None
    assert await say(port, b"satu" * 50_000) == b"SATU" * 50_000
    link.cut()
    try:
        answer = await say(port, b"dua")
    except ConnectionError:
        answer = b""
    assert answer == b""
    assert link.refused == 1
    link.heal()
    assert await say(port, b"tiga") == b"TIGA"
    await link.close()


async def test_a_cut_tears_down_what_is_being_said(echo_port: int) -> None:
    link = CuttableLink("127.0.0.1", echo_port)
    port = urlsplit(await link.open()).port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"satu")
    assert await reader.readexactly(4) == b"SATU"
    link.cut()
    with suppress(ConnectionError):
        assert await reader.read() == b""
    writer.close()
    await link.close()
