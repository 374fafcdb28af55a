"""What a hub's log plane has on its disk, and what an append makes of it (memory_hub.py)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from node.store.hub_records import (
    Commit,
    Fork,
    Grant,
    Invitation,
    MissingSet,
    NamedFile,
    RecoveredLeaf,
    StoredCheckpoint,
    StoredHead,
    StoredSet,
    StoredStatement,
)
from node.store.hub_store import not_the_newest


class UniqueViolation(Exception):
    """A row that is there already, as a database says it."""


@dataclass
class HubState:
    """Everything by log index, unless it says otherwise."""

    is_made: bool = False
    entries: list[bytes] = field(default_factory=list)
    checkpoints: dict[int, StoredCheckpoint] = field(default_factory=dict)
    tiles: dict[tuple[int, int], bytes] = field(default_factory=dict)
    sets: dict[int, StoredSet] = field(default_factory=dict)
    places: dict[tuple[str, int], int] = field(default_factory=dict)
    changes: dict[int, bytes] = field(default_factory=dict)
    contents: dict[int, bytes] = field(default_factory=dict)
    statements: dict[int, StoredStatement] = field(default_factory=dict)
    heads: dict[str, StoredHead] = field(default_factory=dict)
    invitations: dict[bytes, Invitation] = field(default_factory=dict)
    grants: dict[bytes, Grant] = field(default_factory=dict)
    reads: list[tuple[int, str, str]] = field(default_factory=list)
    forks: dict[tuple[bytes, bytes], Fork] = field(default_factory=dict)
    erased: dict[int, frozenset[bytes]] = field(default_factory=dict)
    recovered: dict[int, RecoveredLeaf] = field(default_factory=dict)
    notes: dict[int, bytes] = field(default_factory=dict)
    missing: dict[int, MissingSet] = field(default_factory=dict)
    files: dict[tuple[int, bytes], NamedFile] = field(default_factory=dict)

    def copy(self) -> HubState:
        return HubState(
            self.is_made,
            list(self.entries),
            dict(self.checkpoints),
            dict(self.tiles),
            dict(self.sets),
            dict(self.places),
            dict(self.changes),
            dict(self.contents),
            dict(self.statements),
            dict(self.heads),
            dict(self.invitations),
            dict(self.grants),
            list(self.reads),
            dict(self.forks),
            dict(self.erased),
            dict(self.recovered),
            dict(self.notes),
            dict(self.missing),
            dict(self.files),
        )

    @property
    def newest_size(self) -> int:
        return max(self.checkpoints, default=0)

    def append(self, commit: Commit) -> None:
        """On a copy: half of it does no harm."""
        if self.newest_size != commit.follows:
            raise not_the_newest(self.newest_size, commit.follows)
        self.entries += commit.entries
        self.tiles.update(commit.tiles)
        self.checkpoints[commit.checkpoint.size] = commit.checkpoint
        for new in commit.sets:
            stored = new.stored
            if (stored.agency, stored.seq) in self.places:
                raise UniqueViolation(f"unique: {stored.agency} seq {stored.seq}")
            self.sets[stored.index] = stored
            self.places[stored.agency, stored.seq] = stored.index
            if new.is_missing:
                self.missing[stored.index] = MissingSet(stored.index, stored.agency, stored.seq)
            else:
                self.changes[stored.index], self.contents[stored.index] = new.changes_frame, new.contents_frame
            place = (stored.epoch, stored.seq, stored.digest, stored.index, stored.received_at_ms)
            self.heads[stored.agency] = StoredHead(stored.agency, *place)
        for statement in commit.statements:
            if any(known.digest == statement.digest for known in self.statements.values()):
                raise UniqueViolation(f"unique: statement at {statement.index}")
            self.statements[statement.index] = statement
        for used in commit.used_invitations:
            known = self.invitations.get(used.token_hash)
            if known is not None and known.used_by is None:
                self.invitations[used.token_hash] = replace(known, used_by=used.used_by, used_index=used.used_index)
        for fork in commit.forks:
            self.add_fork(fork)

    def add_fork(self, fork: Fork) -> None:
        self.forks.setdefault((fork.held_digest, fork.other_digest), fork)
