"""One simulated federation from its founding until everything is drained, by one seed.

First things go wrong for some minutes; then all faults stop, and everything must come to rest: every change that was
promised is in the log, once, and every guarantee holds (witness.py).
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from sync_protocol.compression import decompress_part
from sync_protocol.values import AgencyId
from tests.sim.faults import Faults, Rates
from tests.sim.hub_machine import HubMachine
from tests.sim.hub_operators import HubOperators
from tests.sim.machines import Machine, NodeMachine, World
from tests.sim.network import Network
from tests.sim.operators import Operators
from tests.sim.parts import ORIGIN, Parts
from tests.sim.process import make_task
from tests.sim.quiet import silenced
from tests.sim.schedule import Schedule
from tests.sim.virtual_time import VirtualLoop, run_virtually
from tests.sim.witness import Witness

MANY_EVERY: Final = 50  # seeds; such a one has many nodes
SETTLE_S: Final = 4 * 3600.0  # of the outage schedule's longest steps, several
LOOK_S: Final = 5.0


@dataclass
class Outcome:
    """What a seed came to. `digest` is of the whole trace and of all that was signed; `cpu_s` is what it cost."""

    seed: int
    violations: list[str]
    digest: str
    leaves: int
    nodes: int
    virtual_s: float
    restores: int
    cpu_s: float = 0.0
    trace: list[str] = field(default_factory=list, repr=False)


def run_seed(seed: int, parts: Parts | None = None) -> Outcome:
    """The whole life of one world. The same seed gives the same digest."""
    begun_s = time.process_time()
    with silenced(), _undisturbed():
        outcome = run_virtually(lambda loop: Federation(seed, loop, parts or Parts()).live(), make_task)
    outcome.cpu_s = time.process_time() - begun_s
    return outcome


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Garbage is collected once, at the end of a world: looking for it all the time was a fifth of what a seed cost."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
        gc.collect()


class Federation:
    """See the module."""

    def __init__(self, seed: int, loop: VirtualLoop, parts: Parts) -> None:
        self.seed = seed
        self.loop = loop
        self.trace: list[str] = []
        self.random = random.Random(f"{seed}/world")
        self.witness = Witness(ORIGIN, self.tell)
        self.faults = Faults(f"{seed}/faults", Rates(), self.tell)
        self.world = World(str(seed), parts, self.faults, self.witness)
        processes = self.random.choices((1, 2, 3), (6, 3, 1))[0]
        tick_interval_s = self.random.choice((120.0, 900.0, 3600.0))
        self.hub = HubMachine(self.world, processes=processes, tick_interval_s=tick_interval_s)
        self.network = Network(self.faults, self.hub, self.witness)
        count = self.random.randrange(20, 26) if seed % MANY_EVERY == 0 else self.random.randrange(3, 9)
        self.nodes = [self.node(f"33.{number:02d}") for number in range(1, count + 1)]
        self.operators = Operators(self.hub, self.nodes, self.witness, self.random, self.tell)
        self.hub_operators = HubOperators(self.hub, self.witness, self.random, self.tell)
        loop.set_exception_handler(self._heard)

    @property
    def has_several(self) -> bool:
        """Whether several processes serve the hub."""
        return len(self.hub.children) > 1

    @property
    def machines(self) -> list[Machine]:
        """All on which something serves."""
        return [*self.hub.children, *self.nodes]

    def tell(self, what: str) -> None:
        """One line of the trace."""
        self.trace.append(f"{self.loop.time():10.3f} {what}")

    def node(self, code: str, suffix: str = "") -> NodeMachine:
        """A machine of an agency."""
        return NodeMachine(self.world, code + suffix, AgencyId(code), self.network)

    async def live(self) -> Outcome:
        """All of it."""
        await self._found()
        schedule = Schedule(self)
        watching = [asyncio.create_task(self._supervise()), asyncio.create_task(self.hub_operators.watch())]
        try:
            await schedule.run()
            await self._calm_down()
            await self._settle()
        finally:
            for task in watching:
                task.cancel()
        if not self.witness.violations:
            self._check_end()
        return self._outcome()

    async def _found(self) -> None:
        """The hub and its first nodes, before anything goes wrong."""
        await self.hub.found()
        self.hub.boot()
        await self._until(lambda: bool(self.hub.serving()), 60)
        for machine in self.nodes:
            await self.operators.enrol(machine)
            machine.boot()

    async def _until(self, is_so: Callable[[], bool], within_s: float) -> bool:
        end_s = self.loop.time() + within_s
        while not is_so():
            if self.loop.time() > end_s:
                return False
            await asyncio.sleep(0.25)
        return True

    async def _supervise(self) -> None:
        """Starts what ended, after a while."""
        draw = random.Random(f"{self.seed}/supervisor")
        while True:
            await asyncio.sleep(0.5 + draw.random() * (1 if self.faults.is_calm else 8))
            for machine in self.machines:
                if machine.is_on and not machine.is_alive and (self.faults.is_calm or draw.random() < 0.5):
                    machine.boot()

    async def _calm_down(self) -> None:
        """Faults stop, lines and disks and clocks are repaired; of two copies one is switched off."""
        self.tell("calm")
        self.faults.is_calm = True
        self.faults.full.clear()
        self.network.cut.clear()
        for machine in [self.hub, *self.machines]:
            machine.wall.off_ms = 0
        await asyncio.sleep(100)  # what is still on its way arrives
        for machine in list(self.nodes):
            if machine.is_on and (others := self.operators.others(machine)):
                halted = machine.store.state.node is not None and machine.store.state.node.halt is not None
                for one in [machine] if halted else others:
                    await self.operators.switch_off(one)

    async def _settle(self) -> None:
        """Until everybody rests. Time leaps where it only passes."""
        end_s = self.loop.time() + SETTLE_S
        compares = False
        while self.loop.time() < end_s and not self.witness.violations:
            if not compares and not self._hub_is_busy():
                compares = True
                self._compare_heads()
            for machine in list(self.nodes):
                await self.operators.visit(machine)
            await asyncio.sleep(LOOK_S)
            if self.is_at_rest():
                return
            if self.random.random() < 0.3:
                self.loop.leap(120)
        if why := self._hub_is_busy():
            self.witness.violated(f"the hub never came to rest: {why}")
        for machine in self.nodes:
            self._why_not(machine)

    def _compare_heads(self) -> None:
        """What another life of a node had sent may have arrived while it rests, or stood in what the hub had lost.

        A node with nothing to do asks again by its next heartbeat, days from here; or when it starts.
        """
        for machine in self.nodes:
            if machine.is_on and str(machine.agency) in self.operators.copied:
                machine.kill()

    def is_at_rest(self) -> bool:
        """Everything drained, projected, and the same everywhere."""
        if self._hub_is_busy():
            return False
        return all(not self._busy(machine) for machine in self.nodes if machine.is_on)

    def _hub_is_busy(self) -> str:
        """Why it does not rest; empty if it does."""
        size = len(self.witness.log.entries)
        if self.hub_operators.trouble:
            return self.hub_operators.trouble
        sizes = [child.hub.log.size for child in self.hub.children if child.hub is not None]
        if sizes != [size] * len(self.hub.children):
            return f"its processes are at {sizes} of {size}"
        cursor = self.hub.projection.state.cursor
        return f"it is projected to {cursor.size} of {size}" if cursor.size != size else ""

    def _busy(self, machine: NodeMachine) -> str:
        """Why it does not rest; empty if it does."""
        node = machine.store.state.node
        if node is None or not machine.is_alive:
            return "it does not run"
        if node.halt is not None:
            return f"it is halted: {node.halt.reason.value}"
        view, end = machine.store.state.outbox(), machine.store.state.chain_end()
        if view.unsent or view.signed_seq != view.acknowledged_seq:
            return f"{view.unsent} changes are unsent, sets {view.acknowledged_seq + 1} to {view.signed_seq} wait"
        if machine.keys.state.pending:
            return "a key waits for its rotation"
        head = self.witness.log.ends.get(str(machine.agency))
        if head is not None and (head.seq, head.digest) != (end.seq, end.digest):
            return f"it ends at {end.seq}, the hub at {head.seq}"
        return ""

    def _why_not(self, machine: NodeMachine) -> None:
        why = self._busy(machine) if machine.is_on else ""
        if why:
            node = machine.store.state.node
            trouble = node.trouble if node else None
            self.witness.violated(f"{machine.name} never came to rest: {why} ({trouble})")

    def _check_end(self) -> None:
        """When everybody rests: nothing lost, nothing twice, everywhere the same."""
        self.witness.check_log()
        self.witness.check_projection(self.hub.projection.state)
        self.witness.check_sources(self.operators.copied)
        self.witness.check_erased("the hub", _lines(self.hub.log.state.contents.values()))
        kept = [leaf.contents_frame for leaf in self.hub.log.state.recovered.values() if leaf.contents_frame]
        self.witness.check_erased("the hub's refill", _lines(kept))
        for machine in self.nodes:
            if machine.is_on:
                self._check_node(machine)

    def _check_node(self, machine: NodeMachine) -> None:
        state = machine.store.state
        self.witness.check_changes(machine.name, [change.line for change in state.changes.values()])
        self.witness.check_erased(machine.name, [change.content for change in state.changes.values() if change.content])
        self.witness.check_erased(machine.name, _lines(contents for _, contents in state.frames.values()))
        aside = {one.change_id for one in state.aside}
        is_copied = str(machine.agency) in self.operators.copied
        if aside and not is_copied:
            self.witness.violated(f"{machine.name} set {len(aside)} changes aside and was never put back")
        for change in machine.promised:
            if change in self.witness.log.where or change in self.operators.waived:
                continue
            if not (is_copied and change in aside):
                self.witness.violated(f"{machine.name}: change {change} was promised and is not in the log")

    def _heard(self, _loop: object, context: dict[str, object]) -> None:
        """A task that nobody asked how it ended: a defect of the program, or of the simulator."""
        self.witness.violated(f"unhandled: {context.get('message')}: {context.get('exception')!r}")

    def _outcome(self) -> Outcome:
        told = "\n".join([*self.trace, self.witness.digest()])
        return Outcome(
            self.seed,
            self.witness.violations,
            sha256(told.encode()).hexdigest()[:16],
            len(self.witness.log.entries),
            len(self.nodes),
            self.loop.time(),
            self.hub_operators.restores,
            trace=self.trace,
        )


def _lines(frames: Iterable[bytes]) -> Iterator[bytes]:
    """The content lines in the second frames of sets."""
    for frame in frames:
        if frame:
            yield from decompress_part(frame).splitlines()
