"""The attack catalogue names tests that exist, and no attack test is missing in it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CATALOGUE = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", CATALOGUE))
WANTED = (
    "replay", "reorder", "truncation", "fork at a node", "split view", "back-dating", "substitution across agencies",
    "key confusion", "downgrade", "decompression bomb", "slow bodies", "invitation is stolen", "database edits",
    "evidence suppressed", "nonce replayed", "receipt forgery", "log key rotation", "tracking numbers guessed",
    "smuggled into the program's log", "path that climbs",
)  # fmt: skip


def names_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {function.name for function in functions if function.name.startswith("test_")}


def test_every_test_that_the_catalogue_names_exists() -> None:
    known = {file: names_in(ROOT / file) for file, _ in NAMED if (ROOT / file).is_file()}
    assert len(NAMED) > 60
    assert [f"{file}::{name}" for file, name in sorted(NAMED) if name not in known.get(file, ())] == []


def test_every_attack_of_the_catalogue_names_its_test() -> None:
    rows = [line for line in CATALOGUE.splitlines() if line.startswith("| ") and line.count(" | ") == 4]
    attacks = [line for line in rows if not line.startswith("| attack ")]
    assert len(attacks) > 50
    assert [line for line in attacks if "::test_" not in line] == []


def test_every_test_that_is_called_an_attack_stands_in_the_catalogue() -> None:
    named = {name for _, name in NAMED}
    attacks = {name for path in (ROOT / "tests").rglob("test_*.py") for name in names_in(path)}
    assert sorted(name for name in attacks if name.startswith("test_attack_") and name not in named) == []


def test_the_attacks_that_everybody_asks_for_stand_in_the_catalogue() -> None:
    told = CATALOGUE.lower()
    assert [attack for attack in WANTED if attack not in told] == []


def test_the_paper_on_security_points_to_the_catalogue() -> None:
    assert "docs/threat-model.md" in (ROOT / "SECURITY.md").read_text(encoding="utf-8")
