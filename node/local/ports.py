"""What a local node asks of the world: a store, a link to the hub, and its keys. The docstrings are the contracts.

Errors of the store: what the database or the disk says (full, damaged, locked) comes out as it is and means *unknown
outcome* for a write; the caller reads the state again before it goes on. Several processes may hold one store: `serve`
and `node push` share a directory. Nobody but the caller retries.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from node.local.hub_ports import DeskLink, HubLink, InboxLink, SigningKeys
from node.local.inbox_ports import InboxTransaction
from node.store.local_records import (
    Acknowledgement,
    AdoptedSet,
    Answer,
    ApiToken,
    ChainEnd,
    ComplaintFilter,
    Cuttable,
    Found,
    HeldChange,
    HeldComplaint,
    HeldSet,
    HeldStatement,
    Measured,
    Named,
    NodeIdentity,
    Outgoing,
    Seen,
    SetAside,
    Signing,
    WrittenChange,
    WrittenComplaint,
    WrittenRows,
)
from node.store.shared_records import ForeignSet, Refusal
from sync_protocol.backoff import Schedule
from sync_protocol.halts import Halt
from sync_protocol.outbox import OutboxView

__all__ = ["DeskLink", "HubLink", "InboxLink", "Lease", "LocalStore", "LocalTransaction", "SigningKeys"]


class LocalTransaction(InboxTransaction, Protocol):
    """Everything in it happens or nothing does; while it is open nobody else writes, in no process.

    What it reads includes what it has written.
    """

    async def complaints(self, keys: Collection[bytes]) -> dict[bytes, HeldComplaint]:
        """Those of the complaints that exist."""
        ...

    async def record(self, complaints: Sequence[WrittenComplaint], changes: Sequence[WrittenChange]) -> None:
        """Writes states, and appends changes at the end of the outbox.

        Every complaint that a change names is among `complaints`, or existed before: else raises RowConflict.
        """
        ...

    async def measure(self, measured: Sequence[Measured]) -> None:
        """Keeps what is due on complaints; one that is at another rev by now is left as it is."""
        ...

    async def last_no(self) -> int:
        """The newest number that was given to a change, whether that is still there or not."""
        ...

    async def chain_end(self, up_to_seq: int | None = None) -> ChainEnd:
        """The newest live set (of those up to a seq)."""
        ...

    async def live_set(self, seq: int) -> HeldSet | None:
        """The set of that seq that was not withdrawn."""
        ...

    async def changes(self, after_no: int) -> list[tuple[HeldChange, bytes]]:
        """All changes after a number, in order, each with its complaint's key."""
        ...

    async def history(self, keys: Collection[bytes], up_to_no: int) -> list[tuple[bytes, bytes]]:
        """(key, change line) of every change of those complaints up to a number, in order."""
        ...

    async def forget_changes(self, after_no: int, complaints: Collection[bytes]) -> None:
        """Takes all changes after a number out, and the rows of those complaints; the caller writes both anew."""
        ...

    async def withdraw_sets(self, from_seq: int) -> int:
        """Takes the live sets without receipt from that seq on out of the chain, for good; how many.

        Changes in them whose words were erased announce none any more when they are cut anew.
        """
        ...

    async def add_adopted(self, sets: Sequence[AdoptedSet]) -> None:
        """Sets over changes that are there, each with its receipt. Raises Corrupt if an (epoch, seq) is taken."""
        ...

    async def acknowledge(self, receipt: Acknowledgement) -> bool:
        """Keeps the receipt of a live set, and the checkpoint unless a newer one is there.

        False, with nothing kept, if that very set is not live (any more): it was withdrawn, and may be cut anew.
        """
        ...

    async def set_epoch(self, epoch: int) -> None:
        """The epoch to sign with from now on, claimed by nobody; never lowers it."""
        ...

    async def disown_epoch(self) -> None:
        """The directory came into use: its epoch may be a copy's as well, and is raised before anything is signed."""
        ...

    async def note_adoption(self, at_ms: int) -> None:
        """An adoption is complete."""
        ...

    async def add_set_aside(self, changes: Sequence[SetAside]) -> None:
        """Keeps changes for the operator."""
        ...


class Lease(Protocol):
    """This process's part in the node's directory (node/local/lease.py)."""

    def join(self) -> bool:
        """Takes part, and says whether nobody did before; called within a transaction of the store."""
        ...

    def leave(self) -> None:
        """Takes part no more."""
        ...


class LocalStore(Protocol):
    """The node's database. Writes are atomic and durable (they survive a power cut) when they return.

    Readers see whole transactions only. Writers, also of other processes, wait for each other.
    """

    def transaction(self) -> AbstractAsyncContextManager[LocalTransaction]:
        """Commits at the end; an exception undoes everything and goes on."""
        ...

    async def record(self, named: Named, judge: Callable[[Found], WrittenRows], *, few: bool = False) -> None:
        """One transaction, durable when this returns: what there is of what is named is found, judged, and written.

        `judge` runs within it; what it raises undoes everything. It runs in a thread, or at once on the event loop
        where there are `few` commands to judge. Raises RowConflict, with nothing
        written, for a change to a complaint that neither is written nor existed, and for an answer whose key is taken.
        """
        ...

    async def enrol(self, identity: NodeIdentity, statements: Sequence[HeldStatement], seen: Seen) -> None:
        """Who this node is. Again with the same agency and origin: statements are added, and the chain stays.

        Another enrolment than before raises the epoch in the same transaction, claimed by nobody: what the earlier key
        signed and the hub never took must not go out any more, wherever the process dies.
        """
        ...

    async def identity(self) -> NodeIdentity | None:
        """None before the enrolment."""
        ...

    async def statements(self) -> list[HeldStatement]:
        """All, in order of the log."""
        ...

    async def add_statements(self, statements: Sequence[HeldStatement]) -> None:
        """Those not held yet; a receipt is added to one that had none."""
        ...

    async def seen(self) -> Seen:
        """The newest verified checkpoint."""
        ...

    async def move_seen(self, seen: Seen) -> None:
        """A newer verified checkpoint; an older one changes nothing."""
        ...

    async def outbox(self) -> OutboxView:
        """What the next step depends on, as of one moment, with a Session of a process that knows nothing."""
        ...

    async def claim_epoch(self, raised_from: int, epoch: int) -> bool:
        """Raises the epoch from `raised_from` and marks it as claimed.

        False, with nothing changed, if it is another by now or claimed, or if a set waits for its receipt.
        """
        ...

    async def chain_end(self) -> ChainEnd:
        """The newest live set."""
        ...

    async def cuttable(self, limit: int) -> Cuttable:
        """The end of the chain, the newest checkpoint, and at most `limit` unsent changes in order, as raw bytes."""
        ...

    async def cut(
        self, sign: Signing, limit: int, attempt: Schedule | None = None, *, few: bool = False
    ) -> Outgoing | None:
        """One transaction, in which `sign` is called with what `cuttable(limit)` would give.

        It is called in a thread, or at once on the event loop where there are `few` changes. The set that it makes is
        for `cuttable.epoch` and the seq after `cuttable.end`; it is stored, with `attempt` as of the push that follows
        at once. None, with nothing written, if `sign` makes none. Raises Corrupt, with nothing signed, if a set was
        signed for this place before, live or withdrawn.
        """
        ...

    async def outgoing(self, seq: int) -> Outgoing | None:
        """The set of that seq that was not withdrawn, as of now. Raises Corrupt if retention removed its bytes."""
        ...

    async def live_set(self, seq: int) -> HeldSet | None:
        """The set of that seq that was not withdrawn."""
        ...

    async def live_sets(self, from_seq: int, limit: int) -> list[HeldSet]:
        """Live sets from a seq on, in order."""
        ...

    async def first_seq_at(self, index: int) -> int | None:
        """The first live set whose receipt says that it stands at this log index or after it."""
        ...

    async def set_frames(self, set_id: int) -> tuple[bytes, bytes]:
        """The exact bytes of a set: two zstd frames. Raises Corrupt if retention removed them."""
        ...

    async def set_receipt(self, set_id: int) -> bytes | None:
        """Its receipt."""
        ...

    async def sets_with_hidden(self, shown_again_max: int, limit: int) -> list[HeldSet]:
        """Acknowledged sets of which the hub lacks lines, shown again less often than that."""
        ...

    async def record_attempt(self, schedule: Schedule, seq: int | None = None, *, shown_again: bool = False) -> None:
        """Before an attempt is made; `seq` is the set that is about to be pushed."""
        ...

    async def set_schedule(self, schedule: Schedule, *, trouble: str | None, hub_seen_at_ms: int | None = None) -> None:
        """After an attempt: the schedule, and what an operator should know (None: nothing)."""
        ...

    async def acknowledge(self, receipt: Acknowledgement, schedule: Schedule) -> OutboxView | None:
        """Receipt, checkpoint and schedule in one transaction, and the outbox after it; None where that is False."""
        ...

    async def halt(self, halt: Halt, at_ms: int) -> None:
        """Stops the pusher for good; an earlier halt stays."""
        ...

    async def clear_halt(self) -> None:
        """An operator's decision; that sets were adopted is forgotten with it."""
        ...

    async def is_behind(self) -> bool:
        """Whether the hub holds, or may hold, sets of ours that are not here: words may have been erased since."""
        ...

    async def set_behind(self, *, is_behind: bool) -> None:
        """Says so, or that we hold all of them and have carried out what they erase."""
        ...

    async def signing_kids(self) -> set[str]:
        """Keys that signed the sets that this node holds."""
        ...

    async def retire_sets(self, before_ms: int, keep_newest: int) -> int:
        """Drops frames and receipts of settled sets that are older than that and not among the newest; how many."""
        ...

    async def last_receipt_at_ms(self) -> int | None:
        """When the newest receipt was stored."""
        ...

    async def unacknowledged(self) -> int:
        """Changes in signed sets that have no receipt yet."""
        ...

    async def trouble(self) -> str | None:
        """What the last attempt left behind."""
        ...

    async def complaint(self, key: bytes) -> HeldComplaint | None:
        """One complaint."""
        ...

    async def complaints(self, wanted: ComplaintFilter) -> list[HeldComplaint]:
        """A page, newest first; of what is due between two slots, the earliest first."""
        ...

    async def unmeasured(self, limit: int) -> list[HeldComplaint]:
        """Complaints of which nobody has found out yet what is due, in the order of their numbers."""
        ...

    async def closing(self, last_slot: int, after: tuple[int, int] | None, limit: int) -> list[HeldComplaint]:
        """Answered complaints whose duty to close has a slot up to that one, in order; `after` is the last seen."""
        ...

    async def measure_by(self, tables_mark: bytes) -> bool:
        """Says which deadline tables measure. True if it were others before: then every open one is unmeasured."""
        ...

    async def complaint_changes(self, complaint_no: int) -> list[HeldChange]:
        """Its whole history, in order."""
        ...

    async def lines_of(self, complaint_nos: Collection[int]) -> dict[int, list[tuple[bytes, bytes | None]]]:
        """The change line and the content line (None where there is none, or not here) of every change of these
        complaints, in order; a complaint that is not there has no entry.
        """
        ...

    async def sources(self, sources: Collection[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        """Key of a complaint for each (system, id) that has one; of several our own: anybody may claim any number."""
        ...

    async def answer(self, key: bytes) -> Answer | None:
        """An answer given before."""
        ...

    async def carry_out_erasures(self) -> int:
        """Takes out for good what applied `erased` changes name, as far as it is in a signed set; how many lines.

        A line that is not yet in a set waits for it: its hash must be signed first. To be called after recording,
        after cutting, and when the node starts.
        """
        ...

    async def set_aside(self) -> list[SetAside]:
        """All that is kept for the operator."""
        ...

    async def inbox_place(self) -> int:
        """How far the inbox was read; -1 in the beginning."""
        ...

    async def has_unsettled(self) -> bool:
        """Whether there is a complaint of which something of ours has no place in the log yet."""
        ...

    async def foreign_sets(self, complaint_no: int) -> list[ForeignSet]:
        """What others' sets show of a complaint, in the order of the log."""
        ...

    async def shared_among(self, complaint_nos: Collection[int]) -> set[int]:
        """Those of which others' sets show something, or of ours a refused change: lines_of is not all of these."""
        ...

    async def refusals(self, limit: int) -> list[Refusal]:
        """The newest changes of ours that the log refused."""
        ...

    async def count_refusals(self, at_most: int) -> int:
        """How many those are; no more than `at_most` are looked at."""
        ...

    async def count_offered(self, agency: str, at_most: int) -> int:
        """How many complaints are offered to that agency; no more than `at_most` are looked at."""
        ...

    async def add_token(self, token: ApiToken) -> None:
        """Keeps a token's hash."""
        ...

    async def token(self, token_hash: bytes) -> ApiToken | None:
        """By hash, whether ended or not."""
        ...

    async def end_tokens(self, name: str, at_ms: int) -> int:
        """Ends every token of that name that has not ended; how many."""
        ...

    async def close(self) -> None:
        """Lets go of the database; the store is of no further use."""
        ...
