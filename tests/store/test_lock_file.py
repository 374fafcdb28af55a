"""The file that holds the newest checkpoint: whatever tears a write, the note before it is still there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.hub.lock_file import SLOT_BYTES, LockFile
from sync_protocol.errors import Corrupt


def note_in(path: Path) -> bytes | None:
    kept = LockFile(path).read()
    return None if kept is None else kept.note


def put(path: Path, note: bytes) -> None:
    file = LockFile(path)
    file.write(file.read(), note)


@given(st.lists(st.one_of(st.binary(max_size=300), st.binary(min_size=4_000, max_size=4_200)), min_size=1, max_size=12))
def test_every_note_that_was_put_is_the_one_that_is_read(
    tmp_path_factory: pytest.TempPathFactory, notes: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("lock") / "checkpoint"
    assert note_in(path) is None
    for note in notes:
        put(path, note)
        assert note_in(path) == note


def test_one_reader_sees_every_note_that_another_process_puts_and_every_damage(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    reader = LockFile(path)
    assert reader.read() is None
    for note in (b"one", b"two", b"n" * 5_000, b"three", b"four", b"five"):
        put(path, note)
        for _ in range(2):
            kept = reader.read()
            assert kept is not None
            assert kept.note == note
    path.write_bytes(path.read_bytes().replace(b"five", b"5ive"))
    kept = reader.read()
    assert kept is not None
    assert kept.note == b"four"
    path.write_bytes(path.read_bytes().replace(b"four", b"4our"))
    with pytest.raises(Corrupt, match="damaged"):
        reader.read()


@given(torn_at=st.integers(0, SLOT_BYTES), count=st.integers(1, 5), rubbish=st.binary(min_size=1, max_size=8))
def test_a_write_that_is_torn_anywhere_leaves_the_note_before_it(
    tmp_path_factory: pytest.TempPathFactory, torn_at: int, count: int, rubbish: bytes
) -> None:
    path = tmp_path_factory.mktemp("lock") / "checkpoint"
    for number in range(count):
        put(path, b"note %d" % number)
    before = path.read_bytes()
    put(path, b"the next note")
    after = path.read_bytes()
    start = next(place for place, (old, new) in enumerate(zip(before, after, strict=True)) if old != new)
    start -= start % SLOT_BYTES
    whole = after[start : start + SLOT_BYTES]
    torn = (whole[:torn_at] + rubbish + before[start + torn_at :])[:SLOT_BYTES]
    path.write_bytes(after[:start] + torn + after[start + SLOT_BYTES :])
    assert note_in(path) == (b"the next note" if torn == whole else b"note %d" % (count - 1))
    put(path, b"and on")
    assert note_in(path) == b"and on"


def test_a_file_that_is_nothing_but_the_note_is_read_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    path.write_bytes(b"hub.example/log\n3\nroot\n")
    assert note_in(path) == b"hub.example/log\n3\nroot\n"
    put(path, b"newer")
    put(path, b"newest")
    assert note_in(path) == b"newest"
    assert path.stat().st_size == 2 * SLOT_BYTES


def test_a_note_beyond_a_slot_is_kept_too_and_a_small_one_follows_it(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    for note in (b"small", b"n" * 60_000, b"small again", b"and again"):
        put(path, note)
        assert note_in(path) == note


def test_a_file_without_a_whole_slot_is_no_empty_lock(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    put(path, b"one")
    path.write_bytes(path.read_bytes().replace(b"one", b"two"))
    with pytest.raises(Corrupt, match="damaged"):
        LockFile(path).read()


@pytest.mark.parametrize("count", [1, 2])
def test_a_disk_that_takes_only_half_of_a_slot_is_an_error_and_changes_nothing(tmp_path: Path, count: int) -> None:
    path = tmp_path / "checkpoint"
    for number in range(count):
        put(path, b"note %d" % number)
    script = (
        "import pathlib, resource, sys\n"
        "from node.hub.lock_file import LockFile\n"
        "file = LockFile(pathlib.Path(sys.argv[1]))\n"
        "kept = file.read()\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"  # a write beyond is cut short, or fails
        "file.write(kept, b'new')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, check=False)
    assert done.returncode == 1
    assert b"OSError" in done.stderr
    assert note_in(path) == b"note %d" % (count - 1)
