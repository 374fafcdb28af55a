"""GeoReport on a local node: what comes in is recorded like everything else, what goes out is what everybody may read.

A request's id is the complaint's id, which says nothing but who minted it and when. The tracking number is the
reporter's own: it is a token here, told to whoever reports, and stands in no list.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from node.channels.open311.documents import Value
from node.channels.open311.endpoint import Taken
from node.channels.open311.mapping import Facts, Said, Update, is_listed, service_request, status_of
from node.channels.open311.node_intake import CHANNEL, NodeIntake
from node.channels.open311.queries import RequestsWanted
from node.channels.open311.reports import Reply, Report
from node.channels.open311.services import Services
from node.channels.open311.told import Lines, due_ms, is_looked_at, read_history, said_in, updates_in
from node.deadlines.tables import Deadlines
from node.local.evidence import check_words, find_complaint
from node.local.ports import LocalStore
from node.local.service import LocalService
from node.local.shared import lines_among
from node.local.tokens import check_channel_key
from node.store.local_records import ComplaintFilter, HeldComplaint
from sync_protocol.complaint import State
from sync_protocol.errors import Refused, malformed
from sync_protocol.values import format_timestamp

PIECE: Final = 200  # complaints whose lines are read and told at once, some ten milliseconds
LOOKED_MAX: Final = 20_000  # complaints looked through for one answer, of which few may match: half a second
CHANGED_MAX: Final = 5_000  # complaints whose whole history is read for one answer of updates

_STATES: Final = {
    status: tuple(state for state in State if state is not State.NONE and status_of(state) == status)
    for status in ("open", "closed")
}


class NodeDesk:
    """See Desk. `name_of` writes an agency's name; `deadlines` are this desk's alone."""

    others: Sequence[str] = ()

    def __init__(
        self, service: LocalService, services: Services, name_of: Callable[[str], str], deadlines: Deadlines
    ) -> None:
        self._store: LocalStore = service.store
        self._services = services
        self._shows_at_once = services.table.show_words == "at_once"
        self._name_of = name_of
        self._deadlines = deadlines
        self._telling = asyncio.Lock()  # one thread at a time: the deadlines remember what they worked out
        self._intake = NodeIntake(service)

    async def requests(self, wanted: RequestsWanted) -> list[Mapping[str, Value]]:
        if wanted.ids:
            named = {one.no: one async for one in self._named(wanted) if self._is_listed(one, wanted)}
            return await self._tell([*named.values()])
        return await self._tell(await self._listed(wanted))

    async def request(self, name: str, jurisdiction: str | None) -> Mapping[str, Value]:
        held = await self._find(name, jurisdiction)
        return (await self._tell([held]))[0]

    async def request_id(self, token: str, jurisdiction: str | None) -> str:
        held = await self._find(token, jurisdiction)
        if str(held.id) == token:
            raise Refused("not-found", "token was not found", where="token")
        return str(held.id)

    async def updates(self, wanted: RequestsWanted) -> list[Update]:
        await check_words(self._store)
        found: list[Update] = []
        from_at, to_at = format_timestamp(max(wanted.from_ms, 0)), format_timestamp(wanted.to_ms)
        changed = ComplaintFilter(changed_from_ms=wanted.from_ms, limit=PIECE)
        complaints = self._named(wanted) if wanted.ids else self._pages(changed, CHANGED_MAX)
        async for piece in _pieces(complaints):
            shown = [one for one in piece if self._is_listed(one, wanted)]
            lines = await lines_among(self._store, shown)
            found += await asyncio.to_thread(_updates, shown, lines, from_at, to_at if not wanted.ids else None)
        found.sort(key=lambda update: (update.at, update.request_id))  # of one request and moment: as it was done
        return found[wanted.skip : wanted.skip + wanted.take]

    def check_takes_in(self) -> None:
        """A node always does."""

    async def client(self, api_key: str | None) -> str:
        return await check_channel_key(self._store, CHANNEL, api_key)

    async def report(self, client: str, report: Report, key: str | None) -> Taken:
        return await self._intake.report(client, report, key)

    async def reply(self, client: str, reply: Reply, key: str | None) -> Taken:
        held = await find_complaint(self._store, reply.request_id)
        return await self._intake.reply(client, reply, held, key)

    async def _find(self, name: str, jurisdiction: str | None) -> HeldComplaint:
        held = await find_complaint(self._store, name)
        if jurisdiction not in (None, held.state.owner):
            raise Refused("not-found", "no such service request belongs to this jurisdiction", where="jurisdiction_id")
        return held

    async def _named(self, wanted: RequestsWanted) -> AsyncIterator[HeldComplaint]:
        for name in wanted.ids:
            try:
                yield await self._find(name, wanted.jurisdiction)
            except Refused:
                continue

    async def _listed(self, wanted: RequestsWanted) -> list[HeldComplaint]:
        """The page that is asked for."""
        states = [state for status in sorted(wanted.statuses) for state in _STATES[status]]
        received = ComplaintFilter(
            states=states, received_from_ms=wanted.from_ms, received_to_ms=wanted.to_ms, limit=PIECE
        )
        found: list[HeldComplaint] = []
        async for held in self._pages(received, LOOKED_MAX):
            if self._is_listed(held, wanted):
                found.append(held)
                if len(found) == wanted.skip + wanted.take:
                    break
        return found[wanted.skip :]

    async def _pages(self, wanted: ComplaintFilter, most: int) -> AsyncIterator[HeldComplaint]:
        """Newest first. Raises Refused(malformed) after `most`."""
        looked = 0
        while page := await self._store.complaints(wanted):
            for held in page:
                yield held
            if len(page) < wanted.limit:
                break
            looked += len(page)
            if looked >= most:
                raise malformed(f"this looks through more than {most} requests: narrow the dates", "start_date")
            wanted = replace(wanted, before_no=page[-1].no)

    def _is_listed(self, held: HeldComplaint, wanted: RequestsWanted) -> bool:
        """The conditions that are not in the database's words; ids override the codes."""
        state = held.state
        if not is_listed(state.visibility) or wanted.jurisdiction not in (None, state.owner):
            return False
        if not wanted.codes or wanted.ids:
            return True
        return self._services.of_complaint(state.category, state.owner).code in wanted.codes

    async def _tell(self, complaints: Sequence[HeldComplaint]) -> list[Mapping[str, Value]]:
        told: list[Mapping[str, Value]] = []
        is_behind = await self._store.is_behind()
        for start in range(0, len(complaints), PIECE):
            piece = complaints[start : start + PIECE]
            lines = await lines_among(self._store, piece)
            async with self._telling:
                told += await asyncio.to_thread(self._written, piece, lines, is_behind)
        return told

    def _written(
        self, piece: Sequence[HeldComplaint], lines: Mapping[int, Lines], is_behind: bool
    ) -> list[Mapping[str, Value]]:
        """Without words in an old backup, in which such may stand as were erased since."""
        facts = [self._facts(held, lines.get(held.no, ())) for held in piece]
        facts = [replace(one, said=Said()) for one in facts] if is_behind else facts
        return [service_request(one, self._services, self._name_of) for one in facts]

    def _facts(self, held: HeldComplaint, lines: Lines) -> Facts:
        state, history = held.state, read_history(lines)
        is_shown = is_listed(state.visibility) and (self._shows_at_once or is_looked_at(history))
        return Facts(
            id=str(held.id),
            owner=state.owner,
            state=state.state,
            category=state.category,
            visibility=state.visibility,
            received_at=state.received_at,
            updated_ms=held.changed_at_ms,
            closed_at=state.closed_at,
            expected_ms=due_ms(state, history, self._deadlines),
            said=said_in(history) if is_shown else Said(),
        )


async def _pieces(complaints: AsyncIterator[HeldComplaint]) -> AsyncIterator[list[HeldComplaint]]:
    piece: list[HeldComplaint] = []
    async for held in complaints:
        piece.append(held)
        if len(piece) == PIECE:
            yield piece
            piece = []
    yield piece


def _updates(
    complaints: Sequence[HeldComplaint], lines: Mapping[int, Lines], from_at: str, to_at: str | None
) -> list[Update]:
    """Where requests are named all of their updates are told."""
    first, last = (from_at, to_at) if to_at is not None else ("", "~")
    return [
        update
        for held in complaints
        for update in updates_in(str(held.id), read_history(lines.get(held.no, ())), first, last)
    ]
