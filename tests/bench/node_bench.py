"""A local node's own work: complaints recorded durably by many callers, and sets cut, signed, compressed and stored."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from keys.signer import Ed25519Signer
from node.local.cutting import Place, cut_set
from node.local.recording import Command, Minting
from node.local.service import LocalService
from node.store.local_records import NodeIdentity, Seen
from node.store.local_store import SqlLocalStore, open_local_store
from node.system import SystemClock, SystemRandomness
from sync_protocol.errors import Refused
from sync_protocol.merkle import EMPTY_ROOT
from sync_protocol.values import AgencyId, Digest
from tests.bench.load import CATEGORIES, CLASSES, WORDS

AGENCY = AgencyId("33.75")
CALLERS = 32
CHANGES_A_SET = 1_000


@dataclass
class NodeFigures:
    """Medians over the rounds, a second."""

    recorded_per_s: float
    cut_per_s: float


@asynccontextmanager
async def _node() -> AsyncIterator[tuple[SqlLocalStore, LocalService]]:
    """An enrolled node's store and service in a fresh directory on disk."""
    with tempfile.TemporaryDirectory(prefix="simpul-bench-") as folder:
        store = await open_local_store(Path(folder) / "node.db", create=True)
        identity = NodeIdentity(AGENCY, "bench.example/log", "", Digest(bytes(32)), 0)
        await store.enrol(identity, [], Seen(0, Digest(EMPTY_ROOT), bytes(64), b""))
        clock, randomness = SystemClock(), SystemRandomness()
        try:
            async with LocalService(store, Minting(AGENCY, "3375", clock, randomness)) as service:
                yield store, service
        finally:
            await store.close()


def _command(number: int, chance: random.Random) -> Command:
    data = {
        "category": CATEGORIES[number % 8],
        "channel": "web",
        "class": CLASSES[number % 4],
        "received_at": "2026-07-01T03:00:00.000Z",
        "visibility": "anonymous",
    }
    content = {"title": f"Laporan {number}", "text": " ".join(chance.choices(WORDS, k=46)), "place": "Jalan Merdeka"}
    return Command("received", data=data, content=content, unit=str(131393 + number % 40))


async def bench_recording(*, rounds: int, complaints: int) -> float:
    """32 callers, each with one complaint at a time; every answer comes after its commit. Complaints a second."""
    async with _node() as (_, service):
        rates = []
        for number in range(rounds + 1):
            chance = random.Random(number)
            commands = [_command(position, chance) for position in range(complaints)]
            begun = time.perf_counter()

            async def call(mine: list[Command]) -> None:
                for command in mine:
                    await service.record(command)

            await asyncio.gather(*(call(commands[caller::CALLERS]) for caller in range(CALLERS)))
            if number:
                rates.append(complaints / (time.perf_counter() - begun))
        return median(rates)


async def bench_cutting(*, rounds: int, sets: int) -> float:
    """Unsent changes cut into sets of 1,000: read, hashed, signed, compressed, stored durably. Changes a second."""
    signer = Ed25519Signer.from_seed(bytes(range(32)))
    async with _node() as (store, service):
        rates = []
        seq = 0
        for number in range(rounds + 1):
            chance = random.Random(number)
            for _ in range(sets * 4):
                outcomes = await service.record_all([_command(position, chance) for position in range(250)])
                assert not any(isinstance(outcome, Refused) for outcome in outcomes)
            begun = time.perf_counter()
            for _ in range(sets):
                seq += 1
                place = Place(AGENCY, 1, seq)
                assert await cut_set(store, signer, place, seq, unsent=CHANGES_A_SET, target_changes=CHANGES_A_SET)
            if number:
                rates.append(sets * CHANGES_A_SET / (time.perf_counter() - begun))
        return median(rates)


async def bench_node(*, rounds: int, complaints: int, sets: int) -> NodeFigures:
    """Both."""
    recorded = await bench_recording(rounds=rounds, complaints=complaints)
    return NodeFigures(recorded, await bench_cutting(rounds=rounds, sets=sets))
