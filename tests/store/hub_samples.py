"""Small commits for the contract suites: the store does not judge what it is given."""

from __future__ import annotations

from hashlib import sha256

from node.store.hub_records import Commit, NewSet, StoredCheckpoint, StoredSet, StoredStatement


def checkpoint(size: int, follows: int) -> StoredCheckpoint:
    """A checkpoint whose note and root are only told apart by their size."""
    return StoredCheckpoint(size, follows, sha256(b"%d" % size).digest(), b"note %d" % size, 1_000 + size)


def a_set(index: int, agency: str, seq: int, *, hidden: int = 0) -> NewSet:
    """A set with recognisable frames."""
    digest = sha256(f"{agency}/{seq}".encode()).digest()
    stored = StoredSet(index, agency, seq, 1, digest, 2, 3, hidden, 0, 5_000 + index)
    return NewSet(stored, b"changes %d" % index, b"contents %d" % index)


def a_statement(index: int, agency: str | None = None) -> StoredStatement:
    """A statement at a place."""
    entry = b"statement %d" % index
    return StoredStatement(index, "simpul-tick", agency, sha256(entry).digest(), entry)


def commit_of(follows: int, *items: NewSet | StoredStatement) -> Commit:
    """One append of these sets and statements, which must stand in the order of their indices."""
    sets = [item for item in items if isinstance(item, NewSet)]
    statements = [item for item in items if isinstance(item, StoredStatement)]
    entries = [
        item.entry if isinstance(item, StoredStatement) else b"manifest %d" % item.stored.index for item in items
    ]
    size = follows + len(items)
    tile = b"".join(sha256(b"leaf %d" % index).digest() for index in range(size))
    return Commit(follows, entries, checkpoint(size, follows), {(0, 0): tile}, sets=sets, statements=statements)
