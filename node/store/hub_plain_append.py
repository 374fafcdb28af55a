"""An append of sets alone, in one change of threads (protocol §6.3): SQLite needs half a millisecond for it, and the
asynchronous driver, which changes threads for every statement, five."""

from __future__ import annotations

import sqlite3
from typing import Final

from node.store.hub_append import CHANGE_SET_KIND
from node.store.hub_records import Commit
from node.store.hub_tables import TILE_LEVEL_SHIFT

_ENTRY: Final = "INSERT INTO log_entry (idx, kind, entry) VALUES (?, ?, ?)"
_TILE: Final = """
INSERT INTO hash_tile (place, hashes) VALUES (?, ?) ON CONFLICT (place) DO UPDATE SET hashes = excluded.hashes
"""
_CHECKPOINT: Final = "INSERT INTO checkpoint (size, follows, root, note, at_ms) VALUES (?, ?, ?, ?, ?)"
_SET: Final = """
INSERT INTO change_set (idx, agency, seq, epoch, digest, changes, size, hidden, erased, received_at_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_CHANGES: Final = "INSERT INTO set_changes (idx, frame) VALUES (?, ?)"
_CONTENTS: Final = "INSERT INTO set_contents (idx, frame) VALUES (?, ?)"
_HEAD: Final = """
INSERT INTO head (agency, epoch, seq, digest, idx, received_at_ms) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (agency) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq, digest = excluded.digest,
  idx = excluded.idx, received_at_ms = excluded.received_at_ms
"""


def append_sets(connection: sqlite3.Connection, commit: Commit) -> int:
    """The newest size found. Everything was written if that is `commit.follows`, otherwise nothing was.

    Within the caller's transaction, for a commit without statements, invitations and forks.
    """
    newest = int(connection.execute("SELECT coalesce(max(size), 0) FROM checkpoint").fetchone()[0])
    if newest != commit.follows:
        return newest
    stored = [new.stored for new in commit.sets]
    new = commit.checkpoint
    connection.executemany(
        _ENTRY, [(index, CHANGE_SET_KIND, entry) for index, entry in enumerate(commit.entries, commit.follows)]
    )
    connection.executemany(
        _TILE, [(level << TILE_LEVEL_SHIFT | number, hashes) for (level, number), hashes in commit.tiles.items()]
    )
    connection.execute(_CHECKPOINT, (new.size, new.follows, new.root, new.note, new.at_ms))
    connection.executemany(
        _SET,
        [
            (s.index, s.agency, s.seq, s.epoch, s.digest, s.changes, s.size, s.hidden, s.erased, s.received_at_ms)
            for s in stored
        ],
    )
    connection.executemany(_CHANGES, [(added.stored.index, added.changes_frame) for added in commit.sets])
    connection.executemany(_CONTENTS, [(added.stored.index, added.contents_frame) for added in commit.sets])
    connection.executemany(_HEAD, [(s.agency, s.epoch, s.seq, s.digest, s.index, s.received_at_ms) for s in stored])
    return newest
