"""`make races`: offers accepted, declined, withdrawn and recalled at once (architecture G1).

    make races RACES=5000 NODES=20      # or: python -m tests.edge.transfer_races --races 500 --seed 7 --json

Real nodes and a real hub in one process. In each race a complaint is offered, and then the owner, the agency that it is
offered to and, where it was declined often enough, the desk act without knowing of each other; who is first in the log
wins. Afterwards the whole log is folded by the auditor's fold: one owner at every position, who is what the applied
changes make of it, and at every node the truth. Progress is on stderr; stdout has a table, or with --json one document.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from node.logs import configure_logs
from sync_protocol.errors import Refused
from sync_protocol.values import AgencyId, ComplaintId
from tests.edge.hub_lab import RULES, Lab, running_hub
from tests.edge.inbox_lab import DESK, Peer, peers, settle_down
from tests.edge.race_check import EXPECTED, Outcome, compare, fold_all, seen

AT_ONCE: Final = 100  # races of one round
Acting = Callable[[Peer, str], Awaitable[None]]


async def run_races(
    lab: Lab, nodes: Sequence[Peer], races: int, seed: int, *, at_once: int = AT_ONCE, declined: Sequence[str] = ()
) -> Outcome:
    """All of them, and what became of it. `declined` are complaints that nobody wanted before."""
    outcome, begun_s = Outcome(races), time.monotonic()
    running = _Races(lab, nodes, random.Random(seed), [*declined], [*declined])
    for start in range(0, races, at_once):
        count = min(at_once, races - start)
        await running.round(count)
        print(f"{start + count} of {races} races …", file=sys.stderr, flush=True)
    await settle_down(nodes, lab)
    states = await fold_all(lab, outcome)
    await compare(nodes, states, outcome)
    outcome.complaints, outcome.seconds = len(states), round(time.monotonic() - begun_s, 1)
    return outcome


@dataclass
class _Races:
    lab: Lab
    nodes: Sequence[Peer]
    draw: random.Random
    complaints: list[str] = field(default_factory=list)
    declined: list[str] = field(default_factory=list)  # at least once since they were new, or directed

    async def round(self, count: int) -> None:
        racing = await self._offer_some(count)
        for node in self.nodes:
            await node.push()
        await self.lab.hub.projector.catch_up()
        for node in self.nodes:
            await node.inbox.drain()
        for complaint, owner, target in racing:
            acting: list[tuple[Peer, Acting]] = [(owner, self._owner_acts), (target, self._target_acts)]
            if await _is_bounced(self.nodes[0], complaint):
                acting.append((self.nodes[0], self._desk_acts))
            for peer, acts in self.draw.sample(acting, len(acting)):
                with suppress(Refused):
                    await acts(peer, complaint)
        order = list(self.nodes)
        self.draw.shuffle(order)
        await asyncio.gather(*(node.push() for node in order))
        await self.lab.hub.projector.catch_up()
        for node in self.draw.sample(order, len(order) * 2 // 3):  # some hear of it only later
            await node.inbox.drain()

    async def _offer_some(self, count: int) -> list[tuple[str, Peer, Peer]]:
        """Complaints with who offers them to whom: new ones, and such that have moved about already."""
        racing = []
        used: set[str] = set()
        for _ in range(count):
            owner, target = self.draw.sample(list(self.nodes), 2)
            complaint = await self._one_of(owner, count // 3)
            if complaint in used:
                continue
            used.add(complaint)
            holder = await _holder(self.nodes, complaint)
            if holder is not None and holder is not target:
                with suppress(Refused):
                    await holder.offer(complaint, target.agency)
                    racing.append((complaint, holder, target))
        return racing

    async def _one_of(self, owner: Peer, few: int) -> str:
        """A new one of that agency's, or one that was there: of those, a few that nobody wants again and again."""
        choice = self.draw.random()
        if self.declined and choice < 0.4:
            return self.draw.choice(self.declined[: max(few, 1)])
        if self.complaints and choice < 0.8:
            return self.draw.choice(self.complaints)
        self.complaints.append(await owner.receive())
        return self.complaints[-1]

    async def _owner_acts(self, owner: Peer, complaint: str) -> None:
        if await _is_offered(owner, complaint) and self.draw.random() < 0.6:
            await owner.withdraw(complaint)
            if self.draw.random() < 0.5:
                await owner.change("amended", complaint, category=f"c{self.draw.randrange(9)}")

    async def _target_acts(self, target: Peer, complaint: str) -> None:
        if not await _is_offered(target, complaint):
            return
        choice = self.draw.random()
        if choice < (0.05 if complaint in self.declined else 0.65):
            await target.accept(complaint)
            if self.draw.random() < 0.5:
                await target.change("verified", complaint, **{"class": "complaint_ordinary"})
        elif choice < 0.95:
            await target.decline(complaint)
            if complaint not in self.declined:
                self.declined.append(complaint)

    async def _desk_acts(self, desk: Peer, complaint: str) -> None:
        """By what the log has now, as `recalled` counts on it: whatever another does meanwhile makes it refused."""
        await desk.inbox.fetch(ComplaintId.parse(complaint))
        await desk.change("recalled", complaint, reason="bounced")
        if self.draw.random() < 0.8:
            to = self.draw.choice(self.nodes[1:])
            await desk.change("directed", complaint, to=str(to.agency), reason="jurisdiction")
            if complaint in self.declined:
                self.declined.remove(complaint)


async def _holder(nodes: Sequence[Peer], complaint: str) -> Peer | None:
    """A node that takes itself for the owner."""
    for node in nodes:
        held = await seen(node, complaint)
        if held is not None and held.owner == node.agency:
            return node
    return None


async def _is_offered(peer: Peer, complaint: str) -> bool:
    """To its knowledge. An offer of one who took itself for the owner and was not is refused by the log."""
    held = await seen(peer, complaint)
    return held is not None and held.offer is not None


async def _is_bounced(desk: Peer, complaint: str) -> bool:
    """Whether the desk knows that it may recall it."""
    held = await seen(desk, complaint)
    return held is not None and held.bounces >= RULES.bounce_limit


def agencies(count: int) -> list[AgencyId]:
    """The desk first."""
    return [DESK, *(AgencyId(f"99.{number:02d}") for number in range(count - 1))]


async def _main(races: int, nodes: int, seed: int, place: Path) -> Outcome:
    async with running_hub(place) as lab, peers(lab, place, agencies(nodes)) as made:
        return await run_races(lab, made, races, seed)


def table_of(outcome: Outcome) -> Table:
    """One line a figure."""
    table = Table(
        min_width=60, caption="clean: one owner at every place of the log, and every node sees what the log has"
    )
    table.add_column("figure")
    table.add_column("found", justify="right")
    for name, value in outcome.document().items():
        if isinstance(value, Counter):
            for label, count in sorted(value.items()):
                table.add_row(f"{name}: {label}", str(count))
        else:
            table.add_row(name.replace("_", " "), str(len(value) if isinstance(value, list) else value))
    return table


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make races", description=__doc__)
    parser.add_argument("--races", type=int, default=5_000)
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    asked = parser.parse_args()
    configure_logs("error")
    with tempfile.TemporaryDirectory(prefix="simpul-races-") as place:
        outcome = asyncio.run(_main(asked.races, asked.nodes, asked.seed, Path(place)))
    for wrong in (*outcome.wrong_owners, *outcome.wrong_views, *sorted(outcome.refused.keys() - EXPECTED)):
        print(f"WRONG: {wrong}", file=sys.stderr)
    if asked.json:
        print(json.dumps(outcome.document(), indent=2))
    else:
        Console(width=None if sys.stdout.isatty() else 160).print(table_of(outcome))
    sys.exit(not outcome.is_clean)


if __name__ == "__main__":
    main()
