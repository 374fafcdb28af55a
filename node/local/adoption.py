"""An old backup refills itself from the hub (protocol §10.3): our own sets come back, unsent work is kept.

Page by page, each in one transaction that leaves a whole chain, so that a crash in between only means that less is left
to do. What was unsent stays unsent, behind the adopted sets: a change whose id was adopted is dropped (it had been sent
after the backup was made), the others get a new `rev` where theirs is taken, and what is no longer legal is set aside
for the operator. Nothing is signed here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from node.local.cutting import signed_set
from node.local.hub_evidence import Contradiction
from node.local.hub_session import HubSession
from node.local.ports import LocalStore, LocalTransaction
from node.local.rebasing import AdoptedChange, AnyRules, Rebased, apply, rebase
from node.local.shared import settle
from node.ports import Clock
from node.store.complaint_keys import complaint_key, complaint_of
from node.store.local_records import (
    Acknowledgement,
    ChainEnd,
    SharedComplaint,
    SignedSet,
    WrittenChange,
)
from sync_protocol.change_set import content_leaf_indices, parse_change_set, verify_lines
from sync_protocol.complaint import ComplaintState, FoldContext
from sync_protocol.compression import compress_frames
from sync_protocol.errors import Corrupt, Refused
from sync_protocol.halts import Halt, HaltReason
from sync_protocol.heads import Adoption, SetRef, judge_adoption
from sync_protocol.hidden_lines import is_hidden_line
from sync_protocol.line import parse_change
from sync_protocol.manifest import Manifest
from sync_protocol.merkle import leaf_hash
from sync_protocol.outbox import Adopt
from sync_protocol.statement import Enrolment
from sync_protocol.strict_json import parse_object
from sync_protocol.values import AgencyId

PAGE_SETS: Final = 16  # a transaction's worth
PAGE_BYTES: Final = 16 * 1024 * 1024  # of lines; one set more may come on top

log = structlog.get_logger("simpul.pusher")


@dataclass(frozen=True, slots=True)
class FetchedSet:
    """A set of ours that the hub holds: verified, with its receipt."""

    signed: SignedSet
    prev: bytes
    receipt: bytes
    index: int
    changes: Sequence[AdoptedChange]


class Adopting:
    """One adoption. Raises Contradiction, Corrupt, and what link and store raise."""

    def __init__(self, store: LocalStore, hub: HubSession, clock: Clock, agency: AgencyId) -> None:
        self._store = store
        self._hub = hub
        self._clock = clock
        self._agency = agency

    async def run(self, step: Adopt) -> Halt | None:
        """All sets of the step; a Halt if this node turns out to have signed another one at such a place."""
        seq = step.from_seq
        while seq <= step.to_seq:
            page = await self._page(seq, step.to_seq)
            halt = await self._adopt(page)
            if halt is not None:
                return halt
            seq += len(page)
        return None

    async def _page(self, from_seq: int, to_seq: int) -> list[FetchedSet]:
        page: list[FetchedSet] = []
        size = 0
        while len(page) < min(PAGE_SETS, to_seq - from_seq + 1) and size < PAGE_BYTES:
            page.append(await self._fetch(from_seq + len(page)))
            size += sum(len(change.line) + len(change.content or b"") for change in page[-1].changes)
        return page

    async def _fetch(self, seq: int) -> FetchedSet:
        parts = await self._hub.link.fetch_set(seq)
        receipt = await self._hub.link.fetch_receipt(seq)
        evidence = await self._hub.evidence()
        try:
            change_set = parse_change_set(parts.head, parts.contents)
            manifest = change_set.manifest.manifest
            _check_place(manifest, self._agency, seq)
            evidence.verify_own(change_set.manifest, self._agency)
            lines = verify_lines(change_set)
            contents = _contents(lines.change_lines, lines.content_lines, manifest.size)
        except Refused as refused:
            raise Contradiction(refused) from None
        seen = await self._store.seen()
        index, newer = await self._hub.receipt(receipt, change_set.manifest.jws.text.encode("ascii"), seen)
        if newer is not None:
            await self._store.move_seen(newer)
        frames = (parts.head_frame, parts.contents_frame)
        head_frame, contents_frame = frames if None not in frames else compress_frames(parts.head, parts.contents)
        changes = [_adopted(line, content) for line, content in zip(lines.change_lines, contents, strict=True)]
        signed = signed_set(change_set, head_frame or b"", contents_frame or b"")
        return FetchedSet(signed, bytes(manifest.prev), receipt, index, changes)

    async def _adopt(self, page: Sequence[FetchedSet]) -> Halt | None:
        async with self._store.transaction() as transaction:
            rest = await self._acknowledge_same(transaction, page)
            if isinstance(rest, Halt):
                return rest
            if rest:
                await self._take(transaction, rest)
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
        adopted = [change for fetched in page for change in fetched.changes]
        keys = {change.key for change in adopted if change.key is not None} | {key for _, key in unsent}
        shared = await transaction.with_others(keys)
        states = await _states_at(transaction, keys - shared, end.last_no, self._context())
        states |= await self._shared_states(transaction, shared)
        rebased = rebase(unsent, adopted, states, self._context(), self._clock.now_ms())
        held = set(rebased.states)
        await transaction.forget_changes(end.last_no, keys)
        for fetched in page:
            await self._add(transaction, fetched, rebased, held)
        await transaction.record(rebased.complaints(), rebased.unsent)
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

    async def _add(
        self, transaction: LocalTransaction, fetched: FetchedSet, rebased: Rebased, held: Collection[bytes]
    ) -> None:
        """The set and its changes; `held` are the complaints that have a state here."""
        known = rebased.contents
        changes = [
            WrittenChange(
                change.key if change.key in held else None,
                change.line,
                change.content or known.get(leaf_hash(change.line)),
            )
            for change in fetched.changes
        ]
        await transaction.record(rebased.complaints_of(fetched.changes), changes)
        last_no = await transaction.last_no()
        await transaction.add_set(fetched.signed, last_no - len(changes) + 1, last_no)
        await self._acknowledge(transaction, fetched)

    async def _acknowledge(self, transaction: LocalTransaction, fetched: FetchedSet) -> None:
        signed, now_ms = fetched.signed, self._clock.now_ms()
        receipt = Acknowledgement(signed.seq, signed.digest, fetched.index, fetched.receipt, 0, 0, now_ms, None)
        if not await transaction.acknowledge(receipt):
            raise Corrupt(f"a receipt for set {signed.seq}, which is not here")

    async def _enrolments(self) -> set[bytes]:
        """Digests of every enrolment of this agency: what its first set may follow."""
        about = (await self._hub.evidence()).roster.statements_about(self._agency)
        return {bytes(logged.jws.digest) for logged in about if logged.jws.typ == Enrolment.TYP}

    def _context(self) -> FoldContext:
        """Our own changes as the log has judged them: who is enrolled or silent was decided there."""
        return FoldContext(0, str(self._agency), AnyRules(str(self._agency)), lambda _: True, lambda _: True)


async def _states_at(
    transaction: LocalTransaction, keys: set[bytes], last_no: int, context: FoldContext
) -> dict[bytes, ComplaintState]:
    """The complaints as they were after change `last_no`, folded anew from their lines."""
    states: dict[bytes, ComplaintState] = {}
    for key, line in await transaction.history(keys, last_no):
        apply(states, key, line, context)
    return states


def _check_place(manifest: Manifest, agency: AgencyId, seq: int) -> None:
    if (manifest.agency, manifest.seq) != (agency, seq):
        raise Refused("malformed", f"the hub gave another set for seq {seq}", where="manifest")


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


def _contents(change_lines: Sequence[bytes], content_lines: Sequence[bytes], size: int) -> list[bytes | None]:
    """The content line of each change, None where it has none or the hub does not show it. Raises Refused.

    In a set that announces more or fewer content lines than it has, nobody can tell: it is in the log, so it is kept.
    """
    try:
        leaves = content_leaf_indices(change_lines, size)
    except Refused:
        return [None] * len(change_lines)
    shown: dict[int, bytes] = {}
    leaf = len(change_lines)
    for line in content_lines:
        if is_hidden_line(line):
            leaf += int(parse_object(line, where="hidden line")["leaves"])
        else:
            shown[leaf] = line
            leaf += 1
    return [None if place is None else shown.get(place) for place in leaves]


def _adopted(line: bytes, content: bytes | None) -> AdoptedChange:
    try:
        change = parse_change(line)
    except Refused:
        return AdoptedChange(None, "", line, content)  # of a newer program, perhaps; it is in the log, so it is kept
    return AdoptedChange(complaint_key(change.complaint), change.id, line, content)
