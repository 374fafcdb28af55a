"""A hub: one database, one lock store, one set of keys, and one to three processes that serve them, each on a machine
of its own."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from node.hub.founding import found_hub
from node.hub.gathering import Copy
from node.hub.http import build_app
from node.hub.hub import Hub
from node.hub.options import HubOptions
from node.hub.ports import HubPorts
from tests.sim.chance import SimClock
from tests.sim.disk import Disk
from tests.sim.door import Reply, Request, answer
from tests.sim.hub_state import HubState
from tests.sim.machines import Machine, World
from tests.sim.memory_announcements import MemoryAnnouncements
from tests.sim.memory_keys import KeyState, MemoryKeys
from tests.sim.memory_locks import LockState, MemoryTurn
from tests.sim.memory_projection import ProjectionState
from tests.sim.network import HUB_URL
from tests.sim.parts import ORIGIN, RULES
from tests.sim.process import Process

T = TypeVar("T")
COMMAND_S = 60.0  # an operator gives up
LEADING_LOST_WITHIN_S = 60.0  # a leader leads for long


@dataclass(frozen=True)
class HubBackup:
    """A copy of the databases, both as of one moment."""

    log: HubState
    projection: ProjectionState


class HubMachine(Machine):
    """What the processes of a hub share; commands run here. `children` serve while it is on."""

    def __init__(self, world: World, *, processes: int, tick_interval_s: float) -> None:
        super().__init__(world, "hub")
        make, witness = world.parts.disk, world.witness
        self.log: Disk[HubState] = make("log", HubState(), witness.log_committed)
        self.projection: Disk[ProjectionState] = make("projection", ProjectionState(), witness.projected)
        self.lock: Disk[LockState] = make("lock", LockState(), witness.lock_swapped)
        self.keys: Disk[KeyState] = make("keys", KeyState())
        self.backups: list[HubBackup] = []
        self._options = HubOptions(Path("hub"), public_url=HUB_URL, tick_interval_s=tick_interval_s)
        self._places = [asyncio.Lock() for _ in range(3)]
        self._announcements: dict[MemoryAnnouncements, None] = {}
        self._random = random.Random(f"{world.seed}/hub")
        self.children = [HubChild(self, number) for number in range(1, processes + 1)]

    def power_cut(self) -> None:
        for disk in (self.log, self.projection, self.lock, self.keys):
            disk.power_cut()

    async def _ports(self, process: Process, clock: SimClock, *, create: bool) -> HubPorts:
        """All that a hub is handed."""
        append, leading, projecting = self._places
        parts, faults, log = self.world.parts, self.world.faults, self._mount(self.log, process)
        return HubPorts(
            store=await (parts.hub_store.create if create else parts.hub_store.open)(log),
            projection=parts.projection(self._mount(self.projection, process)),
            lock=parts.lock(self._mount(self.lock, process), append, faults),
            leading=MemoryTurn(leading, process, faults, LEADING_LOST_WITHIN_S),
            projecting=MemoryTurn(projecting, process, faults),
            announcements=MemoryAnnouncements(self._announcements, process, faults),
            keys=MemoryKeys(self._mount(self.keys, process)),
            deadlines=parts.deadlines,
            clock=clock,
            randomness=self._randomness(process),
        )

    async def opened(self, process: Process, clock: SimClock | None = None, *, create: bool = False) -> Hub:
        """A hub in a process."""
        ports = await self._ports(process, clock or SimClock(process, self.wall), create=create)
        return await self.world.parts.hub.open(self._options, ports)

    # --- commands ---

    async def found(self) -> None:
        """`simpul hub init`."""

        async def work(process: Process) -> None:
            await found_hub(await self.opened(process, create=True), origin=ORIGIN, rules=RULES)

        outcome = await self.command("init", work)
        assert outcome is None, outcome

    async def recover(self, copy: Copy | None) -> object:
        """`simpul hub recover`, with a copy of the log or without; makes an empty database where none is."""

        async def work(process: Process) -> bool:
            hub = await self.opened(process, create=not self.log.state.is_made)
            if copy is not None:
                await hub.gathering.take_copy(copy)
            return await hub.restoring.look(now=True)

        return await self.command("recover", work)

    async def ask(self, work: Callable[[Hub], Coroutine[Any, Any, T]]) -> T | Exception | None:
        """Any other command, in a process that serves; None if there is none, or no answer."""
        serving = self.serving()
        if not serving:
            return None
        child = self._random.choice(serving)
        assert child.process is not None
        assert child.hub is not None
        return await self._outcome(child.process, child.process.spawn(work(child.hub)), timeout_s=COMMAND_S)

    # --- who serves ---

    def serving(self) -> list[HubChild]:
        """The processes that take requests."""
        return [child for child in self.children if child.hub is not None and child.is_alive]

    def admit(self, request: Request) -> asyncio.Task[Reply] | None:
        """See network.Server."""
        serving = self.serving()
        return self._random.choice(serving).admit(request) if serving else None

    def boot(self) -> None:
        """All of its processes."""
        for child in self.children:
            child.boot()

    async def pull_the_plug(self) -> None:
        await super().pull_the_plug()
        for child in self.children:
            await child.pull_the_plug()

    def switch_on(self) -> None:
        """The supervisor starts its processes from now on."""
        for machine in (self, *self.children):
            machine.is_on = True

    # --- what happens to its databases ---

    def back_up(self) -> None:
        """As of the newest commits."""
        self.backups.append(HubBackup(self.log.state, self.projection.state))

    def put_back(self, log: HubState, projection: ProjectionState) -> None:
        """The databases are others now; lock store and keys are as they were."""
        self.world.witness.hub_put_back(log)
        self.log.put_back(log)
        self.projection.put_back(projection)


class HubChild(Machine):
    """One serving process."""

    def __init__(self, parent: HubMachine, number: int) -> None:
        super().__init__(parent.world, f"hub-{number}")
        self._parent = parent
        self._app: web.Application | None = None
        self.hub: Hub | None = None

    def power_cut(self) -> None:
        self._parent.power_cut()

    async def serve(self, process: Process) -> None:
        hub = await self._parent.opened(process, SimClock(process, self.wall))
        app = build_app(hub)
        app.freeze()
        await hub.ensure_rules(RULES)
        await hub.start()
        self.hub, self._app = hub, app
        process.at_death(self._gone)
        self.world.faults.tell(f"{process.name} serves at size {hub.log.size}")
        await asyncio.get_running_loop().create_future()

    def _gone(self) -> None:
        self.hub = None

    async def stop(self) -> None:
        """An orderly end: what was accepted for work is worked off."""
        process, hub = self.process, self.hub
        if process is not None and hub is not None:
            await self._outcome(process, process.spawn(hub.close()), ends_with_it=True, timeout_s=30)

    def admit(self, request: Request) -> asyncio.Task[Reply]:
        """The answer of this process, which serves."""
        assert self.process is not None
        assert self._app is not None
        return self.process.spawn(answer(self._app, request))

    @property
    def trouble(self) -> str:
        """Why it signs nothing; empty if it does."""
        if self.hub is None:
            return "it does not serve"
        log = self.hub.log
        return log.broken.detail if log.broken is not None else log.recovering or ""
