"""What the hub asks of its projection's store (see ports.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from node.deadlines.slot import SLOT_MAX
from node.store.projection_records import (
    ComplaintRow,
    Cursor,
    InboxRow,
    ProjectionStep,
    RefusedChange,
    TotalRow,
    TotalsWanted,
)


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
        self,
        agency: int,
        states: Sequence[int],
        after: tuple[int, int] | None,
        limit: int,
        slots: tuple[int, int] = (0, SLOT_MAX),
    ) -> tuple[Cursor, list[ComplaintRow]]:
        """Complaints in any of the states, by slot and then by number: what is due first comes first.

        `agency` is the index of the owner's first enrolment (node/store/complaint_place.py); `after` the slot and
        number of the last complaint of the page before. At most `limit`, with slots from the first to the last of
        `slots`; also the cursor that they are as of.
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

    async def overdue(
        self, last_slot: int, after: tuple[int, int] | None, limit: int
    ) -> tuple[Cursor, list[ComplaintRow]]:
        """Complaints of all agencies with something due up to that slot, but for what closes by itself; as above."""
        ...

    async def duties(self, agencies: tuple[str, str], hour: str) -> tuple[Cursor, list[tuple[str, str, bool, int]]]:
        """Rows of the figure of duties (node/deadlines/duties.py) of the agencies from the first to the last.

        Added up to (agency, key, whether the row's hour is `hour` or earlier, count), in that order.
        """
        ...

    async def gaps(self) -> list[tuple[str, int, int]]:
        """Absences of agencies (agency, from, until), in that order."""
        ...

    async def tables_mark(self) -> bytes:
        """What `clear` was told last: which deadline tables measured everything that is here; empty at first."""
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

    async def refused_id(self, index: int, position: int) -> str:
        """The id of the refused change at a place of the log; "" where none was refused."""
        ...

    async def refused_at(self, index: int) -> tuple[Cursor, set[int]]:
        """Positions of the refused changes of the set there; if the cursor is behind it, nothing is known of it."""
        ...

    async def inbox(self, agency: str, after: int, limit: int) -> tuple[Cursor, list[InboxRow]]:
        """What an agency is told after a place, in order of the log, and the cursor that it is as of."""
        ...

    async def history_told(self, agency: str, key: bytes, before: int) -> int | None:
        """Up to which place the agency was told a complaint's whole history last, before a place; None: never."""
        ...

    async def told_since(self, place: int) -> set[str]:
        """The agencies that are told something from that place on."""
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

    async def clear(self, tables_mark: bytes = b"") -> None:
        """Back to empty, in one transaction."""
        ...

    async def close(self) -> None:
        """Lets go of the database."""
        ...
