"""`simpul demo`: the whole way on loopback, for a script and for a person."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from node.cli.demo_flow import choose_agencies, deal_made_up, deal_rows, read_input
from node.cli.output import UsageProblem
from node.local.importers.rows import ImportedRow
from node.system import SystemClock, SystemRandomness
from tests.edge.import_support import sp4n_row, write_csv


def simpul(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = "from node.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", command, *arguments], capture_output=True, text=True, timeout=100, check=False
    )


def test_the_three_cities_where_it_began_come_first_and_no_agency_comes_twice() -> None:
    chosen = [agency.code for agency in choose_agencies(20)]
    assert chosen[:3] == ["33.75", "35.71", "13.71"]
    assert len(set(chosen)) == 20
    with pytest.raises(UsageProblem):
        choose_agencies(100_000)


def test_complaints_are_dealt_out_in_turn() -> None:
    agencies = choose_agencies(3)
    dealt = list(deal_made_up(agencies, 7, SystemClock(), SystemRandomness()))
    assert [turn for turn, _ in dealt] == [0, 1, 2, 0, 1, 2, 0]


def test_an_export_is_dealt_out_in_turn_and_its_bad_rows_are_named(tmp_path: Path) -> None:
    path = write_csv(
        tmp_path / "a.csv", [sp4n_row(n, text="x", day="?" if n == 3 else "3 Jan 2026") for n in range(1, 6)]
    )
    rows, refused = read_input(path, choose_agencies(1)[0], None)
    assert [(turn, arrival.source.id) for turn, arrival in deal_rows(rows, 2) if isinstance(arrival, ImportedRow)] == [
        (0, "9100001"),
        (1, "9100002"),
        (0, "9100004"),
        (1, "9100005"),
    ]
    assert [row.line for row in refused] == [4]
    assert len(read_input(path, choose_agencies(1)[0], 2)[0]) == 2


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    done = simpul("demo", "--once", "--json", "--dir", str(tmp_path))
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["next"]
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


@pytest.mark.slow
def test_the_whole_way_ends_drained_and_audited_with_nothing_but_json_on_stdout(tmp_path: Path) -> None:
    done = simpul("demo", "--once", "--json", "--complaints", "40", "--dir", str(tmp_path / "demo"))
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["agencies"], document["complaints"]) == (3, 40)
    assert document["audit"]["ok"]
    assert document["audit"]["changes"] == document["changes"]
    assert document["audit"]["change_sets"] == document["change_sets"] > 3
    assert sum(document["audit"]["by_state"].values()) == 40
    assert document["refused_connections"] > 0
    assert document["seconds"] > 0
    assert (tmp_path / "demo" / "33.75" / "simpul.toml").is_file()


@pytest.mark.slow
def test_an_export_goes_the_whole_way_with_its_own_totals(tmp_path: Path) -> None:
    statuses = ["Ditutup oleh Sistem", "Diarsipkan oleh Admin", "Menunggu Kelengkapan Informasi"]
    path = write_csv(tmp_path / "a.csv", [sp4n_row(n, status=statuses[n % 3]) for n in range(30)])
    done = simpul("demo", "--once", "--json", "--agencies", "2", "--input", str(path))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["audit"]["by_state"] == {"closed": 10, "archived": 10, "awaiting_information": 10}
