"""`GET …/inbox` and `GET …/evidence` (protocol §7.6)."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from node.hub.http_requests import HUB, agency_of, identify, identify_for, json_answer, query_integer
from node.store.complaint_keys import complaint_key
from node.store.projection_records import pointer_to
from sync_protocol.errors import Refused, malformed
from sync_protocol.inbox import parse_place
from sync_protocol.values import ComplaintId

WAIT_MAX_S: Final = 25  # below the half minute after which proxies take a silent connection for dead
BEGINNING: Final = -1  # before every place


async def get_inbox(request: web.Request) -> web.Response:
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
    return json_answer(await hub.inbox.read(agency, place, wait_s))


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
