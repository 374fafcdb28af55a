"""Dates and filters of GeoReport: one meaning, or a refusal that names the parameter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.channels.open311.moments import format_moment, moment_of, parse_moment
from node.channels.open311.queries import (
    CODES_MAX,
    IDS_MAX,
    PAGE_MAX,
    SHOWN_MAX,
    Pairs,
    RequestsWanted,
    read_wanted,
)
from sync_protocol.errors import Refused

NOW_MS = parse_moment("2026-06-30T12:00:00Z", "now")
DAY_MS = 86_400_000


def wanted(*pairs: tuple[str, str]) -> RequestsWanted:
    return read_wanted(pairs, None, NOW_MS)


@given(st.integers(0, parse_moment("9998-12-31T00:00:00Z", "x") // 1000))
def test_what_is_written_is_read_back(seconds: int) -> None:
    assert parse_moment(format_moment(seconds * 1000), "x") == seconds * 1000


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2010-01-01T07:00:00+07:00", "2010-01-01T00:00:00Z"),
        ("2010-01-01T07:00:00 07:00", "2010-01-01T00:00:00Z"),
        ("2009-12-31T16:00:00-08:00", "2010-01-01T00:00:00Z"),
        ("2010-01-01T07:00:00+0700", "2010-01-01T00:00:00Z"),
        ("2010-01-01T00:00:00.123456Z", "2010-01-01T00:00:00Z"),
        ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z"),
    ],
)
def test_zones_and_fractions_are_understood(text: str, same: str) -> None:
    assert format_moment(parse_moment(text, "x")) == same


@pytest.mark.parametrize(
    "text",
    [
        "", "2010-01-01", "2010-01-01T00:00:00", "2010-01-01T00:00:00z", "2010-13-01T00:00:00Z", "2023-02-29T00:00:00Z",
        "2010-01-01T24:00:00Z", "2010-01-01T00:00:60Z", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z", "9999-12-31T23:59:59Z", "2010-01-01T00:00:00+99:00", "2010-01-01T00:00:00+07:99",
        "-2010-01-01T00:00:00Z", "20100101T000000Z", "2010-01-01T00:00:00Z\n", "٢٠١٠-٠١-٠١T٠٠:٠٠:٠٠Z", "1" * 5_000,
        "2010-01-01T00:00:00.Z", "2010-01-01T00:00:00Z' OR 1=1--",
    ],
)  # fmt: skip
def test_attack_dates_that_are_none_or_out_of_range_are_refused(text: str) -> None:
    with pytest.raises(Refused) as caught:
        parse_moment(text, "start_date")
    assert (caught.value.kind, caught.value.where) == ("malformed", "start_date")


def test_without_dates_the_last_90_days_are_meant() -> None:
    found = wanted()
    assert (found.from_ms, found.to_ms) == (NOW_MS - 90 * DAY_MS, NOW_MS)
    assert (found.skip, found.take) == (0, PAGE_MAX)


def test_with_one_date_90_days_from_it_are_meant_and_both_ends_are_included() -> None:
    start, end = ("start_date", "2026-01-01T00:00:00Z"), ("end_date", "2026-04-01T00:00:00Z")
    first, last = parse_moment(start[1], "x"), parse_moment(end[1], "x")
    for pairs in ((start,), (end,), (start, end)):
        found = wanted(*pairs)
        assert (found.from_ms <= first, found.to_ms // 1000) == (True, last // 1000)


@pytest.mark.parametrize(
    ("pairs", "where"),
    [
        ((("start_date", "2026-01-01T00:00:00Z"), ("end_date", "2026-04-01T00:00:01Z")), "end_date"),
        ((("start_date", "2026-01-02T00:00:00Z"), ("end_date", "2026-01-01T00:00:00Z")), "start_date"),
        ((("start_date", "2026-01-01T00:00:00Z"), ("start_date", "2026-01-02T00:00:00Z")), "start_date"),
        ((("status", "OPEN"),), "status"),
        ((("status", "open,closed,archived"),), "status"),
        ((("page", "0"),), "page"),
        ((("page", "-1"),), "page"),
        ((("page", "1e3"),), "page"),
        ((("page", "9" * 400),), "page"),
        ((("page", "٣"),), "page"),
        ((("page_size", "1001"),), "page_size"),
        ((("page_size", "0"),), "page_size"),
        ((("page", "1"), ("page", "2")), "page"),
        ((("page", "11"),), "page"),
        ((("page", str(SHOWN_MAX)), ("page_size", "2")), "page"),
        ((("service_code", "x" * 65),), "service_code"),
        ((("service_request_id", "x" * 111),), "service_request_id"),
        ((("service_request_id", ",".join(map(str, range(IDS_MAX + 1)))),), "service_request_id"),
        ((("service_request_id", ",,,"),), "service_request_id"),
        ((("service_request_id", "a"), ("service_request_id", " , ")), "service_request_id"),
        ((("service_code", ","),), "service_code"),
        ((("status", ", ,"),), "status"),
        ((("start_date", "nonsense"),), "start_date"),
        ((("end_date", "2026-02-30T00:00:00Z"),), "end_date"),
        ((("end_date", "1969-12-31T00:00:00Z"),), "end_date"),
        (tuple(("service_code", str(number)) for number in range(CODES_MAX + 1)), "service_code"),
    ],
)
def test_attack_filters_beyond_their_bounds_are_refused_by_name(pairs: Pairs, where: str) -> None:
    with pytest.raises(Refused) as caught:
        wanted(*pairs)
    assert caught.value.where == where
    assert where in caught.value.detail  # all that GeoReport's form of an error has room for


def test_ids_override_dates_and_empty_parameters_are_none() -> None:
    found = wanted(("service_request_id", " a , b,, a"), ("start_date", "nonsense"), ("status", ""), ("page", " "))
    assert (found.ids, found.statuses, found.skip) == (("a", "b"), frozenset(), 0)


@given(st.lists(st.tuples(st.sampled_from(["page", "page_size", "status", "start_date", "end_date", "service_code",
                                           "service_request_id"]), st.text(max_size=40)), max_size=6))  # fmt: skip
def test_any_parameters_are_read_within_bounds_or_refused(pairs: list[tuple[str, str]]) -> None:
    try:
        found = wanted(*pairs)
    except Refused:
        return
    assert found.to_ms - found.from_ms < 91 * DAY_MS
    assert 0 < found.take <= PAGE_MAX
    assert found.skip + found.take <= SHOWN_MAX


@pytest.mark.parametrize("timestamp", ["1970-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z"])
def test_every_timestamp_of_a_line_is_a_date_of_georeport(timestamp: str) -> None:
    assert moment_of(timestamp) == timestamp[:19] + "Z"
