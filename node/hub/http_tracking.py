"""`GET /v1/track/{number}` (protocol §7.7): for whoever has the number."""

from __future__ import annotations

from typing import Final

import msgspec
from aiohttp import web

from node.guessing import Guessing
from node.hub.http_requests import HUB, identify, json_answer
from sync_protocol.errors import Refused

GUESSING: Final = web.AppKey("guessing", Guessing)


async def get_tracked(request: web.Request) -> web.Response:
    """State, owner, what is due, and what was done; nothing of what was said.

    A caller's misses count by its address. An agency that signs asks for others, by whom it counts itself: else a few
    telephones that guess would keep the answer from everybody who writes to the same node.
    """
    guessing, number = request.app[GUESSING], request.match_info["number"]
    if "Signature" in request.headers:
        await identify(request)
        return json_answer(msgspec.to_builtins(await request.app[HUB].tracker.find(number)))
    guessing.check(request.remote)
    try:
        found = await request.app[HUB].tracker.find(number)
    except Refused:
        guessing.miss(request.remote)
        raise
    return json_answer(msgspec.to_builtins(found))
