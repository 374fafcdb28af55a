"""The projector: folds the published log, in order, into the query tables; each leaf exactly once (protocol §9).

It takes a batch of leaves, folds it (in a thread, unless it is small) and commits the result together with the cursor.
A crash anywhere leaves the cursor where it was; the same leaves are folded again. It never waits for the intake's
database lock, nor the intake for its.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from node.deadlines.outages import Outages
from node.deadlines.tables import Deadlines
from node.hub.erasing import carry_out, told_of_erasures
from node.hub.folding import OpenBatch, fold_batch, is_small, open_batch
from node.hub.log import HubLog
from node.hub.ports import HubStore, Turn
from node.hub.projection_ports import ProjectionStore
from node.ports import Clock, Progress, no_progress
from node.store.projection_records import Cursor, ProjectionStep
from sync_protocol.errors import Unavailable
from sync_protocol.jws import parse_jws
from sync_protocol.ledger import format_state_hash
from sync_protocol.limits import FORK_JWS_MAX_BYTES
from sync_protocol.roster import Roster

BATCH_BYTES: Final = 1024 * 1024  # compressed: some 10,000 changes, 10 MiB while they are folded


class Projector:
    """Belongs to one event loop. `turn` makes it the only one at work among all processes; leader.py runs it.

    `on_step` is called with each step that was committed here.
    """

    def __init__(
        self,
        log: HubLog,
        store: HubStore,
        projection: ProjectionStore,
        turn: Turn,
        deadlines: Deadlines,
        clock: Clock,
        on_step: Callable[[ProjectionStep], None] = lambda _: None,
    ) -> None:
        self._log = log
        self._on_step = on_step
        self._deadlines = deadlines
        self._store = store
        self._projection = projection
        self._turn = turn
        self._clock = clock
        self._cursor: Cursor | None = None
        self._roster = Roster()
        self._last_heard: dict[str, int | None] = {}
        self._outages = Outages()
        self._seen = Cursor()
        self._ahead: tuple[int, asyncio.Task[OpenBatch]] | None = None
        self.trouble: str | None = None
        self.is_paused = False  # before a set whose lines are missing
        self.was_overtaken = False  # somebody else moved the projection meanwhile

    @property
    def cursor(self) -> Cursor:
        """How far the projection came, as far as this process knows."""
        return self._cursor or self._seen

    async def look(self) -> bool:
        """Reads how far the projection came. True if this process moved it last and somebody else did since."""
        known = self._cursor
        self._seen = await self._projection.cursor()
        if known is None or known is not self._cursor or known == self._seen:
            return False
        self.was_overtaken, self._cursor = True, None
        return True

    async def may_go_on(self) -> bool:
        """Whether it is paused before a set whose lines are here by now."""
        if not self.is_paused:
            return False
        missing = await self._store.missing_sets(1)
        return not missing or missing[0].index > self.cursor.size

    def begin_again(self, trouble: str) -> None:
        """After a failure: what is stored decides where to go on."""
        self.trouble = trouble
        self._cursor = None

    async def drop_ahead(self) -> None:
        """Gives up what was opened ahead."""
        if self._ahead is not None:
            self._ahead[1].cancel()
            await asyncio.gather(self._ahead[1], return_exceptions=True)
            self._ahead = None

    async def step_in_turn(self) -> bool:
        """One batch; False if nothing was left. The turn is given up between two: an export may be waiting."""
        async with self._turn.hold():
            return await self.step()

    async def catch_up(self, progress: Progress = no_progress) -> Cursor:
        """Folds all that is published, in its turn; how far that came (short of it where lines are missing)."""
        async with self._turn.hold():
            return await self._fold_up_to(progress=progress)

    async def _fold_up_to(self, size: int | None = None, progress: Progress = no_progress) -> Cursor:
        """Folds until `size` leaves are folded (None: all that are published); only while holding the turn."""
        while await self.step(size):
            progress(self.cursor.size, self._log.size if size is None else size)
        return self.cursor

    @asynccontextmanager
    async def settled(self) -> AsyncIterator[Cursor]:
        """The projection at exactly a published checkpoint, while nobody moves it.

        Raises Unavailable where it cannot come so far, because the lines of a set are missing.
        """
        async with self._turn.hold():
            await self._log.follow()
            self._cursor = None
            cursor = await self._fold_up_to()
            if self.is_paused:
                raise Unavailable("the lines of a set are missing (`simpul hub status` names it): ask again later")
            yield cursor

    async def rebuild(self, progress: Progress = no_progress) -> tuple[str, str]:
        """Drops everything and folds the whole log again; the state hash before, and after, at the same size."""
        async with self._turn.hold():
            await self._log.follow()
            self._cursor = None
            before = await self._fold_up_to(progress=progress)
            await self._projection.clear(self._deadlines.digests.mark())
            self._cursor = None
            after = await self._fold_up_to(before.size, progress)
            return format_state_hash(before.state_hash), format_state_hash(after.state_hash)

    async def drop(self) -> None:
        """Empties the projection: the whole log is folded again, and erased again."""
        async with self._turn.hold():
            await self._projection.clear()
            self._cursor = None

    async def step(self, until: int | None = None) -> bool:
        """One batch. False if nothing was left to fold. Only while holding the turn."""
        if self._cursor is None:
            await self._load()
        cursor = self.cursor
        end = self._log.size if until is None else until
        if cursor.size >= end:
            self.is_paused = False
            return False
        batch = await self._batch_at(cursor.size, end)
        self.is_paused = not batch.leaves
        if self.is_paused:
            return False
        states = await self._projection.load(list(batch.keys.values())) if batch.keys else {}
        if batch.is_small:
            step = self._fold(batch, states, cursor)
        else:
            step = await asyncio.to_thread(self._fold, batch, states, cursor)
        if step.cursor.size < end:  # while the database writes this one, the next is opened
            self._ahead = (step.cursor.size, asyncio.create_task(self._open(step.cursor.size, end)))
        if step.erasures:  # before the commit: a crash in between does it again, never not at all
            await carry_out(self._store, self._log.lock, self._projection, step.erasures)
            step = await told_of_erasures(self._projection, step)
        # Outcome unknown until the commit returns: the stored cursor decides, and the roster is replayed (`_fold`).
        try:
            await self._projection.commit(step)
        except Unavailable:  # somebody else moved the cursor: nothing was written, and that is where to go on
            self.was_overtaken = True
            return True
        self._cursor = step.cursor
        self._on_step(step)
        return True

    async def _batch_at(self, start: int, end: int) -> OpenBatch:
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            if ahead[0] == start and (await ahead[1]).leaves:  # lines that were missing then may be here by now
                return await ahead[1]
            ahead[1].cancel()
        return await self._open(start, end)

    async def _open(self, start: int, end: int) -> OpenBatch:
        leaves = self._log.recent.take(start, end, BATCH_BYTES)
        if not leaves:
            leaves = await self._store.leaves(start, end, BATCH_BYTES)
        if is_small(leaves):
            return open_batch(leaves, is_small=True)
        return await asyncio.to_thread(open_batch, leaves)

    def _fold(self, batch: OpenBatch, states: dict[bytes, bytes], cursor: Cursor) -> ProjectionStep:
        self._cursor = None  # until the commit: what fails before it leaves roster and ticks half-way
        now_ms = self._clock.now_ms()
        heard, outages = self._last_heard, self._outages
        return fold_batch(batch, states, self._roster, cursor, heard, now_ms, self._deadlines, outages)

    async def _load(self) -> None:
        """What the fold had before the cursor: the roster replayed, the ticks and absences.

        Everything is measured by the same deadline tables: where they changed, the log is folded again.
        """
        mark = self._deadlines.digests.mark()
        if await self._projection.tables_mark() != mark:
            await self._projection.clear(mark)
        cursor = await self._projection.cursor()
        if cursor.size > self._log.size:
            raise Unavailable(f"the projection is at {cursor.size}, the log at {self._log.size}", retry_after_s=60)
        roster = Roster()
        for statement in await self._store.statements():
            if statement.index >= cursor.size:
                break
            roster.admit(statement.index, parse_jws(statement.entry, max_bytes=FORK_JWS_MAX_BYTES))
        self._roster = roster
        self._outages = Outages(roster.ticks_before(cursor.size), await self._projection.gaps())
        self._last_heard = await self._projection.last_heard()
        self._cursor = cursor
