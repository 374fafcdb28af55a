"""What whoever has a tracking number is shown of its complaint, by a node or by the hub (protocol §7.7)."""

from __future__ import annotations

from typing import Final

import msgspec

from node.deadlines.clocks import due_words
from node.deadlines.slot import HOUR_MAX, HOUR_MS
from sync_protocol.complaint_state import ComplaintState
from sync_protocol.errors import malformed
from sync_protocol.transitions import State
from sync_protocol.values import AgencyId, format_timestamp, parse_timestamp
from sync_protocol.wire import parse_body

HISTORY_MAX: Final = 100  # the newest changes
STATES: Final = {state.label: state for state in State if state is not State.NONE}


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


def read_tracked(data: bytes, tracking: str) -> Tracked:
    """What a hub answered when it was asked for that number, in its one spelling. Raises Refused(malformed).

    State and agencies are ones that there can be, moments are moments. Nothing of it is signed.
    """
    found = parse_body(data, Tracked)
    if found.tracking != tracking:
        raise malformed("another number than the one that was asked for", "tracking")
    if found.state not in STATES:
        raise malformed("no state of a complaint", "state")
    for agency in filter(None, (found.owner, found.offered_to)):
        AgencyId.parse(agency)
    for moment in (found.received_at, found.as_of):
        parse_timestamp(moment)
    if found.due_at is not None and not 0 < parse_timestamp(found.due_at) // HOUR_MS <= HOUR_MAX:
        raise malformed("no day on which anything is due", "due_at")
    return found
