"""The pusher: view → step → do → persist → sleep (protocol §10). All decisions are sync_protocol/outbox.py's.

Nothing is remembered between two steps but the Session, so a process may die anywhere: the next one asks the same
question of the same store. An attempt is recorded before it is made, its outcome after it was verified. Several
processes may push from one directory: cutting is exclusive, and everything else may happen twice.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final

import structlog

from node.local.adoption import Adopting
from node.local.cutting import TARGET_CHANGES, Place, cut_set
from node.local.hub_evidence import Contradiction
from node.local.hub_refill import hand_over_sets, refill_hub
from node.local.hub_session import HubSession
from node.local.ports import HubLink, Lease, LocalStore, SigningKeys
from node.local.rotation import rotate_key
from node.local.troubles import away_trouble, refusal_trouble
from node.ports import Clock, Randomness
from node.store.local_records import Acknowledgement, Outgoing
from sync_protocol.backoff import DAY_MS, MINUTE_MS, Schedule
from sync_protocol.errors import Refused, Unavailable
from sync_protocol.halts import Halt, halt_for_answer, halt_for_push, halt_for_request
from sync_protocol.heads import Finding, OwnChain, Session, SetRef
from sync_protocol.outbox import (
    EPOCH_DRAW,
    Adopt,
    CheckHead,
    Claim,
    Cut,
    Halted,
    Heartbeat,
    Idle,
    OutboxView,
    Push,
    Recover,
    Recut,
    Rotate,
    Step,
    next_step,
)
from sync_protocol.problems import Busy, Recovering
from sync_protocol.values import AgencyId

SHOW_AGAIN_MAX: Final = 5  # a hub that lacks lines after that many repeats does not want them
SHOW_AGAIN_EVERY_MS: Final = 5 * MINUTE_MS
RETIRE_EVERY_MS: Final = DAY_MS
KEEP_DAYS: Final = 365  # §10.5: at least a year
KEEP_SETS: Final = 10_000
HUB_LOST_TROUBLE: Final = "The hub lost something and is being refilled."

log = structlog.get_logger("simpul.pusher")


class PushSteps:
    """What one process does of the steps that `next_step` names; when, is the Pusher's."""

    def __init__(
        self,
        store: LocalStore,
        link: HubLink,
        keys: SigningKeys,
        clock: Clock,
        randomness: Randomness,
        lease: Lease,
        *,
        agency: AgencyId,
        target_changes: int = TARGET_CHANGES,
        keep_days: int = KEEP_DAYS,
        keep_sets: int = KEEP_SETS,
    ) -> None:
        self.store = store
        self.link = link
        self.keys = keys
        self.clock = clock
        self.randomness = randomness
        self.lease = lease
        self.agency = agency
        self.session = Session()
        self.woken = asyncio.Event()
        self._looked = asyncio.Event()  # the first step was taken
        self._hub = HubSession(store, link, keys, agency)
        self._target_changes = target_changes
        self._keep_ms = keep_days * DAY_MS
        self._keep_sets = keep_sets
        self._contradictions: Counter[str] = Counter()
        self._show_again_at_ms = 0
        self._retire_at_ms = 0
        self.adopted_sets = 0  # that came back from the hub
        self.was_answered = False  # by the hub, whatever it said
        self._has_joined = False
        self._before: tuple[int, bool] | None = None
        self._after: OutboxView | None = None  # the outbox as the last receipt left it, for the step that follows

    async def view(self) -> OutboxView:
        """What the next step depends on, now."""
        if not self._has_joined:
            await self._join()
        view, self._after = self._after or await self.store.outbox(), None
        before, self._before = self._before, (view.epoch, view.halt is not None)
        # Another process took over or was enrolled anew, or claimed an epoch for all of this directory.
        if before is not None and (before[0] != view.epoch or (before[1] and view.halt is None)):
            self.session = self.session.renewed()
            self._contradictions.clear()
        return replace(view, session=self.session, is_rotation_asked=self.keys.pending() is not None)

    async def step(self) -> Step:
        """One step, done and persisted. Raises Corrupt and what store and keys raise; never Unavailable."""
        view = await self.view()
        step = next_step(view, self.clock.now_ms())
        match step:
            case CheckHead():
                await self._attempt(view, "head", self._check_head)
            case Adopt():
                await self._attempt(view, "adoption", partial(self._adopt, step))
            case Claim():
                await self._claim(view, step)
            case Recut():
                await self._recut(step)
            case Cut():
                await self._cut(view, step, self._target_changes)
            case Heartbeat():
                await self._cut(view, step, 0)
            case Push():
                await self._attempt(view, "push", partial(self._push, step.seq), seq=step.seq)
            case Recover():
                await self._attempt(view, "recovery", partial(self._recover, step))
            case Rotate():
                await self._attempt(view, "rotation", self._rotate)
            case Halted(halt, is_new=True):
                await self._halt(halt)
            case Idle():
                await self._tidy(view)
        return step

    async def _join(self) -> None:
        """The first process in a directory sees to it that nothing is signed in an epoch that a copy may have.

        Writers take turns, so that nobody else stands between looking and writing.
        """
        try:
            async with self.store.transaction() as transaction:
                if self.lease.join():
                    await transaction.disown_epoch()
        except BaseException:
            self.lease.leave()
            raise
        self._has_joined = True

    # --- steps that need the hub ---

    async def _attempt(
        self,
        view: OutboxView,
        what: str,
        work: Callable[[Schedule], Awaitable[None]],
        *,
        seq: int | None = None,
        again: bool = False,
    ) -> None:
        """Records the attempt, makes it, and records how it ended; `work` stores its own success."""
        schedule = view.schedule.attempting(self.clock.now_ms(), self.randomness.fraction())
        await self.store.record_attempt(schedule, seq, shown_again=again)
        await self._recorded_attempt(schedule, what, work)

    async def _recorded_attempt(
        self, schedule: Schedule, what: str, work: Callable[[Schedule], Awaitable[None]]
    ) -> None:
        try:
            await work(schedule)
            self._contradictions.pop(what, None)
        except Recovering as away:
            await self._away(schedule, away)
            await self._refill(away.size)
        except Unavailable as away:
            await self._away(schedule, away)
        except Contradiction as found:
            await self._contradicted(schedule, what, found)
        except Refused as refused:
            await self._refused(schedule, refused)

    async def _away(self, schedule: Schedule, away: Unavailable) -> None:
        if away.retry_after_s is not None:
            now_ms, wish_s = self.clock.now_ms(), away.retry_after_s
            if isinstance(away, Busy):
                schedule = schedule.invited(now_ms, wish_s, self.randomness.fraction())
            else:
                schedule = schedule.postponed(now_ms, wish_s)
        log.info("hub.away", agency=self.agency, failures=schedule.failures, detail=away.detail)
        await self.store.set_schedule(schedule, trouble=away_trouble(away.detail))

    async def _contradicted(self, schedule: Schedule, what: str, found: Contradiction) -> None:
        """Once may be an accident on the way, and is asked again; twice to the same question is the hub's word."""
        self._contradictions[what] += 1
        log.warning("hub.contradiction", agency=self.agency, asked=what, detail=str(found))
        if self._contradictions[what] > 1:
            await self._halt(halt_for_answer(found.refused))
        await self.store.set_schedule(schedule, trouble=f"The hub's answer does not prove what it says: {found}")

    async def _refused(self, schedule: Schedule, refused: Refused) -> None:
        """A refusal outside of a push: what concerns key or enrolment halts, the rest is tried again."""
        if refused.kind == "unsafe-key-file":
            raise refused  # a key file of ours: the hub never said a word
        self.was_answered = True
        halt = halt_for_request(refused)
        if halt is not None:
            await self._halt(halt)
        trouble = refusal_trouble(refused, self.clock.now_ms())
        log.warning("hub.refused", agency=self.agency, kind=refused.kind, detail=trouble)
        await self.store.set_schedule(schedule, trouble=trouble)

    async def _check_head(self, schedule: Schedule) -> None:
        hub = await self._hub.head()
        # Ours is read after the hub's answer: what another process pushed in between is in the store by then.
        own = await self._own_chain(hub.seq)
        now_ms = self.clock.now_ms()
        self.session = self.session.compared(hub, own, now_ms)
        log.info(
            "head.compared", agency=self.agency, hub_seq=hub.seq, own_seq=own.signed_seq, digest=hub.digest.b64u[:12]
        )
        if self.session.finding is Finding.HUB_LOST:
            # Who has handed over everything waits for what others hold: all of it again every few seconds, from every
            # node, is what a hub that is being refilled can do least with.
            self.was_answered = True
            await self.store.set_schedule(schedule.going_on(), trouble=HUB_LOST_TROUBLE, hub_seen_at_ms=now_ms)
            return
        if self.session.finding is Finding.HUB_AHEAD:
            await self.store.set_behind(is_behind=True)
        elif self.session.finding is Finding.IN_STEP and await self.store.is_behind():
            await self._forget_and_show()
        # A restored hub may hold our manifests and lack the lines (§10.6).
        await hand_over_sets(self.store, self.link, self._hub.wanted, own.acknowledged_seq)
        await self._succeeded(schedule)

    async def _push(self, seq: int, schedule: Schedule) -> None:
        held = await self.store.outgoing(seq)
        if held is not None:  # else another process withdrew it
            await self._push_outgoing(held, schedule)

    async def _push_outgoing(self, held: Outgoing, schedule: Schedule) -> None:
        try:
            await self._push_set(held, schedule)
        except Refused as refused:
            if refused.kind == "unauthorised":
                raise
            await self._push_refused(held, refused, schedule)

    async def _push_set(self, held: Outgoing, schedule: Schedule) -> None:
        entered = await self.link.push(held.seq, held.frames, held.seen.size)
        newer = await self._hub.entered(entered, held.manifest.encode("ascii"), held.seen)
        now_ms = self.clock.now_ms()
        told = (entered.index, entered.receipt.encode("utf-8"), entered.hidden, entered.erased)
        receipt = Acknowledgement(held.seq, held.digest, *told, now_ms, newer)
        self.was_answered = True
        self._after = await self.store.acknowledge(receipt, schedule.succeeded(now_ms))
        if self._after is None:
            # Withdrawn on its way, by a take-over or a new enrolment in another process: what the hub has now decides.
            log.warning("set.withdrawn_on_its_way", agency=self.agency, seq=held.seq, digest=held.digest.b64u[:12])
            self.session = self.session.doubted()
            await self._succeeded(schedule)
            return
        self.session = self.session.answered(now_ms)
        log.info(
            "set.acknowledged", agency=self.agency, seq=held.seq, index=entered.index, digest=held.digest.b64u[:12]
        )

    async def _push_refused(self, held: Outgoing, refused: Refused, schedule: Schedule) -> None:
        halt = halt_for_push(refused, held.epoch)
        log.warning("set.refused", agency=self.agency, seq=held.seq, kind=refused.kind, digest=held.digest.b64u[:12])
        present = await self.store.outbox()
        # An operator's take-over in another process raised our own epoch: the set is old, no copy is alive.
        is_own_doing = refused.kind == "superseded" and present.epoch > held.epoch
        if halt is None or is_own_doing:
            self.session = self.session.doubted()
        else:
            await self._halt(halt)
        await self._succeeded(schedule)

    async def _adopt(self, step: Adopt, schedule: Schedule) -> None:
        adopting = Adopting(self.store, self._hub, self.clock, self.agency)
        try:
            halt = await adopting.run(step)
        except (Contradiction, Refused, Unavailable):
            self.session = self.session.doubted()  # the hub may have another head by the next attempt
            raise
        finally:
            self.adopted_sets += adopting.sets
        if halt is not None:
            await self._halt(halt)
        else:
            await self._forget_and_show()
        self.session = self.session.adopted()
        await self._succeeded(schedule)

    async def _forget_and_show(self) -> None:
        """All that the hub holds of ours is here: what it erased goes, and then what is left may be shown again."""
        await self.store.carry_out_erasures()
        await self.store.set_behind(is_behind=False)

    async def _recover(self, step: Recover, schedule: Schedule) -> None:
        await refill_hub(self.store, self.link, self.agency, step.from_seq, step.to_seq)
        self.session = self.session.doubted()
        await self.store.set_schedule(schedule, trouble=HUB_LOST_TROUBLE)

    async def _refill(self, hub_size: int) -> None:
        """A hub that says itself that it lost something: hand over what it gave us receipts for.

        If it lost nothing of ours it still learns what it signed, and what was said about us.
        """
        self.session = self.session.doubted()
        last = (await self.store.outbox()).acknowledged_seq
        first = await self._hub.first_seq_from(hub_size) or last + 1
        with suppress(Unavailable, Refused):  # the schedule has its next attempt
            count = await refill_hub(self.store, self.link, self.agency, first, last)
            log.info("hub.refilled", agency=self.agency, from_seq=first, to_seq=last, handed_over=count)

    async def _rotate(self, schedule: Schedule) -> None:
        await rotate_key(self.store, self._hub, self.keys, self.agency, self.clock.now_ms())
        self.session = self.session.doubted()
        await self._succeeded(schedule)

    async def _succeeded(self, schedule: Schedule) -> None:
        self.was_answered = True
        now_ms = self.clock.now_ms()
        await self.store.set_schedule(schedule.succeeded(now_ms), trouble=None, hub_seen_at_ms=now_ms)

    async def _own_chain(self, hub_seq: int) -> OwnChain:
        held = await self._set_ref(hub_seq)
        view = await self.store.outbox()
        return OwnChain(view.epoch, view.signed_seq, view.acknowledged_seq, held, view.is_claimed)

    async def _set_ref(self, seq: int) -> SetRef | None:
        if seq == 0:
            identity = await self.store.identity()
            return None if identity is None else SetRef(1, 0, identity.enrolment)
        held = await self.store.live_set(seq)
        return None if held is None else SetRef(held.epoch, held.seq, held.digest)

    # --- steps of our own ---

    async def _cut(self, view: OutboxView, step: Cut | Heartbeat, target_changes: int) -> None:
        """Cuts a set; where it may go out now it does, and the attempt is recorded with it."""
        place, now_ms = Place(self.agency, step.epoch, step.seq), self.clock.now_ms()
        is_due = view.schedule.is_due(now_ms, self.session.hub_seen_at_ms)
        attempt = view.schedule.attempting(now_ms, self.randomness.fraction()) if is_due else None
        cut = await cut_set(
            self.store,
            self.keys.current(),
            place,
            now_ms,
            unsent=view.unsent,
            target_changes=target_changes,
            attempt=attempt,
        )
        log.info("set.cut", agency=self.agency, seq=step.seq, epoch=step.epoch, done=cut is not None)
        if cut is None:
            return
        push = partial(self._push_outgoing, cut)
        if cut.has_erasures:
            await self.store.carry_out_erasures()
            push = partial(self._push, cut.seq)
        if attempt is not None:
            await self._recorded_attempt(attempt, "push", push)

    async def _claim(self, view: OutboxView, step: Claim) -> None:
        epoch = step.above + 1 + int.from_bytes(self.randomness.bytes(8)) % EPOCH_DRAW
        done = await self.store.claim_epoch(view.epoch, epoch)
        log.info("epoch.claimed", agency=self.agency, epoch=epoch, done=done)

    async def _recut(self, step: Recut) -> None:
        async with self.store.transaction() as transaction:
            count = await transaction.withdraw_sets(step.from_seq)
        log.info("sets.withdrawn", agency=self.agency, seq=step.from_seq, count=count)

    async def _halt(self, halt: Halt) -> None:
        log.critical("pusher.halted", agency=self.agency, reason=halt.reason.value, detail=halt.detail)
        await self.store.halt(halt, self.clock.now_ms())

    async def _tidy(self, view: OutboxView) -> None:
        """With nothing else to do: show the hub the lines it lacks, and let go of what was kept long enough."""
        now_ms = self.clock.now_ms()
        if now_ms >= self._show_again_at_ms and view.schedule.is_due(now_ms, self.session.hub_seen_at_ms):
            self._show_again_at_ms = now_ms + SHOW_AGAIN_EVERY_MS
            for held in await self.store.sets_with_hidden(SHOW_AGAIN_MAX, 1):
                await self._attempt(view, "push", partial(self._push, held.seq), seq=held.seq, again=True)
            self._after = None  # this step is followed by a rest, and what is recorded meanwhile would not be in it
        if now_ms >= self._retire_at_ms:
            self._retire_at_ms = now_ms + RETIRE_EVERY_MS
            await self.store.retire_sets(now_ms - self._keep_ms, self._keep_sets)
