"""Cutting on the pusher's plain connection (node/local/ports.py LocalStore `cuttable`, `cut`).

A cut reads a thousand lines and writes two rows; done with the asynchronous driver, half of its time would be spent on
changing threads for each statement.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from node.store.local_records import ChainEnd, Cuttable, Outgoing, Seen, Signing
from node.store.local_transaction import (
    INSERT_FRAMES,
    INSERT_SET,
    frames_gone,
    not_enrolled,
    set_values,
    signed_before,
)
from sync_protocol.values import Digest

_END: Final = (
    "coalesce(newest.seq, 0), coalesce(newest.epoch, 1), coalesce(newest.digest, node.enrolment),"
    " coalesce(newest.last_no, 0) FROM node LEFT JOIN"
    " (SELECT seq, epoch, digest, last_no FROM change_set WHERE status <> 2 ORDER BY seq DESC LIMIT 1) AS newest"
)
_CUTTABLE: Final = f"SELECT node.epoch, seen_size, seen_root, seen_sig, seen_note, {_END}"
_IS_TAKEN: Final = "SELECT EXISTS (SELECT 1 FROM change_set WHERE epoch = ? AND seq = ?)"
_LIVE_FRAMES: Final = (
    "SELECT change_set.epoch, digest, manifest, head, contents, seen_size, seen_root, seen_sig, seen_note FROM node"
    " JOIN change_set LEFT JOIN set_frames ON set_frames.set_id = change_set.id WHERE seq = ? AND status <> 2"
)
_HAS_ERASURES: Final = "SELECT EXISTS (SELECT 1 FROM erasure)"
_UNSENT: Final = "SELECT no, line, content FROM change WHERE no > ? ORDER BY no LIMIT ?"


def read_cuttable(connection: sqlite3.Connection, limit: int) -> Cuttable:
    """See LocalStore.cuttable."""
    found = connection.execute(_CUTTABLE).fetchone()
    if found is None:
        raise not_enrolled()
    epoch, size, root, signature, note, seq, end_epoch, digest, last_no = found
    # Changes recorded since the first query only make the set larger; whether the chain moved on is for `write_cut`.
    lines = connection.execute(_UNSENT, (last_no, limit)).fetchall() if limit else []
    end = ChainEnd(seq, end_epoch, Digest(digest), last_no)
    return Cuttable(epoch, end, Seen(size, Digest(root), signature, note), lines)


def write_cut(connection: sqlite3.Connection, limit: int, sign: Signing) -> Outgoing | None:
    """See LocalStore.cut; within a transaction. None: nothing was written."""
    cuttable = read_cuttable(connection, limit)
    place = (cuttable.epoch, cuttable.end.seq + 1)
    ((is_taken,),) = connection.execute(_IS_TAKEN, place).fetchall()
    if is_taken:
        raise signed_before(*place)
    # A crash from here to the commit leaves nothing: what was signed never left this process.
    found = sign(cuttable)
    if found is None:
        return None
    signed, last_no = found
    ((number,),) = connection.execute(INSERT_SET, set_values(signed, cuttable.end.last_no + 1, last_no)).fetchall()
    connection.execute(INSERT_FRAMES, (number, signed.head_frame, signed.contents_frame))
    frames = signed.head_frame + signed.contents_frame
    ((has_erasures,),) = connection.execute(_HAS_ERASURES).fetchall()
    return Outgoing(signed.epoch, signed.seq, signed.digest, signed.manifest, frames, cuttable.seen, bool(has_erasures))


def read_outgoing(connection: sqlite3.Connection, seq: int) -> Outgoing | None:
    """See LocalStore.outgoing."""
    found = connection.execute(_LIVE_FRAMES, (seq,)).fetchone()
    if found is None:
        return None
    epoch, digest, manifest, head, contents, *seen = found
    if head is None:
        raise frames_gone()
    size, root, signature, note = seen
    newest = Seen(size, Digest(root), signature, note)
    return Outgoing(epoch, seq, Digest(digest), manifest.decode("ascii"), head + contents, newest)
