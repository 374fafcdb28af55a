"""Erasing what was said (protocol §3.4; architecture G8).

An `erased` change that the fold applied names content lines of its complaint by their leaf hashes. Here they are taken
out of the stored sets: a hidden line stands in their place from then on, every signature and root stays as it was, and
a repeat of the set does not bring them back. The projector does this before it commits the step, so that a crash in
between does it again; what is gone already is left alone.

An old backup of the database, or a copy of the log that takes its place, brings the words back. What was erased is
therefore also kept beside the lock, and erased again before anybody is shown a set.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Protocol

import structlog

from node.hub.ports import HubStore
from node.hub.projection_ports import ProjectionStore
from node.store.hub_records import KeptErasure, StoredSet
from node.store.projection_records import Erasure, InboxRow, ProjectionStep, read_pointers
from sync_protocol.change_set import parse_change_set
from sync_protocol.compression import compress_part, decompress_part
from sync_protocol.erasing import Erased, erase_contents
from sync_protocol.errors import Corrupt, Unavailable
from sync_protocol.inbox import Note
from sync_protocol.limits import SET_MAX_BYTES
from sync_protocol.transitions import Verdict


class Ledger(Protocol):
    """The part of the lock store that remembers what was erased: it is never restored from a backup."""

    async def keep_erasures(self, erasures: Sequence[KeptErasure]) -> None:
        """See LockStore."""
        ...

    async def erasures(self) -> list[KeptErasure]:
        """See LockStore."""
        ...


ATTEMPTS: Final = 8  # a repeat of the same set may be completing it at the same moment

_logger = structlog.get_logger("simpul.hub.erasing")


async def carry_out(store: HubStore, ledger: Ledger, projection: ProjectionStore, erasures: Sequence[Erasure]) -> int:
    """Takes the lines out of every set that the complaints' applied changes stand in; how many lines went.

    All erasures of one step, before it is committed; each set is written anew once. What goes is in the `ledger` before
    it goes.
    """
    of_complaint: dict[bytes, list[Erasure]] = defaultdict(list)
    for erasure in erasures:
        of_complaint[erasure.complaint].append(erasure)
    wanted: dict[int, list[KeptErasure]] = defaultdict(list)
    for key, those in of_complaint.items():
        _, row = await projection.complaint(key)
        leaves = frozenset[bytes]().union(*(one.leaves for one in those))
        positions: dict[int, list[int]] = defaultdict(list)
        for index, position in read_pointers((row.pointers if row else b"") + those[0].pointers):
            positions[index].append(position)
        for index, at in positions.items():
            wanted[index].append(KeptErasure(index, tuple(at), leaves))
    return sum([await _erase_in(store, ledger, index, of_set) for index, of_set in wanted.items()])


async def told_of_erasures(projection: ProjectionStore, step: ProjectionStep) -> ProjectionStep:
    """The step with a note of each erasure for everybody who was ever handed anything of its complaint (§7.6)."""
    told = {(row.agency, row.place): row for row in step.inbox}
    handed: dict[bytes | None, list[InboxRow]] = defaultdict(list)
    for row in step.inbox:
        if row.note != Note.REFUSED:
            handed[row.key].append(row)
    for erasure in step.erasures:
        holders = await projection.holders(erasure.complaint)
        holders |= {row.agency for row in handed[erasure.complaint] if row.place <= erasure.place}
        for agency in sorted(holders - {erasure.signer}):
            row = InboxRow(agency, erasure.place, Note.ERASED, Verdict.APPLIED, erasure.complaint)
            told[agency, erasure.place] = row
    return replace(step, inbox=list(told.values()))


async def erase_again(store: HubStore, ledger: Ledger) -> int:
    """What the ledger says was erased and an old backup, or a copy, brought back; how many lines went.

    To be called before anybody is shown a set. A set that is not here, or without its lines, is left alone.
    """
    kept, known = await ledger.erasures(), await store.erased_lines()
    await _complete(ledger, known - {(one.index, leaf) for one in kept for leaf in one.leaves})
    wanted: dict[int, list[KeptErasure]] = defaultdict(list)  # a set is written anew once, whatever is to go from it
    for one in kept:
        if any((one.index, leaf) not in known for leaf in one.leaves):
            wanted[one.index].append(one)
    gone = 0
    for index, those in wanted.items():
        if await store.set_at(index) is not None and await store.set_parts(index) is not None:
            gone += await _erase_in(store, None, index, those)
    if gone:
        _logger.warning("erased again", lines=gone)
    return gone


async def without_erased(
    kept: Sequence[KeptErasure], stored: StoredSet, frames: tuple[bytes, bytes]
) -> tuple[StoredSet, tuple[bytes, bytes], list[bytes]]:
    """Lines that are about to be stored for a set that lacks them, without those that were erased by what is `kept` in
    the ledger: the set as it counts then, its frames, and the leaf hashes of all that is erased in it for good.

    The ledger may be read any time while the set lacks its lines: the fold waits for them, and erases nothing there.
    """
    wanted = [one for one in kept if one.index == stored.index]
    if not wanted:
        return stored, frames, []
    left = await asyncio.to_thread(_without, frames, wanted)
    if left.gone:
        frames = (frames[0], await asyncio.to_thread(compress_part, left.contents))
    return _counted(stored, len(left.gone)), frames, sorted(left.all_for_good)


async def _complete(ledger: Ledger, lacking: set[tuple[int, bytes]]) -> None:
    """What the database alone knows of: of an earlier program, or of a lock store that was moved without it."""
    leaves: dict[int, set[bytes]] = defaultdict(set)
    for index, leaf in lacking:
        leaves[index].add(leaf)
    if leaves:
        await ledger.keep_erasures([KeptErasure(index, (), frozenset(leaves[index])) for index in sorted(leaves)])


async def _erase_in(store: HubStore, ledger: Ledger | None, index: int, wanted: Sequence[KeptErasure]) -> int:
    for _ in range(ATTEMPTS):
        stored, parts = await store.set_at(index), await store.set_parts(index)
        if stored is None or parts is None:
            raise Corrupt(f"the set at log index {index} is missing in the database")
        left = await asyncio.to_thread(_without, parts, wanted)
        if not left.gone and left.all_for_good <= await store.erased_leaves(index):
            return 0
        if ledger is not None:  # again where it was, if another attempt follows: that does no harm
            pairs = zip(wanted, left.for_good, strict=True)
            await ledger.keep_erasures([replace(one, leaves=leaves) for one, leaves in pairs if leaves])
        frame = await asyncio.to_thread(compress_part, left.contents) if left.contents else b""
        if await store.replace_contents(stored, _counted(stored, len(left.gone)), frame, sorted(left.all_for_good)):
            _logger.info("erased", agency=stored.agency, seq=stored.seq, index=index, lines=len(left.gone))
            return len(left.gone)
    raise Unavailable(f"the set at log index {index} is being completed by others", retry_after_s=1)


def _counted(stored: StoredSet, gone: int) -> StoredSet:
    return replace(stored, hidden=stored.hidden + gone, erased=stored.erased + gone)


def _without(parts: tuple[bytes, bytes], wanted: Sequence[KeptErasure]) -> Erased:
    """Runs in a thread. What was kept without positions goes whichever change it was said with."""
    head = decompress_part(parts[0])
    change_set = parse_change_set(head, decompress_part(parts[1], SET_MAX_BYTES - len(head)))
    everywhere = range(change_set.manifest.manifest.changes)
    return erase_contents(change_set, [(one.positions or everywhere, one.leaves) for one in wanted])
