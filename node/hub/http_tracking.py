"""`GET /v1/track/{number}` (protocol §7.7): for whoever has the number."""

from __future__ import annotations

from typing import Final

import msgspec
from aiohttp import web

from node.guessing import Guessing
from node.hub.http_requests import HUB, identify, json_answer
from node.web.callers import address_of
from sync_protocol.errors import Refused
from sync_protocol.values import parse_tracking

GUESSING: Final = web.AppKey("guessing", Guessing)


async def get_tracked(request: web.Request) -> web.Response:
    """State, owner, what is due, and what was done; nothing of what was said.

    A caller's misses count by its address; what is no number at all is no guess, and tells nobody anything. An agency
    that signs asks for others, by whom it counts itself: else a few telephones that guess would keep the answer from
    everybody who writes to the same node.
    """
    guessing, number = request.app[GUESSING], request.match_info["number"]
    if "Signature" in request.headers:
        await identify(request)
        return json_answer(msgspec.to_builtins(await request.app[HUB].tracker.find(number)))
    parse_tracking(number)
    address = address_of(request)
    guessing.check(address)
    try:
        found = await request.app[HUB].tracker.find(number)
    except Refused:
        guessing.miss(address)
        raise
    return json_answer(msgspec.to_builtins(found))
