"""A copy of a SQLite file that others write to: one moment of it, whole, and made in one go."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from node.store.sqlite_copy import PAGES_AT_ONCE, copy_database, find_damage, open_file, rows_of, schema_of

ROWS = 2_000
COMMIT = "INSERT INTO pair VALUES (?, ?)"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "busy.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA page_size=8192")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE letter (no INTEGER PRIMARY KEY, words BLOB)")
        connection.execute("CREATE TABLE pair (one INTEGER, other INTEGER)")
        connection.executemany("INSERT INTO letter VALUES (?, randomblob(6000))", ((no,) for no in range(ROWS)))
    return path


def test_a_copy_is_one_moment_and_ends_though_others_commit_between_any_two_of_its_pieces(
    database: Path, tmp_path: Path
) -> None:
    told: list[int] = []
    with closing(open_file(database)) as writer:

        def commit(done: int, total: int) -> None:
            told.append(done)
            number = len(told)
            writer.execute("BEGIN IMMEDIATE")
            writer.execute("UPDATE letter SET words = randomblob(6000) WHERE no % 7 = ?", (number % 7,))
            writer.execute(COMMIT, (number, number))
            writer.execute("COMMIT")

        copy_database(database, tmp_path / "copy.db", commit)
    pieces = ROWS // PAGES_AT_ONCE
    assert pieces <= len(told) <= pieces + 3
    assert told == sorted(told)
    assert rows_of(tmp_path / "copy.db", "SELECT count(*) FROM pair") == [(0,)]
    assert rows_of(tmp_path / "copy.db", "SELECT count(*) FROM letter") == [(ROWS,)]
    assert rows_of(database, "SELECT count(*) FROM pair") == [(len(told),)]
    assert find_damage(tmp_path / "copy.db") is None
    assert not list(tmp_path.glob("copy.db-*"))


def test_a_copy_taken_beside_a_busy_writer_holds_no_half_transaction(database: Path, tmp_path: Path) -> None:
    is_over = threading.Event()

    def write() -> None:
        with closing(open_file(database)) as connection:
            number = 0
            while not is_over.is_set():
                connection.execute("BEGIN IMMEDIATE")
                connection.execute(COMMIT, (number, None))
                connection.execute("UPDATE pair SET other = one WHERE one = ?", (number,))
                connection.execute("COMMIT")
                number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            copy_database(database, tmp_path / f"copy{number}.db", lambda _done, _total: None)
    finally:
        is_over.set()
        writer.join()
    counts = []
    for number in range(5):
        numbers = [one for one, other in rows_of(tmp_path / f"copy{number}.db", "SELECT * FROM pair") if one == other]
        assert numbers == list(range(len(numbers)))
        counts.append(len(numbers))
        assert rows_of(tmp_path / f"copy{number}.db", "SELECT count(*) FROM pair") == [(len(numbers),)]
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]


def test_a_copy_can_be_ended_between_two_pieces(database: Path, tmp_path: Path) -> None:
    class EndedError(Exception):
        pass

    def end(_done: int, _total: int) -> None:
        raise EndedError

    with pytest.raises(EndedError):
        copy_database(database, tmp_path / "copy.db", end)


def test_a_copy_can_be_read_where_nothing_can_be_written(database: Path, tmp_path: Path) -> None:
    copy_database(database, tmp_path / "copy.db", lambda _done, _total: None)
    (tmp_path / "copy.db").chmod(0o400)
    with closing(open_file(tmp_path / "copy.db", mode="ro")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert connection.execute("SELECT count(*) FROM letter").fetchone() == (ROWS,)


def test_a_damaged_file_is_told_and_one_that_is_not_ours_has_no_schema(database: Path, tmp_path: Path) -> None:
    copy_database(database, tmp_path / "copy.db", lambda _done, _total: None)
    assert schema_of(tmp_path / "copy.db") is None
    data = bytearray((tmp_path / "copy.db").read_bytes())
    data[8_192:24_576] = bytes(16_384)
    (tmp_path / "copy.db").write_bytes(data)
    assert find_damage(tmp_path / "copy.db")
    (tmp_path / "text.db").write_bytes(b"not a database at all" * 1_000)
    assert find_damage(tmp_path / "text.db")
