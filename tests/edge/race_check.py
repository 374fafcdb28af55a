"""What the log and the nodes show after races (`transfer_races.py`): owners by the applied changes alone, held against
the auditor's fold at every place, and every node's view held against the log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from node.hub.folding import open_batch
from node.store.complaint_keys import complaint_key
from node.store.hub_records import LogLeaf
from sync_protocol.change_types import Handed
from sync_protocol.complaint import ComplaintState
from sync_protocol.ledger import Ledger
from sync_protocol.line import Change
from sync_protocol.roster import Roster
from sync_protocol.values import ComplaintId
from tests.edge.hub_lab import RULES, Lab
from tests.edge.inbox_lab import DESK, Peer

LEAVES_BYTES: Final = 1 << 20
#: What a race may do to who loses it; anything else is a fault of a node, which should have known better.
EXPECTED: Final = {"no_offer", "not_offered", "not_owner", "under_offer", "wrong_rev"}


@dataclass
class Outcome:
    """What the log shows. `moves` are changes of owner, by the type that made them; all lists must be empty."""

    races: int
    seconds: float = 0.0
    complaints: int = 0
    changes: int = 0
    moves: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    wrong_owners: list[str] = field(default_factory=list)
    wrong_views: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not (self.wrong_owners or self.wrong_views or self.refused.keys() - EXPECTED)

    def document(self) -> dict[str, Any]:
        return vars(self) | {"clean": self.is_clean}


@dataclass
class _Owned:
    """Whose a complaint is by the applied changes alone, and how often it was declined since the desk directed it."""

    owner: str
    bounces: int = 0

    def take(self, change: Change, agency: str) -> str | None:
        """What is wrong with this one, if anything is."""
        if change.type == "accepted":
            self.owner = agency
        elif change.type == "declined":
            self.bounces += 1
        elif change.type == "recalled":
            self.owner = agency
            if agency != DESK or self.bounces < RULES.bounce_limit:
                return f"recalled by {agency} after {self.bounces} bounces"
        elif change.type == "directed":
            before = self.owner
            self.owner, self.bounces = _target_of(change), 0
            if not agency == before == DESK:
                return f"directed by {agency}, of {before}"
        return None


def _target_of(change: Change) -> str:
    assert isinstance(change.data, Handed)
    return change.data.to


async def fold_all(lab: Lab, outcome: Outcome) -> dict[str, ComplaintState]:
    """The log once more, by the auditor's fold; an owner may only ever change by a change that hands over."""
    states: dict[str, ComplaintState] = {}
    ledger = Ledger(Roster(), states)
    owned: dict[str, _Owned] = {}
    while leaves := await _leaves(lab, ledger.size):
        for leaf in open_batch(leaves).leaves:
            folded = ledger.apply(leaf.index, leaf.jws, change_leaves=leaf.leaves, changes=leaf.changes)
            for verdict, change in zip(folded.verdicts, folded.changes, strict=True):
                outcome.changes += 1
                if verdict or change is None:
                    outcome.refused[verdict.label] += 1
                else:
                    _follow(owned, change, str(folded.agency), outcome)
            for name in folded.touched:
                found, wanted = states[name], owned[name]
                if (found.owner, found.bounces) != (wanted.owner, wanted.bounces):
                    outcome.wrong_owners.append(f"{name} at {leaf.index}: {found.owner}, {wanted}")
    return states


def _follow(owned: dict[str, _Owned], change: Change, agency: str, outcome: Outcome) -> None:
    one = owned.setdefault(change.complaint, _Owned(agency))
    before = one.owner
    wrong = one.take(change, agency)
    if wrong is not None:
        outcome.wrong_owners.append(f"{change.complaint}: {wrong}")
    if one.owner != before:
        outcome.moves[change.type] += 1


async def _leaves(lab: Lab, start: int) -> Sequence[LogLeaf]:
    return await lab.hub.store.leaves(start, lab.hub.log.size, LEAVES_BYTES) if start < lab.hub.log.size else []


async def compare(nodes: Sequence[Peer], states: dict[str, ComplaintState], outcome: Outcome) -> None:
    """Owner and minter see what the log has; the owner has the whole history."""
    for name, state in states.items():
        seen_by = {str(node.agency): node for node in nodes}
        for agency in {state.owner, state.minted_by}:
            held = await seen(seen_by[agency], name)
            if held is None or _facts(held) != _facts(state):
                outcome.wrong_views.append(f"{agency} sees another {name}")
        applied = [one for one in await seen_by[state.owner].history(name) if one.verdict is None]
        if len(applied) != state.applied:
            outcome.wrong_views.append(f"{state.owner} has {len(applied)} of {state.applied} changes of {name}")


def _facts(state: ComplaintState) -> tuple[object, ...]:
    offer = (state.offer, state.offer_to)
    return state.owner, state.state, state.rev, state.bounces, state.class_, state.category, offer


async def seen(peer: Peer, complaint: str) -> ComplaintState | None:
    """As this node has it, if it has it."""
    held = await peer.store.complaint(complaint_key(ComplaintId.parse(complaint)))
    return None if held is None else held.state
