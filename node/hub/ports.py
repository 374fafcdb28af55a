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
from node.hub.deadlines import Deadlines
from node.hub.recovery_ports import RecoveryStore
from node.ports import Clock, Randomness
from node.store.hub_records import (
    Commit,
    Fork,
    Grant,
    GrownLeaf,
    Invitation,
    LogLeaf,
    StoredCheckpoint,
    StoredHead,
    StoredSet,
    StoredStatement,
)
from node.store.projection_records import (
    ComplaintRow,
    Cursor,
    InboxRow,
    ProjectionStep,
    RefusedChange,
    TotalRow,
    TotalsWanted,
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


class HubStore(RecoveryStore, Protocol):
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


class ProjectionStore(Protocol):
    """The query tables. May be dropped at any time; `commit` and the cursor move together: exactly once."""

    async def cursor(self) -> Cursor:
        """How far the fold came; size 0 with the start hash when empty."""
        ...

    async def load(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The packed state of those complaints that exist, in one query."""
        ...

    async def commit(self, step: ProjectionStep) -> None:
        """One transaction. Raises Unavailable, writing nothing, if the cursor is not where the step begins."""
        ...

    async def complaint(self, key: bytes) -> tuple[Cursor, ComplaintRow | None]:
        """One complaint with its pointers into the log, and the cursor that it is as of."""
        ...

    async def complaints_of(
        self, agency: int, states: Sequence[int], after: tuple[int, int] | None, limit: int
    ) -> tuple[Cursor, list[ComplaintRow]]:
        """Complaints in any of the states, by slot and then by number: what is due first comes first.

        `agency` is the index of the owner's first enrolment (node/store/complaint_place.py); `after` the slot and
        number of the last complaint of the page before. At most `limit`; also the cursor that they are as of.
        """
        ...

    async def complaints_minted(
        self, first: bytes, end: bytes, agency: int | None, states: Sequence[int], limit: int
    ) -> tuple[Cursor, list[ComplaintRow]]:
        """Complaints in any of the states whose key is in [first, end), the newest key first, at most `limit`.

        Keys begin with the moment at which the complaint was minted (UUIDv7). `agency` as in `complaints_of`; None for
        all.
        """
        ...

    async def figures(self, wanted: TotalsWanted) -> tuple[Cursor, list[TotalRow]]:
        """Some figures, or sums of them, in the order of their words, and the cursor that they are as of."""
        ...

    async def totals_json(self) -> tuple[Cursor, bytes]:
        """All figures but zeros as one JSON object in ASCII, by name, and the cursor that they are as of."""
        ...

    async def open_complaints(self) -> dict[str, int]:
        """How many open complaints each agency owns."""
        ...

    async def heard(self) -> tuple[Cursor, dict[str, int | None]]:
        """As `last_heard`, and the cursor that it is as of."""
        ...

    async def totals(self) -> tuple[Cursor, dict[str, int]]:
        """Every figure by its name (protocol §9.6), and the cursor that they are as of. Zeros may be among them."""
        ...

    async def last_heard(self) -> dict[str, int | None]:
        """For each agency the newest tick that stood before its last accepted set, None if there was none (§9.4)."""
        ...

    async def refused(self, agency: str, from_seq: int, to_seq: int) -> list[RefusedChange]:
        """Refused changes of an agency's sets [from_seq, to_seq], in order."""
        ...

    async def inbox(self, agency: str, after: int, limit: int) -> tuple[Cursor, list[InboxRow]]:
        """What an agency is told after a place, in order of the log, and the cursor that it is as of."""
        ...

    async def told_since(self, place: int) -> set[str]:
        """The agencies that are told something from that place on."""
        ...

    async def history_told(self, agency: str, key: bytes, before: int) -> int | None:
        """Up to which place the agency was told a complaint's whole history last, before a place; None: never."""
        ...

    async def holders(self, key: bytes) -> set[str]:
        """The agencies that were ever told of a complaint; a refusal of their own changes alone does not count."""
        ...

    async def tracked_to(self) -> int:
        """The log was read so far for tracking numbers."""
        ...

    async def track(self, begins: int, size: int, numbers: Sequence[tuple[int, bytes]]) -> None:
        """Hashes of tracking numbers and keys of complaints, found in the leaves from `begins` to `size`.

        One transaction. Raises Unavailable, writing nothing, if the log was not read up to `begins`.
        """
        ...

    async def tracked(self, number_hash: int) -> list[bytes]:
        """Keys of the complaints whose tracking number has that hash, sixteen at most."""
        ...

    async def clear(self) -> None:
        """Back to empty, in one transaction."""
        ...

    async def close(self) -> None:
        """Lets go of the database."""
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
