"""What happens in a world, by the seed: work, and everything that goes wrong meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from sync_protocol.statement import Role
from tests.sim.faults import Rates
from tests.sim.hostile import Hostile
from tests.sim.machines import Machine, NodeMachine
from tests.sim.mirror import Shown
from tests.sim.reporters import some_commands

if TYPE_CHECKING:
    from tests.sim.world import Federation

DAY_S: Final = 86_400.0
ASKED_MAX: Final = 4
DEED_S: Final = 4 * 3600.0  # an enrolment waits until the hub signs again
Deed = Callable[[], Awaitable[None]]


class Schedule:
    """Of one world: which faults there are, how often, and a list of deeds."""

    def __init__(self, world: Federation) -> None:
        self.world = world
        self.random = draw = random.Random(f"{world.seed}/schedule")
        self.hostile = Hostile(
            world.hub,
            world.network,
            world.witness,
            [machine.agency for machine in world.nodes],
            random.Random(f"{world.seed}/hostile"),
            world.tell,
        )
        world.faults.rates = Rates(
            node_crash=self._perhaps(0.12),
            hub_crash=self._perhaps(0.12),
            lost_request=self._perhaps(0.15),
            lost_reply=self._perhaps(0.15),
            cut_body=self._perhaps(0.1),
            repeated=self._perhaps(0.2),
            stale_reply=self._perhaps(0.05),
            delay_s=draw.choice((0.05, 0.5, 5.0)),
            write_s=draw.choice((0.02, 0.1) if world.has_several else (0.0, 0.0, 0.0, 0.1)),
            lost_turn=self._perhaps(0.1) if world.has_several else 0.0,
            lost_word=self._perhaps(0.5),
        )
        world.hub_operators.may_lose_turns = world.faults.rates.lost_turn > 0
        self._loses_hubs = draw.random() < 0.45
        self._has_clones = draw.random() < 0.35
        self._has_keys = draw.random() < 0.4
        self._is_attacked = draw.random() < 0.4
        self._tasks: set[asyncio.Task[None]] = set()

    def _perhaps(self, most: float) -> float:
        return self.random.random() * most if self.random.random() < 0.6 else 0.0

    def _deeds(self) -> list[tuple[float, Deed]]:
        """(weight, deed)."""
        deeds: list[tuple[float, Deed]] = [
            (30, self.record),
            (3, self.burst),
            (2, self.kill_a_node),
            (1.5, self.kill_the_hub),
            (1, self.restart_the_hub),
            (1.5, self.cut_a_line),
            (1.5, self.fill_a_disk),
            (1, self.set_a_clock),
            (0.7, self.long_silence),
        ]
        if self._loses_hubs:
            deeds += [(4, self.back_up_the_hub), (2, self.put_the_hub_back), (1, self.bring_a_copy)]
        if self._has_clones:
            deeds += [(4, self.back_up), (3, self.put_back), (3, self.copy)]
        if self._has_keys:
            deeds += [(2, self.rotate_a_key), (1, self.revoke_a_key), (1, self.rotate_the_hub)]
        if self._is_attacked:
            deeds += [(8, self.attack)]
        return deeds

    async def run(self) -> None:
        """All of them, some seconds apart; each runs beside those that follow."""
        weights, deeds = zip(*self._deeds(), strict=True)
        pace_s = self.random.choice((0.5, 2.0, 6.0))
        for _ in range(40 + 6 * len(self.world.nodes)):
            if self.world.witness.violations:
                return
            (deed,) = self.random.choices(deeds, weights)
            task = asyncio.create_task(self._do(deed))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            await asyncio.sleep(self.random.expovariate(1 / pace_s))
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=DEED_S)
        if self._tasks and not self.world.witness.violations:
            self.world.witness.violated(f"{len(self._tasks)} deeds never ended")

    async def _do(self, deed: Deed) -> None:
        await deed()
        machine = self.random.choice(self.world.nodes)
        if self.random.random() < 0.1:
            await self.world.operators.visit(machine)

    def _node(self) -> NodeMachine:
        return self.random.choice([machine for machine in self.world.nodes if machine.is_on])

    def _machine(self) -> Machine:
        return self.random.choice([*self.world.hub.children, *self.world.nodes])

    async def record(self) -> None:
        await self._record(self.random.randrange(1, 4))

    async def burst(self) -> None:
        await self._record(self.random.randrange(20, 90))

    async def _record(self, count: int) -> None:
        """Whoever hears nothing asks again, a few times."""
        machine = self._node()
        commands = some_commands(machine.store.state, self.random, count)
        for _ in range(ASKED_MAX):
            if await machine.record(commands) is not None:
                return
            await asyncio.sleep(self.random.random() * 10)

    async def kill_a_node(self) -> None:
        machine = self._node()
        self.world.tell(f"{machine.name} is killed")
        machine.kill()

    async def kill_the_hub(self) -> None:
        """One of its processes, or all."""
        children = self.world.hub.children
        for child in children if self.random.random() < 0.3 else [self.random.choice(children)]:
            self.world.tell(f"{child.name} is killed")
            child.kill()

    async def restart_the_hub(self) -> None:
        child = self.random.choice(self.world.hub.children)
        self.world.tell(f"{child.name} is restarted")
        await child.stop()

    async def cut_a_line(self) -> None:
        name = self._node().name
        self.world.tell(f"{name} line cut")
        self.world.network.cut[name] = None
        await asyncio.sleep(self.random.random() * 120)
        self.world.network.cut.pop(name, None)

    async def fill_a_disk(self) -> None:
        name = self._machine().name
        self.world.tell(f"{name} disk fills")
        self.world.faults.full[name] = None
        await asyncio.sleep(self.random.random() * 40)
        self.world.faults.full.pop(name, None)

    async def set_a_clock(self) -> None:
        """Off by seconds for good, or by hours for a while."""
        machine = self._machine()
        off_ms = int(self.random.choice((3e4, 3.6e6, 2e8)) * (self.random.random() * 2 - 1))
        self.world.tell(f"{machine.name} clock off by {off_ms} ms")
        machine.wall.off_ms = off_ms
        if abs(off_ms) > 3e4:
            await asyncio.sleep(self.random.random() * 90)
            machine.wall.off_ms = 0

    async def long_silence(self) -> None:
        """All machines sleep, as over a holiday."""
        seconds = self.random.choice((1200.0, 7200.0, 1.1 * DAY_S))
        self.world.tell(f"silence of {seconds} s")
        self.world.loop.leap(seconds)

    async def back_up(self) -> None:
        self._node().back_up()

    async def put_back(self) -> None:
        """A node's disk is an old one again."""
        machine = self._node()
        if not machine.backups:
            machine.back_up()
            return
        backup = self.random.choice(machine.backups)
        with_keys = self.random.random() < 0.3
        self.world.tell(f"{machine.name} is put back, {'with' if with_keys else 'without'} its keys")
        self.world.operators.copied.add(str(machine.agency))
        await machine.pull_the_plug()
        self.world.operators.waive(machine, backup.promised)
        machine.put_back(backup, with_keys=with_keys)
        machine.is_on = True

    async def copy(self) -> None:
        """A second machine with a copy of the directory, new or old; the first goes on."""
        machine = self._node()
        if machine.store.state.node is None or self.world.operators.others(machine):
            return
        machine.back_up()
        backup = self.random.choice(machine.backups)
        number = len([one for one in self.world.nodes if one.agency == machine.agency])
        twin = self.world.node(str(machine.agency), f"-{number}")
        self.world.tell(f"{twin.name} is a copy of {machine.name}")
        self.world.operators.copied.add(str(machine.agency))
        twin.put_back(backup, with_keys=True)
        self.world.nodes.append(twin)
        twin.boot()

    async def rotate_a_key(self) -> None:
        machine = self._node()
        self.world.tell(f"{machine.name} wants a new key")
        await machine.ask_for_rotation()

    async def revoke_a_key(self) -> None:
        machine = self._node()
        await self.world.operators.revoke(machine.agency)

    async def rotate_the_hub(self) -> None:
        role = self.random.choice((Role.LOG, Role.REGISTRAR))
        self.world.tell(f"hub rotates its {role} key")
        await self.world.hub.ask(lambda hub: hub.rotate(role))

    async def back_up_the_hub(self) -> None:
        self.world.hub.back_up()

    async def put_the_hub_back(self) -> None:
        """Who means ill knows when a hub takes in what it lost."""
        await self.world.hub_operators.put_back()
        for _ in range(self.random.randrange(4) if self._is_attacked else 0):
            await asyncio.sleep(self.random.random() * 20)
            await self.hostile.attack()

    async def bring_a_copy(self) -> None:
        """Somebody does at once what could wait for the nodes."""
        if self.world.hub_operators.is_behind:
            await self.world.hub_operators.bring_a_copy(self.random.choice(list(Shown)))

    async def attack(self) -> None:
        await self.hostile.attack()
