"""A page of sets has one spelling, and nothing that is not a page is read as one (protocol §7.1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from sync_protocol.errors import Refused
from sync_protocol.limits import WIRE_MAX_BYTES
from sync_protocol.receipt import RECEIPT_MAX_BYTES
from sync_protocol.set_pages import PAGE_MAX_BYTES, PAGE_SETS_MAX, PagedSet, format_page, parse_page

SETS = some.lists(some.builds(PagedSet, some.binary(min_size=1, max_size=60), some.binary(min_size=1, max_size=60)))


@given(SETS)
def test_a_page_is_read_back_as_it_was_written(sets: list[PagedSet]) -> None:
    page = format_page(sets)
    assert parse_page(page) == sets
    assert len(page) == sum(one.page_bytes for one in sets)


def test_the_bytes_are_those_of_the_specification() -> None:
    page = format_page([PagedSet(b"receipt", b"frames")])
    assert page == b"\x00\x00\x00\x07receipt\x00\x00\x00\x06frames"


@given(SETS.filter(bool), some.data())
def test_a_page_cut_anywhere_but_between_two_sets_is_refused(sets: list[PagedSet], data: some.DataObject) -> None:
    page = format_page(sets)
    left = data.draw(some.integers(1, len(page) - 1))
    whole = {sum(one.page_bytes for one in sets[:count]) for count in range(len(sets))}
    if left in whole:
        assert parse_page(page[:left]) == sets[: sorted(whole).index(left)]
    else:
        with pytest.raises(Refused, match="whole receipts and sets"):
            parse_page(page[:left])


@pytest.mark.parametrize(
    "page",
    [
        b"\x00" * 4,
        b"\x00\x00\x00\x01r" + b"\x00" * 4,
        b"\x00\x00\x00\x02r",
        b"\xff\xff\xff\xff" + b"r" * 100,
        (RECEIPT_MAX_BYTES + 1).to_bytes(4, "big") + b"r" * (RECEIPT_MAX_BYTES + 1),
        b"\x00\x00\x00\x01r" + (WIRE_MAX_BYTES + 1).to_bytes(4, "big"),
        format_page([PagedSet(b"r", b"b")] * (PAGE_SETS_MAX + 1)),
        bytes(PAGE_MAX_BYTES + 1),
    ],
)
def test_what_is_empty_cut_short_or_over_a_limit_is_refused(page: bytes) -> None:
    with pytest.raises(Refused):
        parse_page(page)
