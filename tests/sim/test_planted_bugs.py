"""The simulator finds what it is there for: a bug of each kind, planted here, is caught within 200 seeds."""

from __future__ import annotations

import re

import pytest

from tests.sim.planted_bugs import BUGS, SEEDS_MAX
from tests.sim.world import run_seed


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", list(BUGS))
def test_a_planted_bug_is_caught(name: str) -> None:
    """By the seed that caught it last; if the worlds are others by now, by one of the first 200."""
    bug = BUGS[name]
    for seed in (bug.seed, *range(1, SEEDS_MAX + 1)):
        found = run_seed(seed, bug.make()).violations
        if found:
            assert re.search(bug.signs, "\n".join(found)), found
            return
    raise AssertionError(f"{SEEDS_MAX} seeds did not find it")
