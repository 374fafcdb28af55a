"""A local node on a real SQLite file, against a hub in memory: for the tests of the pusher."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from keys.key_directory import KeyDirectory
from node.local.enrolment import enrol_node
from node.local.lease import DirectoryLease
from node.local.pusher import Pusher
from node.local.recording import Command, Minting, Recorded
from node.local.service import LocalService
from node.local.signing import DirectoryKeys
from node.store.local_store import SqlLocalStore, open_local_store
from sync_protocol.outbox import Halted, Idle, Step, Wait
from sync_protocol.values import AgencyId, format_timestamp
from tests.fakes.fake_hub import AT_MS, FakeHub, FakeLink, FaultHook

AGENCY = AgencyId("33.75")


@dataclass
class StandingClock:
    """Time passes only when it is told to, or slept away; then at once."""

    at_ms: int = AT_MS

    def now_ms(self) -> int:
        return self.at_ms

    def monotonic_s(self) -> float:
        return self.at_ms / 1000

    async def sleep(self, seconds: float) -> None:
        self.at_ms += int(seconds * 1000) + 1
        await asyncio.sleep(0)


@dataclass
class SeededRandomness:
    seed: int = 1
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)

    def fraction(self) -> float:
        return self._random.random()


@dataclass
class Node:
    """One copy of a node: its directory, and a process working in it."""

    directory: Path
    hub: FakeHub
    store: SqlLocalStore
    keys: DirectoryKeys
    clock: StandingClock
    randomness: SeededRandomness
    link: FakeLink
    service: LocalService
    pusher: Pusher

    async def received(self, **more: object) -> Recorded:
        """A new complaint."""
        data = {"channel": "web", "visibility": "public", "received_at": format_timestamp(self.clock.now_ms())}
        command = Command("received", {**data, **more}, {"text": "Lampu jalan padam."}, role="reporter")
        return (await self.service.record(command)).recorded

    async def change(self, complaint: str, type_: str, data: Mapping[str, object] | None = None) -> Recorded:
        """A change to it, with words."""
        command = Command(type_, data or {}, {"note": "catatan"}, complaint=complaint)
        return (await self.service.record(command)).recorded

    async def work(self, steps_max: int = 60) -> list[Step]:
        """Steps until there is nothing to do but wait."""
        steps: list[Step] = []
        for _ in range(steps_max):
            steps.append(await self.pusher.step())
            if isinstance(steps[-1], (Idle, Halted, Wait)):
                return steps
        raise AssertionError(f"no end of work: {steps[-5:]}")

    async def settle(self) -> Step:
        """Works and lets time pass until the node is idle or halted."""
        for _ in range(60):
            last = (await self.work())[-1]
            if not isinstance(last, Wait):
                return last
            self.clock.at_ms = max(self.clock.at_ms, last.until_ms)
        raise AssertionError("never settled")

    def lines(self) -> list[bytes]:
        """The change lines that the hub holds of this agency, in order."""
        sets = sorted((seq, stored) for (code, seq), stored in self.hub.sets.items() if code == AGENCY)
        return [line for _, stored in sets for line in stored.change_set.change_block.splitlines()]


@asynccontextmanager
async def running_node(
    directory: Path,
    hub: FakeHub,
    *,
    clock: StandingClock | None = None,
    seed: int = 1,
    fault: FaultHook = lambda _: None,
    target_changes: int = 1000,
) -> AsyncIterator[Node]:
    """A process on `directory`, enrolled if it was not. Entering twice is two processes on one directory."""
    clock, randomness = clock or StandingClock(), SeededRandomness(seed)
    await asyncio.to_thread(directory.mkdir, exist_ok=True)
    store = await open_local_store(directory / "local.db", create=True)
    lease = DirectoryLease(directory)
    try:
        key_directory = KeyDirectory(directory / "keys")
        link = FakeLink(hub, AGENCY)
        if await store.identity() is None:
            options = {"agency": AGENCY, "vkey": hub.vkey, "token": "token"}
            await enrol_node(store, link, key_directory, clock, randomness, **options)  # type: ignore[arg-type]
        link.fault = fault
        keys = DirectoryKeys(key_directory)
        pusher = Pusher(store, link, keys, clock, randomness, lease, agency=AGENCY, target_changes=target_changes)
        async with LocalService(store, Minting(AGENCY, "PKL", clock, randomness), on_recorded=pusher.wake) as service:
            yield Node(directory, hub, store, keys, clock, randomness, link, service, pusher)
    finally:
        lease.leave()
        await store.close()


def copy_of(directory: Path, copy: Path) -> Path:
    """A backup, or a clone: of a directory in which no process works."""
    shutil.copytree(directory, copy)
    return copy
