"""`GET …/inbox` and `GET …/evidence` (protocol §7.6).

Who waits for long is kept at the line by a space now and then: a country's nodes that asked anew every half minute
would cost a tenth of a core, day and night.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from node.hub.http_requests import HUB, PASS, agency_of, identify, identify_for, json_answer, query_integer
from node.store.complaint_keys import complaint_key
from node.store.projection_records import pointer_to
from sync_protocol.errors import Refused, malformed
from sync_protocol.inbox import parse_place
from sync_protocol.values import ComplaintId
from sync_protocol.wire import ADMISSION_HEADER, InboxPage, format_body

WAIT_MAX_S: Final = 300  # whose key was revoked meanwhile is told at most one thing more
SILENT_S: Final = 25.0  # below the half minute after which proxies take a silent connection for dead
BEGINNING: Final = -1  # before every place


async def get_inbox(request: web.Request) -> web.StreamResponse:
    """What the agency is told after a place; `wait` is for how many seconds the answer may be put off without any."""
    hub, agency = request.app[HUB], agency_of(request)
    reader = await identify_for(request, agency)
    if reader.agency is None:
        raise Refused("unauthorised", "an inbox is read by its agency alone")
    wait_s = query_integer(request, "wait", default=0)
    if wait_s > WAIT_MAX_S:
        raise malformed(f"the answer is put off by {WAIT_MAX_S} seconds at most", "wait")
    after = request.query.getall("after", [])
    if len(after) > 1:
        raise malformed("wants this place once", "after")
    place = pointer_to(*parse_place(after[0])) if after and after[0] else BEGINNING
    if request.method == "HEAD":
        wait_s = 0  # nothing is said to who waits for nothing
    reading = asyncio.create_task(hub.inbox.read(agency, place, wait_s))
    try:
        done, _ = await asyncio.wait([reading], timeout=SILENT_S)
        return json_answer(await reading) if done else await _answer_late(request, reading)
    finally:
        reading.cancel()


async def _answer_late(request: web.Request, reading: asyncio.Task[InboxPage]) -> web.StreamResponse:
    """Begun with spaces, which mean nothing in JSON. A connection that breaks off after them says: ask again."""
    response = web.StreamResponse(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    response.content_type = "application/json"
    if PASS in request:
        response.headers[ADMISSION_HEADER] = request[PASS]
    try:
        await response.prepare(request)
        while not reading.done():
            await response.write(b" ")
            await asyncio.wait([reading], timeout=SILENT_S)
        await response.write(format_body(reading.result()))
        await response.write_eof()
    except BaseException:
        if request.transport is not None:
            request.transport.abort()  # no second answer behind the beginning of this one
        raise
    return response


async def get_evidence(request: web.Request) -> web.Response:
    """`GET /v1/complaints/{complaint}/evidence`: for its owner, who it is offered to, its minter, and the desk."""
    reader = await identify(request)
    complaint = ComplaintId.parse(request.match_info["complaint"])
    if reader.agency is None:
        raise Refused("unauthorised", "auditors read whole sets; evidence is for agencies")
    return json_answer(await request.app[HUB].inbox.evidence_for(reader.agency, complaint_key(complaint)))


async def end_waiting(app: web.Application) -> None:
    """The server stops: whoever waits is answered."""
    app[HUB].inbox.close()
