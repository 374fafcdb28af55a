"""What people do about a halted node, a revoked key, a machine that was copied: as docs/operations.md has it.

An operator acts only for a reason that the world gave; a node that halts without one is a violation.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

from node.hub.hub import Hub
from node.local.hub_evidence import Contradiction
from sync_protocol.errors import Refused
from sync_protocol.halts import Halt, HaltReason
from sync_protocol.values import AgencyId
from tests.sim.hub_machine import HubMachine
from tests.sim.machines import NodeMachine
from tests.sim.witness import Witness

_COPIES: Final = frozenset({HaltReason.COPY_ALIVE, HaltReason.FORKED})
_KEYS: Final = frozenset({HaltReason.KEY_REFUSED, HaltReason.FOREIGN_HEAD})
_ENROL_AGAIN: Final = frozenset({"bad-token", "void-statement", "unauthorised"})
_ENDED_KEYS: Final = frozenset({"revoked-key", "unknown-key"})
PATIENCE_S: Final = 2.0


class Operators:
    """Of one world. `copied` and `ended` are agencies whose directory was copied or put back, whose key was ended."""

    def __init__(
        self,
        hub: HubMachine,
        nodes: list[NodeMachine],
        witness: Witness,
        draw: random.Random,
        tell: Callable[[str], None],
    ) -> None:
        self.hub = hub
        self.nodes = nodes
        self.witness = witness
        self.random = draw
        self.tell = tell
        self.copied: set[str] = set()
        self.ended: set[str] = set()
        self.waived: set[str] = set()  # changes that went with a disk

    async def switch_off(self, machine: NodeMachine) -> None:
        """For good: what it alone had promised goes with it."""
        await machine.pull_the_plug()
        self.waive(machine, kept={})
        self.tell(f"{machine.name} is switched off for good")

    def waive(self, machine: NodeMachine, kept: dict[str, None]) -> None:
        """What its disk had beyond `kept` and the hub has not is lost with it, by no fault of the program."""
        self.waived |= {
            change for change in machine.promised if change not in kept and change not in self.witness.log.where
        }

    async def enrol(self, machine: NodeMachine) -> bool:
        """Until the node is enrolled; False if it was switched off meanwhile."""
        token: str | None = None
        vkey = ""
        while machine.is_on:
            if token is None:
                invited = await self.hub.ask(lambda hub: _invite(hub, machine.agency))
                if not isinstance(invited, tuple):
                    await asyncio.sleep(PATIENCE_S)
                    continue
                token, vkey = invited
            outcome = await machine.enrol(vkey, token)
            if isinstance(outcome, int):
                return True
            if isinstance(outcome, Refused) and outcome.kind not in _ENROL_AGAIN:
                self.witness.violated(f"{machine.name} cannot enrol: {outcome}")
                return False
            if isinstance(outcome, Refused | Contradiction):  # used by another key; a log key that is not the newest
                token = None
            await asyncio.sleep(PATIENCE_S)
        return False

    async def visit(self, machine: NodeMachine) -> None:
        """Looks at its status and does what its next step says."""
        node = machine.store.state.node
        if not machine.is_on or node is None or node.halt is None:
            return
        halt, agency = node.halt, str(machine.agency)
        self.tell(f"{machine.name} is halted: {halt.reason.value} {halt.detail}")
        if halt.reason in _COPIES and agency in self.copied:
            for other in self.others(machine):
                await self.switch_off(other)
            outcome = await machine.take_over()
            if isinstance(outcome, Refused) and outcome.kind in _ENDED_KEYS:  # what it says to do: a fresh token first
                await self.enrol(machine)
        elif halt.reason in _KEYS and agency in self.copied | self.ended:
            await self.enrol(machine)
        else:
            self.unfounded(machine, halt)

    def unfounded(self, machine: NodeMachine, halt: Halt) -> None:
        """Nobody gave it a reason."""
        self.witness.violated(f"{machine.name} halted without a reason: {halt.reason.value}: {halt.detail}")

    def others(self, machine: NodeMachine) -> list[NodeMachine]:
        """Other machines of that agency that are on."""
        return [one for one in self.nodes if one is not machine and one.is_on and one.agency == machine.agency]

    async def revoke(self, agency: AgencyId) -> bool:
        """The hub's operator ends the key that speaks; whether that came through."""
        self.ended.add(str(agency))
        outcome = await self.hub.ask(lambda hub: hub.revoke(agency))
        self.tell(f"{agency} revoked: {type(outcome).__name__}")
        return isinstance(outcome, tuple)


async def _invite(hub: Hub, agency: AgencyId) -> tuple[str, str]:
    """`simpul hub invite` (node/wiring/hub.py): token and vkey."""
    return await hub.invite(agency), hub.log.roster.vkey.format()
