"""`GET /v1/track/{number}` (protocol §7.7): for whoever has the number, without a token."""

from __future__ import annotations

from typing import Final

import msgspec
from aiohttp import web

from node.guessing import Guessing
from node.local.ports import LocalStore
from node.local.tracking import find_tracked, tracked_of
from node.ports import Clock
from node.web.callers import address_of
from sync_protocol.errors import Refused
from sync_protocol.values import parse_tracking

TRACKING_ROUTE: Final = "/v1/track/{number}"


class Tracking:
    """The handler and what it stands on."""

    def __init__(self, store: LocalStore, clock: Clock, agency: str) -> None:
        self._store = store
        self._agency = agency
        self._clock = clock
        self._guessing = Guessing(clock)

    async def show(self, request: web.Request) -> web.Response:
        """State, owner and history; of what was said only what was said to the reporter, and never in confidence.

        Misses count by the caller's address; what is no number at all is no guess, and tells nobody anything.
        """
        address = address_of(request)
        try:
            number = parse_tracking(request.match_info["number"])
        except Refused:
            raise _unknown() from None
        self._guessing.check(address)
        held = await find_tracked(self._store, number)
        if held is None:
            self._guessing.miss(address)
            raise _unknown()
        body = msgspec.json.encode(await tracked_of(self._store, held, self._agency, self._clock.now_ms()))
        return web.Response(body=body, content_type="application/json")


def _unknown() -> Refused:
    return Refused("not-found", "there is no complaint of that number here", where="number")
