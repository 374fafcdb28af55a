"""The statements beside the lock survive what a power cut does to the end of a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.hub.statement_file import StatementFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "statements.jsonl"


def test_a_file_that_is_not_there_holds_nothing(path: Path) -> None:
    assert (StatementFile(path).read(), StatementFile(path).kept_to()) == ({}, -1)


def test_each_line_is_an_index_and_a_statement(path: Path) -> None:
    StatementFile(path).add([(0, b"a.b.c"), (12, b"d.e.f")])
    assert path.read_bytes() == b'{"index":0,"statement":"a.b.c"}\n{"index":12,"statement":"d.e.f"}\n'
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("left", range(1, 33))
def test_a_last_line_torn_anywhere_is_passed_over_and_written_after(path: Path, left: int) -> None:
    kept = StatementFile(path)
    kept.add([(0, b"a.b.c")])
    kept.add([(12, b"d.e.f")])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - left])
    torn_to = 12 if left == 1 else 0  # without its end the line still says all
    assert kept.kept_to() == torn_to
    kept.add([(12, b"g.h.i"), (13, b"j.k.l")])
    assert kept.read() == {0: b"a.b.c", 12: b"g.h.i", 13: b"j.k.l"}
    assert kept.kept_to() == 13


def test_the_newest_of_a_long_file_is_found_at_its_end(path: Path) -> None:
    StatementFile(path).add([(index, b"x" * 4_000) for index in range(40)])
    assert StatementFile(path).kept_to() == 39


def test_lines_of_something_else_are_passed_over(path: Path) -> None:
    StatementFile(path).add([(3, b"a.b.c")])
    with path.open("ab") as file:
        file.write(b'\xff\xfe\n{"index":"4","statement":"d"}\n[]\n\n{"index":5}\n')
    assert StatementFile(path).read() == {3: b"a.b.c"}
