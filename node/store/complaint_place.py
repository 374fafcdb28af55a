"""A complaint's *place* among all others: one integer that says whose it is, in which state, and how urgent.

    agency 33 bits | state 4 bits | slot 26 bits

*agency* is the log index of the owner's first enrolment, *state* the code of protocol §9.2. The *slot* sorts by
urgency: where something is due, the hour at which that day ends (since 1970) and what it is; where nothing is due, a
bit that puts it behind all those, and the hour of its arrival. So one narrow index answers "this agency's complaints in
this state, overdue first, then by age" by reading only what it shows (docs/adr/0009-queries-of-the-projection.md).

A complaint's *number* is the pointer to the change that brought it into the world: unique, and the same after every
rebuild and in every database.
"""

from __future__ import annotations

from typing import Final, NamedTuple

SLOT_BITS: Final = 26
_STATE_BITS: Final = 4
DUTY_BITS: Final = 2
_NOTHING_DUE: Final = 1 << (SLOT_BITS - 1)
SLOT_MAX: Final = (1 << SLOT_BITS) - 1  # as many bits as it has
HOUR_MAX: Final = (_NOTHING_DUE >> DUTY_BITS) - 1  # in the year 2926
STATE_MAX: Final = (1 << _STATE_BITS) - 1  # as many bits as it has
AGENCY_MAX: Final = (1 << (63 - SLOT_BITS - _STATE_BITS)) - 1  # 8 thousand million leaves before an enrolment
NUMBER_MAX: Final = (1 << 63) - 1  # what both databases take for an integer


class Due(NamedTuple):
    """Until the end of the hour before `hour` (hours since 1970) something is to be done; `duty` is 0 … 3."""

    hour: int
    duty: int


def slot_of(due: Due | None, arrived_hour: int) -> int:
    """Hours out of range are taken for the nearest that is in it."""
    if due is None:
        return _NOTHING_DUE | min(max(arrived_hour, 0), HOUR_MAX) << DUTY_BITS
    return min(max(due.hour, 0), HOUR_MAX) << DUTY_BITS | due.duty


def due_of(slot: int) -> Due | None:
    """What `slot_of` was told."""
    return None if slot & _NOTHING_DUE else Due(slot >> DUTY_BITS, slot & 3)


def place_of(agency: int, state: int, slot: int) -> int:
    """The place; also of the slots 0 and SLOT_MAX, where a state of an agency begins and ends."""
    return (agency << _STATE_BITS | state) << SLOT_BITS | slot


def state_at(place: int) -> int:
    """The code of the state of a place."""
    return place >> SLOT_BITS & STATE_MAX


def slot_at(place: int) -> int:
    """The slot of a place."""
    return place & SLOT_MAX
