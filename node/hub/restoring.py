"""A recovering hub takes back the log that it had (protocol §10.6): the same leaves, the same roots, then it goes on.

    gathered leaves  →  every root that we signed?  →  lock store holds the target  →  append, commit by commit

Nothing is signed here. The commits end at checkpoints that were signed before; a crash between two of them leaves a
shorter log that is still behind its lock store, hence still recovering, and the next look goes on from there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog

from node.hub.erasing import erase_again
from node.hub.gathering import Gathering
from node.hub.log import HubLog, checkpoint_in, edge_from_tiles
from node.hub.projector import Projector
from node.hub.restored_rows import restored_fork, restored_set, restored_statement
from node.ports import Clock
from node.store.hub_records import Commit, Invitation, RecoveredLeaf, StoredCheckpoint, StoredStatement
from sync_protocol import statement as st
from sync_protocol.ed25519 import kid_of
from sync_protocol.jws import parse_jws
from sync_protocol.merkle import leaf_hash

LEAVES_AT_ONCE: Final = 64  # of which the lines are in memory while they are appended; of 16 MiB each at worst
COMMIT_LEAVES: Final = 1_000  # a commit ends at the first checkpoint that is known from there on
ENTRIES_AT_ONCE: Final = 2_000
LOOK_S: Final = 10.0  # how often without any word of something new; another process may have gathered it
LOOK_SHARE: Final = 10.0  # a tenth of the time at most goes into looking
LINES_WAIT_S: Final = 60.0  # nodes send lines right after the receipts: so long without any, and they are not coming
RANGES_SHOWN: Final = 20

TWO_HISTORIES: Final = (
    "What was shown is not longer than what the database holds: this hub signed two histories, and no copy of one "
    "mends the other. Put back the database that leads to what was shown."
)

_logger = structlog.get_logger("simpul.hub.recovery")


@dataclass(frozen=True, slots=True)
class Shortfall:
    """How far gathering is, for a person. Sizes in leaves; `entries` are ranges of places that nobody has brought.

    `sets` are sequences of agencies that must be among them, because later ones of theirs are there.
    """

    target: int
    held: int
    entries: list[tuple[int, int]]
    sets: dict[str, list[int]]
    without_lines: dict[str, list[int]]
    contradiction: str | None

    def document(self) -> dict[str, Any]:
        """For a program."""
        return {
            "target": self.target,
            "held": self.held,
            "missing_entries": [list(ends) for ends in self.entries],
            "missing_sets": self.sets,
            "without_lines": self.without_lines,
            "contradiction": self.contradiction,
        }

    def words(self) -> str:
        """One line."""
        if self.contradiction:
            return self.contradiction
        count = sum(last - first + 1 for first, last in self.entries)
        if not count:
            return f"All {self.target - self.held} leaves that were lost are gathered."
        shown = ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in self.entries[:RANGES_SHOWN])
        named = "; ".join(f"{agency} set {_listed(seqs)}" for agency, seqs in self.sets.items())
        among = f" Among them: {named}." if named else ""
        return f"{count} of {self.target - self.held} lost leaves are still missing, at log index {shown}.{among}"


def _listed(seqs: list[int]) -> str:
    return ", ".join(map(str, seqs[:RANGES_SHOWN])) + (" …" if len(seqs) > RANGES_SHOWN else "")


class Restoring:
    """Belongs to one event loop. `on_restored` is called once the log holds everything again."""

    def __init__(
        self,
        log: HubLog,
        gathering: Gathering,
        projector: Projector,
        clock: Clock,
        on_restored: Callable[[StoredCheckpoint], None] = lambda _checkpoint: None,
    ) -> None:
        self._log = log
        self._gathering = gathering
        self._projector = projector
        self._clock = clock
        self._on_restored = on_restored
        self._looked_s: float | None = None
        self._pause_s = 0.0
        self._fresh_s = 0.0
        self._contradiction: str | None = None
        self._is_tidy = False
        self.commit_leaves = COMMIT_LEAVES

    async def look(self, *, now: bool = False) -> bool:
        """Whether this hub stopped recovering. Cheap unless something was gathered since, or `now`.

        `now`: without waiting for lines that may still come; they are asked for afterwards.
        """
        log = self._log
        if log.recovering is None:
            await self._let_go()
            return False
        self._is_tidy = False
        clock_s = self._clock.monotonic_s()
        pause_s = self._pause_s if self._gathering.is_fresh else LOOK_S
        if not now and self._looked_s and clock_s < self._looked_s + pause_s:
            return False
        if self._gathering.is_fresh:
            self._fresh_s = clock_s
        self._looked_s, self._gathering.is_fresh = clock_s, False
        newest = await log.store.newest_checkpoint()
        # Another process restored a part of it, or all: maybe while this one was about to, and has read it by now.
        if newest is not None and (newest.size > log.size or newest.note == await log.lock.read()):
            await log.open()
            if log.is_signing:
                self._on_restored(log.published)
                return True
        shortfall = await self.shortfall()
        # Of a large loss that takes a while, and while everybody pushes there is something new all the time.
        self._pause_s = min(LOOK_S, LOOK_SHARE * (self._clock.monotonic_s() - clock_s))
        are_lines_coming = bool(shortfall.without_lines) and clock_s < self._fresh_s + LINES_WAIT_S
        if shortfall.entries or shortfall.target <= log.size or (are_lines_coming and not now):
            return False
        return await self._restore()

    async def _let_go(self) -> None:
        """Of what a process left that died right after the log was whole: it may hold words that were erased since."""
        log = self._log
        if self._is_tidy or not log.is_signing:
            return
        if await log.store.recovered_checkpoints(0):  # kept before the leaves, and let go of with them
            async with log.appending():
                await log.refresh()
                if log.recovering is not None:
                    return
                await log.store.forget_recovered()
        self._is_tidy = True

    async def shortfall(self) -> Shortfall:
        """What is missing still. Raises Unavailable where nothing tells what was signed."""
        log, target = self._log, max(await self._notes(), default=0)
        start = log.size
        if target <= start:
            return Shortfall(target, start, [], {}, {}, TWO_HISTORIES)
        own = await log.lock.statements()
        known = {*await log.store.recovered_places(start, target), *(i for i in own if start <= i < target)}
        seqs = await log.store.recovered_seqs()
        lacking: dict[str, list[int]] = {}
        for agency, there in seqs.items():
            head = log.heads.get(agency)
            gaps = sorted(set(range((head.seq if head else 0) + 1, there[-1])) - set(there))
            if gaps:
                lacking[agency] = gaps
        without = await log.store.recovered_seqs(without_lines=True)
        entries = _ranges(index for index in range(start, target) if index not in known)
        return Shortfall(target, start, entries, lacking, without, self._contradiction)

    async def _notes(self) -> dict[int, bytes]:
        """Notes of ours by size, beyond what the database holds."""
        log = self._log
        notes = dict(await log.store.recovered_checkpoints(log.size))
        for note in (await log.lock.proof(), await log.lock.read()):  # the lock store's own bytes win
            if note is not None and (size := checkpoint_in(note).size) > log.size:
                notes[size] = note
        return notes

    async def _restore(self) -> bool:
        log, size = self._log, self._log.size
        own = await log.lock.statements()
        if not await self._leads_to(await self._notes(), own):
            return False
        # Not under the append lock: who projects may be waiting for that. What is folded again is erased again, and a
        # backup may be from before an erasure.
        await self._projector.drop()
        async with log.appending():
            if log.recovering is None:
                return True
            await log.refresh(force=True)
            notes = await self._notes()
            if log.size != size or not await self._leads_to(notes, own):
                self._looked_s = None
                return False
            target, locked = max(notes), await log.lock.read()
            if locked != notes[target]:
                await log.lock.swap(locked, notes[target])
            # A crash from here on leaves a log that is shorter than what the lock store holds: still recovering.
            follows = size
            async for leaves in self._commits(notes, own):
                follows = await self._append(follows, leaves, notes)
            await erase_again(log.store, log.lock)  # a copy may have shown it; nobody is shown these sets yet
            await log.refresh(force=True)
            await log.settle()
            if not log.is_signing:
                return False
            await log.keep_statements(log.size)
            await log.store.forget_recovered()
        _logger.warning("restored", held=size, size=log.size)
        self._on_restored(log.published)
        return True

    async def _leads_to(self, notes: Mapping[int, bytes], own: Mapping[int, bytes]) -> bool:
        """Whether the gathered entries have every root that we are known to have signed."""
        log, size, target = self._log, self._log.size, max(notes, default=0)
        edge = await log.tiles.compute(lambda read: edge_from_tiles(size, read))
        for start in range(size, target, ENTRIES_AT_ONCE):
            end = min(target, start + ENTRIES_AT_ONCE)
            proved = await log.store.recovered_entries(start, end)
            for index in range(start, end):
                entry = proved.get(index) or own.get(index)
                if entry is None:
                    return False
                edge.append(leaf_hash(entry))
                note = notes.get(index + 1)
                if note is not None and edge.root() != checkpoint_in(note).root:
                    self._contradict(index + 1)
                    return False
        self._contradiction = None
        return target > size

    def _contradict(self, size: int) -> None:
        self._contradiction = (
            f"What was gathered does not lead to the checkpoint of size {size} that this hub signed: bring a copy of "
            "the log (`simpul hub recover DIR --from COPY`)."
        )
        _logger.critical("gathered leaves do not lead to a signed root", size=size)

    async def _commits(
        self, notes: Mapping[int, bytes], own: Mapping[int, bytes]
    ) -> AsyncIterator[list[RecoveredLeaf]]:
        """The leaves, each time up to a checkpoint that is known."""
        waiting: list[RecoveredLeaf] = []
        target = max(notes)
        for start in range(self._log.size, target, LEAVES_AT_ONCE):
            end = min(target, start + LEAVES_AT_ONCE)
            there = {leaf.index: leaf for leaf in await self._log.store.recovered_leaves(start, end)}
            for index in range(start, end):
                waiting.append(there.get(index) or RecoveredLeaf(index, own[index]))
                if index + 1 in notes and (len(waiting) >= self.commit_leaves or index + 1 == target):
                    yield waiting
                    waiting = []

    async def _append(self, follows: int, leaves: list[RecoveredLeaf], notes: dict[int, bytes]) -> int:
        log, now_ms = self._log, self._clock.now_ms()
        growth = await log.tiles.grow(follows, [leaf_hash(leaf.entry) for leaf in leaves])
        note = notes[growth.size]
        statements = [restored_statement(leaf) for leaf in leaves if leaf.agency is None]
        await log.store.append(
            Commit(
                follows=follows,
                entries=[leaf.entry for leaf in leaves],
                checkpoint=StoredCheckpoint(growth.size, follows, growth.root, note, now_ms),
                tiles=growth.changed,
                sets=[restored_set(leaf, now_ms) for leaf in leaves if leaf.agency is not None],
                statements=statements,
                used_invitations=await self._used_invitations(statements),
                forks=[fork for one in statements if (fork := restored_fork(one)) is not None],
                is_restored=True,
            )
        )
        log.tiles.put(growth.changed)
        return growth.size

    async def _used_invitations(self, statements: list[StoredStatement]) -> list[Invitation]:
        """Tokens of the backup for agencies that enrolled since: which of them was used is not known, so all were."""
        enrolled = {one.agency: one for one in statements if one.typ == st.Enrolment.TYP and one.agency}
        if not enrolled:
            return []
        used = []
        for invitation in await self._log.store.open_invitations(list(enrolled)):
            one = enrolled[invitation.agency]
            parsed = st.parse_statement(parse_jws(one.entry))
            assert isinstance(parsed, st.Enrolment)
            kid = kid_of(parsed.key)
            used.append(Invitation(invitation.token_hash, invitation.agency, invitation.created_at_ms, kid, one.index))
        return used


def _ranges(indices: Iterable[int]) -> list[tuple[int, int]]:
    """Consecutive runs, both ends included."""
    found: list[tuple[int, int]] = []
    for index in indices:
        if found and found[-1][1] == index - 1:
            found[-1] = (found[-1][0], index)
        else:
            found.append((index, index))
    return found
