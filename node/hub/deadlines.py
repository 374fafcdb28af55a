"""What is due on a complaint, and when (config/deadlines.toml). Pure: tables and facts in, hours since 1970 out.

Four duties, each counted in the owner's own calendar, from the day after it began:

- *verify*: from arrival at the owner until `verified`, `assigned`, `offered` or `information_requested`;
- *first_answer*: from arrival at the owner until its first `answered`;
- *settle*: from `verified`, or from what asked for another answer later (`replied`, `reopened`), until `answered`;
- *close*: from `answered` until it closes itself.

On hold the clocks go on; while the reporter is asked for information none of them is shown as due. What an import does
not tell is not invented: a complaint imported beyond `received` has no duty to verify and none of a first answer, and
its settling counts from its arrival. `at` is what the agency's own clock said (protocol §5.5). Nothing here enters a
verdict or the state hash.
"""

from __future__ import annotations

import tomllib
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import IntEnum
from typing import Any, Final, NoReturn

import msgspec

from node.directory import Agency
from node.hub.calendar import DAYS_MAX, REMEMBERED_MAX, Calendar, Calendars, read_calendars
from node.store.complaint_place import DUTY_BITS, Due, due_of, slot_of
from sync_protocol.complaint import ComplaintState
from sync_protocol.errors import Refused
from sync_protocol.line import Change
from sync_protocol.transitions import State
from sync_protocol.values import AgencyId

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


class Clocks(msgspec.Struct, gc=False):
    """When the duties of a complaint's present owner began (hours since 1970), and which of them are done."""

    owned: int  # arrival at the owner
    asked: int | None = None  # since when an answer is awaited
    answered: int | None = None
    handled: bool = False  # the duty to verify is done
    replied: bool = False  # the first answer is given


@dataclass(frozen=True, slots=True)
class DeadlineTable:
    """Days by duty; None where nothing is measured. `until` is the last day of arrival that it is for."""

    since: date
    until: date | None
    verify: int | None
    first_answer: int | None
    close: int | None  # calendar days; all others are working days
    settle: Mapping[str, int]


class Deadlines:
    """Answers "due when". Not for several threads at once.

    Asked for every complaint that changes: moments are whole hours, answers of the calendar are remembered, and what is
    due is a slot of complaint_place.py from the beginning, of which the smaller is the earlier.
    """

    def __init__(self, tables: list[DeadlineTable], calendars: Calendars) -> None:
        self._tables = sorted(tables, key=lambda table: table.since)
        self._since = [table.since for table in self._tables]
        self._calendars = calendars
        self._by_day: dict[int, DeadlineTable | None] = {}

    def due(self, complaint: ComplaintState, clocks: Clocks) -> Due | None:
        """What is due next, None where nothing is, or nothing is measured."""
        return due_of(self.slot(complaint, clocks))

    def slot(self, complaint: ComplaintState, clocks: Clocks) -> int:
        """The same as part of the complaint's place (complaint_place.py)."""
        arrived = hour_of(complaint.received_at)
        due = self._next(complaint, clocks, arrived)
        return slot_of(None, arrived) if due is None else due

    def _next(self, complaint: ComplaintState, clocks: Clocks, arrived: int) -> int | None:
        state: int = complaint.state
        if state == _ON_HOLD:
            state = complaint.hold_return_state or _RECEIVED
        if state in _WAITING:
            return None
        calendar = self._calendars.of(complaint.owner)
        table = self._table_for(calendar, arrived)
        if table is None:
            return None
        if state == _ANSWERED:
            return _close(table, calendar, clocks)
        owned = clocks.owned
        if state == _RECEIVED and not clocks.handled:
            return _working(calendar, owned, table.verify, _VERIFY)
        first = None if clocks.replied else _working(calendar, owned, table.first_answer, _FIRST_ANSWER)
        if state == _RECEIVED:
            return first
        begun = owned if clocks.asked is None else clocks.asked
        settle = _working(calendar, begun, table.settle.get(complaint.class_ or ""), _SETTLE)
        if first is None or settle is None:
            return settle if first is None else first
        return min(first, settle)

    def _table_for(self, calendar: Calendar, arrived: int) -> DeadlineTable | None:
        """A complaint is measured by what was in force when it arrived."""
        number = calendar.day_number(arrived)
        try:
            return self._by_day[number]
        except KeyError:
            if len(self._by_day) >= REMEMBERED_MAX:
                self._by_day.clear()
            found = self._by_day[number] = self._find_table(calendar.day_of(arrived))
            return found

    def _find_table(self, day: date | None) -> DeadlineTable | None:
        place = 0 if day is None else bisect_right(self._since, day)
        if not place or day is None:
            return None
        table = self._tables[place - 1]
        return table if table.until is None or day <= table.until else None


# Bound once, as plain numbers: an enum's member is slow to look up and to compare.
_RECEIVED, _ANSWERED, _ON_HOLD = int(State.RECEIVED), int(State.ANSWERED), int(State.ON_HOLD)
_WAITING: Final = frozenset(map(int, (State.AWAITING_INFORMATION, State.CLOSED, State.ARCHIVED)))
_VERIFY, _FIRST_ANSWER, _SETTLE, _CLOSE = map(int, Duty)


def _working(calendar: Calendar, begun: int, days: int | None, duty: int) -> int | None:
    if days is None:
        return None
    hour = calendar.end_of_working_day(begun, days)
    return None if hour is None else hour << DUTY_BITS | duty  # a calendar's hours are all in range


def _close(table: DeadlineTable, calendar: Calendar, clocks: Clocks) -> int | None:
    if table.close is None or clocks.answered is None:
        return None
    hour = calendar.end_of_day(clocks.answered, table.close)
    return None if hour is None else hour << DUTY_BITS | _CLOSE


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


def begin(change: Change) -> Clocks:
    """The clocks of a complaint that `received` or `imported` brings."""
    data: Any = change.data
    clocks = Clocks(hour_of(data.received_at))
    if change.type == _IMPORTED and data.state != State.RECEIVED.label:
        clocks.handled = clocks.replied = True
    return clocks


def _handle(clocks: Clocks, _hour: int) -> None:
    clocks.handled = True


def _verify(clocks: Clocks, hour: int) -> None:
    clocks.handled, clocks.asked = True, hour


def _ask(clocks: Clocks, hour: int) -> None:
    clocks.asked = hour


def _answer(clocks: Clocks, hour: int) -> None:
    clocks.answered, clocks.replied = hour, True


def _own(clocks: Clocks, hour: int) -> None:
    clocks.owned, clocks.asked, clocks.answered, clocks.handled, clocks.replied = hour, None, None, False, False


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
    "accepted": _own,
    "recalled": _own,
    "directed": _own,
}


def read_deadlines(deadlines: str, calendar: str, directory: Mapping[AgencyId, Agency]) -> Deadlines:
    """From the words of deadlines.toml and calendar.toml. Raises Refused(configuration)."""
    try:
        tables = [_table(entry) for entry in tomllib.loads(deadlines)["table"]]
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        _wrong(str(error))
    if len({table.since for table in tables}) < len(tables):
        _wrong("two tables begin on one day")
    return Deadlines(tables, read_calendars(calendar, directory))


def _table(entry: Mapping[str, Any]) -> DeadlineTable:
    since, until = entry["in_force_from"], entry.get("in_force_until")
    if type(since) is not date or type(until) not in (date, type(None)):
        raise TypeError("in_force_from and in_force_until are dates")
    return DeadlineTable(
        since=since,
        until=until,
        verify=_days(entry.get("verify"), "working_days"),
        first_answer=_days(entry.get("first_answer"), "working_days"),
        close=_days(entry.get("close_by_itself"), "calendar_days"),
        settle={
            class_: days
            for class_, limit in entry.get("settle", {}).items()
            if (days := _days(limit, "working_days")) is not None
        },
    )


def _days(limit: Mapping[str, Any] | None, unit: str) -> int | None:
    if limit is None:
        return None
    days = limit[unit]
    if type(days) is not int or not 0 < days <= DAYS_MAX or len(limit) != 1:
        raise ValueError(f"{unit} are 1 to {DAYS_MAX}")
    return days


def _wrong(why: str) -> NoReturn:
    raise Refused(
        "configuration",
        f"deadlines.toml cannot be used: {why}",
        where="deadlines.toml",
        members={"next": "Correct it by the example in config/README.md, or install Simpul again."},
    )
