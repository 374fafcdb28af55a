"""A hub process keeps within the memory that its settings give it, whatever arrives; and who floods pays for it."""

from __future__ import annotations

import asyncio
import resource
import secrets
from collections.abc import Awaitable, Iterator
from io import BytesIO
from pathlib import Path

import aiohttp
import pytest

from sync_protocol.change_set import ChangeSet
from sync_protocol.compression import compress_part, zstd
from sync_protocol.limits import SET_MAX_BYTES
from tests.edge.outsider import Outsider
from tests.edge.whole_way import HubDirectory, serving_hub

MIB = 1024 * 1024
BODIES_MIB = 64
THREADS = 2
THREAD_MIB = 75  # the largest set with its lines, while it is read
OTHERS_MIB = 40  # connections, requests, and what the allocator keeps (node/memory.py)
BOUND_MIB = BODIES_MIB + THREADS * THREAD_MIB + OTHERS_MIB
AGENCIES = ("33.75", "35.71", "31.71")


@pytest.fixture(autouse=True)
def _many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4_096, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubDirectory]:
    limits = {"SIMPUL_BODIES_MAX_MIB": str(BODIES_MIB), "SIMPUL_VERIFY_THREADS": str(THREADS)}
    with serving_hub(tmp_path, **limits, SIMPUL_CONNECTIONS_MAX="600", SIMPUL_LOG_LEVEL="warning") as serving:
        yield serving


def cut(outsider: Outsider) -> ChangeSet:
    return outsider.cut([outsider.received(outsider.complaint())])


def largest(outsider: Outsider) -> bytes:
    """A signed set with as much behind its manifest as a body may hold, incompressible."""
    change_set = cut(outsider)
    rest = SET_MAX_BYTES - len(change_set.head) - MIB
    return compress_part(change_set.head) + compress_part(secrets.token_bytes(rest))


def bomb(change_set: ChangeSet) -> bytes:
    compressor = zstd.ZstdCompressor()
    blown = compressor.compress(b"A" * (SET_MAX_BYTES - len(change_set.head))) + compressor.flush()
    return compress_part(change_set.head) + blown


async def put(session: aiohttp.ClientSession, hub: HubDirectory, agency: str, body: bytes) -> int:
    headers = {"Content-Encoding": "zstd"}
    address = f"{hub.url}/v1/agencies/{agency}/change-sets/1"
    try:
        async with session.put(address, data=BytesIO(body), headers=headers) as response:
            await response.read()
            return response.status
    except aiohttp.ClientError:
        return 0  # refused, and the connection ended while we were still sending


async def all_at_once(hub: HubDirectory, bodies: list[tuple[str, bytes]]) -> dict[int, int]:
    timeout = aiohttp.ClientTimeout(total=100)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        calls: list[Awaitable[int]] = [put(session, hub, agency, body) for agency, body in bodies]
        statuses = await asyncio.gather(*calls)
    return {status: statuses.count(status) for status in set(statuses)}


async def open_and_wait(hub: HubDirectory, count: int, head: bytes) -> list[asyncio.StreamWriter]:
    host, port = hub.url.removeprefix("http://").split(":")
    writers = []
    for _ in range(count):
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(head)
        writers.append(writer)
    await asyncio.sleep(1.5)
    return writers


async def push_patiently(outsider: Outsider) -> int:
    """As a node does: while the hub says that it is busy with those before, the same set again. It is never cut off."""
    change_set = cut(outsider)
    async with asyncio.timeout(10):
        while (said := await asyncio.to_thread(outsider.push, change_set)).status == 503:  # noqa: ASYNC110 - the hub's work
            await asyncio.sleep(0.2)
    return said.status


@pytest.mark.slow
async def test_the_largest_bodies_bombs_and_connections_by_the_thousand_stay_within_the_bound(
    hub: HubDirectory,
) -> None:
    assert hub.server is not None
    signers = [Outsider.enrol(hub, agency) for agency in AGENCIES]
    before = hub.server.peak_mib

    signed = [(str(one.agency), largest(one)) for one in signers]
    got = await all_at_once(hub, [body for body in signed for _ in range(8)])
    assert got.keys() <= {0, 422, 503}
    assert got.get(422) or got.get(0)

    bombs = [(str(one.agency), bomb(cut(one))) for one in signers]
    got = await all_at_once(hub, [body for body in bombs for _ in range(20)])
    assert got.keys() <= {422, 503}
    assert got[422]

    noise = secrets.token_bytes(8 * MIB)
    got = await all_at_once(hub, [(AGENCIES[number % 3], noise) for number in range(60)])
    assert got.keys() <= {0, 422, 503}

    slow = (
        b"PUT /v1/agencies/33.75/change-sets/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n" + noise[:65_536]
    )
    writers = await open_and_wait(hub, 700, slow)
    writers += await open_and_wait(hub, 1_300, b"GET /v1/hub HTTP/1.1\r\nX-Slow: " + b"a" * 2_000)
    assert hub.server.peak_mib - before < BOUND_MIB, (before, hub.server.peak_mib)

    for writer in writers:
        writer.transport.abort()
    assert await push_patiently(signers[1]) == 201
