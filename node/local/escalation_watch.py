"""Bringing what is overdue anywhere to the desk, with evidence (docs/deadlines.md, "Escalation").

A look reads the hub's list, keeps it, and then asks for the evidence of what is new or has moved since, a complaint at
a time. What was kept stays as it is while the hub is away, recovering or folding its log anew. A look that was cut off
anywhere is made again: everything that it does may be repeated.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from contextlib import suppress
from typing import Final

import msgspec
import structlog

from node.deadlines.overdue import OverdueLine
from node.local.escalation_book import EscalationBook, bundle_name
from node.local.escalation_evidence import EscalationCheck, Moved, remains
from node.local.escalation_types import Escalation, EscalationEvidence, EscalationFinding, EscalationList, Recallable
from node.local.federation import Federation
from node.local.hub_evidence import Contradiction
from node.local.ports import DeskLink, LocalStore
from node.logs import words_of
from node.ports import Clock
from sync_protocol.errors import Corrupt, Refused, SimpulError, Unavailable
from sync_protocol.evidence import EvidenceFile
from sync_protocol.problems import Busy, Recovering
from sync_protocol.values import AgencyId, ComplaintId, format_timestamp, parse_timestamp
from sync_protocol.wire import AsOf

LOOK_EVERY_S: Final = 300.0  # limits pass at full hours; five minutes later the desk has it
PAUSE_S: Final = 60.0  # after a look that failed, then twice as long each time …
PAUSE_MAX_S: Final = 1_800.0  # … up to this: the hub has other things to do when it comes back
FAILURES_COUNTED: Final = 10  # the pause has been the longest for long by then
ESCALATIONS_MAX: Final = 2_000  # kept, the longest overdue: more than a desk reads, 2 MiB in memory
OF_ONE_MAX: Final = 400  # of one agency: whoever dates complaints back hides nobody else's
PAGE: Final = 200  # as many as the hub gives at once
PAGES_MAX: Final = 100  # read in one look; the desk's own complaints stand among the others
BUNDLES_MAX: Final = 500  # asked for in one look: some ten seconds of work for hub and node; the others at the next
BATCH: Final = 25  # bundles after which the list is written: so much is asked for again after a crash
BUSY_MAX: Final = 20  # bundles that the hub does not give: the others are left for the next look
AWAY_MAX: Final = 3  # bundles in a row that could not be had: then it is the hub that is away
FAILURE_CHARACTERS_MAX: Final = 500  # of a detail that is kept; it may quote the hub

_NEXT: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")

log = structlog.get_logger("simpul.escalations")


class EscalationWatch:
    """Of one process. Several of one directory take turns; agencies that are not the desk look at nothing."""

    def __init__(
        self,
        book: EscalationBook,
        link: DeskLink,
        check: EscalationCheck,
        store: LocalStore,
        federation: Federation,
        clock: Clock,
        agency: AgencyId,
    ) -> None:
        self._book = book
        self._link = link
        self._check = check
        self._store = store
        self._federation = federation
        self._clock = clock
        self._agency = agency

    async def run(self, *, look_every_s: float = LOOK_EVERY_S, pause_s: float = PAUSE_S) -> None:
        """Looks until it is cancelled, which may happen anywhere. A look that fails is made again, later and later."""
        failures = 0
        while True:
            wait_s = look_every_s
            try:
                if await self.is_desk():
                    await self.look()
                failures = 0
            except Exception as error:  # noqa: BLE001 - the hub away, a full disk: what is overdue stays overdue
                log.warning("escalations.failed", agency=self._agency, error=words_of(error))
                wish_s = getattr(error, "retry_after_s", None) or 0.0
                wait_s = max(wish_s, min(pause_s * 2**failures, PAUSE_MAX_S))
                failures = min(failures + 1, FAILURES_COUNTED)
            await self._clock.sleep(wait_s)

    async def is_desk(self) -> bool:
        """By the newest rules that this node holds, also of another process."""
        if self._federation.desk != self._agency:
            await self._federation.read_rules(self._store)
        return self._federation.desk == self._agency

    async def learn_rules(self) -> None:
        """Asks the hub for the newest rules; while it is away, those that are held count."""
        with suppress(Unavailable):
            await self._check.hub.refresh()
        await self._federation.read_rules(self._store)

    async def look(self) -> bool:
        """One look; False if another process is at it. Raises Refused, Unavailable, Contradiction, OSError.

        Why it failed is kept with the list.
        """
        with self._book.alone() as is_alone:
            if not is_alone:
                return False
            try:
                held = await self._listed(await self._held())
                await self._save(held)
                await self._bring_evidence(held)
            except (SimpulError, OSError) as error:
                await self._note(error)
                raise
        return True

    async def _note(self, error: Exception) -> None:
        """Why a look failed; where the hub takes somebody else for the desk, who it is by the rules of now."""
        held = await self._held()
        await self._save(msgspec.structs.replace(held, trouble=_trouble(error), failed_at=self._now()))
        if isinstance(error, Refused) and error.kind == "wrong-agency":
            await self.learn_rules()

    async def _held(self) -> EscalationList:
        """What is here; nothing where it cannot be read any more, because the hub has it all."""
        try:
            return await asyncio.to_thread(self._book.load)
        except Corrupt as damaged:
            log.warning("escalations.damaged", agency=self._agency, error=str(damaged))
            return EscalationList()

    async def _save(self, held: EscalationList) -> None:
        await asyncio.to_thread(self._book.save, held)

    async def _listed(self, held: EscalationList) -> EscalationList:
        """The list as the hub has it now, with what is known here of each."""
        lines, as_of, more = await self._overdue()
        # No further than a checkpoint proves: else one wrong word of the hub's would stand in the way for ever.
        before_size = 0 if held.as_of is None else min(held.as_of.size, (await self._store.seen()).size)
        if as_of.size < before_size:
            detail = f"the hub answers as of log size {as_of.size}, and did as of {before_size} before"
            raise Unavailable(f"{detail}: it folds its log anew, or was restored")
        await self._federation.look_up_silence(self._link)
        before = {one.complaint: one for one in held.escalations}
        now = self._now()
        found = [self._followed(_read(line, now), before.get(line.complaint)) for line in lines]
        named = [one.evidence.file for one in found] + [one.finding.file for one in found if one.finding is not None]
        await asyncio.to_thread(self._book.tidy, {name for name in named if name is not None})
        _log_changes(self._agency, before, found)
        return EscalationList(as_of=as_of, looked_at=now, more=more, escalations=found)

    async def _overdue(self) -> tuple[list[OverdueLine], AsOf, bool]:
        """Of other agencies, the longest overdue first; and whether there are more. Pages until there are enough."""
        found: dict[str, OverdueLine] = {}
        counts: Counter[str] = Counter()
        after, is_all = "", True
        for _ in range(PAGES_MAX):
            page = await self._link.overdue(after, PAGE)
            for line in page.complaints:
                if line.agency != self._agency:
                    counts[line.agency] += 1
                    is_kept = counts[line.agency] <= OF_ONE_MAX and len(found) < ESCALATIONS_MAX
                    found |= {line.complaint: line} if is_kept else {}
                    is_all &= is_kept
            after = page.next or ""
            if not after or len(found) >= ESCALATIONS_MAX:
                break
            if not _NEXT.fullmatch(after):
                raise Unavailable("the answer is not a hub's: its `next` is none")
        return list(found.values()), page.as_of, bool(after) or not is_all

    def _followed(self, fresh: Escalation, before: Escalation | None) -> Escalation:
        """With what is known since an earlier look, as far as it is still about the same."""
        if before is None or (before.owner, before.duty) != (fresh.owner, fresh.duty):
            return self._with_ground(fresh)
        kept = {"noticed_at": before.noticed_at, "tracking": before.tracking, "finding": before.finding}
        fresh = msgspec.structs.replace(fresh, **kept)
        told = (fresh.rev, fresh.state, fresh.due_at)
        bundle = before.evidence
        if told == (before.rev, before.state, before.due_at):
            fresh = msgspec.structs.replace(fresh, evidence=bundle, bounces=before.bounces)
        return self._with_ground(fresh)

    def _with_ground(self, one: Escalation) -> Escalation:
        ground: Recallable | None = None
        if one.bounces is not None and one.bounces >= self._federation.bounce_limit:
            ground = "bounced"
        elif self._federation.is_silent(one.owner):
            ground = "silent"
        return msgspec.structs.replace(one, recall=ground)

    async def _bring_evidence(self, held: EscalationList) -> None:
        """Of those that are not settled, who has waited longest first. Raises Unavailable where the hub is away."""
        escalations = list(held.escalations)
        wanted = await asyncio.to_thread(self._unsettled, escalations)
        away, busy, unsaved = 0, 0, 0
        for place in wanted[:BUNDLES_MAX]:
            try:
                escalations[place] = self._with_ground(await self._evidenced(escalations[place]))
                away = 0
            except (Unavailable, Refused) as error:  # a word of the hub's proves nothing: a finding is shown evidence
                escalations[place] = self._waiting(escalations[place], str(error))
                is_there = isinstance(error, (Busy, Refused))  # it lacks the lines, or has not folded so far again
                away, busy = (0, busy + 1) if is_there else (away + 1, busy)
            unsaved += 1
            if away == AWAY_MAX or busy == BUSY_MAX:
                break
            if unsaved == BATCH:
                await self._save(msgspec.structs.replace(held, escalations=escalations))
                unsaved = 0
        if unsaved:
            await self._save(msgspec.structs.replace(held, escalations=escalations))
        if away == AWAY_MAX:
            raise Unavailable("the hub went away while it was asked for evidence; the rest is asked for again")

    def _unsettled(self, escalations: list[Escalation]) -> list[int]:
        """Places in the list. Waits for the disk, a file at a time."""
        wanted = [place for place, one in enumerate(escalations) if not self._is_settled(one)]
        return sorted(wanted, key=lambda place: escalations[place].evidence.asked_at or "")

    def _is_settled(self, one: Escalation) -> bool:
        """Its evidence is verified, and still here if it was kept."""
        bundle = one.evidence
        return bundle.status == "verified" and (bundle.file is None or self._book.has(bundle.file))

    async def _evidenced(self, one: Escalation) -> Escalation:
        """With what came of its evidence. Raises Unavailable, and Refused where the hub gives none, or no proof."""
        evidence = await self._link.evidence(one.complaint)
        try:
            proven = await self._check.prove(evidence, one, self._clock.now_ms())
        except Contradiction as found:
            return await self._with_finding(one, found.refused, evidence)
        if isinstance(proven, Moved):
            return self._waiting(one, proven.detail)
        file = await asyncio.to_thread(self._book.keep, bundle_name(one.complaint), proven.data)
        state, size, now = proven.state, proven.log_size, self._now()
        bundle = EscalationEvidence(status="verified", asked_at=now, rev=state.rev, log_size=size, file=file)
        finding = one.finding
        if finding is not None:
            finding = msgspec.structs.replace(finding, cleared_at=finding.cleared_at or now)
        known = {"evidence": bundle, "tracking": state.tracking, "bounces": state.bounces, "finding": finding}
        return msgspec.structs.replace(one, **known)

    async def _with_finding(self, one: Escalation, refused: Refused, evidence: EvidenceFile) -> Escalation:
        detail = str(refused)[:FAILURE_CHARACTERS_MAX]
        bundle = EscalationEvidence(status="not_verified", asked_at=self._now(), detail=detail)
        if one.finding is not None and (one.finding.kind, one.finding.detail) == (refused.kind, detail):
            again = msgspec.structs.replace(one.finding, cleared_at=None)
            return msgspec.structs.replace(one, evidence=bundle, finding=again)
        left = await asyncio.to_thread(remains, evidence)
        file = await asyncio.to_thread(self._book.keep, bundle_name(one.complaint, holds=False), left)
        log.error("escalations.not_verified", agency=self._agency, complaint=one.complaint, kind=refused.kind)
        finding = EscalationFinding(kind=refused.kind, detail=detail, at=self._now(), file=file)
        return msgspec.structs.replace(one, evidence=bundle, finding=finding)

    def _waiting(self, one: Escalation, detail: str) -> Escalation:
        bundle = EscalationEvidence(status="waiting", asked_at=self._now(), detail=detail[:FAILURE_CHARACTERS_MAX])
        return msgspec.structs.replace(one, evidence=bundle)

    def _now(self) -> str:
        return format_timestamp(self._clock.now_ms())


def _read(line: OverdueLine, now: str) -> Escalation:
    """A line of the hub's list. Raises Unavailable for one that no hub writes."""
    try:
        parse_timestamp(line.due_at or "", "due_at")
        fields = {
            "complaint": str(ComplaintId.parse(line.complaint)),
            "owner": str(AgencyId.parse(line.agency)),
            "state": line.state,
            "rev": line.rev,
            "duty": line.duty,
            "due_at": line.due_at,
            "noticed_at": now,
            "unreachable": line.unreachable,
            "evidence": EscalationEvidence(status="waiting"),
        }
        return msgspec.convert(fields, Escalation, from_attributes=True)
    except (Refused, msgspec.ValidationError) as error:
        raise Unavailable(f"the answer is not a hub's: a line of what is overdue is wrong: {error}") from None


def _trouble(error: Exception) -> str:
    """In words for the desk."""
    if isinstance(error, Recovering):
        return f"the hub is recovering a part of its log: {error.detail}"[:FAILURE_CHARACTERS_MAX]
    return words_of(error)[:FAILURE_CHARACTERS_MAX]


def _log_changes(agency: AgencyId, before: dict[str, Escalation], found: list[Escalation]) -> None:
    fresh = sum(one.complaint not in before for one in found)
    gone = len(before) + fresh - len(found)
    if fresh or gone:
        log.info("escalations.listed", agency=agency, noticed=fresh, gone=gone, listed=len(found))
