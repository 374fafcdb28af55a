"""What the hub asks of the world: a log store, a projection store, a lock store. The docstrings are the contracts;
one suite (tests/store) runs on every implementation.

Errors of all ports: what the database or the disk says (full, damaged, away) comes out as it is and means *unknown
outcome* for a write; the caller reads the state again before it goes on. Nobody but the caller retries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from keys.key_directory import KeyDirectory
from node.deadlines.tables import Deadlines
from node.hub.file_ports import FileRegister
from node.hub.projection_ports import ProjectionStore
from node.hub.recovery_ports import RecoveryStore
from node.ports import Clock, Randomness
from node.store.hub_records import (
    Commit,
    Fork,
    Grant,
    GrownLeaf,
    Invitation,
    KeptErasure,
    LogLeaf,
    StoredCheckpoint,
    StoredHead,
    StoredSet,
    StoredStatement,
)


class LockStore(Protocol):
    """The newest signed checkpoint, apart from the database, never restored from a backup (protocol §6.3).

    Durable: what `swap` returned from survives a power cut. One holder at a time among all processes of this hub.
    """

    def hold(self) -> AbstractAsyncContextManager[None]:
        """The append lock, exclusive among tasks and processes; waits. A holder that dies lets go."""
        ...

    async def read(self) -> bytes | None:
        """The newest note, None before the first. May be called without holding."""
        ...

    async def swap(self, expected: bytes | None, note: bytes) -> None:
        """Replaces `expected` by `note`, durably; only while holding. Raises Corrupt if something else is there."""
        ...

    async def proof(self) -> bytes | None:
        """A note of ours that somebody showed and the database did not lead to, None while there is none."""
        ...

    async def keep_proof(self, note: bytes | None) -> None:
        """Keeps it, durably, or lets go of it (None); only while holding."""
        ...

    async def keep_statements(self, statements: Sequence[tuple[int, bytes]]) -> None:
        """Statements of the log with their places, durably; only while holding. A later one for a place counts."""
        ...

    async def statements(self) -> dict[int, bytes]:
        """All that were kept, by place; what a power cut tore is left out."""
        ...

    async def statements_kept_to(self) -> int:
        """The place of the newest, -1 if there is none."""
        ...

    async def keep_erasures(self, erasures: Sequence[KeptErasure]) -> None:
        """What is to be erased for good, durably; by who projects, and without holding."""
        ...

    async def erasures(self) -> list[KeptErasure]:
        """All that were kept; what a power cut tore is left out."""
        ...

    def close(self) -> None:
        """Gives back what it holds open; the store is of no further use."""
        ...


class Turn(Protocol):
    """Exclusive among all tasks and processes of this hub: who projects, for one."""

    def hold(self) -> AbstractAsyncContextManager[None]:
        """Waits for its turn. A holder that dies gives it up."""
        ...

    def close(self) -> None:
        """Gives back what it holds open."""
        ...


class Announcements(Protocol):
    """Word among the processes of this hub that the log grew. Hearsay: it only makes others look sooner.

    Word may come late, twice, or never; whoever depends on it also looks by itself every second or so.
    """

    def publish(self, size: int) -> None:
        """Tells the others that `size` leaves are published. Returns at once and never raises."""
        ...

    def listen(self, heard: Callable[[int], None]) -> None:
        """`heard` is called on the event loop with a size, also for what this process published itself."""
        ...

    async def start(self) -> None:
        """From now on word comes and goes; a connection that fails is made again for as long as it takes."""
        ...

    async def close(self) -> None:
        """Lets go of its connection; also where it was never started."""
        ...


class HubStore(RecoveryStore, FileRegister, Protocol):
    """The log plane. Writes are atomic and durable when they return; readers see whole commits only."""

    async def newest_checkpoint(self) -> StoredCheckpoint | None:
        """The last one committed; it may not be published yet."""
        ...

    async def checkpoint_of(self, size: int) -> StoredCheckpoint | None:
        """The one of exactly this size, if one was signed."""
        ...

    async def checkpoint_covering(self, index: int) -> StoredCheckpoint | None:
        """The smallest one that covers the leaf at `index`."""
        ...

    async def append(self, commit: Commit) -> None:
        """One transaction. Raises Unavailable, writing nothing, unless the newest size is `commit.follows`."""
        ...

    async def entries(self, start: int, end: int) -> list[bytes]:
        """The leaves [start, end) as far as they exist."""
        ...

    async def entries_at(self, indices: Sequence[int]) -> dict[int, bytes]:
        """The leaves at these places that exist."""
        ...

    async def grown(self, start: int, end: int) -> list[GrownLeaf]:
        """The leaves [start, end) as far as they exist, in order, each with the checkpoint that it is the last of."""
        ...

    async def tiles(self, places: Sequence[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
        """The widest content of those hash tiles (level, number) that exist."""
        ...

    async def statements(self, start: int = 0) -> list[StoredStatement]:
        """All statements from index `start` on, in order."""
        ...

    async def statement_of(self, digest: bytes) -> int | None:
        """Where the statement of that digest stands."""
        ...

    async def heads(self, since: int = 0) -> list[StoredHead]:
        """Of every agency whose newest set stands at log index `since` or later, by agency."""
        ...

    async def head(self, agency: str) -> StoredHead | None:
        """Of one agency."""
        ...

    async def find_sets(self, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], StoredSet]:
        """Those of the given (agency, seq) that exist."""
        ...

    async def sets_of(self, agency: str, from_seq: int, limit: int) -> list[StoredSet]:
        """An agency's sets from a seq on, in order."""
        ...

    async def sets_from(
        self, agency: str, from_seq: int, sets_max: int, bytes_max: int
    ) -> list[tuple[StoredSet, tuple[bytes, bytes] | None]]:
        """The same with their frames (None where those are missing); at least one, then until `bytes_max` of them."""
        ...

    async def sets_after(self, size: int) -> dict[str, int]:
        """For each agency how many of its sets stand at `size` or later; agencies without any are left out."""
        ...

    async def set_at(self, index: int) -> StoredSet | None:
        """The set at a place in the log."""
        ...

    async def set_parts(self, index: int) -> tuple[bytes, bytes] | None:
        """Its two frames: changes, contents."""
        ...

    async def replace_contents(
        self, before: StoredSet, after: StoredSet, frame: bytes, erased: Sequence[bytes]
    ) -> bool:
        """New contents and counts for one set, and the hashes of its leaves erased for good, in one transaction.

        False, writing nothing, if the set is no longer as `before` says: read it again.
        """
        ...

    async def erased_leaves(self, index: int) -> set[bytes]:
        """Hashes of the leaves of that set that are erased for good."""
        ...

    async def erased_lines(self) -> set[tuple[int, bytes]]:
        """All of them: place of the set, leaf hash."""
        ...

    async def leaves(self, start: int, end: int, bytes_max: int) -> list[LogLeaf]:
        """Whole leaves from `start`, in order, below `end`, at least one if there is one, then until `bytes_max`."""
        ...

    async def add_invitation(self, invitation: Invitation) -> None:
        """Keeps a token's hash."""
        ...

    async def invitation(self, token_hash: bytes) -> Invitation | None:
        """By hash."""
        ...

    async def open_invitations(self, agencies: Sequence[str]) -> list[Invitation]:
        """Those of these agencies that nobody has used."""
        ...

    async def add_grant(self, grant: Grant) -> None:
        """Keeps an auditor's token."""
        ...

    async def grant(self, token_hash: bytes) -> Grant | None:
        """By hash, whether ended or not."""
        ...

    async def end_grants(self, name: str, at_ms: int) -> int:
        """Ends every token of that name that has not ended; how many."""
        ...

    async def record_content_read(self, reader: str, what: str, at_ms: int) -> None:
        """Before content lines are shown to somebody who does not own them."""
        ...

    async def content_reads(self) -> list[tuple[int, str, str]]:
        """What `record_content_read` kept, oldest first: at_ms, reader, what."""
        ...

    async def record_fork(self, fork: Fork) -> None:
        """Keeps evidence that has no statement in the log; a pair once."""
        ...

    async def forks(self) -> list[Fork]:
        """All evidence."""
        ...

    async def close(self) -> None:
        """Lets go of the database; the store is of no further use."""
        ...


@dataclass(frozen=True)
class HubPorts:
    """All that a hub is handed. It closes stores, lock, turns and announcements.

    `leading` is the turn of the one process that projects, held for as long as it lives; `projecting` that of whoever
    moves the projection right now: the leader between two batches, or a command beside it.
    """

    store: HubStore
    projection: ProjectionStore
    lock: LockStore
    leading: Turn
    projecting: Turn
    announcements: Announcements
    keys: KeyDirectory
    deadlines: Deadlines
    clock: Clock
    randomness: Randomness
