"""Where a complaint goes that a channel has just recorded: to the agency that its reporter named, or to the desk.

A rule that offers is only this one: the reporter named one agency, for certain. Everything else a person decides, at
the national desk. Offering is idempotent by a key of its own and done only to a complaint that nobody has touched
since: a message that is delivered again a day later changes nothing.
"""

from __future__ import annotations

from enum import Enum
from hashlib import sha256
from typing import Final

from node.local.abroad import Abroad
from node.local.recording import CHANGE_REFUSED, Command, Recorded, RequestKey
from node.local.service import LocalService
from node.ports import Clock
from sync_protocol.errors import Refused
from sync_protocol.values import AgencyId

NAMED: Final = "named_by_reporter"
AMBIGUOUS: Final = "ambiguous_name"
UNNAMED: Final = "no_agency_named"
NOT_CONNECTED: Final = "not_connected"
LOOK_UP_EVERY_S: Final = 60.0  # of one agency: who enrols is offered complaints a minute later
LOOK_UP_TIMEOUT_S: Final = 3.0  # somebody waits for an answer


class Place(Enum):
    """Who has the complaint next."""

    NAMED_AGENCY = "the agency that was named"
    DESK = "the national desk: nobody was named for certain"
    DESK_INSTEAD = "the national desk: the agency that was named takes no part"


class Router:
    """Offers what `service` recorded. The desk is the one of the rules, which may be this node's own agency.

    `abroad` is asked whether an agency takes part, where that is not known here.
    """

    def __init__(
        self, service: LocalService, abroad: Abroad, clock: Clock, *, look_up_timeout_s: float = LOOK_UP_TIMEOUT_S
    ) -> None:
        self._look_up_timeout_s = look_up_timeout_s
        self._service = service
        self._abroad = abroad
        self._clock = clock
        self._looked_up: dict[str, float] = {}  # agency -> when; no more than the directory has

    async def route(self, recorded: Recorded, named: AgencyId | None, reason: str) -> Place:
        """Offers the complaint of that change where it belongs; `reason` says why it is the desk's without a name.

        Again for the same complaint: the same answer.
        """
        own, desk = self._service.minting.agency, self._service.minting.rules.desk
        if named is None:
            await self._offer(recorded, desk, reason)
            return Place.DESK
        if named == own:
            return Place.NAMED_AGENCY
        await self._look_up(named, recorded.complaint)
        if await self._offer(recorded, named, NAMED):
            return Place.NAMED_AGENCY
        await self._offer(recorded, desk, NOT_CONNECTED)
        return Place.DESK_INSTEAD

    async def _look_up(self, agency: str, complaint: str) -> None:
        """The hub away, or slow, is no reason to wait: the log judges in any case."""
        now_s = self._clock.monotonic_s()
        if now_s - self._looked_up.get(agency, -LOOK_UP_EVERY_S) < LOOK_UP_EVERY_S:
            return
        self._looked_up[agency] = now_s
        fields = {"type": "offered", "to": agency}
        await self._abroad.prepare(fields, complaint, within_s=self._look_up_timeout_s)

    async def _offer(self, recorded: Recorded, to: str, reason: str) -> bool:
        """Whether it is offered there now, or was before; False where it cannot be, and stays where it is."""
        if to in ("", self._service.minting.agency):  # nobody: the rules have not come yet
            return False
        command = Command(
            type="offered",
            data={"reason": reason, "to": to},
            complaint=recorded.complaint,
            role="system",
            expected_rev=recorded.rev,
            request=RequestKey(_hash("offer", recorded.complaint, to), _hash(to)),
        )
        try:
            await self._service.record(command)
        except Refused as refused:
            if refused.kind != CHANGE_REFUSED:
                raise
            return False
        return True


def _hash(*parts: str) -> bytes:
    return sha256("\n".join(parts).encode()).digest()
