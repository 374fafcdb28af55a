"""`python -m tests.edge.transfer_races --races 5000 --nodes 20`: offers accepted, declined and withdrawn at once.

Real nodes and a real hub in one process. In each race a complaint is offered, and then the owner and the agency that it
is offered to act without knowing of each other; who is first in the log wins. Afterwards the whole log is folded by the
auditor's fold: one owner at every position, nobody's complaint without one, and at every node the truth.
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
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from node.hub.folding import open_batch
from node.logs import configure_logs
from node.store.complaint_keys import complaint_key
from node.store.hub_records import LogLeaf
from sync_protocol.complaint import ComplaintState
from sync_protocol.errors import Refused
from sync_protocol.ledger import Ledger
from sync_protocol.roster import Roster
from sync_protocol.values import AgencyId, ComplaintId
from tests.edge.hub_lab import Lab, running_hub
from tests.edge.inbox_lab import DESK, Peer, peers, settle_down

AT_ONCE = 100  # races of one round
LEAVES_BYTES = 1 << 20


@dataclass
class Outcome:
    """What the log shows. `moves` are changes of owner; all lists must be empty."""

    races: int
    seconds: float = 0.0
    complaints: int = 0
    changes: int = 0
    moves: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    wrong_owners: list[str] = field(default_factory=list)
    wrong_views: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not (self.wrong_owners or self.wrong_views)


async def run_races(lab: Lab, nodes: Sequence[Peer], races: int, seed: int) -> Outcome:
    """All of them, and what became of it."""
    draw = random.Random(seed)
    outcome = Outcome(races)
    begun_s = time.monotonic()
    complaints: list[str] = []
    for start in range(0, races, AT_ONCE):
        count = min(AT_ONCE, races - start)
        await _round(lab, nodes, complaints, count, draw)
        print(f"{start + count} of {races} races …", file=sys.stderr)
    await settle_down(nodes, lab)
    states = await _fold_all(lab, outcome)
    await _compare(nodes, states, outcome)
    outcome.complaints, outcome.seconds = len(states), time.monotonic() - begun_s
    return outcome


async def _round(lab: Lab, nodes: Sequence[Peer], complaints: list[str], count: int, draw: random.Random) -> None:
    racing = await _offer_some(nodes, complaints, count, draw)
    for node in nodes:
        await node.push()
    await lab.hub.projector.catch_up()
    for node in nodes:
        await node.inbox.drain()
    for complaint, owner, target in racing:
        for peer, acts in draw.sample(((owner, _owner_acts), (target, _target_acts)), 2):
            if await _is_offered(peer, complaint):
                with suppress(Refused):
                    await acts(peer, complaint, draw)
    order = list(nodes)
    draw.shuffle(order)
    await asyncio.gather(*(node.push() for node in order))
    await lab.hub.projector.catch_up()
    for node in draw.sample(order, len(order) * 2 // 3):  # some hear of it only later
        await node.inbox.drain()


async def _offer_some(
    nodes: Sequence[Peer], complaints: list[str], count: int, draw: random.Random
) -> list[tuple[str, Peer, Peer]]:
    """Complaints with who offers them to whom: new ones, and such that have moved about already."""
    racing = []
    used: set[str] = set()
    for _ in range(count):
        owner, target = draw.sample(list(nodes), 2)
        complaint = draw.choice(complaints) if complaints and draw.random() < 0.7 else await owner.receive()
        if complaint in used:
            continue
        used.add(complaint)
        if complaint not in complaints:
            complaints.append(complaint)
        holder = await _holder(nodes, complaint)
        if holder is not None and holder is not target:
            with suppress(Refused):
                await holder.offer(complaint, target.agency)
                racing.append((complaint, holder, target))
    return racing


async def _holder(nodes: Sequence[Peer], complaint: str) -> Peer | None:
    """A node that takes itself for the owner."""
    key = complaint_key(ComplaintId.parse(complaint))
    for node in nodes:
        held = await node.store.complaint(key)
        if held is not None and held.state.owner == node.agency:
            return node
    return None


async def _is_offered(peer: Peer, complaint: str) -> bool:
    """To its knowledge. An offer of one who took itself for the owner and was not is refused by the log."""
    held = await peer.store.complaint(complaint_key(ComplaintId.parse(complaint)))
    return held is not None and held.state.offer is not None


async def _owner_acts(owner: Peer, complaint: str, draw: random.Random) -> None:
    if draw.random() < 0.6:
        await owner.withdraw(complaint)
        if draw.random() < 0.5:
            await owner.change("amended", complaint, category=f"c{draw.randrange(9)}")


async def _target_acts(target: Peer, complaint: str, draw: random.Random) -> None:
    if draw.random() < 0.65:
        await target.accept(complaint)
        if draw.random() < 0.5:
            await target.change("verified", complaint, **{"class": "complaint_ordinary"})
    elif draw.random() < 0.7:
        await target.decline(complaint)


async def _fold_all(lab: Lab, outcome: Outcome) -> dict[str, ComplaintState]:
    """The log once more, by the auditor's fold; an owner may only ever change by a change that hands over."""
    states: dict[str, ComplaintState] = {}
    ledger = Ledger(Roster(), states)
    owners: dict[str, str] = {}
    while leaves := await _leaves(lab, ledger.size):
        for leaf in open_batch(leaves).leaves:
            folded = ledger.apply(leaf.index, leaf.jws, change_leaves=leaf.leaves, changes=leaf.changes)
            for verdict, change in zip(folded.verdicts, folded.changes, strict=True):
                outcome.changes += 1
                if verdict or change is None:
                    outcome.refused[verdict.label] += 1
                elif change.type == "accepted":
                    outcome.moves += 1
                    owners[change.complaint] = str(folded.agency)
                elif change.type == "received":
                    owners[change.complaint] = str(folded.agency)
            for name in folded.touched:
                if states[name].owner != owners[name]:
                    outcome.wrong_owners.append(f"{name} at {leaf.index}: {states[name].owner}, {owners[name]}")
    return states


async def _leaves(lab: Lab, start: int) -> Sequence[LogLeaf]:
    return await lab.hub.store.leaves(start, lab.hub.log.size, LEAVES_BYTES) if start < lab.hub.log.size else []


async def _compare(nodes: Sequence[Peer], states: dict[str, ComplaintState], outcome: Outcome) -> None:
    """Owner and minter see what the log has; the owner has the whole history."""
    for name, state in states.items():
        seen_by = {str(node.agency): node for node in nodes}
        for agency in {state.owner, state.minted_by}:
            held = await seen_by[agency].store.complaint(complaint_key(ComplaintId.parse(name)))
            if held is None or _facts(held.state) != _facts(state):
                outcome.wrong_views.append(f"{agency} sees another {name}")
        applied = [one for one in await seen_by[state.owner].history(name) if one.verdict is None]
        if len(applied) != state.applied:
            outcome.wrong_views.append(f"{state.owner} has {len(applied)} of {state.applied} changes of {name}")


def _facts(state: ComplaintState) -> tuple[object, ...]:
    offer = (state.offer, state.offer_to)
    return state.owner, state.state, state.rev, state.bounces, state.class_, state.category, offer


def agencies(count: int) -> list[AgencyId]:
    return [DESK, *(AgencyId(f"99.{number:02d}") for number in range(count - 1))]


async def _main(races: int, nodes: int, seed: int, place: Path) -> Outcome:
    async with running_hub(place) as lab, peers(lab, place, agencies(nodes)) as made:
        return await run_races(lab, made, races, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--races", type=int, default=5_000)
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    words = parser.parse_args()
    configure_logs("error")
    with tempfile.TemporaryDirectory() as place:
        outcome = asyncio.run(_main(words.races, words.nodes, words.seed, Path(place)))
    print(json.dumps(vars(outcome) | {"clean": outcome.is_clean}))
    sys.exit(0 if outcome.is_clean else 1)


if __name__ == "__main__":
    main()
