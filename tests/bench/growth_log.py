"""A hub's log made to grow, and what the hub can do at a given size (docs/performance.md).

Growing skips nothing: the sets are signed ahead by agencies that were enrolled, and go over HTTP through the hub's own
intake, appender, store and projector. Only the local nodes are left out (`make bench-national` has those).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import asyncpg

from node.hub.hub import Hub
from node.wiring import hub as hub_wiring
from sync_protocol.merkle import consistency_proof, inclusion_proof
from sync_protocol.tiles import TILE_WIDTH, TileReader, TileRef, TileTree
from sync_protocol.wire import CHANGE_SET_MEDIA_TYPE
from tests.bench.growth_signers import Bodies, Signers
from tests.bench.national_hub import NationalHub
from tests.bench.national_measures import percentile
from tests.postgres import driver_dsn

CHANGES_A_SET = 1_000
WRITERS = 16  # agencies that make the log grow; the others are heard once
CONNECTIONS = 64
SETS_A_ROUND = 4  # for each agency while the log is made to grow
SETS_MEASURED = 2  # for each agency in a measured round
SINGLES = 100
READS = 100
BUSY_PAUSE_S = 0.05
_HEADERS = {"Content-Type": CHANGE_SET_MEDIA_TYPE, "Content-Encoding": "zstd"}


async def hear_all(hub: NationalHub, signers: Signers) -> int:
    """One change of every agency, so that each has a head; how many it were."""
    await hub.start()
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:
            await _push_all(session, hub.url, await signers.sign(1, 1, signers.agencies))
    finally:
        await hub.stop()
    return len(signers.agencies)


async def grow(hub: NationalHub, signers: Signers, changes: int, said: Callable[[int], None]) -> int:
    """At least so many more changes in the log, all projected; how many it were. The next round is signed meanwhile."""
    grown = 0
    await hub.start()
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:
            ahead = asyncio.create_task(_round(signers, SETS_A_ROUND))
            while grown < changes:
                bodies = await ahead
                grown += sum(map(len, bodies.values())) * CHANGES_A_SET
                if grown < changes:
                    ahead = asyncio.create_task(_round(signers, SETS_A_ROUND))
                await _push_all(session, hub.url, bodies)
                said(grown)
            health = {"size": 1, "projected_to": 0}
            while health["projected_to"] < health["size"]:
                async with session.get(f"{hub.url}/healthz") as response:
                    health = await response.json()
                await asyncio.sleep(BUSY_PAUSE_S)
    finally:
        await hub.stop()
    return grown


async def _round(signers: Signers, sets: int) -> Bodies:
    return await signers.sign(sets, CHANGES_A_SET, signers.agencies[:WRITERS])


async def measure_serving(hub: NationalHub, signers: Signers, rounds: int) -> dict[str, Any]:
    """Over HTTP, the projector paused: acceptance in sets of 1,000, single changes one by one, and public reads."""
    await hub.start(SIMPUL_PROJECTOR="false")
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:
            rates = []
            for number in range(rounds + 1):
                bodies = await _round(signers, SETS_MEASURED)
                begun = time.perf_counter()
                await _push_all(session, hub.url, bodies)
                seconds = time.perf_counter() - begun
                if number:  # the first warms up
                    rates.append(sum(map(len, bodies.values())) * CHANGES_A_SET / seconds)
            first = signers.agencies[0]
            singles = (await signers.sign(SINGLES, 1, [first]))[first]
            latencies = [await _timed(_push(session, hub.url, first, [each])) for each in singles]
            reads = await _reads(session, hub.url)
        changes = (rounds + 1) * SETS_MEASURED * WRITERS * CHANGES_A_SET + SINGLES
        found = {"accepted_per_s": median(rates), "single_ms": _spread(latencies), **reads}
        return {**found, "rounds_per_s": rates, "backlog": changes, "hub_peak_mib": hub.peak_mib()}
    finally:
        await hub.stop()


async def _push_all(session: aiohttp.ClientSession, url: str, bodies: Bodies) -> None:
    await asyncio.gather(*(_push(session, url, agency, sets) for agency, sets in bodies.items()))


async def _push(session: aiohttp.ClientSession, url: str, agency: str, sets: Sequence[tuple[int, bytes]]) -> None:
    for seq, body in sets:
        address = f"{url}/v1/agencies/{agency}/change-sets/{seq}?from=1"
        while True:
            async with session.put(address, data=body, headers=_HEADERS) as response:
                words = await response.text()
                if response.status == 201:
                    break
                assert response.status in (429, 503), words
                await asyncio.sleep(BUSY_PAUSE_S)


async def _reads(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    """Checkpoint, full tiles of hashes and entries, consistency proofs, at places all over the log; p50 in ms."""

    async def get(path: str) -> None:
        async with session.get(url + path) as response:
            assert response.status == 200, await response.text()
            await response.read()

    async with session.get(f"{url}/healthz") as response:
        size = (await response.json())["size"]
    chance = random.Random(size)
    tiles = max(1, size // TILE_WIDTH)
    paths: dict[str, Callable[[], str]] = {
        "checkpoint_ms": lambda: "/checkpoint",
        "hash_tile_ms": lambda: f"/{TileRef(0, chance.randrange(tiles), min(size, TILE_WIDTH)).path}",
        "entry_tile_ms": lambda: f"/{TileRef(None, chance.randrange(tiles), min(size, TILE_WIDTH)).path}",
        "consistency_http_ms": lambda: f"/v1/consistency?from={chance.randrange(1, size)}&to={size}",
    }
    found = {}
    for name, path in paths.items():
        found[name] = median([await _timed(get(path())) for _ in range(READS)]) * 1000
    return {"leaves": size, **found}


async def measure_opened(directory: Path, backlog: int) -> dict[str, Any]:
    """Within this process: projecting what was only accepted, opening, `hub status`, receipts and proofs."""
    begun = time.perf_counter()
    async with hub_wiring.opened(directory) as hub:
        opened_s = time.perf_counter() - begun
        begun = time.perf_counter()
        async with hub.projector.settled():
            projected_per_s = backlog / (time.perf_counter() - begun)
        status = [await _timed(hub.status()) for _ in range(7)]
        return {
            "projected_per_s": projected_per_s,
            "open_ms": opened_s * 1000,
            "status_ms": median(status[1:]) * 1000,
            **await _proofs(hub),
        }


async def _proofs(hub: Hub) -> dict[str, Any]:
    """Receipts and consistency proofs at random places: time, hashes in them, tiles read. All grow with log n."""
    chance = random.Random(hub.log.size)
    size, published = hub.log.size, hub.log.published
    places = [chance.randrange(1, size) for _ in range(READS)]
    receipts = [await _timed(hub.log.receipt(place, published)) for place in places]
    consistency = [await _timed(hub.log.consistency(place, size)) for place in places]
    hashes, tiles = [], []
    for place in places:
        for prove in (inclusion_proof, consistency_proof):
            read: set[tuple[int, int]] = set()
            proof = await hub.log.tiles.compute(lambda tile, p=place, r=read, f=prove: _proof(f, p, size, tile, r))  # type: ignore[misc]
            hashes.append(len(proof))
            tiles.append(len(read))
    return {
        "receipt_ms": _spread(receipts),
        "consistency_ms": _spread(consistency),
        "proof_hashes_max": max(hashes),
        "proof_tiles_max": max(tiles),
    }


def _proof(
    prove: Callable[..., list[bytes]], place: int, size: int, read: TileReader, seen: set[tuple[int, int]]
) -> list[bytes]:
    def noting(level: int, number: int) -> bytes:
        seen.add((level, number))
        return read(level, number)

    return prove(place, size, TileTree(size, noting).node)


async def disk_bytes(directory: Path, database_url: str | None) -> int:
    """What log and projection take on the disk, the hub being stopped; in PostgreSQL without its write-ahead log."""
    if database_url is None:
        return await asyncio.to_thread(lambda: sum(path.stat().st_size for path in directory.glob("*.db*")))
    connection = await asyncpg.connect(_dsn(database_url))
    try:
        return int(await connection.fetchval("SELECT pg_database_size(current_database())"))
    finally:
        await connection.close()


def _dsn(url: str) -> str:
    from sqlalchemy.engine import make_url

    return driver_dsn(make_url(url))


async def _timed(work: Awaitable[object]) -> float:
    begun = time.perf_counter()
    await work
    return time.perf_counter() - begun


def _spread(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {"p50": percentile(ordered, 0.5) * 1000, "p99": percentile(ordered, 0.99) * 1000}
