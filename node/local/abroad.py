"""What is looked up at the hub before a change is recorded that depends on other agencies (protocol §10.7).

A help for a clear answer at once. The hub away is no reason to refuse: the log judges in any case.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from node.local.federation import Federation
from node.local.inbox import Inbox
from node.local.ports import DeskLink, InboxLink
from sync_protocol.errors import Refused, SimpulError
from sync_protocol.transitions import TRANSITIONS, By
from sync_protocol.values import ComplaintId

LOOK_UP_S: Final = 5.0  # somebody waits for an answer; a hub that is silent is as one that is away
FETCH_S: Final = 45.0  # for evidence, which is a megabyte over a slow line; a request to the node has a minute
_DESKS: Final = frozenset(name for name, row in TRANSITIONS.items() if row.by is By.DESK)
_SENDING: Final = frozenset(name for name, row in TRANSITIONS.items() if row.sends)


class Abroad:
    """Without its parts it looks nothing up."""

    def __init__(
        self,
        inbox: Inbox | None = None,
        federation: Federation | None = None,
        link: InboxLink | None = None,
        desk: DeskLink | None = None,
    ) -> None:
        self._inbox = inbox
        self._federation = federation
        self._link = link
        self._desk = desk

    async def prepare(self, fields: Mapping[str, Any], complaint: str, *, within_s: float = LOOK_UP_S) -> None:
        """Before a change of this type: what the desk recalls as it is now, who is silent, whom one may offer to.

        `within_s` is how long each answer is waited for, but for evidence, which takes what it takes (FETCH_S).
        """
        change_type, to = fields.get("type"), fields.get("to")
        if change_type in _SENDING and isinstance(to, str) and self._federation is not None and self._link is not None:
            await self._federation.look_up(to, self._link, within_s)
        if change_type in _DESKS and self._desk is not None and self._federation is not None:
            with suppress(SimpulError, TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._federation.look_up_silence(self._desk)
        if change_type in _DESKS and self._inbox is not None:
            with suppress(SimpulError, TimeoutError):
                async with asyncio.timeout(FETCH_S):
                    await self._inbox.fetch(_parsed(complaint))


def _parsed(complaint: str) -> ComplaintId:
    """Raises Refused: a tracking number is of no use for what was never here."""
    try:
        return ComplaintId.parse(complaint)
    except Refused:
        raise Refused("not-found", "what is not here is asked for by its id", where="complaint") from None
