"""Receipts: what was touched, moved or swapped proves nothing (protocol §6.2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_protocol.errors import Refused
from sync_protocol.limits import LOG_ENTRY_MAX_BYTES, PROOF_HASHES_MAX
from sync_protocol.merkle import TREE_SIZE_MAX
from sync_protocol.receipt import (
    EXTRA_MAX_BYTES,
    RECEIPT_MAX_BYTES,
    Receipt,
    format_receipt,
    parse_receipt,
    verify_receipt,
)
from sync_protocol.values import b64_encode
from tests.protocol.log_samples import (
    LOG,
    ORIGIN,
    OTHER,
    bit_flips,
    entry,
    leaves,
    naive_root,
    sample_checkpoint,
    sample_receipt,
    truncations,
)

HASH = b64_encode(bytes(32)).encode()
NOTE = sample_checkpoint(1)


def verify_bytes(data: bytes, index: int) -> None:
    verify_receipt(parse_receipt(data), entry(index), [LOG.vkey()], ORIGIN)


def test_a_receipt_is_the_tlog_proof_of_the_specification() -> None:
    receipt = sample_receipt(2, 3)
    assert format_receipt(receipt) == (
        b"c2sp.org/tlog-proof@v1\nindex 2\n"
        + b64_encode(naive_root(leaves(3)[:2])).encode()
        + b"\n\n"
        + sample_checkpoint(3)
    )


@pytest.mark.parametrize(("index", "size"), [(0, 1), (0, 2), (4, 5), (6, 7), (150, 300), (299, 300)])
def test_a_receipt_reads_back_and_proves_its_own_entry_alone(index: int, size: int) -> None:
    receipt = sample_receipt(index, size)
    assert parse_receipt(format_receipt(receipt)) == receipt
    opened = verify_receipt(receipt, entry(index), [LOG.vkey()], ORIGIN)
    assert (opened.checkpoint.size, opened.note) == (size, receipt.note)
    for other in (b"", entry(index + 1), entry(index) + b"\n", bytes(LOG_ENTRY_MAX_BYTES + 1)):
        with pytest.raises(Refused):
            verify_receipt(receipt, other, [LOG.vkey()], ORIGIN)


@pytest.mark.parametrize(("index", "size"), [(0, 1), (4, 5), (5, 6), (150, 300), (299, 300)])
def test_every_bit_flip_and_truncation_of_a_receipt_is_refused(index: int, size: int) -> None:
    data = format_receipt(sample_receipt(index, size))
    verify_bytes(data, index)
    for touched in (*bit_flips(data), *truncations(data), data + b"\n", data + data):
        with pytest.raises(Refused):
            verify_bytes(touched, index)


def test_a_receipt_of_another_log_key_or_origin_is_refused() -> None:
    receipt = sample_receipt(1, 4)
    for vkeys, origin in (([OTHER.vkey()], ORIGIN), ([], ORIGIN), ([LOG.vkey()], "other.example")):
        with pytest.raises(Refused) as caught:
            verify_receipt(receipt, entry(1), vkeys, origin)
        assert caught.value.kind == "bad-signature"


def test_a_path_under_another_checkpoint_is_refused() -> None:
    for size in (1, 2, 5, 6, 8):
        moved = Receipt(3, sample_receipt(3, 7).hashes, sample_checkpoint(size))
        with pytest.raises(Refused) as caught:
            verify_receipt(moved, entry(3), [LOG.vkey()], ORIGIN)
        assert caught.value.kind == "bad-proof"


def test_extra_data_is_carried_and_authenticates_nothing() -> None:
    plain = sample_receipt(1, 4)
    with_extra = Receipt(plain.index, plain.hashes, plain.note, b"a hint")
    assert parse_receipt(format_receipt(with_extra)) == with_extra
    assert b"\nextra YSBoaW50\nindex 1\n" in format_receipt(with_extra)
    assert verify_receipt(with_extra, entry(1), [LOG.vkey()], ORIGIN) == verify_receipt(
        plain, entry(1), [LOG.vkey()], ORIGIN
    )


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"c2sp.org/tlog-proof@v1",
        b"c2sp.org/tlog-proof@v2\nindex 0",
        b" c2sp.org/tlog-proof@v1\nindex 0",
        b"c2sp.org/tlog-proof@v1\r\nindex 0",
        b"c2sp.org/tlog-proof@v1\nindex",
        b"c2sp.org/tlog-proof@v1\nindex ",
        b"c2sp.org/tlog-proof@v1\nindex 00",
        b"c2sp.org/tlog-proof@v1\nindex -1",
        b"c2sp.org/tlog-proof@v1\nindex 0 ",
        b"c2sp.org/tlog-proof@v1\nindex 9223372036854775807",
        b"c2sp.org/tlog-proof@v1\nindex 9223372036854775808",
        b"c2sp.org/tlog-proof@v1\nindex " + b"9" * 5_000,
        b"c2sp.org/tlog-proof@v1\nIndex 0",
        b"c2sp.org/tlog-proof@v1\nindex 0\nindex 0",
        b"c2sp.org/tlog-proof@v1\nindex 0\nextra AAAA",
        b"c2sp.org/tlog-proof@v1\nextra AAAA",
        b"c2sp.org/tlog-proof@v1\nextra \nindex 0",
        b"c2sp.org/tlog-proof@v1\nextra AAAA\nextra AAAA\nindex 0",
        b"c2sp.org/tlog-proof@v1\nextra A\nindex 0",
        b"c2sp.org/tlog-proof@v1\nindex 0\nAAAA",
        b"c2sp.org/tlog-proof@v1\nindex 0\n" + HASH + b" ",
        b"c2sp.org/tlog-proof@v1\nindex 0\n" + HASH[:-2] + b"B=",
        b"c2sp.org/tlog-proof@v1\nindex 0\n\xff",
        b"\xef\xbb\xbfc2sp.org/tlog-proof@v1\nindex 0",
    ],
)
def test_what_does_not_begin_as_a_receipt_is_malformed(head: bytes) -> None:
    with pytest.raises(Refused) as caught:
        parse_receipt(head + b"\n\n" + NOTE)
    assert caught.value.kind == "malformed"


@pytest.mark.parametrize("note", [b"", b"\n", b"text\n", NOTE[:-1], b"\n" + NOTE[:20], NOTE.replace(b"\n\n", b"\n")])
def test_what_does_not_end_in_a_note_is_malformed(note: bytes) -> None:
    with pytest.raises(Refused) as caught:
        parse_receipt(b"c2sp.org/tlog-proof@v1\nindex 0\n\n" + note)
    assert caught.value.kind == "malformed"


def test_what_is_too_long_is_refused_before_it_is_read() -> None:
    head = b"c2sp.org/tlog-proof@v1\nindex 0\n"
    for data in (
        b"\n" * (RECEIPT_MAX_BYTES + 1),
        head + (HASH + b"\n") * (PROOF_HASHES_MAX + 1) + b"\n" + NOTE,
        head + b"\n" + NOTE + b"x" * 65_536,
    ):
        with pytest.raises(Refused) as caught:
            parse_receipt(data)
        assert caught.value.kind == "too-large"


def test_a_receipt_that_cannot_be_is_not_made() -> None:
    for index, hashes, extra in (
        (-1, (), None),
        (TREE_SIZE_MAX, (), None),
        (0, (bytes(31),), None),
        (0, (bytes(32),) * (PROOF_HASHES_MAX + 1), None),
        (0, (), b""),
        (0, (), bytes(EXTRA_MAX_BYTES + 1)),
    ):
        with pytest.raises(Refused):
            Receipt(index, hashes, NOTE, extra)


def test_the_largest_receipt_is_within_the_limit() -> None:
    receipt = Receipt(TREE_SIZE_MAX - 1, (bytes(32),) * PROOF_HASHES_MAX, NOTE, bytes(EXTRA_MAX_BYTES))
    assert parse_receipt(format_receipt(receipt)) == receipt


@given(st.binary(max_size=300), st.integers(0, 400))
def test_arbitrary_bytes_are_a_receipt_that_formats_back_or_refused(noise: bytes, place: int) -> None:
    good = format_receipt(sample_receipt(1, 4))
    for data in (noise, good[:place] + noise + good[place:], good[:place] + noise):
        try:
            receipt = parse_receipt(data)
        except Refused:
            continue
        assert format_receipt(receipt) == data
