"""JSON with one meaning (protocol §1.1)."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_protocol.errors import Refused
from sync_protocol.limits import INTEGER_MAX, JSON_VALUES_MAX
from sync_protocol.strict_json import format_object, parse_object

REFUSED: dict[str, bytes] = {
    "nothing": b"",
    "array": b"[]",
    "bare number": b"1",
    "two documents": b"{}{}",
    "byte order mark": b"\xef\xbb\xbf{}",
    "utf-16": '{"a":1}'.encode("utf-16"),
    "latin-1": b'{"a":"\xe9"}',
    "overlong utf-8": b'{"a":"\xc0\xaf"}',
    "surrogate in utf-8": b'{"a":"\xed\xa0\x80"}',
    "escaped half of a pair": b'{"a":"\\ud800"}',
    "escaped half of a pair in a key": b'{"\\uDC00":1}',
    "halves the wrong way round": b'{"a":"\\udc00\\ud800"}',
    "duplicate key": b'{"a":1,"a":1}',
    "duplicate key by escape": b'{"a":1,"\\u0061":2}',
    "duplicate key inside": b'{"a":{"b":1,"b":2}}',
    "duplicate key in a list": b'{"a":[{"b":1,"b":2}]}',
    "fraction": b'{"a":1.0}',
    "exponent": b'{"a":1e2}',
    "minus zero": b'{"a":-0}',
    "leading zero": b'{"a":01}',
    "plus": b'{"a":+1}',
    "not a number": b'{"a":NaN}',
    "infinity": b'{"a":-Infinity}',
    "one too many": b'{"a":%d}' % (INTEGER_MAX + 1),
    "one too few": b'{"a":-%d}' % (INTEGER_MAX + 1),
    "ten thousand digits": b'{"a":' + b"9" * 10_000 + b"}",
    "control character": b'{"a":"\x01"}',
    "line feed in a string": b'{"a":"\n"}',
    "trailing comma": b'{"a":1,}',
    "single quotes": b"{'a':1}",
    "comment": b'{"a":1/*x*/}',
    "unterminated string": b'{"a":"x',
    "lone backslash at the end": b'{"a":"x\\',
    "five deep": b'{"a":{"a":{"a":{"a":{}}}}}',
    "five deep in lists": b'{"a":[[[[]]]]}',
    "fifty thousand deep": b'{"a":' + b"[" * 50_000,
    "vertical tab as blank": b'{"a":\x0b1}',
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_object(REFUSED[name], where="here")
    assert (refused.value.kind, refused.value.where) == ("malformed", "here")


def test_brackets_inside_strings_do_not_count_as_nesting() -> None:
    assert parse_object(b'{"a":"[[[[[[{{{{{{\\"[[[["}', where="x") == {"a": '[[[[[[{{{{{{"[[[['}


@pytest.mark.parametrize("value", [b"{}", b"[]", b"0", b'""', b'"\\\\"', b"{"])
def test_more_values_than_any_document_has_are_too_large_before_they_are_made(value: bytes) -> None:
    hostile = b'{"a":[' + (value + b",") * (JSON_VALUES_MAX + 1) + b"0]}"
    with pytest.raises(Refused) as refused:
        parse_object(hostile, where="x")
    assert refused.value.kind == "too-large"


def test_as_many_values_as_a_document_may_have_are_read_and_commas_in_texts_do_not_count() -> None:
    members = {"a": [0] * (JSON_VALUES_MAX - 3), "b": "," * JSON_VALUES_MAX, "c": '"' * 10}
    assert parse_object(format_object(members), where="x") == members
    with pytest.raises(Refused):
        parse_object(format_object({**members, "d": 0}), where="x")


def test_four_deep_is_the_deepest() -> None:
    assert parse_object(b'{"a":{"b":{"c":{}}}}', where="x") == {"a": {"b": {"c": {}}}}
    with pytest.raises(Refused):
        parse_object(b'{"a":{}}', where="x", depth_max=1)


def test_a_whole_pair_of_surrogates_is_one_character() -> None:
    assert parse_object(b'{"a":"\\ud83d\\ude00"}', where="x") == {"a": "\U0001f600"}


def test_the_largest_integers_are_read_exactly() -> None:
    assert parse_object(b'{"a":%d,"b":-%d}' % (INTEGER_MAX, INTEGER_MAX), where="x") == {
        "a": INTEGER_MAX,
        "b": -INTEGER_MAX,
    }


def test_quotes_without_end_do_not_make_it_slow() -> None:
    hostile = b'{"a":' + b'"\\' * 500_000
    began = time.process_time()
    with pytest.raises(Refused):
        parse_object(hostile, where="x")
    assert time.process_time() - began < 2


def test_what_json_cannot_say_is_refused_when_written() -> None:
    for value in (float("nan"), "\ud800", object()):
        with pytest.raises(Refused):
            format_object({"a": value})


TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-INTEGER_MAX, INTEGER_MAX) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), TREES, max_size=4))
def test_reads_what_it_writes(members: dict[str, Any]) -> None:
    assert parse_object(format_object(members), where="x", depth_max=20) == members


@given(st.binary(max_size=60))
def test_any_bytes_are_an_object_or_refused(data: bytes) -> None:
    try:
        members = parse_object(data, where="x")
    except Refused:
        return
    assert members == json.loads(data)


@given(st.text(alphabet='{}[]",:\\u0dD8a1-.e ', max_size=40))
def test_nearly_json_is_an_object_or_refused(text: str) -> None:
    try:
        members = parse_object(text.encode(), where="x")
    except Refused:
        return
    assert members == json.loads(text)
