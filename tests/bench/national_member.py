"""One local node of the national bench: the program's own service, pusher, link, keys and database, with a stopwatch.

The stopwatch sits at the store: a set is cut, its receipt is durable. Everything else is node/wiring/local.py's.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from sqlalchemy.ext.asyncio import AsyncEngine

from node.local.inbox import WAIT_MAX_S
from node.local.pusher import Pusher
from node.local.recording import Command, Outcome
from node.local.service import LocalService
from node.settings import NodeSettings
from node.settings_file import load_settings
from node.store.local_records import Acknowledgement, Cuttable, Outgoing, SignedSet, Signing
from node.store.local_store import SqlLocalStore
from node.wiring.local import NodeParts
from sync_protocol.backoff import Schedule
from sync_protocol.errors import Refused
from sync_protocol.outbox import OutboxView

STOP_S = 5.0


class TimedStore(SqlLocalStore):
    """Notes for each receipt when it was durable, and which changes it covers."""

    def __init__(self, writer: AsyncEngine, readers: AsyncEngine) -> None:
        super().__init__(writer, readers)
        self.last_no = 0  # the newest change that has a receipt
        self.receipts: list[tuple[float, int, int]] = []  # (when, up to which change, log index)
        self.moved = asyncio.Event()
        self._last_nos: dict[int, int] = {}

    async def cut(
        self, sign: Signing, limit: int, attempt: Schedule | None = None, *, few: bool = False
    ) -> Outgoing | None:
        def noting(held: Cuttable) -> tuple[SignedSet, int] | None:
            found = sign(held)
            if found is not None:
                self._last_nos[found[0].seq] = found[1]
            return found

        return await super().cut(noting, limit, attempt, few=few)

    async def acknowledge(self, receipt: Acknowledgement, schedule: Schedule) -> OutboxView | None:
        after = await super().acknowledge(receipt, schedule)
        if after is not None:
            self.last_no = self._last_nos.pop(receipt.seq)
            self.receipts.append((time.monotonic(), self.last_no, receipt.index))
            self.moved.set()
        return after


class Member:
    """A running node. Made by `open`; `close` ends it."""

    def __init__(self, parts: NodeParts, store: TimedStore) -> None:
        self.parts = parts
        self.store = store
        self.link = parts.link()
        self.pusher: Pusher = parts.pusher(self.link)
        self.service: LocalService = parts.service(self.pusher.wake)
        self.recorded = self.complaints = self.refused = self.sets = 0
        self.commits: list[float] = []
        self._stop = asyncio.Event()
        self._pushing: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, directory: Path) -> Self:
        """As `simpul node serve` does, without the intake's HTTP."""
        settings = load_settings(directory, NodeSettings)
        store = await TimedStore.open(settings.database)
        member = cls(NodeParts(settings, store), store)
        await member.service.__aenter__()
        member._pushing = asyncio.create_task(member.pusher.run(member._stop))
        return member

    async def wait_for_the_hub(self) -> None:
        """From now on it waits for what the hub tells, as after some minutes of rest; the nodes' turns are spread."""
        inbox = self.parts.inbox(self.link)
        await inbox.round(0)

        async def wait() -> None:
            wait_s = random.random() * WAIT_MAX_S
            while True:
                await inbox.round(wait_s)
                wait_s = WAIT_MAX_S

        self._reading = asyncio.create_task(wait())

    async def close(self) -> None:
        """Ends as `serve` does."""
        self._stop.set()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if self._pushing is not None:
            await asyncio.wait([self._pushing], timeout=STOP_S)
            self._pushing.cancel()
            await asyncio.gather(self._pushing, return_exceptions=True)
        await self.service.__aexit__()
        await self.link.close()
        self.parts.lease.leave()
        await self.store.close()

    async def record(self, commands: Sequence[Command]) -> list[Outcome | Refused]:
        """In one transaction; counted and timed."""
        outcomes = await self.service.record_all(commands)
        now = time.monotonic()
        kept = [outcome for outcome in outcomes if isinstance(outcome, Outcome)]
        self.recorded += len(kept)
        self.complaints += sum(outcome.recorded.rev == 1 for outcome in kept)
        self.refused += len(outcomes) - len(kept)
        self.commits += [now] * len(kept)
        return outcomes

    async def until_sent(self) -> None:
        """Everything recorded has its receipt."""
        while self.store.last_no < self.recorded:
            self.store.moved.clear()
            await self.store.moved.wait()

    async def until_first_receipt(self) -> None:
        """The first heartbeat is in the log."""
        while not self.store.receipts:
            self.store.moved.clear()
            await self.store.moved.wait()

    def come_back(self) -> None:
        """The hub was seen: what waits for its schedule is due at once (protocol §10.4)."""
        self.pusher.session = self.pusher.session.saw_hub(self.parts.clock.now_ms())
        self.pusher.wake()

    def take_samples(self) -> list[tuple[float, float, int]]:
        """For each change with a receipt since the last call: committed, receipt durable, log index of its set."""
        samples: list[tuple[float, float, int]] = []
        first = self.recorded - len(self.commits)
        done = 0
        for at, last_no, index in self.store.receipts:
            upto = max(done, last_no - first)
            samples += [(committed, at, index) for committed in self.commits[done:upto]]
            done = upto
        self.sets += len(self.store.receipts)
        self.store.receipts.clear()
        del self.commits[:done]
        return samples
