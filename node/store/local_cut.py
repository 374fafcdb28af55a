"""Cutting on the pusher's plain connection (node/local/ports.py LocalStore `cuttable`, `cut`).

A cut reads a thousand lines and writes two rows; done with the asynchronous driver, half of its time would be spent on
changing threads for each statement.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Final

from node.store.local_records import ChainEnd, Cuttable, Seen, SignedSet
from node.store.local_transaction import INSERT_FRAMES, INSERT_SET, not_enrolled, set_values, signed_before
from sync_protocol.values import Digest

_END: Final = (
    "coalesce(newest.seq, 0), coalesce(newest.epoch, 1), coalesce(newest.digest, node.enrolment),"
    " coalesce(newest.last_no, 0) FROM node LEFT JOIN"
    " (SELECT seq, epoch, digest, last_no FROM change_set WHERE status <> 2 ORDER BY seq DESC LIMIT 1) AS newest"
)
_CUTTABLE: Final = f"SELECT seen_size, seen_root, seen_sig, seen_note, {_END}"
_PLACE: Final = (
    "SELECT node.epoch, EXISTS (SELECT 1 FROM change_set WHERE epoch = ? AND seq = ?), "  # noqa: S608 - constants
    f"{_END}"
)
_UNSENT: Final = "SELECT no, line, content FROM change WHERE no > ? ORDER BY no LIMIT ?"


def read_cuttable(connection: sqlite3.Connection, limit: int) -> Cuttable:
    """See LocalStore.cuttable."""
    found = connection.execute(_CUTTABLE).fetchone()
    if found is None:
        raise not_enrolled()
    size, root, signature, note, seq, epoch, digest, last_no = found
    # Changes recorded since the first query only make the set larger; whether the chain moved on is for `write_cut`.
    lines = connection.execute(_UNSENT, (last_no, limit)).fetchall() if limit else []
    return Cuttable(ChainEnd(seq, epoch, Digest(digest), last_no), Seen(size, Digest(root), signature, note), lines)


def write_cut(
    connection: sqlite3.Connection, end: ChainEnd, epoch: int, last_no: int, sign: Callable[[], SignedSet]
) -> bool:
    """See LocalStore.cut; within a transaction. False: nothing was written."""
    own_epoch, is_taken, *place = connection.execute(_PLACE, (epoch, end.seq + 1)).fetchone()
    if (own_epoch, *place) != (epoch, end.seq, end.epoch, end.digest, end.last_no):
        return False
    if is_taken:
        raise signed_before(epoch, end.seq + 1)
    # A crash from here to the commit leaves nothing: what was signed never left this process.
    signed = sign()
    ((number,),) = connection.execute(INSERT_SET, set_values(signed, end.last_no + 1, last_no)).fetchall()
    connection.execute(INSERT_FRAMES, (number, signed.head_frame, signed.contents_frame))
    return True
