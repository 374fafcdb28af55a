"""What a copy of a hub's log database must hold to be worth anything: the log that its newest checkpoint signs.

Not the tiles' word and not the rows': all leaves are hashed again, in one walk along the log. They must lead to the
signed root, every stored hash tile must be what they make, and the statements among them must make a roster whose log
key signed the checkpoint. About five seconds for a million leaves.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Final

from node.backup.archive import LogFacts
from node.hub.following import admit
from node.store.hub_tables import TILE_LEVEL_SHIFT
from node.store.sqlite_copy import open_file, rows_of
from sync_protocol.checkpoint import open_checkpoint, parse_checkpoint_text
from sync_protocol.errors import Corrupt, Refused
from sync_protocol.merkle import CompactRange, leaf_hash
from sync_protocol.note import parse_note
from sync_protocol.roster import Roster
from sync_protocol.tiles import TILE_WIDTH
from sync_protocol.values import b64_encode

# A log of one checkpoint is an init that was cut off: without its lock it could be begun a second time.
_NEWEST: Final = "SELECT size, root, note FROM checkpoint WHERE follows > 0 ORDER BY size DESC LIMIT 1"
_STATEMENTS: Final = (
    "SELECT log_entry.idx, entry FROM statement JOIN log_entry ON log_entry.idx = statement.idx ORDER BY log_entry.idx"
)
_NEXT: Final = "Stop the hub, keep its database as it is, and restore the newest backup beside it."


def log_facts(database: Path) -> tuple[str, LogFacts]:
    """The origin, and the newest checkpoint as it stands there. Raises Refused where there is none, Corrupt."""
    rows = rows_of(database, _NEWEST)
    if not rows:
        step = "Finish `simpul hub init` first."
        raise Refused("configuration", "there is no log in this database yet", members={"next": step})
    size, root, note = rows[0]
    try:
        told = parse_checkpoint_text(parse_note(note).text)
        text = note.decode("utf-8")
    except (Refused, UnicodeDecodeError):
        raise Corrupt("the newest checkpoint in the database is no checkpoint", next_step=_NEXT) from None
    if (told.size, told.root) != (size, root):
        raise Corrupt("the newest checkpoint's note says something else than its row", next_step=_NEXT)
    return told.origin, LogFacts(size=size, root=b64_encode(root), note=text)


def verify_log(database: Path, facts: LogFacts) -> None:
    """Returns if the whole log of a copy leads to the signed root. Raises Corrupt."""
    roster = Roster()
    for index, entry in rows_of(database, _STATEMENTS):
        admit(roster, index, entry)
    try:
        note = facts.note.encode("utf-8")
        opened = open_checkpoint(note, roster.log_keys_for(note), roster.origin)
    except Refused as refused:
        raise Corrupt(f"its checkpoint is not by a key of this log: {refused}", next_step=_NEXT) from None
    with closing(open_file(database)) as connection:
        walk = _Walk(connection)
        walk.along(opened.checkpoint.size)
        if walk.edge.root() != opened.checkpoint.root:
            raise Corrupt(f"its leaves do not lead to the signed root of size {facts.size}", next_step=_NEXT)


class _Walk:
    """Hashes the leaves again and compares each hash tile, level by level, with the stored one."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.edge = CompactRange()
        self._levels: list[list[bytes]] = []
        self._tiles_done: list[int] = []

    def along(self, size: int) -> None:
        """All `size` leaves. Raises Corrupt for one that is missing, and for a tile that is not theirs."""
        leaves = self._leaves(size)
        while batch := list(islice(leaves, TILE_WIDTH)):
            self.edge.extend(batch)
            for hash_ in batch:
                self._add(0, hash_)
        for level, hashes in enumerate(self._levels):
            if hashes:
                self._compare(level, hashes)

    def _leaves(self, size: int) -> Iterator[bytes]:
        rows = self._connection.execute("SELECT idx, entry FROM log_entry WHERE idx < ? ORDER BY idx", (size,))
        wanted = 0
        for index, entry in rows:
            if index != wanted:
                break
            yield leaf_hash(entry)
            wanted += 1
        if wanted != size:
            raise Corrupt(f"the leaf at log index {wanted} is missing", next_step=_NEXT)

    def _add(self, level: int, hash_: bytes) -> None:
        if level == len(self._levels):
            self._levels.append([])
            self._tiles_done.append(0)
        hashes = self._levels[level]
        hashes.append(hash_)
        if len(hashes) == TILE_WIDTH:
            self._compare(level, hashes)
            top = CompactRange()
            top.extend(hashes)
            self._levels[level] = []
            self._tiles_done[level] += 1
            self._add(level + 1, top.root())

    def _compare(self, level: int, hashes: list[bytes]) -> None:
        number = self._tiles_done[level]
        place = level << TILE_LEVEL_SHIFT | number
        row = self._connection.execute("SELECT hashes FROM hash_tile WHERE place = ?", (place,)).fetchone()
        wanted = b"".join(hashes)
        if row is None or row[0][: len(wanted)] != wanted:
            raise Corrupt(f"the hash tile {number} of level {level} is not of these leaves", next_step=_NEXT)
