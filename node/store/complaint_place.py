"""A complaint's *place* among all others: one integer that says whose it is, in which state, and how urgent.

    agency 33 bits | state 4 bits | slot 26 bits

*agency* is the log index of the owner's first enrolment, *state* the code of protocol §9.2, the *slot* sorts by urgency
(node/deadlines/slot.py). So one narrow index answers "this agency's complaints in this state, overdue first, then by
age" by reading only what it shows (docs/adr/0009-queries-of-the-projection.md).

A complaint's *number* is the pointer to the change that brought it into the world: unique, and the same after every
rebuild and in every database.
"""

from __future__ import annotations

from typing import Final

from node.deadlines.slot import SLOT_BITS, SLOT_MAX

_STATE_BITS: Final = 4
STATE_MAX: Final = (1 << _STATE_BITS) - 1  # as many bits as it has
AGENCY_MAX: Final = (1 << (63 - SLOT_BITS - _STATE_BITS)) - 1  # 8 thousand million leaves before an enrolment
NUMBER_MAX: Final = (1 << 63) - 1  # what both databases take for an integer


def place_of(agency: int, state: int, slot: int) -> int:
    """The place; also of the slots 0 and SLOT_MAX, where a state of an agency begins and ends."""
    return (agency << _STATE_BITS | state) << SLOT_BITS | slot


def state_at(place: int) -> int:
    """The code of the state of a place."""
    return place >> SLOT_BITS & STATE_MAX


def slot_at(place: int) -> int:
    """The slot of a place."""
    return place & SLOT_MAX
