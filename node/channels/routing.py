"""Where a complaint goes that a channel has just recorded: to the agency that its reporter named, or to the desk.

A rule that offers is only this one: the reporter named one agency, for certain. Everything else a person decides, at
the national desk. Offering is idempotent by a key of its own and done only to a complaint that nobody has touched
since: a message that is delivered again a day later changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from typing import Final

from node.local.recording import CHANGE_REFUSED, KEY_REUSED, Command, Recorded, RequestKey
from node.local.service import LocalService
from sync_protocol.errors import Refused
from sync_protocol.values import AgencyId

NAMED: Final = "named_by_reporter"
AMBIGUOUS: Final = "ambiguous_name"
UNNAMED: Final = "no_agency_named"
NOT_CONNECTED: Final = "not_connected"


class Place(Enum):
    """Who has the complaint next."""

    NAMED_AGENCY = "the agency that was named"
    DESK = "the national desk: nobody was named for certain"
    DESK_INSTEAD = "the national desk: the agency that was named takes no part"


@dataclass(frozen=True, slots=True)
class Router:
    """Offers what `service` recorded. `desk` is the national desk's agency, which may be this node's own."""

    service: LocalService
    desk: str

    async def route(self, recorded: Recorded, named: AgencyId | None, reason: str) -> Place:
        """Offers the complaint of that change where it belongs; `reason` says why it is the desk's without a name.

        Again for the same complaint: the same answer.
        """
        own = self.service.minting.agency
        if named is None:
            await self._offer(recorded, self.desk, reason)
            return Place.DESK
        if named == own or await self._offer(recorded, named, NAMED):
            return Place.NAMED_AGENCY
        await self._offer(recorded, self.desk, NOT_CONNECTED)
        return Place.DESK_INSTEAD

    async def _offer(self, recorded: Recorded, to: str, reason: str) -> bool:
        """Whether it is offered there now, or was before; False where it cannot be, and stays where it is."""
        if to == self.service.minting.agency:
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
            await self.service.record(command)
        except Refused as refused:
            if refused.kind not in (CHANGE_REFUSED, KEY_REUSED):
                raise
            return False
        return True


def _hash(*parts: str) -> bytes:
    return sha256("\n".join(parts).encode()).digest()
