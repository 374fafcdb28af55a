"""What a form says: codes and words apart, everything bounded, every mistake named."""

from __future__ import annotations

from datetime import date
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.channels.open311.reports import (
    DESCRIPTION_MAX,
    FIELDS_MAX,
    FORM_MAX_BYTES,
    Report,
    read_form,
    read_reply,
    read_report,
)
from node.channels.open311.services import Services, ServiceTable, read_services
from node.config_data import config_file
from sync_protocol.errors import Refused
from sync_protocol.line import format_content

TABLE = """
changed = 2026-01-01
[[service]]
code = "umum"
name = "Umum"
[[service]]
code = "tanya"
name = "Bertanya"
category = "tanya"
attribute = [
  { code = "N", datatype = "number" }, { code = "D", datatype = "datetime" }, { code = "S", datatype = "string" },
  { code = "L", datatype = "singlevaluelist", values = [{ key = "a", name = "A" }, { key = "b", name = "B" }] },
  { code = "M", datatype = "multivaluelist", values = [{ key = "a", name = "A" }, { key = "b", name = "B" }] },
  { code = "I", datatype = "string", variable = false, required = true, description = "Untuk dibaca" },
]
"""
SERVICES = Services(read_services(TABLE), own="33.75")
PLACE = ("address_string", "Di sini")


def report(*pairs: tuple[str, str], code: str = "umum") -> Report:
    form = read_form(urlencode([("service_code", code), *pairs]).encode())
    return read_report(form, SERVICES, None)


def refusal(*pairs: tuple[str, str], code: str = "umum") -> Refused:
    with pytest.raises(Refused) as caught:
        report(*pairs, code=code)
    return caught.value


@pytest.mark.parametrize(
    ("lat", "long", "kept"),
    [
        ("-6.8886", "109.6753", ("-6.8886", "109.6753")),
        ("0", "-0.0", ("0", "0")),
        ("+1.50", "100", ("1.5", "100")),
        ("-0.02636399999", "109.34253", ("-0.026364", "109.34253")),
        ("90", "-180.0000000", ("90", "-180")),
    ],
)
def test_a_place_is_kept_in_one_spelling_to_the_centimetre(lat: str, long: str, kept: tuple[str, str]) -> None:
    said = report(("lat", lat), ("long", long)).content
    assert (said["lat"], said["long"]) == kept


@pytest.mark.parametrize(
    "degrees", ["90.0000001", "91", "NaN", "Infinity", "-Infinity", "1e1", "1E+2", "1_0", "0x1", "١", "1,5", "--1",
                "1.", ".5", "9" * 400, "1." + "1" * 16, "-6.8; DROP TABLE complaint"]
)  # fmt: skip
def test_attack_numbers_that_are_no_degrees_are_refused(degrees: str) -> None:
    assert "degrees" in refusal(("lat", degrees), ("long", "1")).detail


@pytest.mark.parametrize(
    "pairs", [(), (("lat", "1"),), (("long", "1"),), (("lat", "1"), ("long", "")), (PLACE, ("lat", "1"))]
)
def test_a_place_is_needed_and_lat_and_long_belong_together(pairs: tuple[tuple[str, str], ...]) -> None:
    assert refusal(*pairs).kind == "malformed"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("attribute[N]", "zwei"), ("attribute[N]", "1e9"), ("attribute[N]", "9" * 50), ("attribute[D]", "kemarin"),
        ("attribute[L]", "c"), ("attribute[M][]", "c"), ("attribute[S]", "x" * 501), ("attribute[S]", "a\nb"),
        ("attribute[I]", "x"), ("attribute[X]", "x"),
    ],
)  # fmt: skip
def test_an_answer_that_does_not_fit_its_question_is_refused_by_its_code(name: str, value: str) -> None:
    refused = refusal(PLACE, (name, value), code="tanya")
    assert name.removesuffix("[]") in refused.detail


def test_answers_are_kept_with_their_codes_and_several_only_where_several_may_be() -> None:
    said = report(
        PLACE, ("attribute[N]", "-1.5"), ("attribute[M][]", "a"), ("attribute[M][]", "b"), code="tanya"
    ).content
    assert said["attributes"] == {"N": "-1.5", "M": ["a", "b"]}
    assert "more than once" in refusal(PLACE, ("attribute[L]", "a"), ("attribute[L]", "b"), code="tanya").detail


def test_the_longest_report_fits_a_content_line() -> None:
    longest = report(
        PLACE,
        ("description", "\U0001f6a7" * DESCRIPTION_MAX),
        *[(name, "é" * 500) for name in ("email", "first_name", "last_name", "phone", "account_id", "device_id")],
    )
    assert format_content(longest.content, bytes(16))
    assert refusal(PLACE, ("description", "x" * (DESCRIPTION_MAX + 1))).detail


@pytest.mark.parametrize(
    "body",
    [
        b"x" * (FORM_MAX_BYTES + 1),
        b"&".join(b"a=1" for _ in range(FIELDS_MAX + 1)),
        b"service_code=%ff%fe",
        b"service_code=\xff",
        b"description=a%00b",
        b"description=a%1bb",
        b"%00=x",
    ],
)
def test_attack_a_body_that_is_no_form_is_refused(body: bytes) -> None:
    with pytest.raises(Refused):
        read_form(body)


@given(st.binary(max_size=300))
def test_any_body_is_a_form_or_refused(body: bytes) -> None:
    try:
        form = read_form(body)
        read_report(form, SERVICES, None)
    except Refused:
        pass


@given(st.dictionaries(st.sampled_from(["service_code", "lat", "long", "address_string", "description", "attribute[N]",
                                        "attribute[L]", "email", "external_id"]), st.text(max_size=20)))  # fmt: skip
def test_whatever_is_read_of_a_form_fits_a_content_line_without_a_fraction(fields: dict[str, str]) -> None:
    try:
        form = read_form(urlencode({"service_code": "tanya", **fields}, errors="replace").encode())
        said = read_report(form, SERVICES, None).content
    except Refused:
        return
    assert format_content(said, bytes(16))


def test_the_same_fields_in_another_order_with_another_key_are_the_same_request() -> None:
    pairs = [PLACE, ("description", "a"), ("email", "b")]
    first = report(*pairs, ("api_key", "x"), ("phone", ""))
    assert report(*pairs[::-1], ("api_key", "y")).digest == first.digest
    assert report(*pairs[:2], ("email", "c")).digest != first.digest


def test_a_field_that_is_given_twice_is_refused_because_nobody_knows_which_counts() -> None:
    for name in ("service_code", "description", "address_string", "email"):
        assert refusal(PLACE, ("description", "x"), ("email", "x"), (name, "y")).kind == "malformed"


def test_a_reply_needs_a_request_and_words() -> None:
    for fields in ({"description": "x"}, {"service_request_id": "x"}, {"service_request_id": "x", "description": " "}):
        with pytest.raises(Refused):
            read_reply(read_form(urlencode(fields).encode()))
    reply = read_reply(read_form(b"service_request_id=a&description=b&update_id=7&external_id=8&status=closed"))
    assert (reply.request_id, reply.text, reply.token, reply.external_id) == ("a", "b", None, "7")


def _service(**changed: Any) -> str:
    members = "".join(f"{name} = {value}\n" for name, value in {"code": '"a"', "name": '"A"', **changed}.items())
    return f"changed = 2026-01-01\n[[service]]\n{members}"


REST = '[[service]]\ncode = "z"\nname = "Z"\n'


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "changed"),
        ("changed = 2026-01-01\n", "service"),
        ("changed = 2026-01-01\nservice = []\n", "neither category nor agency"),
        ("changed = kemarin\n", "line 1"),
        (_service(category='"jalan"'), "neither category nor agency"),
        (_service(code='"a b"'), "no code"),
        (_service(code='"../x"'), "no code"),
        (_service(name='""'), "name"),
        (_service(categroy='"x"') + REST, "categroy"),
        (_service(category='"Jalan Raya"') + REST, "code"),
        (_service(agency='"X Y"') + REST, "agency"),
        (_service(category='"jalan"') + REST + REST, "one code"),
        (_service(category='"b"') + '[[service]]\ncode = "c"\nname = "C"\ncategory = "b"\n' + REST, "one category"),
        (_service(type='"sometimes"'), "type"),
        (_service(visibility='"secret"'), "visibility"),
        (_service(attribute='[{ code = "x", datatype = "singlevaluelist" }]'), "values"),
        (_service(attribute='[{ code = "x", datatype = "string", values = [{ key = "a", name = "b" }] }]'), "values"),
        (_service(attribute='[{ code = "x", datatype = "text" }, { code = "x", datatype = "text" }]'), "own"),
        ("a = " + "[" * 5_000, "cannot be used"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused_with_what_is_wrong(text: str, word: str) -> None:
    with pytest.raises(Refused) as caught:
        read_services(text)
    assert caught.value.kind == "configuration"
    assert word in caught.value.detail
    assert caught.value.members["next"]


def test_the_example_table_is_one() -> None:
    table = read_services(config_file("open311.example.toml").read_text(encoding="utf-8"))
    assert isinstance(table, ServiceTable)
    assert table.changed == date(2026, 11, 30)


def test_a_complaint_has_the_service_of_its_category_and_its_owner() -> None:
    table = read_services(config_file("open311.example.toml").read_text(encoding="utf-8"))
    services = Services(table, own="33.75")
    found = {
        (category, owner): services.of_complaint(category, owner).code
        for category in ("jalan", "pungli", "lain", None)
        for owner in ("33.75", "35.71")
    }
    assert found == {
        ("jalan", "33.75"): "jalan-rusak", ("jalan", "35.71"): "jalan-rusak-kediri", ("pungli", "33.75"): "pungli",
        ("pungli", "35.71"): "pungli", ("lain", "33.75"): "lainnya", ("lain", "35.71"): "lainnya",
        (None, "33.75"): "lainnya", (None, "35.71"): "lainnya",
    }  # fmt: skip
