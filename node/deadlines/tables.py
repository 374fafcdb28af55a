"""When a duty ends (config/deadlines.toml): from the tables and what is known of a complaint. Pure.

Each duty is counted in the owner's own calendar, from the day after it began. On hold the clocks go on; while the
reporter is asked for information nothing is shown as due. Nothing here enters a verdict or the state hash.
"""

from __future__ import annotations

import tomllib
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from node.config_data import config_file
from node.deadlines.calendar import DAYS_MAX, REMEMBERED_MAX, Calendar, Calendars, read_calendars
from node.deadlines.clocks import Clocks, Duty, hour_of
from node.deadlines.slot import DUTY_BITS, Due, due_of, slot_of
from node.directory import Agency, load_directory
from sync_protocol.complaint import ComplaintState
from sync_protocol.errors import Refused
from sync_protocol.transitions import State
from sync_protocol.values import AgencyId, Digest

#: One slot for each Duty.
Ends = tuple[int | None, int | None, int | None, int | None]


@dataclass(frozen=True, slots=True)
class TableDigests:
    """Which tables measure: SHA-256 of the files, as the log's rules name them (protocol §5.2).

    `holidays` is the version of the package that knows the public holidays: another one may know others.
    """

    deadlines: Digest
    calendar: Digest
    holidays: str

    def mark(self) -> bytes:
        """32 bytes that differ where anything does that an end of a duty depends on."""
        return sha256(self.deadlines + self.calendar + self.holidays.encode()).digest()


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
    """Answers "due when". What it remembers is the same whoever asked first, so that threads may share it.

    Asked for every complaint that changes: moments are whole hours, answers of the calendar are remembered, and what is
    due is a slot (slot.py) from the beginning, of which the smaller is the earlier.
    """

    def __init__(self, tables: list[DeadlineTable], calendars: Calendars, digests: TableDigests) -> None:
        self.digests = digests
        self._tables = sorted(tables, key=lambda table: table.since)
        self._since = [table.since for table in self._tables]
        self._calendars = calendars
        self._by_day: dict[int, DeadlineTable | None] = {}

    def due(self, complaint: ComplaintState, clocks: Clocks) -> Due | None:
        """What is due next, None where nothing is, or nothing is measured."""
        return due_of(self.slot(complaint, clocks))

    def slot(self, complaint: ComplaintState, clocks: Clocks) -> int:
        """The same as a slot."""
        return slot_by(complaint, self.ends(complaint, clocks))

    def ends(self, complaint: ComplaintState, clocks: Clocks) -> Ends | None:
        """Hour and duty of each duty that runs and is measured, as slots, in the order of Duty; None where none is."""
        verify, first, settle, close = clocks.verify, clocks.first_answer, clocks.settle, clocks.close
        if verify is None and first is None and settle is None and close is None:
            return None
        calendar = self._calendars.of(complaint.owner)
        table = self._table_for(calendar, hour_of(complaint.received_at))
        if table is None:
            return None
        return (
            None if verify is None else _working(calendar, verify, table.verify, _VERIFY),
            None if first is None else _working(calendar, first, table.first_answer, _FIRST_ANSWER),
            None if settle is None else _working(calendar, settle, table.settle.get(complaint.class_ or ""), _SETTLE),
            None if close is None else _close(calendar, close, table.close),
        )

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


def slot_by(complaint: ComplaintState, ends: Ends | None) -> int:
    """The slot, from what `Deadlines.ends` said."""
    running = [end for end in ends if end is not None] if ends is not None and not is_waiting(complaint) else None
    return min(running) if running else slot_of(None, hour_of(complaint.received_at))


def is_waiting(complaint: ComplaintState) -> bool:
    """Whether the reporter is asked for information, also if it is on hold meanwhile."""
    state = complaint.state
    return state == _AWAITING or (state == _ON_HOLD and complaint.hold_return_state == _AWAITING)


# Bound once, as plain numbers: an enum's member is slow to look up and to compare.
_AWAITING, _ON_HOLD = int(State.AWAITING_INFORMATION), int(State.ON_HOLD)
_VERIFY, _FIRST_ANSWER, _SETTLE, _CLOSE = map(int, Duty)


def _working(calendar: Calendar, begun: int, days: int | None, duty: int) -> int | None:
    if days is None:
        return None
    hour = calendar.end_of_working_day(begun, days)
    return None if hour is None else hour << DUTY_BITS | duty  # a calendar's hours are all in range


def _close(calendar: Calendar, begun: int, days: int | None) -> int | None:
    hour = None if days is None else calendar.end_of_day(begun, days)
    return None if hour is None else hour << DUTY_BITS | _CLOSE


def deadlines_of_tables(folder: Path | None = None) -> Deadlines:
    """As `config/` has them, or another folder with both files. Raises Refused(configuration)."""
    deadlines, calendar = (_read(name, folder) for name in ("deadlines.toml", "calendar.toml"))
    return read_deadlines(deadlines, calendar, load_directory())


def _read(name: str, folder: Path | None) -> str:
    try:
        return (config_file(name) if folder is None else folder / name).read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(name, str(error)) from None


def read_deadlines(deadlines: str, calendar: str, directory: Mapping[AgencyId, Agency]) -> Deadlines:
    """From the words of deadlines.toml and calendar.toml. Raises Refused(configuration)."""
    try:
        tables = [_table(entry) for entry in tomllib.loads(deadlines)["table"]]
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        _wrong(str(error))
    if len({table.since for table in tables}) < len(tables):
        _wrong("two tables begin on one day")
    digests = TableDigests(
        Digest(sha256(deadlines.encode()).digest()), Digest(sha256(calendar.encode()).digest()), version("holidays")
    )
    return Deadlines(tables, read_calendars(calendar, directory), digests)


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
    raise _unusable("deadlines.toml", why)


def _unusable(name: str, why: str) -> Refused:
    return Refused(
        "configuration",
        f"{name} cannot be used: {why}",
        where=name,
        members={"next": "Correct it by the example in config/README.md, or install Simpul again."},
    )
