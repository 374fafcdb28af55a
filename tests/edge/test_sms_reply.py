"""What 1708 answers is one SMS, whoever is named in it: 160 characters of the GSM 7-bit alphabet."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.channels import sms_reply as reply
from node.directory import load_directory
from sync_protocol.transitions import State
from sync_protocol.values import format_tracking

#: The basic table of GSM 03.38 (what costs one septet), without escapes.
GSM_7 = set(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
NAMES = [agency.name for agency in load_directory().values()]
LONGEST = format_tracking("BAPPENAS", 2**60 - 1)
STATES = [state for state in State if state is not State.NONE]
HOUR_AFTER_7_DECEMBER_2026 = int(datetime(2026, 12, 7, 17, tzinfo=UTC).timestamp()) // 3600  # it ends in Jakarta


def fits(text: str) -> bool:
    return 0 < len(text) <= 160 and set(text) <= GSM_7


@given(st.one_of(st.sampled_from(NAMES), st.text(max_size=200)))
def test_every_receipt_fits_whatever_the_agency_is_called(name: str) -> None:
    for text in (reply.recorded(LONGEST, name), reply.recorded_unconnected(LONGEST, name)):
        assert fits(text)
        assert LONGEST in text


@given(
    st.sampled_from(STATES),
    st.one_of(st.sampled_from(NAMES), st.text(max_size=200)),
    st.none() | st.integers(300_000, 900_000),
    st.none() | st.sampled_from(NAMES),
)
def test_every_status_fits_and_says_number_and_day(
    state: State, owner: str, due_hour: int | None, offered_to: str | None
) -> None:
    text = reply.status(LONGEST, state, owner, due_hour, offered_to)
    assert fits(text)
    assert LONGEST in text
    assert ("Batas berikutnya" in text) == (due_hour is not None)


@given(st.text(max_size=12_000))
def test_how_to_write_fits_whatever_was_typed(keyword: str) -> None:
    assert fits(reply.how_to_write(keyword))


@pytest.mark.parametrize(
    "text",
    [
        reply.how_to_write(),
        reply.recorded_at_desk(LONGEST),
        reply.recorded_first_part(LONGEST),
        reply.number_unknown(),
        reply.status_unknown_now(),
        reply.number_wanted(),
        reply.too_many_guesses(),
    ],
)
def test_every_other_answer_fits(text: str) -> None:
    assert fits(text)


def test_a_name_that_fits_is_not_cut_and_one_that_does_not_is() -> None:
    number = format_tracking("3375", 5)
    assert "Kota Pekalongan." in reply.recorded(number, "Kota Pekalongan")
    long = "Kementerian Pendayagunaan Aparatur Negara dan Reformasi Birokrasi Republik Indonesia"
    assert "Kementerian Pendayagunaan" in reply.recorded(LONGEST, long)
    assert "Republik Indonesia" not in reply.recorded(LONGEST, long)
    assert ".." in reply.recorded(LONGEST, long)


def test_status_names_state_owner_next_deadline_and_whom_it_is_offered_to() -> None:
    number = format_tracking("3375", 5)
    text = reply.status(number, State.IN_PROGRESS, "Kota Pekalongan", HOUR_AFTER_7_DECEMBER_2026, None)
    assert text == f"Laporan {number} sedang ditindaklanjuti, instansi: Kota Pekalongan. Batas berikutnya 07-12-2026."
    offered = reply.status(number, State.RECEIVED, "Kementerian PANRB", None, "Kota Kediri")
    assert offered == f"Laporan {number} diterima, sedang diteruskan ke Kota Kediri."
