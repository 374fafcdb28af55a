"""Group commit: everything that waits goes into the log in one transaction, under one checkpoint (protocol §6.3).

One task per process appends; the append lock makes it one per hub. What a crash leaves behind is said at each step of
`_append`; whatever fails in an unknown way, the log is read again before the next append.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from node.hub.draft import Draft, Item, Outcome, Place, Prepared, SetItem, StatementItem
from node.hub.log import HubLog
from node.hub.recovery import begin_recovery, seen_note
from node.logs import words_of
from node.ports import Clock
from node.store.hub_records import Commit, StoredCheckpoint
from sync_protocol.checkpoint import Checkpoint, sign_checkpoint
from sync_protocol.ed25519 import Signer
from sync_protocol.errors import Corrupt, Refused, Unavailable
from sync_protocol.merkle import leaf_hash
from sync_protocol.statement import Genesis
from sync_protocol.tiles import Growth
from sync_protocol.values import b64u_encode

GROUP_MAX: Final = 64  # sets in one transaction; more would only make the first of them wait
ROUND_S: Final = 0.006  # at least, from one append to the next: what is alone goes at once, in a rush sets share one
INLINE_MAX: Final = 16  # so many sets are judged again faster than a thread is woken
STUCK_S: Final = 60.0  # no commit takes so long: the disk hangs, or whoever holds the append lock does

_logger = structlog.get_logger("simpul.hub.log")


class Appender:
    """Takes sets and statements, gives their places in the log. Belongs to one event loop.

    `on_published` is called after each commit that was published.
    """

    def __init__(
        self,
        log: HubLog,
        *,
        log_signer: Callable[[], Signer],
        registrar: Callable[[], Signer],
        clock: Clock,
        group_max: int = GROUP_MAX,
        on_published: Callable[[StoredCheckpoint], None] = lambda _checkpoint: None,
    ) -> None:
        self.log = log
        self._log_signer = log_signer
        self._registrar = registrar
        self._clock = clock
        self._group_max = group_max
        self._on_published = on_published
        self._waiting: deque[Item] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._begun_at_ms: int | None = None  # the append under way
        self._failure: tuple[int, str] | None = None  # of the newest append: the log's size then, and why

    @property
    def trouble(self) -> str | None:
        """Why the log cannot be written now, as far as this process knows. Whoever makes it grow ends that."""
        if self._failure is not None and self._failure[0] == self.log.size:
            return f"the log cannot be written: {self._failure[1]}"
        waited_ms = 0 if self._begun_at_ms is None else self._clock.now_ms() - self._begun_at_ms
        if waited_ms > STUCK_S * 1000:
            return f"an append has been under way for {waited_ms // 1000} s: the disk hangs, or another process does"
        return None

    @property
    def waiting(self) -> int:
        """How many submissions wait."""
        return len(self._waiting)

    def start(self) -> None:
        """From now on submissions are worked off."""
        self._task = asyncio.create_task(self._run(), name="hub-appender")

    async def stop(self) -> None:
        """Works off what waits, then ends."""
        if self._task is not None:
            self._is_stopping = True
            self._wake.set()
            await self._task
            self._task = None

    async def submit(self, item: Item) -> Place:
        """Its place. Raises what it was refused for; Unavailable where the outcome is unknown (ask again)."""
        self.log.check_signing()
        if self._is_stopping:
            raise Unavailable("the hub is stopping", retry_after_s=5)
        self._waiting.append(item)
        self._wake.set()
        answer = item.answer
        del item  # see Intake.submit: what is refused must not keep itself alive
        try:
            return await answer
        finally:
            del answer

    async def append_statement(self, prepare: Callable[[], Awaitable[Prepared | int]]) -> Place:
        """A statement that is made under the append lock; also where no task runs (a command beside `serve`)."""
        item = StatementItem(prepare)
        if self._task is not None:
            return await self.submit(item)
        self.log.check_signing()
        await self._append([item])
        return await item.answer

    async def _run(self) -> None:
        while self._waiting or not self._is_stopping:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                begun_s = self._clock.monotonic_s()
                await self._append(self._next_group())
                left_s = begun_s + ROUND_S - self._clock.monotonic_s()
                if left_s > 0 and not self._is_stopping:
                    await self._clock.sleep(left_s)

    def _next_group(self) -> list[Item]:
        """Sets until the first statement, which comes along as the last; sets of one agency in order of seq."""
        group: list[Item] = []
        while self._waiting and len(group) < self._group_max:
            item = self._waiting.popleft()
            group.append(item)
            if isinstance(item, StatementItem):
                break
        sets = sorted((i for i in group if isinstance(i, SetItem)), key=lambda i: i.submission.manifest.seq)
        return [*sets, *(i for i in group if isinstance(i, StatementItem))]

    async def _append(self, group: list[Item]) -> None:
        """Judges and appends a group; every item is answered, or put back to wait for the next round."""
        self._begun_at_ms = self._clock.now_ms()
        try:
            await self._append_or_again(group)
        except asyncio.CancelledError:
            _fail(group, Unavailable("the hub is stopping", retry_after_s=5))
            raise
        except Corrupt as error:
            self.log.stop_signing(error)
            _fail(group, Unavailable("the hub stopped signing", retry_after_s=60))
        except Unavailable as error:
            _fail(group, error)
        except Exception as error:  # noqa: BLE001 - a full disk, a database away: unknown outcome, the caller repeats
            self.log.is_stale, self._failure = True, (self.log.size, words_of(error))
            _logger.warning("append failed", error=words_of(error))
            _fail(group, Unavailable("the hub could not store this now; repeat it", retry_after_s=5))
        finally:
            self._begun_at_ms = None

    async def _append_or_again(self, group: list[Item]) -> None:
        """A second time if the database was ahead: another process committed, and died before it published."""
        try:
            async with self.log.appending():
                await self._append_locked(group)
        except Unavailable:
            self.log.check_signing()
            self.log.is_stale = True
            async with self.log.appending():
                await self._append_locked(group)

    async def _append_locked(self, group: list[Item]) -> None:
        # Under the lock nobody else appends. Another process may have done so since our last turn, and our own last
        # commit may have ended in an unknown way: what the lock store holds decides.
        await self.log.refresh()
        self.log.check_signing()
        draft = Draft(self.log, self._registrar, self._clock.now_ms())
        rest = await self._judge(draft, group)
        for fork in draft.evidence:
            await self.log.store.record_fork(fork)
        if draft.rolled_back is not None:
            await self._stop_signing(draft)
        if draft.entries:
            # A crash up to here leaves nothing: no entry, no tile, no checkpoint, no answer.
            await self._commit(draft)
        for item in reversed(rest):
            self._waiting.appendleft(item)
        self._answer(draft.outcomes, draft.follows)

    async def _judge(self, draft: Draft, group: list[Item]) -> list[Item]:
        """What is left for the next round, because a statement must be the last leaf of a commit."""
        sets = [item for item in group if isinstance(item, SetItem)]
        await draft.look_up([item.submission for item in sets])
        if len(sets) <= INLINE_MAX:
            judged = draft.add_sets(sets)
        else:
            judged = await asyncio.to_thread(draft.add_sets, sets)
        if judged < len(sets) or draft.admission is not None or draft.rolled_back is not None:
            return group[judged:]
        for item in group[judged:]:
            if isinstance(item, StatementItem):
                draft.outcomes[item] = await _add_statement(draft, item)
        return []

    async def _commit(self, draft: Draft) -> None:
        growth = await self.log.tiles.grow(draft.follows, [leaf_hash(entry) for entry in draft.entries])
        checkpoint = self._sign(draft, growth)
        # A crash now leaves a signature in memory that nobody has seen: the next checkpoint of that size may differ.
        commit = Commit(
            follows=draft.follows,
            entries=draft.entries,
            checkpoint=checkpoint,
            tiles=growth.changed,
            sets=draft.sets,
            statements=draft.statements,
            used_invitations=[draft.uses] if draft.uses else [],
            forks=draft.forks,
        )
        await self.log.store.append(commit)
        # A crash now leaves the database one commit ahead of the lock: `HubLog.refresh` moves the lock on, and the
        # senders, who got no answer, repeat and get the same index.
        if draft.statements:
            await self.log.lock.keep_statements([(one.index, one.entry) for one in draft.statements])
        await self.log.lock.swap(self.log.published.note or None, checkpoint.note)
        # A crash from here on leaves a published checkpoint: the senders repeat and get their receipts.
        if draft.admission is not None:
            self.log.roster.apply(draft.admission)
        for agency, stored in draft.stored_heads().items():
            self.log.heads.move(draft.heads[agency], stored)
        self.log.publish(checkpoint, growth.changed)
        self.log.recent.add(commit)
        self._on_published(checkpoint)
        for new in draft.sets:
            digest = b64u_encode(new.stored.digest)[:12]
            _logger.info(
                "accepted", agency=new.stored.agency, seq=new.stored.seq, digest=digest, index=new.stored.index
            )

    def _sign(self, draft: Draft, growth: Growth) -> StoredCheckpoint:
        """By the key that speaks before this commit; a rotation of the log's key holds from the next one on."""
        signer = self._log_signer()
        founding = draft.admission.statement if draft.admission else None
        if isinstance(founding, Genesis):
            origin, speaks = founding.origin, founding.log_vkey.public_key
        else:
            origin, speaks = self.log.roster.origin, self.log.roster.vkey.public_key
        if signer.public_key != speaks:
            raise Corrupt(
                "the log's key file is not the key that speaks in the log",
                next_step="Put the right key file back; `simpul keys show` names both.",
            )
        note = sign_checkpoint(Checkpoint(origin, growth.size, growth.root), signer)
        return StoredCheckpoint(growth.size, draft.follows, growth.root, note, self._clock.now_ms())

    async def _stop_signing(self, draft: Draft) -> None:
        """A node proved that we once signed what we do not hold: nothing of this group goes in, nor anything later."""
        assert draft.rolled_back is not None
        manifest = draft.rolled_back.submission.manifest
        await begin_recovery(self.log, agency=manifest.agency, note=seen_note(self.log, manifest))
        draft.entries.clear()
        unavailable = draft.rolled_back.unavailable()
        draft.outcomes = {
            item: unavailable if isinstance(outcome, int) and outcome >= draft.follows else outcome
            for item, outcome in draft.outcomes.items()
        }

    def _answer(self, outcomes: dict[Item, Outcome], follows: int) -> None:
        """New is the first to reach a place of this commit; a repeat in the same group is a repeat."""
        taken: set[int] = set()
        for item, outcome in outcomes.items():
            is_new = isinstance(outcome, int) and outcome >= follows and outcome not in taken
            if isinstance(outcome, int):
                taken.add(outcome)
            if item.answer.done():
                continue
            if isinstance(outcome, int):
                item.answer.set_result(Place(outcome, self.log.published, is_new=is_new))
            else:
                item.answer.set_exception(outcome)


async def _add_statement(draft: Draft, item: StatementItem) -> Outcome:
    """Raises Unavailable where it stands in a commit that nobody has published: then the log is read again first."""
    try:
        prepared = await item.prepare()
        if isinstance(prepared, Prepared):
            return draft.add_statement(prepared)
    except (Refused, Unavailable) as error:
        return error
    if prepared >= draft.follows:
        raise Unavailable("another process committed this and did not publish it", retry_after_s=1)
    return prepared


def _fail(group: list[Item], error: Refused | Unavailable) -> None:
    for item in group:
        if not item.answer.done():
            item.answer.set_exception(error)
