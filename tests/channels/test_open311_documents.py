"""Both forms of a document say the same, whatever stands in it."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.channels.open311.documents import Document, Many, clean, to_json, to_xml
from tests.channels.open311_reader import same_in_xml

ANY_TEXT = st.text(st.characters(codec=None), max_size=60).map(clean)
NAMES = st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True)
DEGREES = st.decimals(min_value=-180, max_value=180, places=7)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), DEGREES, ANY_TEXT)
VALUES: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(Many, NAMES, st.lists(inner, max_size=4)), st.dictionaries(NAMES, inner, max_size=4)
    ),
    max_leaves=20,
)


@given(NAMES, VALUES)
def test_the_xml_and_the_json_of_any_document_say_the_same(root: str, value: Any) -> None:
    document = Document(root, value)
    assert same_in_xml(document, to_xml(document)) == json.loads(to_json(document))


@given(st.text(st.characters(codec=None), max_size=200))
def test_any_text_comes_out_of_both_forms_as_it_was_cleaned(text: str) -> None:
    document = Document("errors", {"description": clean(text)})
    expected = {"description": clean(text)}
    assert same_in_xml(document, to_xml(document)) == expected
    assert json.loads(to_json(document)) == expected


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("", None),
        ("a\r\nb\rc\n", "a\nb\nc\n"),
        ("\x00\x08\x1b", "\ufffd\ufffd\ufffd"),
        ("\ud800x\udfff", "\ufffdx\ufffd"),
        ("\ufffe\uffff", "\ufffd\ufffd"),
        ("Jalan \U0001f6a7 rusak", "Jalan \U0001f6a7 rusak"),
    ],
)
def test_what_is_no_character_of_xml_is_replaced(text: str, cleaned: str | None) -> None:
    assert clean(text) == cleaned


@pytest.mark.parametrize(
    "attack",
    [
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>',
        '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>&b;',
        "]]></description><status>closed</status>",
        "<script>alert(1)</script>",
        '<?xml-stylesheet href="https://evil.example/x.xsl"?>',
        "&lt;&amp;#0;&#x41;",
        '" onload="x',
    ],
)
def test_attack_markup_in_a_text_stays_text(attack: str) -> None:
    raw = to_xml(Document("service_requests", Many("request", [{"description": attack, "status": "open"}])))
    assert b"<!" not in raw
    assert raw.count(b"<?") == 1
    root = ElementTree.fromstring(raw)
    assert [inner.tag for inner in root[0]] == ["description", "status"]
    assert root[0][0].text == attack


def test_degrees_keep_their_digits_and_never_become_an_exponent() -> None:
    document = Document("x", {"lat": Decimal("-0.0000001"), "long": Decimal("109.6753")})
    assert to_json(document) == b'{"lat":-0.0000001,"long":109.6753}'
    assert b"<lat>-0.0000001</lat>" in to_xml(document)


def test_xml_declares_its_encoding_and_empty_is_null() -> None:
    document = Document("x", {"a": None, "b": Many("c", [])})
    assert to_xml(document) == b'<?xml version="1.0" encoding="utf-8"?>\n<x><a></a><b></b></x>'
    assert to_json(document) == b'{"a":null,"b":[]}'
