"""The hub's way down to nodes that cannot be called (protocol §7.6): what each of them is told of the log.

The projector writes what is told, with the fold itself; here it is read, and waited for. Whoever waits is woken by the
projector of this process at once, and by another process's within a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final

from node.hub.evidence import EvidenceMaker, written_bytes
from node.hub.folding import unpack_state
from node.hub.log import HubLog
from node.hub.projection_ports import ProjectionStore
from node.store.complaint_keys import complaint_of
from node.store.projection_records import ComplaintRow, InboxRow, ProjectionStep, pointer_to, read_pointers
from sync_protocol.complaint_state import ComplaintState
from sync_protocol.errors import Refused, Unavailable
from sync_protocol.evidence import EvidenceFile
from sync_protocol.inbox import Note, format_place
from sync_protocol.transitions import Verdict
from sync_protocol.values import AgencyId
from sync_protocol.wire import InboxItem, InboxPage

PAGE_ITEMS: Final = 100
PAGE_BYTES: Final = 2 * 1024 * 1024  # of evidence; one item more may come on top
AGAIN_MAX: Final = 256  # changes of a history that is told again and again; of a longer one what was told is left out
WAITERS_MAX: Final = 4  # of one agency: more are its own mistake, and the oldest is answered with nothing


class Inbox:
    """Belongs to one event loop."""

    def __init__(self, log: HubLog, projection: ProjectionStore, evidence: EvidenceMaker) -> None:
        self._log = log
        self._projection = projection
        self._evidence = evidence
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._looked_to = 0
        self._is_closed = False

    async def read(self, agency: AgencyId, after: int, wait_s: float) -> InboxPage:
        """What the agency is told after a place (a pointer, -1: all); waits for the first item for so long at most."""
        deadline_s = asyncio.get_running_loop().time() + wait_s
        while True:
            woken = self._wait(agency)
            try:
                page = await self._page(agency, after)
                left_s = deadline_s - asyncio.get_running_loop().time()
                if page.items or left_s <= 0 or self._is_closed:
                    return page
                await asyncio.wait([woken], timeout=left_s)
                if not woken.done() or woken.cancelled() or self._is_closed:
                    return page
            finally:
                self._forget(agency, woken)

    def told(self, step: ProjectionStep) -> None:
        """A step of the projection was committed here."""
        self._wake({row.agency for row in step.inbox})

    async def look(self) -> None:
        """Wakes whom another process has told something since the last look."""
        if not self._waiting:
            return
        size = (await self._projection.cursor()).size
        if size > self._looked_to:
            self._wake(await self._projection.told_since(pointer_to(self._looked_to, 0)))
        self._looked_to = size

    def close(self) -> None:
        """Everybody who waits is answered now, and nobody waits any more."""
        self._is_closed = True
        self._wake(list(self._waiting))

    def _wait(self, agency: str) -> asyncio.Future[None]:
        waiting = self._waiting.setdefault(agency, [])
        still = [one for one in waiting if not one.done()]
        for one in still[: max(0, len(still) - WAITERS_MAX + 1)]:
            one.cancel()
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(woken)
        return woken

    def _forget(self, agency: str, woken: asyncio.Future[None]) -> None:
        waiting = self._waiting[agency]
        waiting.remove(woken)
        if not waiting:
            del self._waiting[agency]

    def _wake(self, agencies: Collection[str]) -> None:
        for agency in agencies:
            for woken in self._waiting.get(agency, ()):
                if not woken.done():
                    woken.set_result(None)

    async def _page(self, agency: AgencyId, after: int) -> InboxPage:
        cursor, rows = await self._projection.inbox(agency, after, PAGE_ITEMS)
        items: list[InboxItem] = []
        size = 0
        for row in rows:
            try:
                items.append(await self._item(agency, row))
            except Unavailable:
                if not items:
                    raise
                break  # what comes before it is told now
            size += sum(map(written_bytes, items[-1].evidence.sets)) if items[-1].evidence else 0
            after = row.place
            if size > PAGE_BYTES:
                break
        is_all = len(rows) < PAGE_ITEMS and (not rows or after == rows[-1].place)
        judged_to = cursor.size if is_all else after >> 16
        return InboxPage(items=items, next="" if after < 0 else format_place(*where(after)), judged_to=judged_to)

    async def _item(self, agency: AgencyId, row: InboxRow) -> InboxItem:
        refused_id, evidence = None, None
        if row.note == Note.REFUSED:
            refused_id = await self._projection.refused_id(*where(row.place))
        elif row.key is not None:
            evidence = await self.evidence(agency, row)
        return InboxItem(
            place=format_place(*where(row.place)),
            note=Note(row.note).label,
            complaint=None if row.key is None else str(complaint_of(row.key)),
            verdict=Verdict(row.verdict).label,
            id=refused_id,
            evidence=evidence,
        )

    async def evidence(self, agency: AgencyId, row: InboxRow) -> EvidenceFile:
        """Of the change, or of everything up to it; what was said only for who has to do with the complaint now.

        A set is shown with all that it does to the complaint: of two excerpts of it one always has the whole.
        """
        assert row.key is not None
        _, held = await self._projection.complaint(row.key)
        if held is None:
            raise Unavailable("the projection is being made anew", retry_after_s=5)
        is_history = row.note == Note.HISTORY
        places = [
            place
            for place in read_pointers(held.pointers)
            if place[0] == where(row.place)[0] or (is_history and pointer_to(*place) < row.place)
        ]
        if is_history and len(places) > AGAIN_MAX:
            told = await self._projection.history_told(agency, row.key, row.place)
            places = [place for place in places if told is None or place[0] > where(told)[0]]
        return await self._evidence.make(row.key, places, with_content=self._may_read(agency, held))

    async def evidence_for(self, agency: AgencyId, key: bytes) -> EvidenceFile:
        """Of all that happened to a complaint so far. Raises Refused(not-found) for who has nothing to do with it."""
        _, held = await self._projection.complaint(key)
        if held is not None:
            state: ComplaintState = unpack_state(held.state)
            with_content = self._may_read(agency, held)
            if with_content or agency == state.minted_by or self._is_desk(agency):
                places = list(read_pointers(held.pointers))
                return await self._evidence.make(key, places, with_content=with_content)
        raise Refused("not-found", "there is no such complaint, or it is another agency's", where="complaint")

    def _is_desk(self, agency: str) -> bool:
        rules = self._log.roster.rules_at(self._log.size)
        return rules is not None and agency == rules.desk

    def _may_read(self, agency: AgencyId, held: ComplaintRow) -> bool:
        rules = self._log.roster.rules_at(self._log.size)
        state: ComplaintState = unpack_state(held.state)
        is_desks = rules is not None and agency == rules.desk and state.bounces >= rules.bounce_limit
        return agency in (state.owner, state.offer_to) or is_desks


def where(place: int) -> tuple[int, int]:
    """Log index and position of a pointer."""
    return place >> 16, place & 0xFFFF
