"""An old backup refills itself from the hub (protocol §10.3): our own sets come back, unsent work is kept.

Page by page, each in one transaction that leaves a whole chain, so that a crash in between only means that less is left
to do. What was unsent stays unsent, behind the adopted sets: a change whose id was adopted is dropped (it had been sent
after the backup was made), the others get a new `rev` where theirs is taken, and what is no longer legal is set aside
for the operator. Nothing is signed here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

import structlog

from node.local.fetching import FetchedSet, Fetching
from node.local.hub_evidence import Contradiction
from node.local.hub_session import HubSession
from node.local.ports import LocalStore, LocalTransaction
from node.local.rebasing import AdoptedChange, AnyRules, Rebased, apply, rebase
from node.local.shared import settle
from node.ports import Clock
from node.store.complaint_keys import complaint_of
from node.store.local_records import Acknowledgement, AdoptedSet, ChainEnd, HeldChange, WrittenChange
from node.store.shared_records import SharedComplaint
from sync_protocol.complaint import ComplaintState, FoldContext
from sync_protocol.errors import Corrupt, Refused
from sync_protocol.halts import Halt, HaltReason
from sync_protocol.heads import Adoption, SetRef, judge_adoption
from sync_protocol.line import parse_change
from sync_protocol.merkle import leaf_hash
from sync_protocol.outbox import Adopt
from sync_protocol.statement import Enrolment
from sync_protocol.values import AgencyId

log = structlog.get_logger("simpul.pusher")


class Adopting:
    """One adoption; `sets` of them came back so far. Raises Contradiction, Corrupt, and what link and store raise."""

    def __init__(self, store: LocalStore, hub: HubSession, clock: Clock, agency: AgencyId) -> None:
        self._store = store
        self._hub = hub
        self._clock = clock
        self._agency = agency
        self.sets = 0

    async def run(self, step: Adopt) -> Halt | None:
        """All sets of the step; a Halt if this node turns out to have signed another one at such a place.

        That it is complete is stored with the last of them.
        """
        fetching = Fetching(self._store, self._hub, self._agency, step.from_seq, step.to_seq)
        try:
            while not fetching.is_over:
                page = await fetching.some()
                halt = await self._adopt(page, is_last=fetching.is_over)
                if halt is not None:
                    return halt
                self.sets += len(page)
        finally:
            await fetching.stop()
        return None

    async def _adopt(self, page: Sequence[FetchedSet], *, is_last: bool) -> Halt | None:
        async with self._store.transaction() as transaction:
            rest = await self._acknowledge_same(transaction, page)
            if isinstance(rest, Halt):
                return rest
            if rest:
                await self._take(transaction, rest)
            if is_last:
                await transaction.note_adoption(self._clock.now_ms())
        return None

    async def _acknowledge_same(
        self, transaction: LocalTransaction, page: Sequence[FetchedSet]
    ) -> Sequence[FetchedSet] | Halt:
        """Receipts for the sets that we hold ourselves; what is left from the first that we do not."""
        for place, fetched in enumerate(page):
            signed = fetched.signed
            held = await transaction.live_set(signed.seq)
            own = None if held is None else SetRef(held.epoch, held.seq, held.digest)
            match judge_adoption(own, SetRef(signed.epoch, signed.seq, signed.digest)):
                case Adoption.FORKED:
                    detail = f"this node and the hub hold different sets for epoch {signed.epoch}, seq {signed.seq}"
                    return Halt(HaltReason.FORKED, detail)
                case Adoption.TAKE:
                    return page[place:]
                case Adoption.ACKNOWLEDGE:
                    await self._acknowledge(transaction, fetched)
        return []

    async def _take(self, transaction: LocalTransaction, page: Sequence[FetchedSet]) -> None:
        """Sets that we do not hold come before everything that is unsent."""
        first_seq = page[0].signed.seq
        await transaction.withdraw_sets(first_seq)
        end = await transaction.chain_end()
        _check_chain(end, page, await self._enrolments())
        unsent = await transaction.changes(end.last_no)
        adopted = [one for fetched in page for one in fetched.changes]
        keys = {one.key for one in adopted if one.key is not None} | {key for _, key in unsent}
        shared = await transaction.with_others(keys)
        known = await self._shared_states(transaction, shared)
        history = await transaction.history(keys - shared, end.last_no)
        context = self._context()
        # In a thread: folding thousands of changes would keep the intake waiting.
        rebased = await asyncio.to_thread(_rebased, known, history, unsent, adopted, context, self._clock.now_ms())
        await transaction.forget_changes(end.last_no, keys)
        await transaction.record(rebased.complaints(), _written(adopted, rebased))
        await transaction.add_adopted(self._placed(page, await transaction.last_no()))
        await transaction.record([], rebased.unsent)
        await transaction.add_set_aside(rebased.aside)
        log.info(
            "sets.adopted",
            agency=self._agency,
            seq=first_seq,
            count=len(page),
            unsent=len(rebased.unsent),
            set_aside=len(rebased.aside),
        )

    async def _shared_states(
        self, transaction: LocalTransaction, keys: Collection[bytes]
    ) -> dict[bytes, ComplaintState]:
        """As far as the log's order is known here; the inbox settles them when it has told the rest."""
        states: dict[bytes, ComplaintState] = {}
        for key in sorted(keys):
            await transaction.mark_unsettled(key, is_unsettled=True)
            shared = await transaction.shared(key)
            known = SharedComplaint([own for own in shared.own if own.place is not None], shared.foreign)
            settled = settle(known, complaint_of(key), str(self._agency), whole=False)
            if settled is not None:
                states[key] = settled.state
        return states

    def _placed(self, page: Sequence[FetchedSet], last_no: int) -> list[AdoptedSet]:
        """The sets over their changes, of which the last is the last that was recorded."""
        placed: list[AdoptedSet] = []
        no = last_no - sum(len(fetched.changes) for fetched in page)
        for fetched in page:
            first_no, no = no + 1, no + len(fetched.changes)
            placed.append(AdoptedSet(fetched.signed, first_no, no, self._receipt(fetched)))
        return placed

    async def _acknowledge(self, transaction: LocalTransaction, fetched: FetchedSet) -> None:
        if not await transaction.acknowledge(self._receipt(fetched)):
            raise Corrupt(f"a receipt for set {fetched.signed.seq}, which is not here")

    def _receipt(self, fetched: FetchedSet) -> Acknowledgement:
        signed, now_ms = fetched.signed, self._clock.now_ms()
        return Acknowledgement(signed.seq, signed.digest, fetched.index, fetched.receipt, 0, 0, now_ms, None)

    async def _enrolments(self) -> set[bytes]:
        """Digests of every enrolment of this agency: what its first set may follow."""
        about = (await self._hub.evidence()).roster.statements_about(self._agency)
        return {bytes(logged.jws.digest) for logged in about if logged.jws.typ == Enrolment.TYP}

    def _context(self) -> FoldContext:
        """Our own changes as the log has judged them: who is enrolled or silent was decided there."""
        return FoldContext(0, str(self._agency), AnyRules(str(self._agency)), lambda _: True, lambda _: True)


def _rebased(
    known: Mapping[bytes, ComplaintState],
    history: Sequence[tuple[bytes, bytes]],
    unsent: Sequence[tuple[HeldChange, bytes]],
    adopted: Sequence[AdoptedChange],
    context: FoldContext,
    now_ms: int,
) -> Rebased:
    """On the complaints as they were after `history`, folded anew from its lines, and those that are `known`."""
    states = dict(known)
    for key, line in history:
        apply(states, key, parse_change(line), line, context)
    return rebase(unsent, adopted, states, context, now_ms)


def _written(adopted: Sequence[AdoptedChange], rebased: Rebased) -> list[WrittenChange]:
    """The adopted changes, each with its words: the hub's, or where it hides them those of the unsent copy."""
    return [
        WrittenChange(
            one.key if one.key in rebased.states else None,
            one.line,
            one.content or rebased.contents.get(leaf_hash(one.line)),
        )
        for one in adopted
    ]


def _check_chain(end: ChainEnd, page: Sequence[FetchedSet], enrolments: Collection[bytes]) -> None:
    """That each set follows the one before, the first one an enrolment of this agency. Raises Contradiction."""
    seq, follows, epoch = end.seq, {bytes(end.digest)}, end.epoch
    if seq == 0:
        follows |= set(enrolments)
    for fetched in page:
        signed = fetched.signed
        if signed.seq != seq + 1 or fetched.prev not in follows or signed.epoch < epoch:
            raise Contradiction(Refused("bad-proof", f"set {signed.seq} does not follow set {seq}"))
        seq, follows, epoch = signed.seq, {bytes(signed.digest)}, signed.epoch
