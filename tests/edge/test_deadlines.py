"""What is due, and when: working days, zones, dated tables, and the clocks of a complaint (config/deadlines.toml)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from node.config_data import config_file
from node.deadlines.calendar import LAST_YEAR, read_calendars
from node.deadlines.clocks import MARKS, Clocks, Duty, begin, follow, hour_of
from node.deadlines.slot import HOUR_MAX, SLOT_MAX, Due, due_of, slot_of, slots_due
from node.deadlines.tables import Deadlines, deadlines_of_tables, read_deadlines
from node.directory import load_directory
from node.store.complaint_place import place_of, slot_at
from sync_protocol.complaint import ComplaintState
from sync_protocol.errors import Refused
from sync_protocol.line import parse_change
from sync_protocol.transitions import TRANSITIONS, State
from sync_protocol.values import format_timestamp
from tests.protocol.line_samples import spoilt

JAKARTA, JAYAPURA = "33.75", "91.03"
DEADLINES = config_file("deadlines.toml").read_text(encoding="utf-8")
CALENDAR = config_file("calendar.toml").read_text(encoding="utf-8")


@pytest.fixture
def deadlines() -> Deadlines:
    return read_deadlines(DEADLINES, CALENDAR, load_directory())


def complaint(state: State, received_at: str = "2026-02-02T02:00:00.000Z", **members: Any) -> ComplaintState:
    facts: dict[str, Any] = {
        "owner": JAKARTA,
        "minted_by": JAKARTA,
        "rev": 1,
        "visibility": "public",
        "channel": "web",
        "tracking": "PKL-0000-0000-0000-0",
        "received_at": received_at,
    }
    return ComplaintState(state=state, **{**facts, **members})


def told(due: Due | None) -> tuple[str, str] | None:
    return None if due is None else (format_timestamp(due.hour * 3_600_000)[:16], Duty(due.duty).label)


def arrived(at: str = "2026-02-02T02:00:00.000Z") -> Clocks:
    return Clocks(hour_of(at), hour_of(at))


def test_the_day_of_arrival_does_not_count_and_the_last_day_is_whole(deadlines: Deadlines) -> None:
    for hour in ("2026-02-01T17:00:00.000Z", "2026-02-02T16:59:59.999Z"):  # all of Monday in Pekalongan
        due = deadlines.due(complaint(State.RECEIVED, hour), arrived(hour))
        assert told(due) == ("2026-02-05T17:00", "verify")  # the end of Thursday


def test_weekends_holidays_and_collective_leave_are_passed_over(deadlines: Deadlines) -> None:
    friday = "2024-04-05T02:00:00.000Z"  # before the holidays of Eid: Monday, Tuesday and Friday to Monday are leave
    due = deadlines.due(complaint(State.RECEIVED, friday), arrived(friday))
    assert told(due) == ("2024-04-18T17:00", "verify")


def test_days_begin_where_the_agency_is(deadlines: Deadlines) -> None:
    evening = "2026-02-02T15:30:00.000Z"  # Monday in Pekalongan, Tuesday in Jayapura
    assert load_directory()[JAYAPURA].timezone == "Asia/Jayapura"  # type: ignore[index]
    due = deadlines.due(complaint(State.RECEIVED, evening, owner=JAYAPURA), arrived(evening))
    assert told(due) == ("2026-02-06T15:00", "verify")
    due = deadlines.due(complaint(State.RECEIVED, evening, owner="lembaga-tak-dikenal"), arrived(evening))
    assert told(due) == ("2026-02-05T17:00", "verify")


def test_the_earliest_of_the_duties_that_run_is_told(deadlines: Deadlines) -> None:
    verified = complaint(State.VERIFIED, class_="complaint_oversight")
    owned, asked = hour_of("2026-02-02T02:00:00.000Z"), hour_of("2026-02-03T02:00:00.000Z")
    first = deadlines.due(verified, Clocks(first_answer=owned, settle=asked))
    assert told(first) == ("2026-02-09T17:00", "first_answer")
    later = deadlines.due(verified, Clocks(settle=asked))
    assert later is not None
    assert Duty(later.duty) is Duty.SETTLE
    assert later.hour > (first.hour if first else 0) + 60 * 24
    request = complaint(State.ASSIGNED, class_="information_request")
    both = Clocks(first_answer=owned, settle=hour_of("2026-01-29T02:00:00.000Z"))
    assert told(deadlines.due(request, both)) == ("2026-02-05T17:00", "settle")


def test_an_answer_closes_itself_after_days_of_any_kind(deadlines: Deadlines) -> None:
    clocks = Clocks(close=hour_of("2026-02-05T02:00:00.000Z"))
    assert told(deadlines.due(complaint(State.ANSWERED), clocks)) == ("2026-02-15T17:00", "close")


@pytest.mark.parametrize("waiting", [{"state": State.AWAITING_INFORMATION}, {"state": State.ON_HOLD}])
def test_nothing_is_due_while_the_reporter_is_asked_also_on_hold(waiting: Any, deadlines: Deadlines) -> None:
    asked = complaint(**waiting, hold_return_state=State.AWAITING_INFORMATION)
    assert deadlines.due(asked, arrived()) is None


def test_holding_does_not_stop_the_clocks(deadlines: Deadlines) -> None:
    running = Clocks(settle=hour_of("2026-02-02T02:00:00.000Z"))
    held = complaint(State.ON_HOLD, hold_return_state=State.ASSIGNED, class_="complaint_ordinary")
    assert deadlines.due(held, running) == deadlines.due(
        complaint(State.VERIFIED, class_="complaint_ordinary"), running
    )
    assert told(deadlines.due(complaint(State.ON_HOLD), arrived())) == ("2026-02-05T17:00", "verify")


def test_a_class_without_a_number_of_days_is_not_measured(deadlines: Deadlines) -> None:
    for class_ in ("aspiration", None):
        verified = complaint(State.VERIFIED, class_=class_)
        assert deadlines.due(verified, Clocks(settle=hour_of("2026-02-02T02:00:00.000Z"))) is None


def test_a_complaint_is_measured_by_what_was_in_force_when_it_arrived() -> None:
    later = """
[[table]]
citation = "a later regulation"
in_force_from = 2026-06-01
[table.verify]
working_days = 1
"""
    first = DEADLINES.replace("in_force_from = 2019-01-01", "in_force_from = 2019-01-01\nin_force_until = 2026-05-29")
    both = read_deadlines(first + later, CALENDAR, load_directory())
    for arrival, due in (
        ("2018-12-31T16:59:59.999Z", None),
        ("2018-12-31T17:00:00.000Z", ("2019-01-04T17:00", "verify")),
        ("2026-05-30T02:00:00.000Z", None),
        ("2026-06-01T02:00:00.000Z", ("2026-06-02T17:00", "verify")),
    ):
        assert told(both.due(complaint(State.RECEIVED, arrival), arrived(arrival))) == due


def test_times_that_nobody_can_mean_are_not_measured_and_harm_nothing(deadlines: Deadlines) -> None:
    for at in ("1970-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z", f"{LAST_YEAR}-12-30T00:00:00.000Z"):
        due = deadlines.due(complaint(State.RECEIVED, at), arrived(at))
        assert due is None
        assert due_of(slot_of(due, hour_of(at))) is None
        assert deadlines.due(complaint(State.RECEIVED), arrived(at)) is None
        assert deadlines.due(complaint(State.ANSWERED), Clocks(close=hour_of(at))) is None or at < "3"


def test_an_override_moves_a_day_everywhere_or_in_one_region() -> None:
    override = """
override = [
  {day = 2026-02-03, working = false, regions = [], citation = "SKB"},
  {day = 2026-02-04, working = false, regions = ["33"], citation = "SKB"},
  {day = 2026-02-07, working = true, regions = ["91.03"], citation = "SKB"},
]
"""
    moved = read_deadlines(DEADLINES, CALENDAR.replace("override = [] ", override, 1), load_directory())
    monday = "2026-02-02T02:00:00.000Z"
    dues = {
        owner: told(moved.due(complaint(State.RECEIVED, monday, owner=owner), arrived(monday)))
        for owner in (JAKARTA, JAYAPURA, "13.71")
    }
    assert dues[JAKARTA] == ("2026-02-09T17:00", "verify")
    assert dues["13.71"] == ("2026-02-06T17:00", "verify")
    assert dues[JAYAPURA] == ("2026-02-06T15:00", "verify")


@pytest.mark.parametrize(
    ("deadline_words", "calendar_words"),
    [
        ("", CALENDAR),
        ("[[table]]\n", CALENDAR),
        ("not toml", CALENDAR),
        (DEADLINES.replace("working_days = 3", "working_days = 0"), CALENDAR),
        (DEADLINES.replace("working_days = 3", "working_days = 3.5"), CALENDAR),
        (DEADLINES.replace("working_days = 3", "days = 3"), CALENDAR),
        (DEADLINES.replace("2019-01-01", '"2019-01-01"'), CALENDAR),
        (DEADLINES + DEADLINES, CALENDAR),
        (DEADLINES, ""),
        (DEADLINES, CALENDAR.replace('"ID"', '"XX"')),
        (DEADLINES, CALENDAR.replace("override = []", "override = [{day = 2026-01-01T00:00:00, working = false}]")),
    ],
)
def test_tables_that_are_wrong_are_refused_before_anything_is_measured(
    deadline_words: str, calendar_words: str
) -> None:
    with pytest.raises(Refused, match="configuration"):
        read_deadlines(deadline_words, calendar_words, load_directory())


def test_every_zone_of_the_directory_keeps_whole_hours() -> None:
    calendars = read_calendars(CALENDAR, load_directory())
    for agency in load_directory():
        assert calendars.of(agency).is_working(date(2026, 2, 2))


def test_the_clocks_follow_the_changes() -> None:
    at = [f"2026-02-0{day}T02:00:00.000Z" for day in range(1, 10)]
    hours = [hour_of(moment) for moment in at]
    clocks = Clocks(hours[0], hours[0])
    steps = [
        ("information_requested", Clocks(first_answer=hours[0])),
        ("verified", Clocks(first_answer=hours[0], settle=hours[2])),
        ("answered", Clocks(close=hours[3])),
        ("replied", Clocks(settle=hours[4])),
        ("accepted", Clocks(hours[5], hours[5])),
        ("archived", Clocks()),
        ("reopened", Clocks(settle=hours[7])),
        ("recalled", Clocks(hours[8], hours[8])),
    ]
    for hour, (change_type, then) in zip(hours[1:], steps, strict=True):
        MARKS[change_type](clocks, hour)
        assert clocks == then, change_type
    assert set(MARKS) <= set(TRANSITIONS)


@pytest.mark.parametrize(
    ("state", "verify", "settle"), [("received", True, False), ("in_progress", False, True), ("closed", False, False)]
)
def test_what_an_import_does_not_tell_is_not_invented(
    state: str, verify: bool, settle: bool, deadlines: Deadlines
) -> None:
    change = parse_change(spoilt("imported", data_state=state))
    clocks = begin(change)
    assert (clocks.verify is not None, clocks.first_answer is not None) == (verify, verify)
    assert (clocks.settle is not None) == settle
    assert follow(None, change) == clocks
    answered = begin(parse_change(spoilt("imported", data_state="answered")))
    assert deadlines.due(complaint(State.ANSWERED), answered) is None


def test_what_is_overdue_and_what_is_soon_due_meet_at_this_very_hour() -> None:
    now_ms = 1_000_000 * 3_600_000 + 1
    overdue, soon = slots_due("overdue", now_ms), slots_due("soon", now_ms)
    assert overdue[0] == 0
    assert overdue[1] + 1 == soon[0]
    assert [due_of(overdue[1]), due_of(soon[0])] == [(1_000_000, 3), (1_000_001, 0)]
    assert due_of(soon[1]) == (1_000_048, 3)


def test_places_sort_by_agency_then_state_then_urgency() -> None:
    slots = [
        slot_of(Due(100, 3), 0),
        slot_of(Due(101, 0), 0),
        slot_of(Due(HOUR_MAX + 5, 0), 0),
        slot_of(None, -5),
        slot_of(None, 7),
        slot_of(None, 10**12),
    ]
    assert slots == sorted(slots)
    assert due_of(slots[0]) == (100, 3)
    assert [due_of(slot) for slot in slots[3:]] == [None] * 3
    places = [place_of(4, 9, SLOT_MAX), place_of(5, 1, slots[0]), place_of(5, 1, slots[1]), place_of(5, 2, 0)]
    assert places == sorted(places)
    assert [slot_at(place) for place in places] == [SLOT_MAX, slots[0], slots[1], 0]
    assert place_of((1 << 33) - 1, 9, SLOT_MAX) < 1 << 63


@pytest.mark.parametrize(
    ("owner", "zone_hours"), [("33.75", 7), ("71.71", 8), ("91.03", 9)], ids=["WIB", "WITA", "WIT"]
)
def test_the_last_moment_of_a_day_and_the_first_of_the_next_lie_a_day_apart_in_every_zone(
    owner: str, zone_hours: int, deadlines: Deadlines
) -> None:
    assert load_directory()[owner].zone.utcoffset(datetime(2026, 2, 2, tzinfo=UTC)) == timedelta(hours=zone_hours)  # type: ignore[index]
    midnight = datetime(2026, 2, 3, tzinfo=UTC) - timedelta(hours=zone_hours)  # Tuesday begins
    ends = [datetime(2026, 2, day, tzinfo=UTC) - timedelta(hours=zone_hours) for day in (6, 7)]
    for moment, end in ((midnight - timedelta(milliseconds=1), ends[0]), (midnight, ends[1])):
        at = format_timestamp(round(moment.timestamp() * 1000))
        due = deadlines.due(complaint(State.RECEIVED, at, owner=owner), arrived(at))
        assert told(due) == (end.isoformat()[:16], "verify")


@pytest.mark.parametrize(
    ("case", "at", "due"),
    [
        ("the eve of a holiday (17 August, a Monday)", "2026-08-14T02:00:00.000Z", "2026-08-20T17:00"),
        ("on the holiday itself", "2026-08-17T02:00:00.000Z", "2026-08-20T17:00"),
        ("a Saturday", "2026-01-31T02:00:00.000Z", "2026-02-04T17:00"),
        ("a Sunday, late", "2026-02-01T16:59:59.999Z", "2026-02-04T17:00"),
        ("Monday, a moment later", "2026-02-01T17:00:00.000Z", "2026-02-05T17:00"),
        ("collective leave after Christmas (26 December 2024)", "2024-12-24T02:00:00.000Z", "2024-12-31T17:00"),
        ("a leap day within", "2024-02-27T02:00:00.000Z", "2024-03-01T17:00"),
        ("on a leap day", "2024-02-29T02:00:00.000Z", "2024-03-05T17:00"),
    ],
)
def test_days_are_counted_over_what_stands_in_between(case: str, at: str, due: str, deadlines: Deadlines) -> None:
    assert told(deadlines.due(complaint(State.RECEIVED, at), arrived(at))) == (due, "verify"), case


def test_ten_days_over_a_leap_day_are_ten_days(deadlines: Deadlines) -> None:
    clocks = Clocks(close=hour_of("2028-02-25T02:00:00.000Z"))
    assert told(deadlines.due(complaint(State.ANSWERED), clocks)) == ("2028-03-06T17:00", "close")
    clocks = Clocks(close=hour_of("2027-02-25T02:00:00.000Z"))
    assert told(deadlines.due(complaint(State.ANSWERED), clocks)) == ("2027-03-07T17:00", "close")


def test_a_decree_that_moves_collective_leave_moves_the_limits() -> None:
    """26 December 2024 becomes a working day in Jakarta's province only, 30 December one off for all."""
    override = """
override = [
  {day = 2024-12-26, working = true, regions = ["33"], citation = "SKB"},
  {day = 2024-12-30, working = false, regions = [], citation = "SKB"},
]
"""
    moved = read_deadlines(DEADLINES, CALENDAR.replace("override = [] ", override, 1), load_directory())
    at = "2024-12-24T02:00:00.000Z"
    dues = [told(moved.due(complaint(State.RECEIVED, at, owner=owner), arrived(at))) for owner in (JAKARTA, "13.71")]
    # New Year's Day is off as well: the third day is 31 December here, and 2 January there.
    assert dues == [("2024-12-31T17:00", "verify"), ("2025-01-02T17:00", "verify")]


def test_other_tables_or_other_holidays_make_another_mark(deadlines: Deadlines) -> None:
    marks = {
        deadlines.digests.mark(),
        read_deadlines(DEADLINES + "\n", CALENDAR, load_directory()).digests.mark(),
        read_deadlines(DEADLINES, CALENDAR + "\n", load_directory()).digests.mark(),
        replace(deadlines.digests, holidays="0").mark(),
    }
    assert len(marks) == 4
    assert deadlines.digests.deadlines == sha256(config_file("deadlines.toml").read_bytes()).digest()
    assert read_deadlines(DEADLINES, CALENDAR, load_directory()).digests == deadlines_of_tables().digests


def test_a_folder_without_tables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"deadlines\.toml cannot be used"):
        deadlines_of_tables(tmp_path)
