"""The simulator finds what it is there for: a bug of each kind, planted here, is caught within 200 seeds."""

from __future__ import annotations

import re

import pytest

from tests.sim.planted_bugs import BUGS
from tests.sim.world import run_seed


@pytest.mark.slow
@pytest.mark.parametrize("name", list(BUGS))
def test_a_planted_bug_is_caught(name: str) -> None:
    """By the seed that caught it last. If the worlds are others by now, `make sim ARGS=--bugs` says which one does."""
    bug = BUGS[name]
    found = run_seed(bug.seed, bug.make()).violations
    assert found, f"seed {bug.seed} does not find it any more: look for another with `make sim ARGS=--bugs`"
    assert re.search(bug.signs, "\n".join(found)), found
