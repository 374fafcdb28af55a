"""`GET /v1/track/{number}` (protocol §7.7): for whoever has the number."""

from __future__ import annotations

from typing import Final

import msgspec
from aiohttp import web

from node.guessing import Guessing
from node.hub.http_requests import HUB, json_answer
from sync_protocol.errors import Refused

GUESSING: Final = web.AppKey("guessing", Guessing)


async def get_tracked(request: web.Request) -> web.Response:
    """State, owner, what is due, and what was done; nothing of what was said."""
    guessing = request.app[GUESSING]
    guessing.check(request.remote)
    try:
        found = await request.app[HUB].tracker.find(request.match_info["number"])
    except Refused:
        guessing.miss(request.remote)
        raise
    return json_answer(msgspec.to_builtins(found))
