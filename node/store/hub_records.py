"""What the hub's store takes and gives: plain frozen records, the same for every database (see node/hub/ports.py).

`index` is a 0-based place in the log, `size` a count of leaves; times are milliseconds since 1970; digests, hashes and
roots are 32 bytes; frames are zstd.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A signed checkpoint; `follows` is the size of the checkpoint before it (0 for the first)."""

    size: int
    follows: int
    root: bytes
    note: bytes
    at_ms: int


@dataclass(frozen=True, slots=True)
class StoredHead:
    """The newest accepted set of an agency."""

    agency: str
    epoch: int
    seq: int
    digest: bytes
    index: int
    received_at_ms: int


@dataclass(frozen=True, slots=True)
class StoredSet:
    """An accepted set, unopened; `hidden` of its leaves are hidden here, `erased` of those for good."""

    index: int
    agency: str
    seq: int
    epoch: int
    digest: bytes
    changes: int
    size: int
    hidden: int
    erased: int
    received_at_ms: int

    @property
    def is_missing(self) -> bool:
        """Whether its lines are not here: change lines are hidden nowhere else."""
        return self.hidden == self.size > 0


@dataclass(frozen=True, slots=True)
class KeptErasure:
    """Content lines, by leaf hash, that were taken for good out of the set at a place in the log.

    `positions` are those of the changes in it whose words they were: an erasure reaches no other's. None where that was
    not kept: then whichever changes of the set they belong to.
    """

    index: int
    positions: tuple[int, ...]
    leaves: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class NewSet:
    """A set to be appended, with its two parts; its entry stands in `Commit.entries`.

    A restored log may lack the parts: both are empty then, and the set counts as missing.
    """

    stored: StoredSet
    changes_frame: bytes
    contents_frame: bytes

    @property
    def is_missing(self) -> bool:
        """Whether its lines are not there: even of a set without changes the first part holds the manifest."""
        return not self.changes_frame


@dataclass(frozen=True, slots=True)
class StoredStatement:
    """A statement in the log; `entry` is the compact JWS."""

    index: int
    typ: str
    agency: str | None
    digest: bytes
    entry: bytes


@dataclass(frozen=True, slots=True)
class Fork:
    """Two signed manifests for one place in a chain. `statement_index`: where `simpul-fork` says so in the log."""

    agency: str
    epoch: int
    seq: int
    held_digest: bytes
    other_digest: bytes
    held: bytes
    other: bytes
    at_ms: int
    statement_index: int | None = None


@dataclass(frozen=True, slots=True)
class Invitation:
    """A one-time token by its SHA-256; `used_by` is the kid that used it, `used_index` its enrolment's place."""

    token_hash: bytes
    agency: str
    created_at_ms: int
    used_by: str | None = None
    used_index: int | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """An auditor's token by its SHA-256."""

    token_hash: bytes
    name: str
    with_content: bool
    created_at_ms: int
    ended_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Commit:
    """Everything that one append writes: the leaves `follows` … `checkpoint.size - 1` and what goes with them.

    `tiles` maps (level, number) to the whole new content of each hash tile that changed. Only what `is_restored`,
    leaves that this log had before, may have sets that are missing.
    """

    follows: int
    entries: Sequence[bytes]
    checkpoint: StoredCheckpoint
    tiles: Mapping[tuple[int, int], bytes]
    sets: Sequence[NewSet] = ()
    statements: Sequence[StoredStatement] = ()
    used_invitations: Sequence[Invitation] = ()
    forks: Sequence[Fork] = ()
    is_restored: bool = False


@dataclass(frozen=True, slots=True)
class LogLeaf:
    """A leaf as the fold wants it; `changes_frame` is None for a statement."""

    index: int
    entry: bytes
    changes_frame: bytes | None


@dataclass(frozen=True, slots=True)
class GrownLeaf:
    """A leaf as another process appended it. `head`: what it made its agency's newest set; None for a statement.

    `checkpoint` is the one whose last leaf this is, None inside a commit.
    """

    index: int
    entry: bytes
    head: StoredHead | None
    checkpoint: StoredCheckpoint | None


@dataclass(frozen=True, slots=True)
class RecoveredLeaf:
    """A leaf that was brought back, at the place where it was proved to stand.

    `agency` and `seq` are None for a statement, `changes_frame` for one and for a set whose lines are not there.
    """

    index: int
    entry: bytes
    agency: str | None = None
    seq: int | None = None
    changes_frame: bytes | None = None
    contents_frame: bytes | None = None
    hidden: int = 0


@dataclass(frozen=True, slots=True)
class MissingSet:
    """A set in the log whose lines are not there."""

    index: int
    agency: str
    seq: int


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A content line of an applied change and the file that it names. `complaint` is a complaint's key.

    `agency` signed the set at `index` and brought the file; `leaf` is the line's leaf hash.
    """

    index: int
    leaf: bytes
    agency: str
    complaint: bytes
    file: bytes
    size: int
