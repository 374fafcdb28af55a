"""Recording on the plain connection: a whole transaction, judging included (node/local/ports.py LocalStore.record).

One complaint that a citizen waits for is some six tiny statements; with the asynchronous driver each of them costs
more processor time in changing threads than SQLite needs for all.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

from node.store.local_base import in_bunches, pack_clocks, pack_state, unpack_clocks, unpack_state
from node.store.local_erasing import erasure_rows
from node.store.local_files import INSERT_ATTACHMENT, attachment_rows
from node.store.local_records import (
    Answer,
    Found,
    HeldComplaint,
    Named,
    RowConflict,
    WrittenChange,
    WrittenComplaint,
    WrittenRows,
)
from sync_protocol.excerpt import parse_excerpt
from sync_protocol.merkle import leaf_hash
from sync_protocol.values import parse_timestamp

UPSERT_COMPLAINT: Final = (
    "INSERT INTO complaint (key, tracking, source_system, source_id, state, rev, unit, received_at_ms,"
    " changed_at_ms, packed, owner, offered_to, clocks, slot) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (key) DO UPDATE SET state = excluded.state, rev = excluded.rev, unit = excluded.unit,"
    " changed_at_ms = excluded.changed_at_ms, packed = excluded.packed, owner = excluded.owner,"
    " offered_to = excluded.offered_to, clocks = excluded.clocks, slot = excluded.slot"
)
INSERT_CHANGE: Final = (
    "INSERT INTO change (complaint_no, line, content)"
    " VALUES (CASE WHEN ?1 IS NULL THEN 0 ELSE (SELECT no FROM complaint WHERE key = ?1) END, ?2, ?3)"
)
INSERT_ERASURE: Final = (
    "INSERT INTO erasure (leaf, complaint_no) SELECT ?, no FROM complaint WHERE key = ? ON CONFLICT (leaf)"
    " DO UPDATE SET complaint_no = excluded.complaint_no"
)
_INSERT_ANSWER: Final = "INSERT INTO answer (key, body, answer, at_ms) VALUES (?, ?, ?, ?)"
COMPLAINTS: Final = "SELECT no, key, packed, changed_at_ms, clocks, slot FROM complaint WHERE key IN ({})"
_ANSWERS: Final = "SELECT key, body, answer, at_ms FROM answer WHERE key IN ({})"
_SOURCE: Final = (  # our own first: what others minted may claim any number
    "SELECT key FROM complaint WHERE source_id = ? AND source_system = ?"
    " ORDER BY substr(key, 17) <> CAST((SELECT agency FROM node) AS BLOB), no LIMIT 1"
)
_SAID: Final = (
    "SELECT content FROM change JOIN complaint ON complaint.no = change.complaint_no"
    " WHERE complaint.key = ? AND content IS NOT NULL"
)
_SAID_BY_OTHERS: Final = (
    "SELECT lines FROM foreign_set JOIN complaint ON complaint.no = foreign_set.complaint_no WHERE complaint.key = ?"
)


def record(connection: sqlite3.Connection, named: Named, judge: Callable[[Found], WrittenRows]) -> None:
    """See LocalStore.record; within a transaction."""
    write_rows(connection, judge(_find(connection, named)))


def write_rows(connection: sqlite3.Connection, written: WrittenRows) -> None:
    """Raises RowConflict."""
    try:
        for statement, rows in statements_of(written.complaints, written.changes):
            connection.executemany(statement, rows)
        connection.executemany(_INSERT_ANSWER, [(a.key, a.body, a.answer, a.at_ms) for a in written.answers])
    except sqlite3.IntegrityError as error:
        raise RowConflict(str(error)) from None


def statements_of(
    complaints: Iterable[WrittenComplaint], changes: Collection[WrittenChange]
) -> list[tuple[str, list[tuple[Any, ...]]]]:
    """What writes complaints and changes: statements with their rows, in order."""
    return [
        (UPSERT_COMPLAINT, [_complaint_row(written) for written in complaints]),
        (INSERT_CHANGE, [(change.key, change.line, change.content) for change in changes]),
        (INSERT_ATTACHMENT, [row for change in changes for row in attachment_rows(change)]),
        (INSERT_ERASURE, [row for change in changes for row in erasure_rows(change)]),
    ]


def held_complaints(rows: Iterable[Any]) -> dict[bytes, HeldComplaint]:
    """By key, from rows with no, key, packed, changed_at_ms, clocks, slot."""
    return {
        key: HeldComplaint(no, key, unpack_state(packed), at_ms, unpack_clocks(clocks), slot)
        for no, key, packed, at_ms, clocks, slot in rows
    }


def _find(connection: sqlite3.Connection, named: Named) -> Found:
    sources: dict[tuple[str, str], bytes] = {}
    for system, number in named.sources:
        row = connection.execute(_SOURCE, (number, system)).fetchone()
        if row is not None:
            sources[system, number] = row[0]
    keys = {*named.complaints, *sources.values()}
    return Found(
        held_complaints(_in(connection, COMPLAINTS, keys)),
        {row[0]: Answer(*row) for row in _in(connection, _ANSWERS, named.answers)},
        sources,
        {key: _shown(connection, key) for key in named.erasing},
    )


def _shown(connection: sqlite3.Connection, key: bytes) -> set[bytes]:
    """Leaf hashes of all that was said about a complaint and is here, in our own changes or in others' sets."""
    said = {leaf_hash(content) for (content,) in connection.execute(_SAID, (key,))}
    for (lines,) in connection.execute(_SAID_BY_OTHERS, (key,)):
        excerpt = parse_excerpt(lines)
        changes = excerpt.manifest.manifest.changes
        said |= {leaf_hash(line) for place, line in excerpt.lines.items() if place >= changes}
    return said


def _in(connection: sqlite3.Connection, query: str, keys: Collection[bytes]) -> Iterable[Any]:
    for bunch in in_bunches(keys):
        yield from connection.execute(query.format(", ".join("?" * len(bunch))), bunch)


def _complaint_row(written: WrittenComplaint) -> tuple[Any, ...]:
    state = written.state
    source = state.source
    return (
        written.key,
        state.tracking,
        source.system if source else None,
        source.id if source else None,
        int(state.state),
        state.rev,
        state.unit,
        parse_timestamp(state.received_at),
        written.changed_at_ms,
        pack_state(state),
        state.owner,
        state.offer_to,
        pack_clocks(written.clocks),
        written.slot,
    )
