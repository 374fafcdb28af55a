"""`simpul hub recover`, with the program alone: the database is gone, an export and the nodes are there."""

from __future__ import annotations

import random
import secrets
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.edge.import_support import sp4n_row, write_csv
from tests.edge.program import simpul, spawn, told, wait_for
from tests.edge.watcher import roots_of
from tests.edge.whole_way import HubDirectory, NodeDirectory, end, serving_hub

KILLS = 6
LONGEST_LIFE_S = 0.5  # a recovery of this size takes about as long where nothing else runs


@pytest.mark.slow
def test_a_hub_without_its_database_is_told_what_to_do_and_goes_on_where_it_was(tmp_path: Path) -> None:
    with serving_hub(tmp_path) as hub:
        node = NodeDirectory(tmp_path / "node")
        node.enrol(hub)
        rows = [sp4n_row(number) for number in range(1, 31)]
        node.import_(write_csv(tmp_path / "rows.csv", rows))
        node.push()
        hub.export(tmp_path / "copy", "--with-content")
        before = hub.status()
        end(hub.server)
        lose_database(hub)
        with closing(sqlite3.connect(hub.directory / "hub.db")) as killed_before_its_tables:
            killed_before_its_tables.execute("PRAGMA journal_mode=WAL")
        refused = simpul("hub", "serve", hub.directory, code=2)
        assert f"simpul hub recover {hub.directory}" in " ".join(refused.err.split())
        first = told("hub", "recover", hub.directory, code=1)
        assert (first["recovered"], first["size"]) == (False, 0)
        assert first["recovery"]["target"] == before["log"]["size"]
        assert "lost leaves are still missing" in first["troubles"][0]
        done = told("hub", "recover", hub.directory, "--from", tmp_path / "copy")
        assert (done["recovered"], done["size"], done["missing_sets"]) == (True, before["log"]["size"], [])
        assert told("hub", "recover", hub.directory)["recovered"]
        after = hub.status()
        assert after["log"] == before["log"]
        hub.restart()
        node.import_(write_csv(tmp_path / "more.csv", [sp4n_row(number) for number in range(31, 36)]))
        node.push()
        assert hub.audit_export(tmp_path / "export")["findings"] == []


@pytest.mark.slow
def test_a_serving_hub_without_its_database_is_refilled_by_a_node_that_only_pushes(tmp_path: Path) -> None:
    with serving_hub(tmp_path) as hub:
        node = NodeDirectory(tmp_path / "node")
        node.enrol(hub)
        node.import_(write_csv(tmp_path / "rows.csv", [sp4n_row(number) for number in range(1, 31)]))
        node.push()
        before = hub.status()
        end(hub.server)
        lose_database(hub)
        told("hub", "recover", hub.directory, code=1)
        hub.restart()

        def is_whole() -> bool:
            node.begin_push(timeout_s=2).wait()  # drained or not: a hub that is recovering takes nothing new in
            return bool(hub.status()["log"]["size"] >= before["log"]["size"])

        wait_for("the whole log", is_whole)
        node.import_(write_csv(tmp_path / "more.csv", [sp4n_row(31)]))
        node.push()
        assert hub.audit_export(tmp_path / "export")["findings"] == []


@pytest.mark.slow
def test_a_recovery_from_a_copy_that_is_killed_again_and_again_ends_with_the_identical_log(tmp_path: Path) -> None:
    chance = random.Random(seed := secrets.randbelow(1_000_000))
    print(f"seed {seed}")
    with serving_hub(tmp_path) as hub:
        node = NodeDirectory(tmp_path / "node")
        node.enrol(hub)
        node.import_(write_csv(tmp_path / "rows.csv", [sp4n_row(number) for number in range(1, 41)]))
        node.push(env={"SIMPUL_SET_CHANGES_MAX": "1"})
        hub.export(tmp_path / "copy", "--with-content")
        before, roots = hub.status(), roots_of(hub)
        end(hub.server)
        lose_database(hub)
        words = ("hub", "recover", hub.directory, "--from", tmp_path / "copy", "--json")
        for _ in range(KILLS):
            recovering = spawn(*words)
            time.sleep(chance.uniform(0.0, LONGEST_LIFE_S))
            recovering.kill()
        done = simpul(*words).document
        assert (done["recovered"], done["size"], done["missing_sets"]) == (True, before["log"]["size"], [])
        assert (hub.status()["log"], roots_of(hub)) == (before["log"], roots)
        hub.restart()
        node.import_(write_csv(tmp_path / "more.csv", [sp4n_row(number) for number in range(41, 46)]))
        node.push()
        report = hub.audit_export(tmp_path / "export")
        assert (report["changes"], report["findings"]) == (45, [])


def lose_database(hub: HubDirectory) -> None:
    for file in hub.directory.glob("*.db*"):
        file.unlink()
