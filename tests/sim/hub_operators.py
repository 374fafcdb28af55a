"""What people do about a hub whose database was lost or put back: as docs/operations.md has it, "A restored hub"."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

from sync_protocol.errors import Corrupt, Refused
from tests.sim.hub_machine import HubBackup, HubMachine
from tests.sim.hub_state import HubState
from tests.sim.memory_projection import ProjectionState
from tests.sim.mirror import Mirror, Shown
from tests.sim.witness import Witness

PATIENCE_S: Final = 1800.0  # nodes hand over within 15 minutes; then the operator brings a copy
LOOK_S: Final = 10.0
OFF_MAX_S: Final = 60.0


class HubOperators:
    """Of one world. `may_lose_turns`: locks are given away while they are held, so a process may be found broken."""

    def __init__(self, hub: HubMachine, witness: Witness, draw: random.Random, tell: Callable[[str], None]) -> None:
        self.hub = hub
        self.witness = witness
        self.random = draw
        self.tell = tell
        self.may_lose_turns = False
        self.restores = 0
        self._behind_since_s: float | None = None

    @property
    def trouble(self) -> str:
        """Why the hub does not sign, or does not fold; empty if it does both."""
        told = [child.trouble for child in self.hub.children if child.trouble]
        missing = self.hub.log.state.missing
        return told[0] if told else f"the lines of {len(missing)} sets are missing" if missing else ""

    async def put_back(self) -> None:
        """The newest database is lost: an older one takes its place, or none."""
        if not self.hub.is_on:
            return
        self.restores += 1
        await self.hub.pull_the_plug()
        await asyncio.sleep(self.random.random() * OFF_MAX_S)
        fitting = [one for one in self.hub.backups if self.witness.fits(one.log)]
        is_lost = not fitting or self.random.random() < 0.25
        backup = HubBackup(HubState(), ProjectionState()) if is_lost else self.random.choice(fitting)
        behind = self.witness.published - len(backup.log.entries)
        self.tell(f"hub's database is {'lost' if is_lost else 'put back'}, {behind} leaves behind")
        # Query tables of before stand in the way of nothing, as long as they are dropped when the log is taken back.
        later = [self.hub.projection.state] if behind > 0 else []
        self.hub.put_back(backup.log, self.random.choice([backup.projection, ProjectionState(), *later]))
        while not self.hub.log.state.is_made:
            await self.hub.recover(None)
        self.hub.switch_on()

    async def bring_a_copy(self, shown: Shown) -> None:
        """`simpul hub recover --from`, beside the processes that serve."""
        note = self.hub.lock.state.note
        if not self.hub.is_on or note is None:
            return
        self.tell(f"a copy is brought: {shown.value}")
        outcome = await self.hub.recover(Mirror(self.witness.log, note, shown))
        if isinstance(outcome, Refused | Corrupt):
            self.witness.violated(f"a true copy of the log was not taken: {outcome}")

    async def watch(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self._visit()

    async def _visit(self) -> None:
        """Looks at its status; whoever waits for what no node has brings a copy."""
        for child in self.hub.children:
            broken = child.hub.log.broken if child.hub is not None else None
            if broken is not None and not self.may_lose_turns:
                self.witness.violated(f"{child.name} stopped signing without a reason: {broken.detail}")
            elif broken is not None:
                self.tell(f"{child.name} stopped signing and is started again: {broken.detail}")
                child.kill()
        now_s = asyncio.get_running_loop().time()
        if not self.is_behind:
            self._behind_since_s = None
        elif self._behind_since_s is None:
            self._behind_since_s = now_s
        elif now_s > self._behind_since_s + PATIENCE_S:
            self._behind_since_s = now_s
            await self.bring_a_copy(Shown.EVERYTHING)

    @property
    def is_behind(self) -> bool:
        """Whether the database lacks something that was published."""
        return self.witness.held < self.witness.published or bool(self.hub.log.state.missing)
