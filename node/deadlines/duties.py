"""How many duties were done in time: counted from the fold, by hub and auditor alike (docs/deadlines.md).

A duty that ends is counted once, under the agency that had it: `in_time` or `late`; `lapsed` if it ended otherwise
before its limit (the complaint went to another agency, was archived, or its reporter replied). Of the late ones,
`late_unreachable` are those during which hub or node was provably away. A duty that runs is counted under the hour at
which it ends, so that what is overdue follows from these rows and a tick, without looking at a single complaint.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from node.deadlines.clocks import Clocks, Duty, hour_of
from node.deadlines.outages import Outages
from node.deadlines.slot import DUTY_BITS, HOUR_MS
from node.deadlines.tables import Deadlines, is_waiting
from sync_protocol.complaint import ComplaintState
from sync_protocol.line import Change

FIGURE: Final = "duty"
CLOSE_SLACK_HOURS: Final = 24  # a node closes within the hour, or once a day where a timer does it
OUTCOMES: Final = ("in_time", "late", "late_unreachable", "lapsed", "open", "overdue", "waiting")
_LABELS: Final = tuple(duty.label for duty in Duty)
_ALL: Final = dict.fromkeys(Duty, False)
_VERIFY: Final = {Duty.VERIFY: True}
#: type of change -> the duties that it ends, and whether it is what they asked for.
ENDS: Final[dict[str, dict[Duty, bool]]] = {
    "verified": _VERIFY,
    "assigned": _VERIFY,
    "offered": _VERIFY,
    "information_requested": _VERIFY,
    "answered": {Duty.VERIFY: True, Duty.FIRST_ANSWER: True, Duty.SETTLE: True},
    "replied": {Duty.CLOSE: False},
    "closed": _ALL | {Duty.CLOSE: True},
    "archived": _ALL,
    "accepted": _ALL,
    "recalled": _ALL,
    "directed": _ALL | _VERIFY,
}

#: (figure, agency, key, hour): as a figure of protocol §9.6 is named.
Row = tuple[str, str, str, str]


class DutyCount(msgspec.Struct, kw_only=True):
    """Of one duty of one agency. `open` are not due yet, `overdue` and not done, `waiting` for the reporter."""

    in_time: int = 0
    late: int = 0
    late_unreachable: int = 0
    lapsed: int = 0
    open: int = 0
    overdue: int = 0
    waiting: int = 0


def ended(
    deadlines: Deadlines, outages: Outages, before: ComplaintState, clocks: Clocks, change: Change
) -> Iterator[Row]:
    """What an applied change ends, of a complaint as it was before it."""
    ending = ENDS.get(change.type)
    ends = None if ending is None else deadlines.ends(before, clocks)
    if ending is None or ends is None:
        return
    hour = hour_of(change.at)
    for duty, is_done in ending.items():
        end = ends[duty]
        if end is None:
            continue
        limit = end >> DUTY_BITS
        is_over = hour >= limit + (CLOSE_SLACK_HOURS if duty is Duty.CLOSE else 0)
        if not is_over or (not is_done and (is_waiting(before) or duty is Duty.CLOSE)):
            yield _row(before.owner, duty, "in_time" if is_done else "lapsed")
            continue
        yield _row(before.owner, duty, "late")
        begun = msgspec.structs.astuple(clocks)[duty]
        if any(outages.away(outages.known(before.owner), begun * HOUR_MS, limit * HOUR_MS)):
            yield _row(before.owner, duty, "late_unreachable")


def running(deadlines: Deadlines, complaint: ComplaintState, clocks: Clocks) -> list[Row]:
    """The duties that run."""
    ends = deadlines.ends(complaint, clocks)
    if ends is None:
        return []
    if is_waiting(complaint):
        return [_row(complaint.owner, duty, "waiting") for duty, end in zip(Duty, ends, strict=True) if end is not None]
    return [
        _row(complaint.owner, duty, "open", f"{end >> DUTY_BITS:08d}")
        for duty, end in zip(Duty, ends, strict=True)
        if end is not None
    ]


def _row(agency: str, duty: Duty, outcome: str, hour: str = "") -> Row:
    return (FIGURE, agency, f"{_LABELS[duty]}.{outcome}", hour)


def last_hour(now_ms: int | None) -> str:
    """The last hour, as rows name it, that is over at that moment; before every hour while there is none."""
    return "" if now_ms is None else f"{now_ms // HOUR_MS:08d}"


def summed(counts: Iterable[tuple[str, str, bool, int]]) -> dict[str, dict[str, DutyCount]]:
    """agency -> duty -> counts, from (agency, key, whether its hour is over, count); every duty of every agency."""
    agencies: dict[str, dict[str, DutyCount]] = {}
    for agency, key, is_over, count in counts:
        if not count:
            continue
        duties = agencies.setdefault(agency, {label: DutyCount() for label in _LABELS})
        duty, _, outcome = key.partition(".")
        name = "overdue" if outcome == "open" and is_over else outcome
        setattr(duties[duty], name, getattr(duties[duty], name) + count)
    return agencies
