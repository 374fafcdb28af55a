"""A complaint's *slot*: 26 bits that sort complaints by urgency, the smaller the sooner.

Where something is due: the hour at which that day ends (since 1970) and what it is. Where nothing is due, a bit that
puts it behind all those, and the hour of its arrival. Hub and node keep it in an index.
"""

from __future__ import annotations

from typing import Final, NamedTuple

SLOT_BITS: Final = 26
DUTY_BITS: Final = 2
NOTHING_DUE: Final = 1 << (SLOT_BITS - 1)  # slots below it have something due
SLOT_MAX: Final = (1 << SLOT_BITS) - 1  # as many bits as it has
HOUR_MAX: Final = (NOTHING_DUE >> DUTY_BITS) - 1  # in the year 2926
HOUR_MS: Final = 3_600_000
SOON_HOURS: Final = 48  # "soon": two days are enough to do it, and little enough that a list of them is read


class Due(NamedTuple):
    """Until the end of the hour before `hour` (hours since 1970) something is to be done; `duty` is 0 … 3."""

    hour: int
    duty: int


def slot_of(due: Due | None, arrived_hour: int) -> int:
    """Hours out of range are taken for the nearest that is in it."""
    if due is None:
        return NOTHING_DUE | min(max(arrived_hour, 0), HOUR_MAX) << DUTY_BITS
    return min(max(due.hour, 0), HOUR_MAX) << DUTY_BITS | due.duty


def due_of(slot: int) -> Due | None:
    """What `slot_of` was told."""
    return None if slot & NOTHING_DUE else Due(slot >> DUTY_BITS, slot & 3)


def slots_due(which: str, now_ms: int) -> tuple[int, int]:
    """The first and the last slot of what is `overdue`, or due `soon`, at that moment."""
    begun = min(now_ms // HOUR_MS, HOUR_MAX - SOON_HOURS)
    if which == "overdue":
        return 0, (begun + 1 << DUTY_BITS) - 1
    return begun + 1 << DUTY_BITS, (begun + SOON_HOURS + 1 << DUTY_BITS) - 1


#: What `slots_due` understands.
DUE_WORDS: Final = ("overdue", "soon")
