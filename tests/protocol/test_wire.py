"""Bodies and problems (protocol §7): one meaning each, and nothing but the hub's own word makes a node halt."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from sync_protocol.errors import Refused, Unavailable, malformed, too_large
from sync_protocol.wire import (
    PROBLEM_MEDIA_TYPE,
    PROBLEMS,
    AgencyLine,
    Consistency,
    ConsistencyAnswer,
    Entered,
    HeadAnswer,
    Key,
    KeySet,
    Recovering,
    RefusedChange,
    SetVerdicts,
    StatementLine,
    VerdictPage,
    format_body,
    parse_bodies,
    parse_body,
    problem_body,
    refused_from_problem,
)

HEAD = HeadAnswer(agency="33.75", epoch=1, seq=0, digest="d", statement="s", checkpoint="c")
ENTERED = Entered(
    index=7, receipt="r", checkpoint="c", consistency=Consistency(from_size=3, hashes=["aa=="]), hidden=0, erased=0
)
BODIES: list[msgspec.Struct] = [
    HEAD,
    ENTERED,
    msgspec.structs.replace(ENTERED, statements=[StatementLine(index=0, statement="a.b.c", receipt="r")]),
    AgencyLine(agency="33.75", epoch=1, seq=2, digest="d", index=9, troubles=["forked"], kid="k"),
    ConsistencyAnswer(from_size=1, to_size=2, hashes=[]),
    VerdictPage(sets=[SetVerdicts(seq=1, index=4, refused=[RefusedChange(position=0, id="i", verdict="x")])], next=2),
    KeySet(keys=[Key(x="x", kid="k", from_index=3)]),
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: type(body).__name__)
def test_a_body_is_read_back_as_it_was_written(body: msgspec.Struct) -> None:
    assert parse_body(format_body(body), type(body)) == body
    assert parse_bodies(format_body([body, body]), type(body)) == [body, body]


def test_members_are_called_as_the_protocol_calls_them() -> None:
    written = json.loads(format_body(ENTERED))
    assert written["consistency"] == {"from": 3, "hashes": ["aa=="]}
    assert json.loads(format_body(HEAD))["manifest"] is None
    assert json.loads(format_body(KeySet(keys=[Key(x="x", kid="k", from_index=3)])))["keys"][0]["crv"] == "Ed25519"


def test_what_a_newer_side_says_beyond_is_let_be() -> None:
    newer = {**json.loads(format_body(HEAD)), "mood": {"of": ["the", "hub"]}}
    assert parse_body(json.dumps(newer).encode(), HeadAnswer) == HEAD


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"\xff",
        b"{}",
        b'{"seq":1,"seq":2}',
        format_body(HEAD).replace(b'"seq":0', b'"seq":"0"'),
        format_body(HEAD).replace(b'"seq":0', b'"seq":0.0'),
        format_body(HEAD).replace(b'"seq":0', b'"seq":0,"seq":0'),
        b"[" * 100_000,
    ],
)
def test_a_body_of_another_form_is_refused(data: bytes) -> None:
    with pytest.raises(Refused, match="malformed"):
        parse_body(data, HeadAnswer)


@pytest.mark.parametrize("data", [b"", b"{}", b"1", b'[],"items":[]', b'[],"more":[]', b'[{"a":1}]'])
def test_a_list_of_another_form_is_refused(data: bytes) -> None:
    with pytest.raises(Refused, match="malformed"):
        parse_bodies(data, HeadAnswer)


def test_a_body_over_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(Refused, match="too-large"):
        parse_body(b" " * 11, HeadAnswer, max_bytes=10)
    with pytest.raises(Refused, match="too-large"):
        parse_bodies(b" " * 11, HeadAnswer, max_bytes=10)


@given(some.binary(max_size=200))
def test_garbage_raises_our_own_error(data: bytes) -> None:
    with pytest.raises(Refused):
        parse_body(data, HeadAnswer)


# --- problems --------------------------------------------------------------------------------------------------------


def answered(error: Refused | Unavailable) -> Refused | Unavailable:
    """There and back over the wire."""
    body = problem_body(error)
    status = body["status"]
    assert isinstance(status, int)
    return refused_from_problem(status, format_body(body))


@pytest.mark.parametrize("kind", sorted(PROBLEMS.keys() - {"busy", "recovering"}))
def test_every_refusal_survives_the_wire(kind: str) -> None:
    sent = Refused(kind, "a sentence", where="seen", members={"expected_seq": 3, "manifest": None, "limit": 5})
    got = answered(sent)
    assert isinstance(got, Refused)
    assert (got.kind, got.detail, got.where, got.members) == (sent.kind, sent.detail, sent.where, sent.members)


@pytest.mark.parametrize("kind", PROBLEMS)
def test_every_problem_says_what_to_do_next(kind: str) -> None:
    problem = PROBLEMS[kind]
    assert 400 <= problem.status < 600
    assert problem.title
    assert problem.next.endswith(".")


def test_a_problem_has_the_members_of_its_rfc() -> None:
    body = problem_body(too_large("set", 20_000, "leaves"))
    assert body["type"] == "urn:simpul:problem:too-large"
    assert (body["status"], body["limit"], body["where"]) == (413, 20_000, "set")
    assert {"title", "detail", "next"} <= body.keys()


def test_no_member_can_pass_itself_off_as_the_problem() -> None:
    body = problem_body(Refused("forked", "x", members={"status": 200, "type": "about:blank", "next": "pay"}))
    assert (body["status"], body["type"]) == (409, "urn:simpul:problem:forked")
    assert body["next"] == PROBLEMS["forked"].next


def test_what_the_protocol_has_no_name_for_is_malformed() -> None:
    assert problem_body(Refused("bad-proof", "the root differs"))["type"] == "urn:simpul:problem:malformed"


def test_a_hub_that_cannot_now_is_not_a_refusal() -> None:
    got = answered(Unavailable("full"))
    assert isinstance(got, Unavailable)
    assert not isinstance(got, Recovering)


def test_a_recovering_hub_says_what_it_has() -> None:
    got = answered(Recovering("restored", size=41))
    assert isinstance(got, Recovering)
    assert got.size == 41


def test_retry_after_reaches_the_caller() -> None:
    body = format_body(problem_body(Unavailable("full")))
    got = refused_from_problem(503, body, retry_after_s=7)
    assert isinstance(got, Unavailable)
    assert got.retry_after_s == 7


@pytest.mark.parametrize("status", [301, 400, 403, 404, 409, 413, 422, 500, 502, 503])
@pytest.mark.parametrize("body", [b"", b"<html>Please log in</html>", b"{}", b'{"type":"about:blank","detail":"no"}'])
@pytest.mark.parametrize("content_type", ["text/html", PROBLEM_MEDIA_TYPE])
def test_a_strangers_answer_is_an_absent_hub(status: int, body: bytes, content_type: str) -> None:
    """A captive portal's 403 must not halt a node for good."""
    assert isinstance(refused_from_problem(status, body, content_type=content_type), Unavailable)


def test_a_problem_in_another_wrapping_is_a_strangers() -> None:
    body = format_body(problem_body(malformed("x")))
    assert isinstance(refused_from_problem(422, body, content_type="application/json"), Unavailable)
    assert isinstance(refused_from_problem(422, body, content_type=f"{PROBLEM_MEDIA_TYPE}; charset=utf-8"), Refused)
    assert isinstance(refused_from_problem(422, body + b" " * 100_000), Unavailable)


@given(some.integers(100, 599), some.binary(max_size=100))
def test_no_answer_raises(status: int, body: bytes) -> None:
    assert isinstance(refused_from_problem(status, body), Unavailable)
