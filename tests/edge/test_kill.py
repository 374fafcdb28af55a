"""Processes that are killed without warning lose nothing and repeat nothing (issue 2, done when 5; issue 4, part E).

The long form, 200 kills on SQLite and PostgreSQL: `make kills`.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from tests.edge.desk import desk_run
from tests.edge.import_support import sp4n_row, write_csv
from tests.edge.kill_figures import Asked, Figures
from tests.edge.kill_run import kill_run
from tests.edge.kills import KINDS, Kind, hold, shares
from tests.edge.refill_kills import refill_kills
from tests.edge.watcher import watching
from tests.edge.whole_way import NodeDirectory, serving_hub


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


def test_a_complaint_that_is_not_in_the_log_makes_the_run_a_loss_and_its_folder_is_kept(tmp_path: Path) -> None:
    def loses_one(place: Path, _asked: Asked, _say: object) -> Figures:
        with serving_hub(place) as hub, watching(hub) as watcher:
            node = NodeDirectory(place / "node")
            node.enrol(hub)
            node.import_(write_csv(place / "a.csv", [sp4n_row(1), sp4n_row(2)]))
            node.push()
            found = Figures(0, changes=3)
            found.count_up(hub, place / "export", [node.agency], watcher)
            return found

    told = hold(Kind("lossy", 1.0, "one too few", loses_one), 1, 0, tmp_path, print)
    assert "changes=3, in_log=2, in_projection=2" in told["failed"]
    assert (tmp_path / "lossy" / "export").is_dir()


@pytest.mark.parametrize("kills", [1, 7, 20, 200])
def test_all_kills_that_were_asked_for_are_shared_out(kills: int) -> None:
    assert sum(shares(KINDS, kills)) == kills
    assert sum(shares(KINDS[:2], kills)) == kills
