"""Processes that are killed without warning lose nothing and repeat nothing (issue 2, done when 5; issue 4, part E).

The long form, 200 kills on SQLite and PostgreSQL: `make kills`.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from tests.edge.desk import desk_run
from tests.edge.kill_figures import Asked
from tests.edge.kill_run import kill_run
from tests.edge.kills import KINDS, shares
from tests.edge.refill_kills import refill_kills


@pytest.fixture
def seed() -> int:
    """Of this run; a failure shows it."""
    drawn = secrets.randbelow(1_000_000)
    print(f"repeat with: make kills ARGS='--seed {drawn}'")
    return drawn


@pytest.mark.slow
def test_after_kills_of_node_and_hub_at_random_moments_everything_is_there_once(tmp_path: Path, seed: int) -> None:
    found = kill_run(tmp_path, Asked(kills=4, changes=240, seed=seed))
    assert (found.in_log, found.in_projection) == (found.changes, found.changes)


def test_a_complaint_that_was_answered_survives_and_one_that_was_not_is_taken_in_once(
    tmp_path: Path, seed: int
) -> None:
    found = desk_run(tmp_path, Asked(kills=2, changes=0, seed=seed))
    assert found.in_log == found.changes > 0


@pytest.mark.slow
def test_a_hub_that_is_killed_while_it_takes_its_log_back_goes_on_and_ends_with_the_identical_log(
    tmp_path: Path, seed: int
) -> None:
    found = refill_kills(tmp_path, Asked(kills=4, changes=40, seed=seed))
    assert found.in_log == found.changes == 40


@pytest.mark.parametrize("kills", [1, 7, 20, 200])
def test_all_kills_that_were_asked_for_are_shared_out(kills: int) -> None:
    assert sum(shares(KINDS, kills)) == kills
    assert sum(shares(KINDS[:2], kills)) == kills
