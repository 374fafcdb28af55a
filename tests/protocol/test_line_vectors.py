"""The vectors of lines and of the fold, run as an implementation in another language would run them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from sync_protocol.complaint import ComplaintState, FoldContext, Verdict, fold
from sync_protocol.errors import Refused
from sync_protocol.jws import parse_jws
from sync_protocol.ledger import Ledger, format_state_hash
from sync_protocol.line import check_line_bytes, parse_change, parse_content
from sync_protocol.line_columns import parse_changes
from sync_protocol.merkle import leaf_hash, leaf_hashes
from sync_protocol.roster import Roster
from tests.vectors.make_lines import SUBJECTS, all_vectors
from tests.vectors.vector_files import Vector, load

Members = Mapping[str, Any]
VECTORS = load(*SUBJECTS)


@dataclass(frozen=True)
class Rules:
    desk: str
    bounce_limit: int


def _bytes(given: Members, name: str) -> bytes:
    raw = given.get(f"{name}_hex")
    return bytes.fromhex(raw) if raw is not None else given[name].encode()


def _parse_change(given: Members) -> Members:
    line = _bytes(given, "line")
    (by_columns,) = parse_changes([line])
    change = parse_change(line)
    assert by_columns == change
    head = {"type": change.type, "known": change.known, "complaint": change.complaint, "id": change.id}
    role, unit = change.actor.role, change.actor.unit
    return {**head, "rev": change.rev, "at": change.at, "content": change.content, "role": role, "unit": unit}


def _parse_content(given: Members) -> Members:
    parse_content(_bytes(given, "line"))
    return {}


def _check_lines(given: Members) -> Members:
    return {"lines": len(check_line_bytes(_bytes(given, "block")))}


def _fold_lines(given: Members) -> Members:
    rules = Rules(**given["rules"])
    complaints: dict[str, ComplaintState] = {}
    verdicts = []
    for step in given["steps"]:
        line = step["line"].encode()
        context = FoldContext(0, step["agency"], rules, given["enrolled"].__contains__, given["silent"].__contains__)
        try:
            change = parse_change(line)
        except Refused:
            verdicts.append(Verdict.MALFORMED.label)
            continue
        verdict, after = fold(complaints.get(change.complaint), change, leaf_hash(line), context)
        if after is not None:
            complaints[change.complaint] = after
        verdicts.append(verdict.label)
    shown = {
        name: {"owner": state.owner, "state": state.state.label, "rev": state.rev} for name, state in complaints.items()
    }
    return {"verdicts": verdicts, "complaints": shown}


def _fold_log(given: Members) -> Members:
    ledger = Ledger(Roster(), {})
    verdicts = []
    for index, leaf in enumerate(given["leaves"]):
        lines = [line.encode() for line in leaf["lines"]] if "lines" in leaf else None
        hashes = None if lines is None else leaf_hashes(lines)
        folded = ledger.apply(index, parse_jws(leaf["entry"]), lines, hashes)
        verdicts.append([verdict.label for verdict in folded.verdicts])
    figures = [list(row) for row in ledger.figures.rows()]
    return {"state_hash": format_state_hash(ledger.state_hash), "verdicts": verdicts, "figures": figures}


OPERATIONS: dict[str, Callable[[Members], Members]] = {
    "parse-change": _parse_change,
    "parse-content": _parse_content,
    "check-lines": _check_lines,
    "fold-lines": _fold_lines,
    "fold-log": _fold_log,
}


@pytest.mark.parametrize("vector", VECTORS, ids=[f"{vector.subject}/{vector.name}" for vector in VECTORS])
def test_a_vector_ends_as_it_says(vector: Vector) -> None:
    operation = OPERATIONS[vector.operation]
    if "refuse" in vector.expect:
        with pytest.raises(Refused) as caught:
            operation(vector.given)
        assert caught.value.kind == vector.expect["refuse"]
    else:
        assert operation(vector.given) == vector.expect["accept"]


def test_the_vectors_are_what_their_maker_writes() -> None:
    made = all_vectors()
    assert {vector.path: vector.path.read_text("utf-8") for vector in VECTORS} == {
        vector.path: vector.text() for vector in made
    }
    assert len(made) == len({vector.path for vector in made})


def test_every_verdict_that_fits_a_file_has_a_vector_of_its_own() -> None:
    seen = {
        verdict
        for vector in VECTORS
        if vector.subject == "fold"
        for group in vector.expect["accept"]["verdicts"]
        for verdict in ([group] if isinstance(group, str) else group)
    }
    assert {verdict.label for verdict in Verdict} - seen == {"too_many_changes"}
