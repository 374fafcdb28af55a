"""STATUS by SMS: what the page of a tracking number shows (node/local/tracking.py), in one SMS.

A complaint that is not here, or not this agency's any more, is asked for at the hub, which knows all; somebody waits,
so not for long. Where the hub does not answer, nobody is told that their number does not exist.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from node.channels import sms_reply as reply
from node.channels.guesses import GuessLimit
from node.deadlines.slot import HOUR_MS
from node.directory import Agency, name_of
from node.local.hub_ports import TrackingLink
from node.local.ports import LocalStore
from node.local.tracking import find_tracked, tracked_of
from node.logs import words_of
from node.ports import Clock
from node.tracked import STATES, Tracked
from sync_protocol.errors import Refused, Unavailable
from sync_protocol.values import AgencyId, parse_timestamp

ASK_HUB_S: Final = 5.0  # somebody waits for an answer; a hub that is silent is as one that is away

log = structlog.get_logger("simpul.sms")


@dataclass(frozen=True, slots=True)
class StatusDesk:
    """Answers whoever has a number. Keeps nothing but who guesses."""

    store: LocalStore
    hub: TrackingLink
    agency: AgencyId
    directory: Mapping[AgencyId, Agency]
    clock: Clock
    guesses: GuessLimit
    ask_hub_s: float = ASK_HUB_S

    async def answer(self, tracking: str | None, asker: str) -> str:
        """The SMS for a number in its one spelling, None for what is no number. Never a word of the complaint."""
        if tracking is None:
            return reply.number_wanted()
        if not self.guesses.allows(asker, tracking):
            return reply.too_many_guesses()
        held = await find_tracked(self.store, tracking)
        here = None if held is None else await tracked_of(self.store, held, self.agency, self.clock.now_ms())
        if here is not None and here.owner == self.agency:
            return self._told(here, here.due_at)
        try:
            there = await self._ask(tracking)
        except Unavailable as away:
            log.warning("sms.status_unknown", error=words_of(away))
            return reply.status_unknown_now() if here is None else self._told(here, None)
        if here is not None:  # what was verified here; the hub adds what its owner's clock says
            is_same = there is not None and (there.owner, there.state) == (here.owner, here.state)
            return self._told(here, there.due_at if there is not None and is_same else None)
        if there is None:
            self.guesses.miss(asker, tracking)
            return reply.number_unknown()
        return self._told(there, there.due_at)

    async def _ask(self, tracking: str) -> Tracked | None:
        """None where the hub says that there is no such number. Raises Unavailable."""
        try:
            async with asyncio.timeout(self.ask_hub_s):
                return await self.hub.track(tracking)
        except TimeoutError:
            raise Unavailable("the hub is silent") from None
        except Refused as refused:
            if refused.kind != "not-found":
                raise Unavailable(f"the hub refuses: {refused.kind}") from None
            return None

    def _told(self, found: Tracked, due_at: str | None) -> str:
        offered_to = None if found.offered_to is None else name_of(found.offered_to, self.directory)
        due_hour = None if due_at is None else parse_timestamp(due_at) // HOUR_MS
        owner = name_of(found.owner, self.directory)
        return reply.status(found.tracking, STATES[found.state], owner, due_hour, offered_to)
