"""The hub's log plane in memory (node/hub/ports.py HubStore), with a step boundary at each transaction.

It passes the contract suite that the databases pass (tests/store/test_hub_store.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Self

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
from sync_protocol.errors import Corrupt
from tests.sim.disk import Mount
from tests.sim.hub_state import HubState
from tests.sim.memory_recovery import MemoryRecovery


class MemoryHubStore(MemoryRecovery):
    """See HubStore. One process's view of a disk."""

    @classmethod
    async def create(cls, mount: Mount[HubState]) -> Self:
        """A new database, or the one that is there."""
        async with mount.writing("create") as draft:
            draft.is_made = True
        return cls(mount)

    @classmethod
    async def open(cls, mount: Mount[HubState]) -> Self:
        """Raises Corrupt where none was made."""
        if not (await mount.read()).is_made:
            raise Corrupt("the hub's log database has schema none")
        return cls(mount)

    async def append(self, commit: Commit) -> None:
        async with self._mount.writing("append") as draft:
            draft.append(commit)

    async def newest_checkpoint(self) -> StoredCheckpoint | None:
        state = await self._mount.read()
        return state.checkpoints.get(state.newest_size)

    async def checkpoint_of(self, size: int) -> StoredCheckpoint | None:
        return (await self._mount.read()).checkpoints.get(size)

    async def checkpoint_covering(self, index: int) -> StoredCheckpoint | None:
        found = (await self._mount.read()).checkpoints
        return next((found[size] for size in sorted(found) if size > index), None)

    async def entries(self, start: int, end: int) -> list[bytes]:
        return (await self._mount.read()).entries[start:end]

    async def entries_at(self, indices: Sequence[int]) -> dict[int, bytes]:
        entries = (await self._mount.read()).entries
        return {index: entries[index] for index in indices if index < len(entries)}

    async def grown(self, start: int, end: int) -> list[GrownLeaf]:
        state = await self._mount.read()
        return [
            GrownLeaf(index, state.entries[index], _head_at(state, index), state.checkpoints.get(index + 1))
            for index in range(start, min(end, len(state.entries)))
        ]

    async def tiles(self, places: Sequence[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
        tiles = (await self._mount.read()).tiles
        return {place: tiles[place] for place in places if place in tiles}

    async def statements(self, start: int = 0) -> list[StoredStatement]:
        held = (await self._mount.read()).statements
        return [held[index] for index in sorted(held) if index >= start]

    async def statement_of(self, digest: bytes) -> int | None:
        held = (await self._mount.read()).statements
        return next((index for index, statement in held.items() if statement.digest == digest), None)

    async def heads(self, since: int = 0) -> list[StoredHead]:
        held = (await self._mount.read()).heads
        return [held[agency] for agency in sorted(held) if held[agency].index >= since]

    async def head(self, agency: str) -> StoredHead | None:
        return (await self._mount.read()).heads.get(agency)

    async def find_sets(self, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], StoredSet]:
        state = await self._mount.read()
        return {place: state.sets[state.places[place]] for place in places if place in state.places}

    async def sets_of(self, agency: str, from_seq: int, limit: int) -> list[StoredSet]:
        held = [one for one in (await self._mount.read()).sets.values() if one.agency == agency and one.seq >= from_seq]
        return sorted(held, key=lambda one: one.seq)[:limit]

    async def sets_from(
        self, agency: str, from_seq: int, sets_max: int, bytes_max: int
    ) -> list[tuple[StoredSet, tuple[bytes, bytes] | None]]:
        state = await self._mount.read()
        found: list[tuple[StoredSet, tuple[bytes, bytes] | None]] = []
        for one in (await self.sets_of(agency, from_seq, sets_max)) if sets_max else ():
            parts = (state.changes[one.index], state.contents[one.index]) if one.index in state.changes else None
            found.append((one, parts))
            bytes_max -= sum(map(len, parts or ()))
            if bytes_max <= 0:
                break
        return found

    async def sets_after(self, size: int) -> dict[str, int]:
        counts: dict[str, int] = {}
        for index, held in (await self._mount.read()).sets.items():
            if index >= size:
                counts[held.agency] = counts.get(held.agency, 0) + 1
        return counts

    async def set_at(self, index: int) -> StoredSet | None:
        return (await self._mount.read()).sets.get(index)

    async def set_parts(self, index: int) -> tuple[bytes, bytes] | None:
        state = await self._mount.read()
        return (state.changes[index], state.contents[index]) if index in state.changes else None

    async def replace_contents(
        self, before: StoredSet, after: StoredSet, frame: bytes, erased: Sequence[bytes]
    ) -> bool:
        async with self._mount.writing("contents") as draft:
            held = draft.sets.get(before.index)
            if held is None or (held.hidden, held.erased) != (before.hidden, before.erased):
                return False
            draft.sets[before.index] = replace(held, hidden=after.hidden, erased=after.erased)
            draft.contents[before.index] = frame
            draft.erased[before.index] = draft.erased.get(before.index, frozenset()) | frozenset(erased)
        return True

    async def erased_leaves(self, index: int) -> set[bytes]:
        return set((await self._mount.read()).erased.get(index, ()))

    async def erased_lines(self) -> set[tuple[int, bytes]]:
        erased = (await self._mount.read()).erased
        return {(index, leaf) for index, leaves in erased.items() for leaf in leaves}

    async def leaves(self, start: int, end: int, bytes_max: int) -> list[LogLeaf]:
        state = await self._mount.read()
        found: list[LogLeaf] = []
        total = 0
        for index in range(start, min(end, len(state.entries))):
            found.append(LogLeaf(index, state.entries[index], state.changes.get(index)))
            total += len(state.entries[index]) + len(state.changes.get(index, b""))
            if total >= bytes_max:
                break
        return found

    async def add_invitation(self, invitation: Invitation) -> None:
        async with self._mount.writing("invite") as draft:
            draft.invitations[invitation.token_hash] = invitation

    async def invitation(self, token_hash: bytes) -> Invitation | None:
        return (await self._mount.read()).invitations.get(token_hash)

    async def open_invitations(self, agencies: Sequence[str]) -> list[Invitation]:
        held = (await self._mount.read()).invitations.values()
        return [one for one in held if one.used_by is None and one.agency in agencies]

    async def add_grant(self, grant: Grant) -> None:
        async with self._mount.writing("grant") as draft:
            draft.grants[grant.token_hash] = grant

    async def grant(self, token_hash: bytes) -> Grant | None:
        return (await self._mount.read()).grants.get(token_hash)

    async def end_grants(self, name: str, at_ms: int) -> int:
        async with self._mount.writing("end grants") as draft:
            ended = [one for one in draft.grants.values() if one.name == name and one.ended_at_ms is None]
            draft.grants.update({one.token_hash: replace(one, ended_at_ms=at_ms) for one in ended})
        return len(ended)

    async def record_content_read(self, reader: str, what: str, at_ms: int) -> None:
        async with self._mount.writing("content read") as draft:
            draft.reads.append((at_ms, reader, what))

    async def content_reads(self) -> list[tuple[int, str, str]]:
        return list((await self._mount.read()).reads)

    async def record_fork(self, fork: Fork) -> None:
        async with self._mount.writing("fork") as draft:
            draft.add_fork(fork)

    async def forks(self) -> list[Fork]:
        return list((await self._mount.read()).forks.values())

    async def close(self) -> None:
        """Nothing is open."""


def _head_at(state: HubState, index: int) -> StoredHead | None:
    held = state.sets.get(index)
    if held is None:
        return None
    return StoredHead(held.agency, held.epoch, held.seq, held.digest, index, held.received_at_ms)
