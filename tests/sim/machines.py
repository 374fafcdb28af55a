"""Machines: disks that stay, and processes on them that come and go; and nodes as such (hub_machine.py: a hub).

What runs in a process is the program's own code, put together as node/wiring does, on the simulation's ports.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from node.link.hub_client import HubClient
from node.local.enrolment import enrol_node
from node.local.hub_session import HubSession
from node.local.pusher import Pusher
from node.local.recording import Command, Minting, Outcome
from node.local.recovery import recover_node
from node.local.service import LocalService
from sync_protocol.errors import Refused
from sync_protocol.statement import Role
from sync_protocol.values import AgencyId
from tests.sim.chance import SeededRandomness, SimClock, Wall
from tests.sim.disk import Disk, Mount
from tests.sim.faults import Faults
from tests.sim.local_state import LocalState
from tests.sim.memory_keys import KeyState, MemoryKeys, MemorySigningKeys
from tests.sim.network import Network, SimTransport
from tests.sim.parts import Parts
from tests.sim.process import Process, look_at
from tests.sim.witness import Witness

T = TypeVar("T")
TAKE_OVER_S: Final = 120.0
RECORD_S: Final = 60.0  # a caller of the intake gives up


@dataclass
class World:
    """What machines share."""

    seed: str
    parts: Parts
    faults: Faults
    witness: Witness


class Machine:
    """Switched on while `is_on`; the supervisor starts a process again that ended."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.wall = Wall()
        self.is_on = True
        self.process: Process | None = None
        self._runs = 0
        self._processes: dict[Process, None] = {}

    @property
    def is_alive(self) -> bool:
        """Whether its serving process lives."""
        return self.process is not None and self.process.is_alive

    def boot(self) -> None:
        """A new serving process."""
        process = self.process = self.new_process()
        self.world.faults.tell(f"{process.name} starts")
        process.spawn(self._run(process), "serve")

    def new_process(self) -> Process:
        """Not started yet."""
        self._runs += 1
        process = Process(f"{self.name}#{self._runs}")
        process.at_crash(self.power_cut)
        self._processes[process] = None
        process.at_death(lambda: self._processes.pop(process))
        return process

    def power_cut(self) -> None:
        """What its disks do when a process dies in the middle."""

    def kill(self) -> None:
        """The serving process, without a word."""
        if self.process is not None:
            self.process.kill()

    async def pull_the_plug(self) -> None:
        """Everything that runs on it, and nothing runs on it afterwards until it is on again."""
        self.is_on = False
        running = list(self._processes)
        for process in running:
            process.kill()
        for process in running:
            await process.gone()

    async def serve(self, process: Process) -> None:
        """Until the process is to end."""

    async def command(self, what: str, work: Callable[[Process], Coroutine[Any, Any, T]]) -> T | Exception | None:
        """A command in a process of its own: its result, or what it raised; None if it was killed."""
        process = self.new_process()
        self.world.faults.tell(f"{process.name} {what}")
        return await self._outcome(process, process.spawn(work(process)), ends_with_it=True)

    async def _outcome(
        self, process: Process, task: asyncio.Task[T], *, ends_with_it: bool = False, timeout_s: float | None = None
    ) -> T | Exception | None:
        task.add_done_callback(look_at)
        await asyncio.wait([task], timeout=timeout_s)
        if ends_with_it:
            process.end()
        if not task.done() or task.cancelled():
            return None
        error = task.exception()
        if error is None:
            return task.result()
        return error if isinstance(error, Exception) else None

    async def _run(self, process: Process) -> None:
        try:
            await self.serve(process)
        except Exception as error:  # noqa: BLE001 - a program that ends with an error; the supervisor starts it again
            self.world.faults.tell(f"{process.name} ends: {error!r}")
        finally:
            process.end()

    def _mount(self, disk: Disk[Any], process: Process) -> Mount[Any]:
        return Mount(disk, process, self.world.faults)

    def _randomness(self, process: Process) -> SeededRandomness:
        return SeededRandomness(f"{self.world.seed}/{process.name}")


@dataclass
class Backup:
    """A copy of a node's directory, and what had been promised by then."""

    store: LocalState
    keys: KeyState
    promised: dict[str, None] = field(default_factory=dict)


class NodeMachine(Machine):
    """A directory of one agency. `promised` are changes whose recording was answered."""

    def __init__(self, world: World, name: str, agency: AgencyId, network: Network) -> None:
        super().__init__(world, name)
        self.agency = agency
        self.network = network
        make = world.parts.disk
        self.store: Disk[LocalState] = make(
            "node", LocalState(), lambda _what, a, b: world.witness.node_committed(name, str(agency), a, b)
        )
        self.keys: Disk[KeyState] = make("keys", KeyState())
        self._intake: tuple[Process, LocalService] | None = None
        self.promised: dict[str, None] = {}
        self.backups: list[Backup] = []
        self._holders: dict[Process, None] = {}

    def power_cut(self) -> None:
        self.store.power_cut()
        self.keys.power_cut()

    # --- what runs in its processes ---

    def _opened(self, process: Process) -> Opened:
        keys = MemoryKeys(self._mount(self.keys, process))
        signing = MemorySigningKeys(keys)
        clock, randomness = SimClock(process, self.wall), self._randomness(process)
        store = self.world.parts.local_store(self._mount(self.store, process))
        link = HubClient(SimTransport(self.network, process, clock, randomness), self.agency, signing.current)
        lease = self.world.parts.lease(self._holders, process)
        pusher = self.world.parts.pusher(
            store, link, signing, clock, randomness, lease, agency=self.agency, target_changes=40
        )
        minting = Minting(self.agency, "PKL", clock, randomness)
        return Opened(store, keys, signing, clock, randomness, link, pusher, minting)

    async def serve(self, process: Process) -> None:
        opened = self._opened(process)
        if await opened.store.identity() is None:
            return
        opened.signing.current()
        async with LocalService(opened.store, opened.minting, on_recorded=opened.pusher.wake) as service:
            self._intake = (process, service)
            await opened.pusher.run(asyncio.Event())

    async def enrol(self, vkey: str, token: str) -> int | Exception | None:
        """`simpul node enrol`."""

        async def work(process: Process) -> int:
            made = self._opened(process)
            return await enrol_node(
                made.store,
                made.link,
                made.keys,
                made.clock,
                made.randomness,
                agency=self.agency,
                vkey=vkey,
                token=token,
            )

        return await self.command("enrol", work)

    async def take_over(self) -> object:
        """`simpul node recover --take-over`."""

        async def work(process: Process) -> object:
            made = self._opened(process)
            session = HubSession(made.store, made.link, made.signing, self.agency)
            return await recover_node(made.store, made.pusher, session, take_over=True, timeout_s=TAKE_OVER_S)

        return await self.command("recover --take-over", work)

    async def ask_for_rotation(self) -> object:
        """`simpul keys rotate`, its first half; the pusher does the rest."""

        async def work(process: Process) -> None:
            made = self._opened(process)
            made.keys.prepare_next(Role.AGENCY, made.randomness.bytes(32))

        return await self.command("keys rotate", work)

    async def record(self, commands: list[Command]) -> list[Outcome | Refused] | None:
        """What a caller of the intake hears; None if it hears nothing, or of an error: then nobody knows."""
        if self._intake is None or not self._intake[0].is_alive:
            return None
        process, service = self._intake
        task = process.spawn(service.record_all(commands))
        outcome = await self._outcome(process, task, timeout_s=RECORD_S)
        if not isinstance(outcome, list):
            return None
        for one in outcome:
            if isinstance(one, Outcome):
                self.promised[one.recorded.change] = None
        return outcome

    # --- what happens to its disk ---

    def back_up(self) -> None:
        """As of the newest commits."""
        self.backups.append(Backup(self.store.state, self.keys.state, dict(self.promised)))

    def put_back(self, backup: Backup, *, with_keys: bool) -> None:
        """Its disk is an old one again. No process may run."""
        assert not self.is_alive
        self.store.state = backup.store
        if with_keys:
            self.keys.state = backup.keys
        self.promised = dict(backup.promised)


@dataclass(frozen=True)
class Opened:
    """What a node's commands share (node/wiring/local.py)."""

    store: Any
    keys: MemoryKeys
    signing: MemorySigningKeys
    clock: SimClock
    randomness: SeededRandomness
    link: HubClient
    pusher: Pusher
    minting: Minting
