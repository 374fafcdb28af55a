"""One table: the code's, the specification's and the picture's are the same (protocol §9.2–§9.4)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sync_protocol import change_types as ct
from sync_protocol.lifecycle import lifecycle_page
from sync_protocol.transitions import OPEN, TRANSITIONS, State, Target, Verdict
from tests.protocol.naive_fold import FROM, TO
from tests.protocol.write_lifecycle import PAGE

SPEC = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text("utf-8")


def _section(number: str) -> str:
    return re.split(r"\n#{2,3} ", SPEC.split(f"### {number} ", 1)[1], maxsplit=1)[0]


def _rows(number: str) -> list[list[str]]:
    lines = [line for line in _section(number).split("\n") if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_verdicts_are_those_of_the_specification_in_its_order() -> None:
    assert [(int(code), label.strip("`")) for code, label, _ in _rows("9.3")] == [
        (verdict.value, verdict.label) for verdict in Verdict
    ]


def test_the_states_are_those_of_the_specification() -> None:
    found = re.findall(r"(\d) `?(\w+)`?", _section("9.2"))
    assert [(int(code), label) for code, label in found[:10]] == [(state.value, state.label) for state in State]


def test_the_transitions_are_those_of_the_specification() -> None:
    spec = {name: cells for types, *cells in _rows("9.4") for name in re.findall(r"`(\w+)`", types)}
    assert spec.keys() == TRANSITIONS.keys()
    for name, (sources, target) in spec.items():
        row = TRANSITIONS[name]
        if sources in ("open", "under offer"):
            assert row.from_states == OPEN
        elif sources not in ("any", "none"):
            assert {state.label for state in row.from_states} == set(re.split(", ?", sources))
        if isinstance(row.to, State):
            assert f"{row.to.label}" in target.replace("state ", "").replace("`", "")
        else:
            assert target.startswith({Target.NAMED: "the state it names"}.get(row.to, row.to.value))


@pytest.mark.parametrize("name", sorted(FROM))
def test_the_transitions_are_those_of_the_plain_model(name: str) -> None:
    row = TRANSITIONS[name]
    assert {state.label for state in row.from_states} == FROM[name]
    assert TO.get(name) == (row.to.label if isinstance(row.to, State) else None)


def test_every_type_of_change_has_a_row_and_every_row_a_type() -> None:
    assert TRANSITIONS.keys() == ct.DATA_TYPES.keys()


def test_the_types_of_data_are_those_of_the_specification() -> None:
    named = {name for types, _ in _rows("2.2") for name in re.findall(r"`(\w+)`", types)}
    assert named == ct.DATA_TYPES.keys()


@pytest.mark.parametrize("words", [ct.CLASSES, ct.VISIBILITIES, ct.CLOSERS, ct.LEVELS, ct.CHANNELS, ct.ROLES])
def test_every_word_of_a_vocabulary_is_in_the_specification(words: tuple[str, ...]) -> None:
    for word in words:
        assert f"`{word}`" in SPEC


def test_the_page_of_the_life_cycle_is_what_the_table_writes() -> None:
    assert PAGE.read_text("utf-8") == lifecycle_page()
