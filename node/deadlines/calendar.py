"""Working days (config/calendar.toml): when the n-th one after a moment ends, in the agency's own zone.

Moments are whole hours since 1970. That is exact for zones that lie whole hours off UTC for ever, as Indonesia's do;
any other zone is refused. Before FIRST_YEAR and after LAST_YEAR nothing is measured. In between every day is worked or
is not, by what the package and the overrides know now: cuti bersama of a year whose decree neither of them has yet
count as working days, and holidays by the moon are those computed ahead. When one of the two learns more, limits move.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from node.directory import Agency
from sync_protocol.errors import Refused
from sync_protocol.values import AgencyId

FIRST_YEAR: Final = 2000  # older than any complaint of such a system
LAST_YEAR: Final = 2099  # the moon's holidays are computed ahead about that far
HOME_ZONE: Final = "Asia/Jakarta"  # of an agency that is not in the directory
DAYS_MAX: Final = 366  # of a deadline
REMEMBERED_MAX: Final = 100_000  # answers kept; more days than a century has, for two lengths of deadline
_EPOCH: Final = date(1970, 1, 1)
_HOURS: Final = 24


class Holidays:
    """Days off of the whole country, year by year, from the package that calendar.toml names."""

    def __init__(self, country: str, categories: tuple[str, ...], weekend: frozenset[int]) -> None:
        self._country = country
        self._categories = categories
        self._weekend = weekend
        self._years: dict[int, frozenset[date]] = {}

    def is_off(self, day: date) -> bool:
        """Weekend or holiday."""
        if day.isoweekday() in self._weekend:
            return True
        off = self._years.get(day.year)
        if off is None:
            from holidays import country_holidays  # a tenth of a second, which most commands need not spend

            found = country_holidays(self._country, categories=self._categories, years=day.year, expand=False)
            off = self._years[day.year] = frozenset(found)
        return day in off


class Calendar:
    """The working days of one region in one zone. Not for several threads at once."""

    def __init__(self, zone: ZoneInfo, holidays: Holidays, overrides: Mapping[date, bool]) -> None:
        self._offset = _whole_hours(zone)
        self._holidays = holidays
        self._overrides = overrides
        self._ends: dict[tuple[int, int], int | None] = {}

    def day_of(self, hour: int) -> date | None:
        """The local day of a moment; None before FIRST_YEAR and after LAST_YEAR."""
        number = self.day_number(hour)
        return _EPOCH + timedelta(days=number) if _FIRST_DAY <= number <= _LAST_DAY else None

    def day_number(self, hour: int) -> int:
        """The local day of a moment, counted from 1970."""
        return (hour + self._offset) // _HOURS

    def end_of_working_day(self, hour: int, days: int) -> int | None:
        """The hour at which the n-th working day after that of `hour` ends; None where the calendar does not reach."""
        key = ((hour + self._offset) // _HOURS, days)
        try:
            return self._ends[key]
        except KeyError:
            if len(self._ends) >= REMEMBERED_MAX:
                self._ends.clear()
            end = self._ends[key] = self._find_end(hour, days)
            return end

    def end_of_day(self, hour: int, days: int) -> int | None:
        """The same for days of any kind."""
        day = self.day_of(hour)
        return None if day is None else self._end(day + timedelta(days=days))

    def is_working(self, day: date) -> bool:
        """Whether that day is worked."""
        return self._overrides.get(day, not self._holidays.is_off(day))

    def _find_end(self, hour: int, days: int) -> int | None:
        day = self.day_of(hour)
        while day is not None and days:
            day += timedelta(days=1)
            if day.year > LAST_YEAR:
                return None
            days -= self.is_working(day)
        return None if day is None else self._end(day)

    def _end(self, day: date) -> int:
        return ((day - _EPOCH).days + 1) * _HOURS - self._offset


_FIRST_DAY: Final = (date(FIRST_YEAR, 1, 1) - _EPOCH).days
_LAST_DAY: Final = (date(LAST_YEAR, 12, 31) - _EPOCH).days


class Calendars:
    """The calendar of each agency; agencies with the same zone and the same exceptions share one."""

    def __init__(self, table: Mapping[str, Any], directory: Mapping[AgencyId, Agency]) -> None:
        source = table["source"]
        weekend = frozenset(int(day) for day in source["weekend"])
        self._holidays = Holidays(str(source["country"]), tuple(source["categories"]), weekend)
        self._overrides = [
            (_whole_day(one["day"]), bool(one["working"]), frozenset(one["regions"]))
            for one in table.get("override", [])
        ]
        self._directory = directory
        self._shared: dict[tuple[str, frozenset[tuple[date, bool]]], Calendar] = {}
        self._by_agency: dict[str, Calendar] = {}

    def of(self, agency: str) -> Calendar:
        """The agency's own; the capital's for one that is not in the directory."""
        found = self._by_agency.get(agency)
        if found is None:
            found = self._by_agency[agency] = self._make(agency)
        return found

    def _make(self, agency: str) -> Calendar:
        known = self._directory.get(AgencyId(agency))
        zone, places = (HOME_ZONE, {agency}) if known is None else (known.timezone, {agency, known.province})
        days = {day: working for day, working, regions in self._overrides if not regions or regions & places}
        key = (zone, frozenset(days.items()))
        if key not in self._shared:
            self._shared[key] = Calendar(ZoneInfo(zone), self._holidays, days)
        return self._shared[key]


def read_calendars(text: str, directory: Mapping[AgencyId, Agency]) -> Calendars:
    """From the words of calendar.toml. Raises Refused(configuration)."""
    try:
        calendars = Calendars(tomllib.loads(text), directory)
        calendars.of(HOME_ZONE).is_working(date(FIRST_YEAR, 1, 3))
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError, RuntimeError) as error:  # last: no such country
        raise Refused(
            "configuration",
            f"calendar.toml cannot be used: {error}",
            where="calendar.toml",
            members={"next": "Correct it by the example in config/README.md, or install Simpul again."},
        ) from error
    return calendars


def _whole_day(value: object) -> date:
    if type(value) is not date:
        raise TypeError(f"{value} is not a day")
    return value


def _whole_hours(zone: ZoneInfo) -> int:
    """How many hours the zone is ahead of UTC, always. Raises Refused(configuration)."""
    offsets = {
        datetime(year, month, 1, tzinfo=UTC).astimezone(zone).utcoffset()
        for year in range(FIRST_YEAR, LAST_YEAR)
        for month in (1, 7)
    }
    offset = offsets.pop()
    if offsets or offset is None or offset % timedelta(hours=1):
        step = "Days begin at whole hours of UTC: name a zone such as Asia/Makassar in agencies.csv."
        raise Refused("configuration", f"the zone {zone.key} changes its hours", members={"next": step})
    return offset // timedelta(hours=1)
