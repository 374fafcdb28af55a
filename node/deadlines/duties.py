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
from node.deadlines.tables import Ends, is_waiting
from sync_protocol.complaint import ComplaintState
from sync_protocol.line import Change

FIGURE: Final = "duty"
CLOSE_SLACK_HOURS: Final = 24  # a node closes within the hour, or once a day where a timer does it
NAMES_MAX: Final = 200_000  # remembered: 727 agencies, a hundred days, three duties
_LABELS: Final = tuple(duty.label for duty in Duty)
_VERIFY, _FIRST_ANSWER, _SETTLE, _CLOSE = map(int, Duty)
_ALL: Final = dict.fromkeys((_VERIFY, _FIRST_ANSWER, _SETTLE, _CLOSE), False)
_HANDLED: Final = {_VERIFY: True}
#: type of change -> the duties that it ends, and whether it is what they asked for.
ENDS: Final[dict[str, tuple[tuple[int, bool], ...]]] = {
    change_type: tuple(duties.items())
    for change_type, duties in {
        "verified": _HANDLED,
        "assigned": _HANDLED,
        "offered": _HANDLED,
        "information_requested": _HANDLED,
        "answered": {_VERIFY: True, _FIRST_ANSWER: True, _SETTLE: True},
        "replied": {_CLOSE: False},
        "closed": _ALL | {_CLOSE: True},
        "archived": _ALL,
        "accepted": _ALL,
        "recalled": _ALL,
        "directed": _ALL | _HANDLED,
    }.items()
}


class DutyCount(msgspec.Struct, kw_only=True):
    """Of one duty of one agency. `open` are not due yet, `overdue` and not done, `waiting` for the reporter."""

    in_time: int = 0
    late: int = 0
    late_unreachable: int = 0
    lapsed: int = 0
    open: int = 0
    overdue: int = 0
    waiting: int = 0


def ended(outages: Outages, before: ComplaintState, clocks: Clocks, ends: Ends, change: Change) -> Iterator[str]:
    """What an applied change ends, of a complaint as it was before it: names of counts."""
    hour = hour_of(change.at)
    for duty, is_done in ENDS.get(change.type, ()):
        end = ends[duty]
        if end is None:
            continue
        limit = end >> DUTY_BITS
        if hour < limit + (CLOSE_SLACK_HOURS if duty == _CLOSE else 0):
            yield _name(before.owner, duty, "in_time" if is_done else "lapsed")
        elif not is_done and (duty == _CLOSE or is_waiting(before)):
            yield _name(before.owner, duty, "lapsed")
        else:
            yield _name(before.owner, duty, "late")
            begun = msgspec.structs.astuple(clocks)[duty]
            if outages.was_away(before.owner, begun * HOUR_MS, limit * HOUR_MS):
                yield _name(before.owner, duty, "late_unreachable")


def running(complaint: ComplaintState, ends: Ends | None) -> list[str]:
    """The duties that run: names of counts."""
    if ends is None:
        return []
    owner = complaint.owner
    if is_waiting(complaint):
        return [_name(owner, end & 3, "waiting") for end in ends if end is not None]
    return [_name(owner, end & 3, "open", end >> DUTY_BITS) for end in ends if end is not None]


_names: Final[dict[tuple[str, int, str, int], str]] = {}


def _name(agency: str, duty: int, outcome: str, hour: int = 0) -> str:
    """`duty/<agency>/<duty>.<outcome>/<hour>`, as a figure of protocol §9.6 is named; made once."""
    key = (agency, duty, outcome, hour)
    name = _names.get(key)
    if name is None:
        if len(_names) >= NAMES_MAX:
            _names.clear()
        name = _names[key] = f"{FIGURE}/{agency}/{_LABELS[duty]}.{outcome}/{f'{hour:08d}' if hour else ''}"
    return name


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
