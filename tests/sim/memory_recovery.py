"""What a recovering hub gathers, in memory (node/hub/recovery_ports.py RecoveryStore)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from node.store.hub_records import MissingSet, RecoveredLeaf, StoredSet
from tests.sim.memory_files import MemoryFiles


class MemoryRecovery(MemoryFiles):
    """A part of MemoryHubStore."""

    async def keep_leaves(self, leaves: Sequence[RecoveredLeaf], *, instead: bool = False) -> None:
        async with self._mount.writing("keep leaves") as draft:
            for leaf in leaves:
                held = draft.recovered.get(leaf.index)
                if held is None or (instead and held.entry != leaf.entry):
                    draft.recovered[leaf.index] = leaf

    async def keep_checkpoints(self, notes: Mapping[int, bytes]) -> None:
        async with self._mount.writing("keep checkpoints") as draft:
            draft.notes = {**notes, **draft.notes}

    async def recovered_checkpoints(self, after: int) -> list[tuple[int, bytes]]:
        return sorted((size, note) for size, note in (await self._mount.read()).notes.items() if size > after)

    async def recovered_set(self, agency: str, seq: int) -> RecoveredLeaf | None:
        return next((leaf for leaf in await self._leaves() if (leaf.agency, leaf.seq) == (agency, seq)), None)

    async def keep_lines(self, index: int, changes_frame: bytes, contents_frame: bytes, hidden: int) -> None:
        async with self._mount.writing("keep lines") as draft:
            held = draft.recovered.get(index) if index >= draft.newest_size else None
            if held is not None and (held.changes_frame is None or held.hidden > hidden):
                draft.recovered[index] = replace(
                    held, changes_frame=changes_frame, contents_frame=contents_frame, hidden=hidden
                )

    async def recovered_places(self, start: int, end: int) -> list[int]:
        return [leaf.index for leaf in await self.recovered_leaves(start, end)]

    async def recovered_entries(self, start: int, end: int) -> dict[int, bytes]:
        return {leaf.index: leaf.entry for leaf in await self.recovered_leaves(start, end)}

    async def recovered_leaves(self, start: int, end: int) -> list[RecoveredLeaf]:
        return [leaf for leaf in await self._leaves() if start <= leaf.index < end]

    async def recovered_seqs(self, *, without_lines: bool = False) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for leaf in await self._leaves():
            if leaf.agency is not None and leaf.seq is not None and (_lacks_lines(leaf) or not without_lines):
                found.setdefault(leaf.agency, []).append(leaf.seq)
        return {agency: sorted(seqs) for agency, seqs in sorted(found.items())}

    async def wanted_seqs(self, agency: str) -> tuple[int, int] | None:
        state = await self._mount.read()
        lost = [leaf for leaf in state.recovered.values() if leaf.agency == agency and _lacks_lines(leaf)]
        seqs = [leaf.seq for leaf in lost if leaf.seq is not None]
        seqs += [missing.seq for missing in state.missing.values() if missing.agency == agency]
        return (min(seqs), max(seqs)) if seqs else None

    async def forget_recovered(self) -> None:
        async with self._mount.writing("forget recovered") as draft:
            lacking = {
                at: leaf for at, leaf in draft.recovered.items() if leaf.agency is not None and _lacks_lines(leaf)
            }
            draft.recovered = {
                at: replace(leaf, changes_frame=None, contents_frame=None) for at, leaf in lacking.items()
            }
            draft.notes = {}

    async def stop_wanting(self, index: int) -> None:
        async with self._mount.writing("stop wanting") as draft:
            draft.recovered.pop(index, None)

    async def missing_sets(self, limit: int) -> list[MissingSet]:
        held = (await self._mount.read()).missing
        return [held[index] for index in sorted(held)][:limit]

    async def fill_missing(self, stored: StoredSet, frames: tuple[bytes, bytes], erased: Sequence[bytes] = ()) -> bool:
        async with self._mount.writing("fill missing") as draft:
            if draft.missing.pop(stored.index, None) is None:
                return False
            draft.changes[stored.index], draft.contents[stored.index] = frames
            counted = replace(draft.sets[stored.index], hidden=stored.hidden, erased=stored.erased)
            draft.sets[stored.index] = counted
            if erased:
                draft.erased[stored.index] = draft.erased.get(stored.index, frozenset()) | frozenset(erased)
        return True

    async def _leaves(self) -> list[RecoveredLeaf]:
        held = (await self._mount.read()).recovered
        return [held[index] for index in sorted(held)]


def _lacks_lines(leaf: RecoveredLeaf) -> bool:
    return leaf.changes_frame is None or leaf.hidden > 0
