"""The vectors of statements, roster and judge hold, and the script that writes them writes the same bytes again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from sync_protocol.errors import Refused
from sync_protocol.intake import Accept, Duplicate, Head, Held, IntakeView, RolledBack, judge
from sync_protocol.jws import parse_jws
from sync_protocol.limits import FORK_JWS_MAX_BYTES
from sync_protocol.manifest import parse_manifest
from sync_protocol.possession import verify_enrolment_proof
from sync_protocol.roster import Roster
from sync_protocol.statement import parse_statement
from sync_protocol.values import AgencyId, Digest, b64u_decode
from tests.vectors.make_roster import roster_contents
from tests.vectors.make_statements import vectors
from tests.vectors.vector_files import Vector, load

SUBJECTS = ("statements", "roster", "judge")


def test_the_script_writes_the_same_bytes_again() -> None:
    made = {vector.path: vector.text() for vector in vectors()}
    assert {vector.path: vector.path.read_text("utf-8") for vector in load(*SUBJECTS)} == made


@pytest.mark.parametrize("vector", load(*SUBJECTS), ids=lambda vector: f"{vector.subject}/{vector.name}")
def test_a_vector_holds(vector: Vector) -> None:
    try:
        outcome: Mapping[str, Any] = {"accept": OPERATIONS[vector.operation](vector.given)}
    except Refused as refused:
        outcome = {"refuse": refused.kind}
    assert outcome == vector.expect


def read_statement(given: Mapping[str, Any]) -> Mapping[str, Any]:
    jws = parse_jws(given["jws"], max_bytes=FORK_JWS_MAX_BYTES)
    parse_statement(jws)
    return {"typ": jws.typ, "digest": jws.digest.b64u}


def check_proof(given: Mapping[str, Any]) -> Mapping[str, Any]:
    verify_enrolment_proof(
        given["proof"],
        origin=given["origin"],
        agency=AgencyId.parse(given["agency"]),
        key=b64u_decode(given["key"], 32),
        sealing=b64u_decode(given["sealing"], 32),
        token=given["token"],
    )
    return {}


def roster_of(given: Mapping[str, Any]) -> Roster:
    roster = Roster()
    for entry in given["log"]:
        roster.admit(entry["index"], parse_jws(entry["statement"], max_bytes=FORK_JWS_MAX_BYTES))
    return roster


def replay(given: Mapping[str, Any]) -> Mapping[str, Any]:
    return roster_contents(roster_of(given))


def judge_submission(given: Mapping[str, Any]) -> Mapping[str, Any]:
    sets = {}
    for entry in given["sets"]:
        held = Held(entry["index"], parse_manifest(entry["manifest"]))
        sets[held.manifest.manifest.seq] = held
    roots = {int(size): Digest.parse(root) for size, root in given["roots"].items()}
    head = Head.after(sets[max(sets)].manifest) if sets else None
    view = IntakeView(roster_of(given), max(roots), roots.get, head, sets.get)
    answer = judge(view, parse_manifest(given["submission"]), given["agency"], given["seq"])
    match answer:
        case Accept():
            return {"answer": "accept"}
        case Duplicate(held=held):
            return {"answer": "duplicate", "index": held.index}
        case RolledBack():
            raise Refused("recovering", "the hub rolled back")
        case _:
            raise answer.refused()


OPERATIONS = {
    "parse-statement": read_statement,
    "verify-enrolment-proof": check_proof,
    "replay-roster": replay,
    "judge": judge_submission,
}
