"""Lists of complaints: their lines, and the opaque word with which a caller asks for the next page (protocol §7.5).

`after` says behind which slot and number the next page begins (node/store/complaint_place.py). It comes back from
strangers, so that it is read like one: exactly one spelling, bounded before anything else, and good for nothing but a
position in a list that the caller may read anyway.
"""

from __future__ import annotations

from typing import Final

from node.deadlines.clocks import due_words
from node.deadlines.slot import SLOT_MAX
from node.hub.folding import unpack_state
from node.store.complaint_keys import complaint_of
from node.store.complaint_place import NUMBER_MAX, slot_at
from node.store.projection_records import ComplaintRow
from node.tracked import STATES
from sync_protocol.errors import malformed
from sync_protocol.transitions import State
from sync_protocol.values import b64u_decode, b64u_encode
from sync_protocol.wire import ComplaintLine

_VERSION: Final = b"\x01"
_SLOT_BYTES: Final = 4
_AFTER_BYTES: Final = 13
_AFTER_CHARACTERS: Final = 18

#: What `state` may say -> the states, in the order of their codes.
LIST_STATES: Final[dict[str, tuple[State, ...]]] = {
    "open": tuple(state for state in State if State.NONE < state <= State.ON_HOLD),
    "all": tuple(STATES.values()),
    **{label: (state,) for label, state in STATES.items()},
}


def format_after(slot: int, number: int) -> str:
    """What `parse_after` reads: 18 characters."""
    return b64u_encode(_VERSION + slot.to_bytes(_SLOT_BYTES, "big") + number.to_bytes(8, "big"))


def parse_after(text: str) -> tuple[int, int]:
    """Slot and number. Raises Refused(malformed) for whatever `format_after` does not write."""
    if len(text) != _AFTER_CHARACTERS:
        raise malformed("is the `next` of a page, as it was given", "after")
    raw = b64u_decode(text, _AFTER_BYTES, "after")
    slot, number = int.from_bytes(raw[1:5], "big"), int.from_bytes(raw[5:], "big")
    if raw[:1] != _VERSION or slot > SLOT_MAX or number > NUMBER_MAX:
        raise malformed("is the `next` of a page, as it was given", "after")
    return slot, number


def line_of(row: ComplaintRow, now_ms: int) -> ComplaintLine:
    """The line of a row. Raises Corrupt."""
    state = unpack_state(row.state)
    due_at, duty, overdue = due_words(slot_at(row.place), now_ms)
    return ComplaintLine(
        complaint=str(complaint_of(row.key)),
        state=state.state.label,
        class_=state.class_,
        category=state.category,
        area=state.area,
        unit=state.unit,
        offer_to=state.offer_to,
        received_at=state.received_at,
        rev=state.rev,
        due_at=due_at,
        duty=duty,
        overdue=overdue,
    )
