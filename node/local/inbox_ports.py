"""What a write transaction of a local node's store does with what other agencies did (see ports.py)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from node.store.shared_records import ForeignSet, Refusal, SharedComplaint


class InboxTransaction(Protocol):
    """A part of LocalTransaction."""

    async def shared(self, key: bytes) -> SharedComplaint:
        """All that there is here of a complaint: ours in the order of recording, others' in that of the log."""
        ...

    async def with_others(self, keys: Collection[bytes]) -> set[bytes]:
        """Those of the complaints that other agencies have written to, as far as is known here."""
        ...

    async def own_line(self, place: int) -> bytes | None:
        """The change of ours that stands at a place in the log (index << 16 | position), if it is here."""
        ...

    async def put_foreign(self, key: bytes, sets: Sequence[ForeignSet]) -> None:
        """Keeps what others' sets show of a complaint that is here, in place of earlier copies of the same sets."""
        ...

    async def adopt_orphans(self, key: bytes, complaint: str) -> None:
        """Changes of ours to a complaint that was not here when they came back from the hub are found to be its."""
        ...

    async def refuse(self, refusals: Sequence[Refusal]) -> None:
        """Keeps that the log refused changes of ours; each once."""
        ...

    async def note_erasures(self, key: bytes, leaves: Collection[bytes]) -> None:
        """What is to be taken out by the next `carry_out_erasures`."""
        ...

    async def mark_unsettled(self, key: bytes, *, is_unsettled: bool) -> None:
        """Whether a change of ours has no place in the log yet."""
        ...

    async def unsettled(self) -> list[bytes]:
        """Complaints so marked."""
        ...

    async def inbox_place(self) -> int:
        """How far the inbox was read; -1 in the beginning."""
        ...

    async def move_inbox(self, place: int) -> None:
        """It was read so far."""
        ...
