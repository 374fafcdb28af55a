"""An import may be repeated for ever and be cut off anywhere: nothing is lost, nothing goes in twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.local import import_service
from node.local.import_service import ImportRun, ImportTotals
from node.local.importers import rows as rows_module
from node.system import SystemClock
from tests.edge.import_support import WITA, RememberingTarget, sp4n_row, write_csv, write_xlsx


def run_into(target: RememberingTarget, seen: list[float] | None = None) -> ImportRun:
    def progress(totals: ImportTotals) -> None:
        if seen is not None:
            seen.append(totals.fraction)

    return ImportRun(target, WITA, lambda _province, _town: None, SystemClock(), progress)


async def test_a_second_import_adds_nothing_not_even_from_the_other_format(tmp_path: Path) -> None:
    rows = [sp4n_row(number) for number in range(1, 31)]
    target = RememberingTarget()
    first = await run_into(target).run(write_csv(tmp_path / "a.csv", rows))
    again = await run_into(target).run(write_xlsx(tmp_path / "a.xlsx", rows))
    assert (first.read, first.imported, first.already_there) == (30, 30, 0)
    assert (again.read, again.imported, again.already_there) == (30, 0, 30)


async def test_refused_rows_are_counted_and_named_and_the_document_has_the_promised_names(tmp_path: Path) -> None:
    rows = [sp4n_row(1, text="x"), sp4n_row(2, text="x", status="?"), sp4n_row(3, text="x")]
    totals = await run_into(RememberingTarget()).run(write_csv(tmp_path / "a.csv", rows))
    assert totals.document() == {
        "read": 3,
        "imported": 2,
        "already_there": 0,
        "refused": [{"line": 3, "reason": "Status Laporan “?” is not known"}],
        "refused_count": 1,
        "dry_run": False,
    }


@pytest.mark.parametrize("reply_lost", [False, True])
async def test_a_crash_in_the_middle_is_made_good_by_repeating(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, reply_lost: bool
) -> None:
    monkeypatch.setattr(import_service, "BUNCH_ROWS", 10)
    path = write_csv(tmp_path / "a.csv", [sp4n_row(number) for number in range(1, 36)])
    target = RememberingTarget()
    target.fail_at_call, target.reply_lost = 3, reply_lost
    with pytest.raises(OSError, match=r"disk full|killed"):
        await run_into(target).run(path)
    before = len(target.rows)
    assert before == (30 if reply_lost else 20)
    totals = await run_into(target).run(path)
    assert (totals.imported, totals.already_there) == (35 - before, before)
    assert len(target.rows) == 35


async def test_the_same_number_twice_in_one_file_goes_in_once(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [sp4n_row(1), sp4n_row(1), sp4n_row(2)])
    dry = await run_into(RememberingTarget()).run(path, dry_run=True)
    real = await run_into(RememberingTarget()).run(path)
    assert (real.imported, real.already_there) == (2, 1)
    assert dry.document() == real.document() | {"dry_run": True}


async def test_a_dry_run_judges_every_row_and_records_nothing(tmp_path: Path) -> None:
    target = RememberingTarget()
    path = write_csv(tmp_path / "a.csv", [sp4n_row(1), sp4n_row(2, day="?"), sp4n_row(3)])
    totals = await run_into(target).run(path, dry_run=True)
    assert (totals.read, totals.imported, totals.refused_count) == (3, 2, 1)
    assert not target.rows
    assert target.calls == 0


@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_row_is_not_dated_out_of_the_figures_of_deadlines(tmp_path: Path, *, dry_run: bool) -> None:
    """A slip of the year on a sheet: in no figure until that year comes."""
    target = RememberingTarget()
    path = write_csv(tmp_path / "a.csv", [sp4n_row(1), sp4n_row(2, day="3 Jan 2999")])
    totals = await run_into(target).run(path, dry_run=dry_run)
    ((line, reason),) = [(row.line, row.reason) for row in totals.refused]
    assert (totals.imported, totals.refused_count) == (1, 1)
    assert "received_at 2999-01-0" in reason
    assert line > 1
    assert len(target.rows) == (0 if dry_run else 1)


async def test_progress_goes_forward_and_ends_at_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_service, "BUNCH_ROWS", 5)
    seen: list[float] = []
    await run_into(RememberingTarget(), seen).run(write_xlsx(tmp_path / "a.xlsx", [sp4n_row(n) for n in range(1, 30)]))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert len(seen) >= 6


async def test_a_file_that_is_damaged_throughout_does_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_service, "LISTED_REFUSALS_MAX", 10)
    assert rows_module.LISTED_REFUSALS_MAX > 10
    path = write_csv(tmp_path / "a.csv", [sp4n_row(number, day="?") for number in range(1, 101)])
    totals = await run_into(RememberingTarget()).run(path)
    assert totals.refused_count == 100
    assert len(totals.refused) == 10
