"""Change lines and content lines have one spelling, and nothing else is read (protocol §2)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from sync_protocol.change_types import DATA_TYPES
from sync_protocol.errors import Refused
from sync_protocol.line import (
    Change,
    check_line_bytes,
    encode_change,
    format_change,
    format_content,
    parse_change,
    parse_content,
)
from sync_protocol.line_columns import parse_changes
from sync_protocol.values import make_uuid7, parse_uuid
from tests.protocol.line_samples import COMPLAINT, DATA, LEAF, TRACKING, line_of, members_of, spoilt, uuid_of

NIK = "3375012345678901"
SALT = bytes(range(16))
TYPES = sorted(DATA_TYPES)


def _refused(line: bytes) -> Refused:
    with pytest.raises(Refused) as caught:
        parse_change(line)
    assert caught.value.kind == "malformed"
    return caught.value


def _parsed_or_none(line: bytes) -> Change | None:
    try:
        return parse_change(line)
    except Refused:
        return None


@pytest.mark.parametrize("change_type", TYPES)
def test_what_was_formatted_is_read_back(change_type: str) -> None:
    change = parse_change(line_of(change_type, rev=7, content=True))
    assert (change.type, change.rev, change.content, change.known) == (change_type, 7, 1, True)
    assert (change.complaint, change.minted_by, change.actor.unit) == (COMPLAINT, "33.75", "kominfo")
    assert isinstance(change.data, DATA_TYPES[change_type])


@pytest.mark.parametrize("change_type", TYPES)
def test_a_parsed_change_is_written_as_the_same_bytes(change_type: str) -> None:
    line = line_of(change_type)
    assert encode_change(parse_change(line)) == line


@pytest.mark.parametrize("change_type", TYPES)
def test_every_truncation_is_refused(change_type: str) -> None:
    line = line_of(change_type)
    for end in range(len(line)):
        _refused(line[:end])


@pytest.mark.parametrize("change_type", TYPES)
def test_no_flipped_bit_leaves_a_second_spelling(change_type: str) -> None:
    line = line_of(change_type)
    for place in range(len(line)):
        for bit in range(8):
            flipped = line[:place] + bytes((line[place] ^ 1 << bit,)) + line[place + 1 :]
            change = _parsed_or_none(flipped)
            if change is not None and change.known:
                assert encode_change(change) == flipped


@pytest.mark.parametrize("change_type", TYPES)
def test_a_missing_or_foreign_member_of_data_is_refused(change_type: str) -> None:
    optional = {field.encode_name for field in msgspec.structs.fields(DATA_TYPES[change_type]) if not field.required}
    for name in DATA[change_type]:
        line = spoilt(change_type, **{f"data_{name}": None})
        if name in optional:
            assert parse_change(line).type == change_type
        else:
            assert _refused(line).where in {"data", f"data.{name}"}
    _refused(spoilt(change_type, data_zzz="x"))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda line: b" " + line,
        lambda line: line + b" ",
        lambda line: line + b"\n",
        lambda line: line.replace(b":1,", b":1.0,"),
        lambda line: line.replace(b":1,", b":01,"),
        lambda line: line.replace(b":1,", b": 1,"),
        lambda line: line.replace(b"kominfo", rb"komin\u0066o"),
        lambda line: line.replace(b'"rev":1,', b'"rev":1,"rev":1,'),
        lambda line: line.replace(b'"rev":1,"type":"started"', b'"type":"started","rev":1'),
        lambda line: line.replace(b'"unit":"kominfo"', b'"unit":null'),
        lambda line: b"\xef\xbb\xbf" + line,
    ],
)
def test_another_spelling_of_the_same_is_refused(spoil: Callable[[bytes], bytes]) -> None:
    line = line_of("started")
    assert spoil(line) != line
    _refused(spoil(line))


@pytest.mark.parametrize(
    ("change_type", "member"),
    [
        ("assigned", "data_unit"),
        ("received", "data_category"),
        ("closed", "data_reason"),
        ("received", "data_source"),
        ("erased", "data_ground"),
        ("attached", "data_media_type"),
    ],
)
def test_a_nik_does_not_fit_into_a_code_and_is_not_repeated_in_the_refusal(change_type: str, member: str) -> None:
    value: Any = {"id": NIK, "system": "x"} if member == "data_source" else NIK
    if member == "data_media_type":
        value = f"text/{NIK}"
    refused = _refused(spoilt(change_type, **{member: value}))
    assert NIK not in str(refused)
    assert refused.where is not None
    assert refused.where.startswith("data")


@pytest.mark.parametrize("text", ["Jalan rusak", "jalan_", "jalan..rusak", "é", "", "a" * 41, "081234567890", "-a"])
def test_free_text_does_not_fit_into_a_code(text: str) -> None:
    assert NIK not in str(_refused(spoilt("assigned", data_unit=text)))


def test_a_refusal_never_repeats_what_stood_in_a_vocabulary() -> None:
    assert NIK not in str(_refused(spoilt("received", data_channel=NIK)))
    assert NIK not in str(_refused(spoilt("received", **{NIK: NIK})))


@pytest.mark.parametrize(
    "at",
    [
        "2026-02-29T10:00:00.000Z",
        "2026-01-03T24:00:00.000Z",
        "2026-01-03T23:60:00.000Z",
        "2026-01-03T23:59:60.000Z",
        "1969-12-31T23:59:59.999Z",
        "2026-01-03T10:00:00Z",
        "2026-01-03T10:00:00.000+00:00",
        "2026-01-03 10:00:00.000Z",
        "2026-01-03T10:00:00.0000Z",
        "2026-01-03T1a:00:00.000Z",
    ],
)
def test_a_moment_that_does_not_exist_is_refused(at: str) -> None:
    _refused(spoilt("started", at=at))
    _refused(spoilt("received", data_received_at=at))
    assert parse_changes([spoilt("started", at=at), line_of("started")])[0] is None


def test_a_leap_day_exists() -> None:
    assert parse_change(spoilt("started", at="2024-02-29T23:59:59.999Z")).at == "2024-02-29T23:59:59.999Z"


@pytest.mark.parametrize("place", range(len(TRACKING)))
def test_every_wrong_character_of_a_tracking_number_is_found(place: int) -> None:
    for character in "0123456789ABCDEFGHJKMNPQRSTVWXYZILOU-a":
        wrong = TRACKING[:place] + character + TRACKING[place + 1 :]
        if wrong != TRACKING:
            _refused(spoilt("received", data_tracking=wrong))


def test_an_unknown_type_is_read_as_such_whatever_its_data() -> None:
    change = parse_change(spoilt("x.merged", data={"into": {"a": [1, "b"]}}))
    assert not change.known
    assert change.type == "x.merged"


@pytest.mark.parametrize(
    "data",
    [
        {"a": {"b": {"c": {}}}},
        {"a": [[[]]]},
        {"text": "two words"},
        {"é": 1},
        "text",
        [],
        7,
    ],
)
def test_an_unknown_type_still_has_canonical_data(data: object) -> None:
    _refused(spoilt("x.merged", data=data))


def test_an_unknown_type_does_not_excuse_the_rest_of_the_line() -> None:
    for spoil in ({"rev": 0}, {"at": "today"}, {"extra": 1}, {"actor": {"role": "boss"}}, {"content": 2}, {"id": "x"}):
        _refused(spoilt("x.merged", **spoil))
    _refused(spoilt("x.merged", content=True))
    _refused(spoilt(NIK))


@given(some.binary(max_size=400))
def test_any_bytes_give_a_change_or_a_refusal(line: bytes) -> None:
    _parsed_or_none(line)
    assert parse_changes([line])[0] == _parsed_or_none(line)


@pytest.mark.parametrize(
    "line",
    [
        b'{"a":' * 400,
        b"[" * 2000,
        b"[" * 1000 + b'"type":"started"}',
        line_of("started").replace(b'"data":{}', b'"data":' + b'{"a":' * 200 + b"1" + b"}" * 200),
        line_of("started").replace(b'"data":{}', b'"data":{"a":"\\ud800"}'),
        spoilt("x.merged").replace(b'"data":{}', b'"data":{"a":"\\ud800"}'),
        line_of("started").replace(b'"rev":1', b'"rev":' + b"9" * 1500),
        line_of("started").replace(b'"rev":1', b'"rev":1e999'),
        line_of("started").replace(b'"rev":1', b'"rev":NaN'),
        line_of("started").replace(b"kominfo", b"\xff\xfe"),
        line_of("started") + b" " * 2048,
    ],
)
def test_bytes_made_to_hurt_are_refused(line: bytes) -> None:
    _refused(line)


@settings(max_examples=200)
@given(some.data())
def test_lines_by_columns_are_judged_as_lines_by_themselves(data: some.DataObject) -> None:
    lines = []
    for number in range(data.draw(some.integers(0, 8))):
        line = line_of(data.draw(some.sampled_from(TYPES)), label=str(number))
        if data.draw(some.integers(0, 5)) == 0:
            place = data.draw(some.integers(0, len(line) - 1))
            line = line[:place] + bytes((data.draw(some.integers(0x20, 0x7F)),)) + line[place + 1 :]
        lines.append(line)
    assert parse_changes(lines) == [_parsed_or_none(line) for line in lines]


_SINGLE_FAULTS: list[dict[str, Any]] = [
    {"id": uuid_of("x").upper()},
    {"id": uuid_of("x")[:14] + "4" + uuid_of("x")[15:]},
    {"id": uuid_of("x")[:19] + "c" + uuid_of("x")[20:]},
    {"complaint": uuid_of("x")},
    {"complaint": COMPLAINT[:-1] + "g"},
    {"complaint": "33.75" + uuid_of("x")},
    {"complaint": "Kota:" + uuid_of("x")},
    {"complaint": "a" * 65 + ":" + uuid_of("x")},
    {"actor": {"role": "officer", "unit": NIK}},
    {"rev": 2**53},
    {"at": "2026-01-03T30:00:00.000Z"},
    {"at": "2026-01-03T10:00:00.000"},
]


@pytest.mark.parametrize("fault", _SINGLE_FAULTS)
def test_one_faulty_line_among_good_ones_is_the_only_one_refused(fault: dict[str, Any]) -> None:
    bad = spoilt("started", **fault)
    _refused(bad)
    found = parse_changes([line_of("started"), bad, line_of("closed")])
    assert [change is None for change in found] == [False, True, False]


def test_two_faults_do_not_make_one_good_column() -> None:
    short, long = spoilt("started", at="2026-01-03T10:31:12.123"), spoilt("started", at="Z2026-01-03T10:31:12.123Z")
    assert parse_changes([short, long]) == [None, None]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("type", "merged"),
        ("role", "boss"),
        ("unit", "Dinas PU"),
        ("at", "yesterday"),
        ("rev", 0),
        ("id", "1"),
        ("complaint", "33.75"),
        ("data", {"unit": 1}),
        ("data", {"unit": object()}),
        ("data", {"unit": 1.5}),
        ("data", {"unit": "\ud800"}),
    ],
)
def test_a_builder_cannot_write_what_the_fold_would_refuse(name: str, value: object) -> None:
    members: dict[str, Any] = {
        "id": uuid_of("x"), "complaint": COMPLAINT, "rev": 1, "type": "assigned", "at": "2026-01-03T10:31:12.123Z",
        "role": "officer", "unit": None, "data": {"unit": "dinas-pu"}, "content": False,
    }  # fmt: skip
    assert format_change(**members)
    with pytest.raises(Refused) as caught:
        format_change(**{**members, name: value})
    assert caught.value.kind == "malformed"


def test_a_block_of_lines_is_split_and_checked_at_once() -> None:
    lines = [line_of(change_type) for change_type in TYPES]
    assert check_line_bytes(b"".join(line + b"\n" for line in lines)) == lines
    assert check_line_bytes(b"") == []


@pytest.mark.parametrize("byte", [0x00, 0x09, 0x0D, 0x20, 0x7F, 0x80, 0xFF])
def test_a_byte_outside_of_printing_ascii_is_refused_with_the_number_of_its_line(byte: int) -> None:
    with pytest.raises(Refused) as caught:
        check_line_bytes(b"ab\nc" + bytes((byte,)) + b"\nd\n")
    assert (caught.value.kind, caught.value.where) == ("malformed", "change line 1")


def test_a_line_over_two_kibibytes_is_refused_with_its_number() -> None:
    assert len(check_line_bytes(b"a\n" + b"b" * 2048 + b"\n")) == 2
    with pytest.raises(Refused) as caught:
        check_line_bytes(b"a\n" + b"b" * 2049 + b"\n")
    assert (caught.value.kind, caught.value.where) == ("too-large", "change line 1")


def test_a_last_line_without_line_feed_is_refused() -> None:
    with pytest.raises(Refused, match="malformed"):
        check_line_bytes(b"a\nb")


def test_content_is_read_back_as_it_was_said() -> None:
    said = {"title": "Jalan berlubang", "text": "Sudah lama…\nsekali", "place": {"lat": "-6.88", "n": 3}}
    line = format_content(said, SALT)
    assert b"\n" not in line
    content = parse_content(line)
    assert {name: content[name] for name in said} == said
    assert re.fullmatch("[A-Za-z0-9_-]{22}", content["salt"])


@pytest.mark.parametrize(
    "said",
    [{"salt": "x"}, {"lat": 1.5}, {"text": "\ud800"}, {"a": {"b": {"c": {"d": {}}}}}, {"text": object()}],
)
def test_content_that_strict_json_cannot_say_is_refused(said: dict[str, object]) -> None:
    with pytest.raises(Refused):
        format_content(said, SALT)


def test_content_over_its_limit_is_refused() -> None:
    with pytest.raises(Refused, match="too-large"):
        format_content({"text": "a" * 32_768}, SALT)


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b'{"salt":1}', b'{"salt":"AA"}', b'{"a":1}\r', b"\xff", b"{" * 99])
def test_content_without_a_salt_or_not_json_is_refused(line: bytes) -> None:
    with pytest.raises(Refused):
        parse_content(line)


@given(some.integers(0, 2**48 - 1), some.integers(0, 2**74 - 1))
def test_a_uuid_holds_its_moment_and_all_its_random_bits(at_ms: int, bits: int) -> None:
    text = parse_uuid(make_uuid7(at_ms, bits))
    value = int(text.replace("-", ""), 16)
    assert value >> 80 == at_ms
    assert (value >> 64 & 0xFFF) << 62 | value & 2**62 - 1 == bits


def test_the_leaf_hash_in_an_answer_has_no_spare_bits() -> None:
    assert LEAF[-1] in "AEIMQUYcgkosw048"
    _refused(spoilt("accepted", data_offer=LEAF[:-1] + "B"))
    assert members_of("accepted")["data"]["offer"] == LEAF
