"""What everybody may read: the log as C2SP wants it, and what the hub says of itself (protocol §6.2, §7.1)."""

from __future__ import annotations

from typing import Final

import msgspec
from aiohttp import web

from node.hub.health import hub_health, sickness
from node.hub.http_requests import HUB, json_answer, problem_answer, query_integer
from node.hub.hub import Hub
from node.hub.status import agency_lines
from sync_protocol.errors import Refused
from sync_protocol.merkle import HASH_BYTES
from sync_protocol.tiles import TILE_HEIGHT, TILE_WIDTH, TileRef, pack_entries, parse_tile_path
from sync_protocol.values import b64_encode
from sync_protocol.wire import ConsistencyAnswer

CHECKPOINT_CACHE: Final = "max-age=5"
TILE_CACHE: Final = "public, max-age=31536000, immutable"


async def get_hub(request: web.Request) -> web.Response:
    """`GET /v1/hub`."""
    return json_answer(request.app[HUB].description())


async def get_checkpoint(request: web.Request) -> web.Response:
    """`GET /checkpoint`."""
    note = request.app[HUB].log.published.note
    return web.Response(
        body=note, content_type="text/plain", charset="utf-8", headers={"Cache-Control": CHECKPOINT_CACHE}
    )


async def get_tile(request: web.Request) -> web.Response:
    """`GET /tile/…`: hash tiles and entry bundles of the published log; a partial one at any width it ever had."""
    hub = request.app[HUB]
    try:
        tile = parse_tile_path("tile/" + request.match_info["path"])
    except Refused:
        raise _no_tile() from None
    leaves = (tile.index * TILE_WIDTH + tile.width) << (TILE_HEIGHT * (tile.level or 0))
    await _know(hub, leaves)
    if leaves > hub.log.size:
        raise _no_tile()
    body = await (_entries(hub, tile) if tile.level is None else _hashes(hub, tile.level, tile))
    return web.Response(body=body, content_type="application/octet-stream", headers={"Cache-Control": TILE_CACHE})


async def _hashes(hub: Hub, level: int, tile: TileRef) -> bytes:
    place = (level, tile.index)
    found = (await hub.store.tiles([place])).get(place, b"")
    if len(found) < tile.width * HASH_BYTES:
        raise _no_tile()
    return found[: tile.width * HASH_BYTES]


async def _entries(hub: Hub, tile: TileRef) -> bytes:
    start = tile.index * TILE_WIDTH
    entries = await hub.store.entries(start, start + tile.width)
    if len(entries) != tile.width:
        raise _no_tile()
    return pack_entries(entries)


async def _know(hub: Hub, size: int) -> None:
    """Another process may have published what is asked for, and told the caller: then this one looks.

    Raises what `check_signing` does where this process waits for what was lost: it may be there soon.
    """
    if size > hub.log.size:
        await hub.log.follow()
        if size > hub.log.size:
            hub.log.check_signing()


def _no_tile() -> Refused:
    return Refused("not-found", "the published log has no such tile")


async def get_consistency(request: web.Request) -> web.Response:
    """`GET /v1/consistency?from=&to=`."""
    from_size, to_size = query_integer(request, "from"), query_integer(request, "to")
    await _know(request.app[HUB], to_size)
    hashes = await request.app[HUB].log.consistency(from_size, to_size)
    return json_answer(ConsistencyAnswer(from_size=from_size, to_size=to_size, hashes=[b64_encode(h) for h in hashes]))


async def get_agencies(request: web.Request) -> web.Response:
    """`GET /v1/agencies`."""
    hub = request.app[HUB]
    await hub.log.follow()
    return json_answer(list[object](await agency_lines(hub.log, hub.clock)))


async def get_health(request: web.Request) -> web.Response:
    """`GET /healthz`: 200 while what comes in is signed, published and folded, 503 otherwise (architecture G9)."""
    hub = request.app[HUB]
    hub.log.check_signing()
    found = await hub_health(hub)
    sick = sickness(found, hub)
    return json_answer(found) if sick is None else problem_answer(sick, msgspec.to_builtins(found) | {"ok": False})
