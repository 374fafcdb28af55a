"""Taking in what the hub tells (protocol §7.6, §10.7): each item verified against the log, then in one transaction with
the place that was read.

At least once: an item that comes again changes nothing. In the order of the log: what is told later was judged later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from node.local.evidence_check import foreign_set, verify_against_log
from node.local.federation import Federation
from node.local.hub_evidence import Contradiction, contradiction
from node.local.hub_session import HubSession
from node.local.ports import InboxLink, LocalStore, LocalTransaction
from node.local.shared import erased_here, erased_leaves, settle
from node.logs import words_of
from node.ports import Clock
from node.store.complaint_keys import complaint_key, complaint_of
from node.store.local_records import HeldStatement, WrittenComplaint
from node.store.shared_records import ForeignSet, Refusal, SharedComplaint
from sync_protocol.errors import Refused
from sync_protocol.evidence import EvidenceFile, EvidenceStatement, OpenEvidence
from sync_protocol.excerpt import count_shown
from sync_protocol.inbox import Note, format_place, parse_place
from sync_protocol.jws import parse_jws
from sync_protocol.limits import FORK_JWS_MAX_BYTES
from sync_protocol.line import parse_change
from sync_protocol.receipt import parse_receipt
from sync_protocol.transitions import Verdict
from sync_protocol.values import AgencyId, ComplaintId
from sync_protocol.wire import InboxItem

WAIT_FIRST_S: Final = 20.0  # below the half minute that any proxy allows; then twice as long each time …
WAIT_MAX_S: Final = 240.0  # … up to this: the hub says a space now and then, but a proxy may keep it to itself
PAUSE_S: Final = 5.0  # after a failure: of the hub, the line, or something that does not hold
PAUSE_MAX_S: Final = 300.0
REFRESH_S: Final = 900.0  # how old the list of agencies may be

log = structlog.get_logger("simpul.inbox")


class Inbox:
    """Of one process. Several of one directory may read: what one has taken in, another finds done."""

    def __init__(
        self,
        store: LocalStore,
        link: InboxLink,
        hub: HubSession,
        federation: Federation,
        clock: Clock,
        agency: AgencyId,
    ) -> None:
        self._store = store
        self._link = link
        self._hub = hub
        self._federation = federation
        self._clock = clock
        self._agency = agency
        self._knows_rules = False
        self._kept: set[int] = set()  # statements by index, of which it is known that the store has them
        self._refreshed_s: float | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set or it is cancelled."""
        pause_s, wait_s = PAUSE_S, WAIT_FIRST_S
        while not stop.is_set():
            try:
                await self.round(wait_s)
                pause_s, wait_s = PAUSE_S, min(2 * wait_s, WAIT_MAX_S)
            except Exception as error:  # noqa: BLE001 - the hub away, a full disk: what is told waits for us
                log.info("inbox.failed", agency=self._agency, error=words_of(error))
                await self._clock.sleep(pause_s)
                pause_s, wait_s = min(2 * pause_s, PAUSE_MAX_S), WAIT_FIRST_S

    async def drain(self) -> int:
        """Takes in what there is now; how many items."""
        count = 0
        while taken := await self.round(0):
            count += taken
        return count

    async def round(self, wait_s: float) -> int:
        """One page; how many items it had. Raises Contradiction, Unavailable, Refused, and what the store raises."""
        await self._prepare()
        place = await self._store.inbox_place()
        page = await self._link.inbox("" if place < 0 else format_place(place >> 16, place & 0xFFFF), wait_s)
        for item in page.items:
            place = await self._take(item, place)
        if await self._store.has_unsettled():
            await self._settle_rest()
        return len(page.items)

    async def fetch(self, complaint: ComplaintId) -> None:
        """A complaint as it is in the log now, whoever owns it: what the desk does before it recalls one.

        Raises Refused(not-found) if the hub does not show it to this agency, and as `round`.
        """
        evidence = await self._link.evidence(str(complaint))
        verified = await self._verify(evidence, complaint)
        async with self._store.transaction() as transaction:
            await self._put(transaction, verified, evidence)

    async def _prepare(self) -> None:
        if not self._knows_rules:
            if not await self._federation.read_rules(self._store):
                await self._hub.refresh()  # a node of before rules were told: its statements lack them
                await self._federation.read_rules(self._store)
            self._knows_rules = True
        now_s = self._clock.monotonic_s()
        if self._refreshed_s is None or now_s - self._refreshed_s > REFRESH_S:
            self._federation.learn(await self._link.agencies())
            self._refreshed_s = now_s

    async def _take(self, item: InboxItem, before: int) -> int:
        index, position = parse_place(item.place)
        place = index << 16 | position
        if place <= before:
            raise contradiction("bad-proof", f"the hub tells of {item.place} after later ones")
        if item.note == Note.REFUSED.label:
            await self._take_refusal(item, place)
            return place
        if item.evidence is None or item.complaint is None:
            raise contradiction("bad-proof", f"the hub tells of {item.place} without any evidence")
        complaint = ComplaintId.parse(item.complaint)
        verified = await self._verify(item.evidence, complaint)
        if not any((one.index, one.position) == (index, position) for one in verified.changes):
            raise contradiction("bad-proof", f"the evidence does not show the change at {item.place}")
        async with self._store.transaction() as transaction:
            if await transaction.inbox_place() < place:
                if item.note == Note.ERASED.label:
                    await self._erase(transaction, verified)
                else:
                    await self._put(transaction, verified, item.evidence)
                await transaction.move_inbox(place)
        await self._store.carry_out_erasures()
        log.info("inbox.taken", agency=self._agency, place=item.place, note=item.note, complaint=item.complaint)
        return place

    async def _take_refusal(self, item: InboxItem, place: int) -> None:
        known = {verdict.label for verdict in Verdict if verdict is not Verdict.APPLIED}
        if item.verdict not in known:
            raise contradiction("bad-proof", f"{item.place} is refused for no reason that there is")
        key = None if item.complaint is None else complaint_key(ComplaintId.parse(item.complaint))
        async with self._store.transaction() as transaction:
            if await transaction.inbox_place() >= place:
                return
            line = await transaction.own_line(place)
            if line is not None and key is not None and _names(line) not in (None, (item.id, item.complaint)):
                raise contradiction("bad-proof", f"the change at {item.place} is another one than the hub refuses")
            refusal = Refusal(place, key, (item.id or "")[:36], item.verdict, self._clock.now_ms())
            await transaction.refuse([refusal])
            if key is not None:
                await self._settle(transaction, key)
            await transaction.move_inbox(place)
        log.warning("change.refused", agency=self._agency, place=item.place, verdict=item.verdict)

    async def _verify(self, evidence: EvidenceFile, complaint: ComplaintId) -> OpenEvidence:
        """Verified against the log; its statements are kept."""
        verified = await verify_against_log(self._store, self._hub, evidence, complaint)
        await self._keep_statements(evidence)
        return verified

    async def _keep_statements(self, evidence: EvidenceFile) -> None:
        """Those of other agencies, too: their signatures are shown by them when this node hands the complaint on."""
        shown = [one for one in map(_held, evidence.statements) if one.index not in self._kept]
        if not shown:
            return
        held = {statement.index for statement in await self._store.statements()}
        fresh = [one for one in shown if one.index not in held]
        if fresh:
            await self._store.add_statements(fresh)
            self._hub.forget()
            await self._federation.read_rules(self._store)
        self._kept |= held | {one.index for one in fresh}

    async def _put(self, transaction: LocalTransaction, verified: OpenEvidence, evidence: EvidenceFile) -> None:
        """What others did, merged with what is here, and the complaint as it is then."""
        key = complaint_key(verified.complaint)
        held = await transaction.shared(key)
        known = {one.index: one for one in held.foreign}
        # Evidence that was made before words were erased may come after; what is gone here does not come back.
        gone = erased_leaves(one.change for one in verified.changes) | erased_here(held, verified.complaint)
        fresh = [
            one
            for shown in evidence.sets
            if (one := foreign_set(shown.lines, shown.receipt, gone)).agency != self._agency
            and _shows_more(one, known.get(one.index))
        ]
        if not await transaction.complaints([key]):
            await self._begin(transaction, key, verified, fresh)
        await transaction.put_foreign(key, fresh)
        await self._settle(transaction, key)

    async def _begin(
        self, transaction: LocalTransaction, key: bytes, verified: OpenEvidence, fresh: Sequence[ForeignSet]
    ) -> None:
        """A complaint that was not here: the row first, so that what belongs to it can be found by it."""
        born = settle(SharedComplaint([], fresh), verified.complaint, str(self._agency))
        if born is None:
            raise contradiction("bad-proof", f"the evidence does not show how {verified.complaint} began")
        await transaction.record([WrittenComplaint(key, born.state, self._clock.now_ms(), born.clocks)], [])
        await transaction.adopt_orphans(key, str(verified.complaint))

    async def _settle(self, transaction: LocalTransaction, key: bytes) -> None:
        try:
            settled = settle(await transaction.shared(key), complaint_of(key), str(self._agency))
        except Refused as refused:
            raise Contradiction(refused) from None
        if settled is not None:
            await transaction.record([WrittenComplaint(key, settled.state, self._clock.now_ms(), settled.clocks)], [])
            await transaction.mark_unsettled(key, is_unsettled=not settled.is_final)

    async def _settle_rest(self) -> None:
        """Complaints of which something of ours had no place in the log yet when others' changes came."""
        async with self._store.transaction() as transaction:
            for key in await transaction.unsettled():
                try:
                    await self._settle(transaction, key)
                except Contradiction as found:  # it stays unsettled; that is no reason not to settle the others
                    log.warning("inbox.unsettled", agency=self._agency, complaint=complaint_of(key), error=str(found))

    async def _erase(self, transaction: LocalTransaction, verified: OpenEvidence) -> None:
        """Takes the words out that an `erased` names, in our own sets and in what is shown of others' (§3.4)."""
        key = complaint_key(verified.complaint)
        await transaction.note_erasures(key, sorted(erased_leaves(one.change for one in verified.changes)))


def _held(statement: EvidenceStatement) -> HeldStatement:
    jws = parse_jws(statement.statement, max_bytes=FORK_JWS_MAX_BYTES)
    index = parse_receipt(statement.receipt.encode("utf-8")).index
    return HeldStatement(index, jws.digest, jws.text, statement.receipt)


def _shows_more(fresh: ForeignSet, known: ForeignSet | None) -> bool:
    """A copy with less in it never takes the place of one with more."""
    return known is None or count_shown(fresh.lines) > count_shown(known.lines)


def _names(line: bytes) -> tuple[str, str] | None:
    """The change's id and its complaint's; None where the line says neither."""
    try:
        change = parse_change(line)
    except Refused:
        return None
    return change.id, change.complaint
