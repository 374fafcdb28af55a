"""Dates and times as people and spreadsheets write them, in a given zone, as timestamps of protocol §1.1."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from node.local.importers.rows import RowProblem, quote
from sync_protocol.values import format_timestamp

_MONTH_SPELLINGS: Final = (
    "jan januari january",
    "feb peb februari pebruari february",
    "mar maret march mrt",
    "apr april",
    "mei may",
    "jun juni june",
    "jul juli july",
    "agu agt ags agst agus agustus aug august",
    "sep sept september",
    "okt oct oktober october",
    "nov nop november nopember",
    "des dec desember december",
)
MONTHS: Final = {word: number for number, words in enumerate(_MONTH_SPELLINGS, 1) for word in words.split()}
ZONES: Final = {"wib": "Asia/Jakarta", "wita": "Asia/Makassar", "wit": "Asia/Jayapura"}

_DAY_FORMS: Final = (
    re.compile(r"(?P<day>\d{1,2})[ -](?P<month>[A-Za-z]+)\.?,?[ -](?P<year>\d{4})"),
    re.compile(r"(?P<year>\d{4})[-/](?P<month>\d{1,2})[-/](?P<day>\d{1,2})"),
    re.compile(r"(?P<day>\d{1,2})[-/.](?P<month>\d{1,2})[-/.](?P<year>\d{4})"),
)
_CLOCK: Final = re.compile(r"(\d{1,2})[:.](\d{2})(?:[:.](\d{2})(?:\.\d+)?)?(?: ?(WIB|WITA|WIT))?", re.IGNORECASE)
_WEEKDAY: Final = re.compile(r"(?:senin|selasa|rabu|kamis|jumat|jum'at|sabtu|minggu|ahad),? ", re.IGNORECASE)
_YEARS: Final = range(1970, 10_000)


def parse_day(text: str) -> tuple[int, int, int]:
    """Year, month, day of `3 Jan 2026`, `2026-01-03` or `03/01/2026` (day first). Raises RowProblem."""
    bare = _WEEKDAY.sub("", " ".join(text.split()), count=1)
    for form in _DAY_FORMS:
        match = form.fullmatch(bare)
        if match is None:
            continue
        word = match["month"].lower()
        month = int(word) if word.isdigit() else MONTHS.get(word)
        if month is None:
            raise RowProblem(f"the month {quote(match['month'])} is not known")
        return int(match["year"]), month, int(match["day"])
    raise RowProblem(f"the date {quote(text)} cannot be read; wanted is a date such as 3 Jan 2026")


def parse_clock(text: str) -> tuple[int, int, int, str | None]:
    """Hour, minute, second and, if it is written there, the zone. Raises RowProblem."""
    match = _CLOCK.fullmatch(" ".join(text.split()))
    if match is None:
        raise RowProblem(f"the time {quote(text)} cannot be read; wanted is a time such as 14:05:00")
    zone = ZONES[match[4].lower()] if match[4] else None
    return int(match[1]), int(match[2]), int(match[3] or 0), zone


def local_moment(day_text: str, clock_text: str, zone: tzinfo) -> str:
    """A timestamp from an agency's local date and time. A date cell that carries a time serves where the time is empty.
    Without any time it is midnight. Raises RowProblem."""
    day_part, clock_part = day_text.strip(), clock_text.strip()
    carried = re.fullmatch(r"(\d{4}-\d{2}-\d{2})[ T](\d{2}:\d{2}(?::\d{2})?)", day_part)
    if carried is not None:
        day_part, clock_part = carried[1], clock_part or carried[2]
    year, month, day = parse_day(day_part)
    hour, minute, second, named = parse_clock(clock_part) if clock_part else (0, 0, 0, None)
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=ZoneInfo(named) if named else zone)
    except ValueError as problem:
        raise RowProblem(f"{quote(f'{day_text} {clock_text}'.strip())} is no moment that exists ({problem})") from None
    return to_timestamp(moment)


def moment_by_formats(text: str, formats: Sequence[str], zone: tzinfo) -> str:
    """A timestamp read by the first strptime format that fits; one without zone is in `zone`. Raises RowProblem."""
    for form in formats:
        try:
            moment = datetime.strptime(text, form)  # noqa: DTZ007 - the zone is added below where the format has none
        except (ValueError, OverflowError):
            continue
        return to_timestamp(moment if moment.tzinfo else moment.replace(tzinfo=zone))
    raise RowProblem(f"the time {quote(text)} fits none of the formats {', '.join(formats)}")


def to_timestamp(moment: datetime) -> str:
    """The UTC spelling of protocol §1.1 of a moment with a zone. Raises RowProblem."""
    try:
        at = moment.astimezone(UTC)
    except (OverflowError, ValueError):
        raise RowProblem("the moment lies outside of the calendar") from None
    if at.year not in _YEARS:
        raise RowProblem(f"the year {at.year} lies outside of 1970 … 9999")
    return format_timestamp(int(at.timestamp()) * 1000 + at.microsecond // 1000)
