"""GeoReport on the hub: facts of everything that is public in the whole country, and not a word.

The hub mints nothing and holds no words for the public. Whoever wants to report is sent to the national desk's node
(`open311_post_url`), and so is whoever has a token of it; words and updates are at the agency's own endpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NoReturn

from node.channels.open311.documents import Value
from node.channels.open311.endpoint import Elsewhere, Taken
from node.channels.open311.mapping import Facts, Update, is_listed, service_request, status_of
from node.channels.open311.queries import RequestsWanted
from node.channels.open311.reports import Reply, Report
from node.channels.open311.services import Services
from node.deadlines.clocks import Duty
from node.deadlines.slot import HOUR_MS, due_of
from node.hub.folding import PackedState, unpack_state
from node.hub.hub import Hub
from node.store.complaint_keys import complaint_key, complaint_of
from node.store.complaint_place import slot_at
from node.store.projection_records import ComplaintRow
from sync_protocol.errors import Refused, malformed
from sync_protocol.transitions import State
from sync_protocol.values import ComplaintId, parse_timestamp

PIECE: Final = 500  # rows read and unpacked at once: a few milliseconds of the event loop
LOOKED_MAX: Final = 20_000  # rows looked through for one answer, of which few may match
LATE_MS: Final = 7 * 86_400_000  # a complaint written down offline is recorded within a week of being received
EARLY_MS: Final = 86_400_000  # and a clock that is ahead is so by less than a day
_KEY_TIME_MAX: Final = (1 << 48) - 1  # milliseconds that a UUIDv7 can say
_FOREIGN: Final = "this endpoint only shows: report to the agency's own endpoint"
_NO_UPDATES: Final = "updates are at the endpoint of the agency that is responsible"


class HubDesk:
    """See Desk. `post_url` is the endpoint that takes in, None if there is none."""

    def __init__(
        self, hub: Hub, services: Services, name_of: Callable[[str], str], post_url: str | None = None
    ) -> None:
        self._hub = hub
        self._services = services
        self._name_of = name_of
        self._post_url = post_url
        self.others: Sequence[str] = [] if post_url is None else [post_url]

    async def requests(self, wanted: RequestsWanted) -> list[Mapping[str, Value]]:
        if wanted.ids:
            named = [await self._find(name) for name in wanted.ids]
            return [self._told(*one) for one in named if one is not None and self._is_shown(one[1], wanted)]
        return await self._listed(wanted)

    async def request(self, name: str, jurisdiction: str | None) -> Mapping[str, Value]:
        found = await self._find(name)
        if found is None or jurisdiction not in (None, found[1].owner):
            raise Refused("not-found", "no such service request is here", where="service_request_id")
        return self._told(*found)

    async def request_id(self, token: str, jurisdiction: str | None) -> str:  # noqa: ARG002 - whoever made it knows it
        self._send_away("token was not found")

    async def updates(self, wanted: RequestsWanted) -> list[Update]:  # noqa: ARG002 - none of them is here
        raise Refused("not-found", _NO_UPDATES, where="address")

    def check_takes_in(self) -> None:
        self._send_away(_FOREIGN)

    async def client(self, api_key: str | None) -> str:  # noqa: ARG002 - the hub has no keys of channels
        self._send_away(_FOREIGN)

    async def report(self, client: str, report: Report, key: str | None) -> Taken:  # noqa: ARG002 - nothing is minted
        self._send_away(_FOREIGN)

    async def reply(self, client: str, reply: Reply, key: str | None) -> Taken:  # noqa: ARG002 - nothing is minted
        self._send_away(_FOREIGN)

    def _send_away(self, why: str) -> NoReturn:
        if self._post_url is not None:
            raise Elsewhere(self._post_url)
        raise Refused("not-found" if why != _FOREIGN else "malformed", why, where="address")

    async def _find(self, name: str) -> tuple[ComplaintRow, PackedState] | None:
        try:
            key = complaint_key(ComplaintId.parse(name))
        except Refused:
            return None
        _, row = await self._hub.projection.complaint(key)
        return None if row is None else (row, unpack_state(row.state))

    async def _listed(self, wanted: RequestsWanted) -> list[Mapping[str, Value]]:
        """The page that is asked for, newest first."""
        agency = None
        if wanted.jurisdiction is not None:
            record = self._hub.log.roster.agency(wanted.jurisdiction)
            if record is None:
                return []
            agency = record.enrolled_index
        first, end = _key_at(wanted.from_ms - EARLY_MS), _key_at(wanted.to_ms + LATE_MS)
        states = [state for state in State if not wanted.statuses or status_of(state) in wanted.statuses]
        found: list[tuple[ComplaintRow, PackedState]] = []
        for _ in range(LOOKED_MAX // PIECE):
            _, rows = await self._hub.projection.complaints_minted(first, end, agency, states, PIECE)
            opened = [(row, unpack_state(row.state)) for row in rows]
            found += [one for one in opened if self._is_shown(one[1], wanted)]
            if len(found) >= wanted.skip + wanted.take or len(rows) < PIECE:
                return [self._told(*one) for one in found[wanted.skip : wanted.skip + wanted.take]]
            end = rows[-1].key
        raise malformed(f"this looks through more than {LOOKED_MAX} requests: narrow the dates", "start_date")

    def _is_shown(self, state: PackedState, wanted: RequestsWanted) -> bool:
        """The conditions that the projection has no column for; ids override dates and codes."""
        if not is_listed(state.visibility) or wanted.jurisdiction not in (None, state.owner):
            return False
        if wanted.ids:
            return True
        if not wanted.from_ms <= parse_timestamp(state.received_at) <= wanted.to_ms:
            return False
        return not wanted.codes or self._services.of_complaint(state.category, state.owner).code in wanted.codes

    def _told(self, row: ComplaintRow, state: PackedState) -> Mapping[str, Value]:
        due = due_of(slot_at(row.place))
        facts = Facts(
            id=str(complaint_of(row.key)),
            owner=state.owner,
            state=state.state,
            category=state.category,
            visibility=state.visibility,
            received_at=state.received_at,
            updated_ms=None,
            closed_at=state.closed_at,
            expected_ms=None if due is None or due.duty == Duty.CLOSE else due.hour * HOUR_MS,
        )
        return service_request(facts, self._services, self._name_of)


def _key_at(at_ms: int) -> bytes:
    """Where the keys of complaints that were minted then begin."""
    return min(max(at_ms, 0), _KEY_TIME_MAX).to_bytes(6, "big") + bytes(10)
