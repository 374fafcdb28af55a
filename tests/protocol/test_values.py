"""One value, one spelling: the quick ways of writing and reading say what the plain ways say (protocol §1)."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sync_protocol.errors import Refused
from sync_protocol.values import (
    b64_decode,
    b64_decode_all,
    b64_encode,
    b64u_decode,
    b64u_encode,
    format_timestamp,
    parse_timestamp,
)

FIRST_MS = int(datetime(1, 1, 1, tzinfo=UTC).timestamp()) * 1000
LAST_MS = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()) * 1000 + 999
BASE64ISH = st.text(alphabet="ABYZabyz0189+/-_= \né", max_size=12) | st.binary(max_size=40).map(
    lambda raw: b64encode(raw).decode()
)


def plain_timestamp(at_ms: int) -> str:
    """The calendar of the standard library, asked for the whole moment."""
    moment = datetime.fromtimestamp(at_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"


@given(st.integers(FIRST_MS, LAST_MS))
@example(FIRST_MS)
@example(-1)
@example(0)
@example(951_827_696_789)  # 2000-02-29
@example(1_772_323_199_999)
@example(1_772_323_200_000)
@example(LAST_MS)
def test_a_moment_is_written_as_the_calendar_has_it(at_ms: int) -> None:
    assert format_timestamp(at_ms) == plain_timestamp(at_ms)


@given(st.integers(0, LAST_MS))
def test_a_moment_since_1970_reads_back(at_ms: int) -> None:
    assert parse_timestamp(format_timestamp(at_ms)) == at_ms


@pytest.mark.parametrize("at_ms", [FIRST_MS - 1, LAST_MS + 1, 10**18, -(10**18)])
def test_a_moment_beyond_the_calendar_is_not_written(at_ms: int) -> None:
    with pytest.raises((ValueError, OverflowError)):
        format_timestamp(at_ms)


def canonical(text: str) -> bytes | None:
    """What standard base64 means, None unless this is the one spelling of it."""
    try:
        raw = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if b64encode(raw).decode() == text else None


@given(st.lists(BASE64ISH, max_size=4))
@example(["AAAA\nAAAA"])
@example(["AAAA", "AAB="])
@example(["", "AA=="])
@example(["\ud800"])
def test_base64_is_read_in_its_one_spelling_alone_or_in_bulk(texts: list[str]) -> None:
    wanted = [canonical(text) for text in texts]
    for text, raw in zip(texts, wanted, strict=True):
        if raw is None:
            with pytest.raises(Refused):
                b64_decode(text)
        else:
            assert (b64_decode(text), b64_encode(raw)) == (raw, text)
    if None in wanted:
        with pytest.raises(Refused):
            b64_decode_all(texts)
    else:
        assert b64_decode_all(texts) == wanted


@given(st.binary(max_size=100))
def test_base64url_is_that_of_the_standard_library_without_padding(raw: bytes) -> None:
    text = b64u_encode(raw)
    assert text == urlsafe_b64encode(raw).rstrip(b"=").decode()
    assert b64u_decode(text) == urlsafe_b64decode(text + "=" * (-len(text) % 4)) == raw


@given(st.text(alphabet="ABab01+/-_=é", max_size=9))
def test_what_is_read_as_base64url_is_written_so(text: str) -> None:
    try:
        raw = b64u_decode(text)
    except Refused:
        return
    assert b64u_encode(raw) == text
