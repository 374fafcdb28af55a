"""The four duties of a complaint's owner, and since when each of them runs. Pure: applied changes in, hours out.

- *verify*: from arrival at the owner until `verified`, `assigned`, `offered` or `information_requested`;
- *first_answer*: from arrival at the owner until its first `answered`;
- *settle*: from `verified`, or from what asked for another answer later (`replied`, `reopened`), until `answered`;
- *close*: from `answered` until it closes itself.

Another owner's duties begin with its arrival there; a closed or archived complaint has none. What an import does not
tell is not invented: a complaint imported beyond `received` has no duty to verify and none of a first answer, and its
settling counts from its arrival. `at` is what the agency's own clock said (protocol §5.5).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from enum import IntEnum
from typing import Any, Final

import msgspec

from node.deadlines.slot import HOUR_MS, due_of
from sync_protocol.line import Change
from sync_protocol.transitions import State
from sync_protocol.values import format_timestamp

HOURS_REMEMBERED_MAX: Final = 100_000  # eleven years of hours


class Duty(IntEnum):
    """What is to be done."""

    VERIFY = 0
    FIRST_ANSWER = 1
    SETTLE = 2
    CLOSE = 3

    @property
    def label(self) -> str:
        """As written in answers."""
        return self.name.lower()


class Clocks(msgspec.Struct, gc=False, array_like=True):
    """Since when (hours since 1970) each duty runs, None where it does not; in the order of Duty."""

    verify: int | None = None
    first_answer: int | None = None
    settle: int | None = None
    close: int | None = None


_hours: Final[dict[str, int]] = {}


def hour_of(timestamp: str) -> int:
    """The hour since 1970 in which a timestamp of protocol §1.1 lies."""
    name = timestamp[:13]
    try:
        return _hours[name]
    except KeyError:
        if len(_hours) >= HOURS_REMEMBERED_MAX:
            _hours.clear()
        days = date.fromisoformat(name[:10]).toordinal() - _EPOCH
        hour = _hours[name] = days * 24 + int(name[11:])
        return hour


_EPOCH: Final = date(1970, 1, 1).toordinal()
_IMPORTED: Final = "imported"
_SETTLING: Final = frozenset(state.label for state in (State.VERIFIED, State.ASSIGNED, State.IN_PROGRESS))


def begin(change: Change) -> Clocks:
    """The clocks of a complaint that `received` or `imported` brings."""
    data: Any = change.data
    arrived = hour_of(data.received_at)
    if change.type == _IMPORTED and data.state != State.RECEIVED.label:
        return Clocks(settle=arrived if data.state in _SETTLING else None)
    return Clocks(arrived, arrived)


def _handle(clocks: Clocks, _hour: int) -> None:
    clocks.verify = None


def _verify(clocks: Clocks, hour: int) -> None:
    clocks.verify, clocks.settle = None, hour


def _ask(clocks: Clocks, hour: int) -> None:
    clocks.settle, clocks.close = hour, None


def _answer(clocks: Clocks, hour: int) -> None:
    clocks.verify = clocks.first_answer = clocks.settle = None
    clocks.close = hour


def _end(clocks: Clocks, _hour: int) -> None:
    clocks.verify = clocks.first_answer = clocks.settle = clocks.close = None


def _own(clocks: Clocks, hour: int) -> None:
    clocks.verify = clocks.first_answer = hour
    clocks.settle = clocks.close = None


_Mark = Callable[[Clocks, int], None]
#: What an applied change of a type does to the clocks; types without an entry leave them alone.
MARKS: Final[dict[str, _Mark]] = {
    "verified": _verify,
    "assigned": _handle,
    "offered": _handle,
    "information_requested": _handle,
    "answered": _answer,
    "replied": _ask,
    "reopened": _ask,
    "closed": _end,
    "archived": _end,
    "accepted": _own,
    "recalled": _own,
    "directed": _own,
}


#: Types after which the clocks are known, whatever was known before.
STARTS: Final = frozenset({"received", "imported", "accepted", "recalled", "directed"})


def follow(clocks: Clocks | None, change: Change) -> Clocks:
    """The clocks after an applied change, as a new object; `clocks` None where it is the first that is known."""
    after = Clocks() if clocks is None else msgspec.structs.replace(clocks)
    if hasattr(change.data, "received_at"):
        return begin(change)
    mark = MARKS.get(change.type)
    if mark is not None:
        mark(after, hour_of(change.at))
    return after


def due_words(slot: int, now_ms: int) -> tuple[str | None, str | None, bool]:
    """When it is due, what is, and whether that is over."""
    due = due_of(slot)
    if due is None:
        return None, None, False
    due_ms = due.hour * HOUR_MS
    return format_timestamp(due_ms), Duty(due.duty).label, due_ms <= now_ms
