"""What whoever has a tracking number may know: where the complaint stands, who has it, until when something is due.

Codes only, never words: so it is the same for a confidential complaint.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from node.local.ports import LocalStore
from node.local.shared import history_of
from node.store.local_records import ComplaintFilter, HeldComplaint
from sync_protocol.complaint import ComplaintState, State

#: The hour (since 1970) at which the day ends until which something is due: of a complaint with these applied changes.
NextDue = Callable[[ComplaintState, Sequence[bytes]], int | None]


@dataclass(frozen=True, slots=True)
class PublicPart:
    """Of one complaint, now. `owner` and `offered_to` are agencies' codes."""

    tracking: str
    state: State
    owner: str
    offered_to: str | None
    due_hour: int | None


async def find_tracked(store: LocalStore, tracking: str) -> HeldComplaint | None:
    """By the tracking number in its one spelling. A line may claim any number: nobody hides another's by claiming it.

    So of several it is the one that this agency minted, or else the one that came first.
    """
    page = await store.complaints(ComplaintFilter(tracking=tracking, oldest_first=True))
    identity = await store.identity()
    own = None if identity is None else identity.agency
    return min(page, key=lambda held: (held.state.minted_by != own, held.no), default=None)


async def find_public(store: LocalStore, tracking: str, next_due: NextDue) -> PublicPart | None:
    """By the tracking number in its one spelling; None where no complaint of this node has it."""
    held = await find_tracked(store, tracking)
    if held is None:
        return None
    state = held.state
    lines = [change.line for change in await history_of(store, held) if change.verdict is None]
    return PublicPart(tracking, state.state, state.owner, state.offer_to, next_due(state, lines))
