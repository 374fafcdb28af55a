"""Columns say of many values what the check of one value says of each (protocol §1.2)."""

from __future__ import annotations

import random

from hypothesis import example, given
from hypothesis import strategies as st

from sync_protocol.errors import Refused
from sync_protocol.line_values import check_tracking, check_trackings
from sync_protocol.values import TRACKING_ALPHABET, format_tracking

TRACKINGS = [
    format_tracking(prefix, number * 0x1F3D5B79A8642 % 2**60) for prefix in ("3375", "PKL") for number in range(40)
]
ODD_CHARACTERS = [*TRACKING_ALPHABET, *"-ILOUaz0_é\ud800\n"]


def refuses(texts: list[str]) -> bool:
    """Whether the columns find a fault."""
    try:
        check_trackings(texts)
    except Refused:
        return True
    return False


def one_refuses(texts: list[str]) -> bool:
    """Whether the check of single numbers finds a fault in any."""
    try:
        for text in texts:
            check_tracking(text)
    except Refused:
        return True
    return False


def test_sound_numbers_pass_whatever_their_prefixes() -> None:
    for texts in ([], TRACKINGS[:1], TRACKINGS[:40], TRACKINGS[40:], TRACKINGS):
        assert not refuses(texts)


def test_every_character_at_every_place_is_judged_as_in_a_number_by_itself() -> None:
    for place in range(len(TRACKINGS[0])):
        for character in ODD_CHARACTERS:
            spoilt = TRACKINGS[3][:place] + character + TRACKINGS[3][place + 1 :]
            texts = [*TRACKINGS[:3], spoilt, *TRACKINGS[4:40]]
            assert refuses(texts) == one_refuses(texts), spoilt


@given(st.lists(st.text("0AZ-é", max_size=24) | st.sampled_from(TRACKINGS), max_size=4))
@example(["3375-AAAA-BBBB-CCCC-"])
@example(["-AAAA-BBBB-CCCC-A"])
@example(["ABCDEFGHI-0000-0000-0000-0"])
def test_whatever_stands_there_columns_and_single_numbers_agree(texts: list[str]) -> None:
    assert refuses(texts) == one_refuses(texts)


def test_letters_that_changed_places_between_two_numbers_are_found() -> None:
    chance = random.Random(1)
    for _ in range(200):
        left, right = chance.sample(TRACKINGS[:40], 2)
        place = chance.choice([5, 6, 7, 8, 10, 11, 12, 13, 15, 16, 17, 18])
        swapped = [left[:place] + right[place:], right[:place] + left[place:]]
        assert refuses(swapped) == one_refuses(swapped)
