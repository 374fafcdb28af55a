"""A consistent copy of a SQLite file while others write to it, and what can be told of such a copy.

The online backup API starts again whenever somebody else writes between two of its steps, so under a steady stream of
commits it would never end. A read transaction that is opened first pins one snapshot: in WAL mode writers go on beside
it, the copy takes exactly that snapshot, and it is copied once. What it costs is room: the write-ahead log cannot be
cut back until the copy is made.

Everything here waits for the disk and is to be called in a thread. Errors are sqlite3's and OSError.
"""

from __future__ import annotations

import fcntl
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from node.ports import Progress

BUSY_S: Final = 30.0
PAGES_AT_ONCE: Final = 512  # 4 MiB: progress is told, and an end is heard of, several times a second

#: Words of SQLite for a file that is not as it was written.
DAMAGE_WORDS: Final = ("malformed", "not a database", "disk image")

# SQLite's file format: the bytes on which whoever has a database open in WAL mode holds a shared lock.
_SHARED_FIRST: Final = 0x40000002
_SHARED_BYTES: Final = 510


def tells_of_damage(words: str) -> bool:
    """Whether an error of SQLite says that the file itself is damaged."""
    return any(damage in words for damage in DAMAGE_WORDS)


def in_file(path: str | Path | None) -> str:
    """The note that an error of a database carries: SQLite does not say which file it speaks of."""
    return f"in the file {path}"


def open_file(path: Path, *, mode: str = "rw") -> sqlite3.Connection:
    """An existing file; transactions begin when we say so. Raises sqlite3.OperationalError where there is none."""
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None)


def copy_database(source: Path, target: Path, progress: Progress) -> None:
    """Copies what is committed now into the new file `target`, which needs no other file beside it."""
    target.touch(0o600, exist_ok=False)
    with closing(open_file(source)) as held, closing(open_file(target)) as copy:
        copy.execute("PRAGMA synchronous=OFF")  # whoever keeps the file syncs it once, when it is whole
        held.execute("PRAGMA query_only=1")
        held.execute("BEGIN")
        held.execute("SELECT count(*) FROM sqlite_master").fetchone()  # from here on the snapshot stands
        held.backup(
            copy, pages=PAGES_AT_ONCE, progress=lambda _status, left, total: progress(total - left, total), sleep=0.0
        )
        held.execute("ROLLBACK")
        copy.execute("PRAGMA journal_mode=DELETE")  # readable from a medium that cannot be written


def find_damage(path: Path) -> str | None:
    """What `PRAGMA quick_check` finds first; None if it finds nothing."""
    with closing(open_file(path)) as copy:
        try:
            found = [str(row[0]) for row in copy.execute("PRAGMA quick_check(1)")]
        except sqlite3.DatabaseError as error:
            return str(error)
    return None if found == ["ok"] else "; ".join(found)


def is_open_elsewhere(path: Path) -> bool:
    """Whether another process has this database open; no connection of this process may be."""
    with path.open("rb+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, _SHARED_BYTES, _SHARED_FIRST)
        except (BlockingIOError, PermissionError):
            return True
        return False


def schema_of(path: Path) -> str | None:
    """Its revision (migration.py), None if it is no database of ours."""
    rows = rows_of(path, "SELECT version_num FROM alembic_version")
    return str(rows[0][0]) if rows else None


def rows_of(path: Path, query: str) -> list[Any]:
    """All rows of one query; none where its table is not there."""
    with closing(open_file(path)) as connection:
        try:
            return connection.execute(query).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return []
            error.add_note(in_file(path))
            raise
        except sqlite3.DatabaseError as error:
            error.add_note(in_file(path))
            raise
