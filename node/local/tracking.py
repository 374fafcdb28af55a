"""What whoever has a tracking number may know: where the complaint stands, who has it, until when something is due.

Codes only, never words: so it is the same for a confidential complaint.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from node.local.ports import LocalStore
from node.local.shared import history_of
from node.store.local_records import ComplaintFilter
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


async def find_public(store: LocalStore, tracking: str, next_due: NextDue) -> PublicPart | None:
    """By the tracking number in its one spelling; None where no complaint of this node has it."""
    page = await store.complaints(ComplaintFilter(tracking=tracking, limit=1))
    if not page:
        return None
    state = page[0].state
    lines = [change.line for change in await history_of(store, page[0]) if change.verdict is None]
    return PublicPart(tracking, state.state, state.owner, state.offer_to, next_due(state, lines))
