"""The ledger of erasures beside the lock survives what a power cut does to the end of a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.hub.erasure_file import ErasureFile
from node.store.hub_records import KeptErasure

FIRST = KeptErasure(5, (0, 2), frozenset({b"\x01" * 32}))
SECOND = KeptErasure(90, (1,), frozenset({b"\x02" * 32, b"\x03" * 32}))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "erasures.jsonl"


def test_each_line_names_a_set_the_changes_and_the_leaves_and_no_words(path: Path) -> None:
    assert ErasureFile(path).read() == []
    ErasureFile(path).add([FIRST])
    leaf = b"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"
    assert path.read_bytes() == b'{"index":5,"at":[0,2],"leaves":["' + leaf + b'"]}\n'
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("left", range(1, 70, 4))
def test_a_last_line_torn_anywhere_is_passed_over_and_written_after(path: Path, left: int) -> None:
    kept = ErasureFile(path)
    kept.add([FIRST])
    kept.add([SECOND])
    path.write_bytes(path.read_bytes()[:-left])
    kept.add([SECOND])
    assert kept.read() == [FIRST, SECOND, SECOND] if left == 1 else [FIRST, SECOND]


def test_lines_of_something_else_are_passed_over(path: Path) -> None:
    ErasureFile(path).add([FIRST])
    with path.open("ab") as file:
        file.write(b'\xff\n{"index":"4","at":[],"leaves":[]}\n[]\n{"index":1,"at":[0],"leaves":["AA"]}\n')
    assert ErasureFile(path).read() == [FIRST]
