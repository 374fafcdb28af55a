"""What whoever has a tracking number is shown of its complaint, by a node or by the hub (protocol §7.7)."""

from __future__ import annotations

from typing import Final

import msgspec

from node.deadlines.clocks import due_words
from sync_protocol.complaint_state import ComplaintState
from sync_protocol.values import format_timestamp

HISTORY_MAX: Final = 100  # the newest changes


class TrackedChange(msgspec.Struct, frozen=True, kw_only=True):
    """What was done, when, and by which agency. `text` is an answer or a question to the reporter, where the owner's
    node shows it: never of a confidential complaint, null anywhere else.
    """

    type: str
    at: str
    agency: str
    text: str | None


class Tracked(msgspec.Struct, frozen=True, kw_only=True):
    """A complaint as the public part of it is now. `due_at` is the end of a day, null where nothing is due."""

    tracking: str
    state: str
    owner: str
    offered_to: str | None
    class_: str | None = msgspec.field(name="class")
    received_at: str
    closed_by: str | None
    due_at: str | None
    duty: str | None
    overdue: bool
    history: list[TrackedChange]
    as_of: str

    @classmethod
    def of(
        cls, state: ComplaintState, slot: int, history: list[TrackedChange], *, now_ms: int, as_of_ms: int
    ) -> Tracked:
        """Of a complaint whose deadline stands in `slot`; `as_of_ms` is how old what is known of it is."""
        due_at, duty, overdue = due_words(slot, now_ms)
        return cls(
            tracking=state.tracking,
            state=state.state.label,
            owner=state.owner,
            offered_to=state.offer_to,
            class_=state.class_,
            received_at=state.received_at,
            closed_by=state.closed_by,
            due_at=due_at,
            duty=duty,
            overdue=overdue,
            history=history,
            as_of=format_timestamp(as_of_ms),
        )
