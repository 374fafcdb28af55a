"""Queries on the projection, each with how old it is (protocol §7.1, §9)."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from aiohttp import web

from node.hub.folding import unpack_state
from node.hub.http_requests import HUB, identify, json_answer
from node.hub.hub import Hub
from node.store.complaint_keys import complaint_key
from node.store.projection_records import read_pointers
from sync_protocol.complaint import ComplaintState
from sync_protocol.errors import Refused
from sync_protocol.ledger import format_state_hash
from sync_protocol.transitions import State
from sync_protocol.values import ComplaintId, b64u_encode
from sync_protocol.wire import AsOf, Totals

HISTORY_SHOWN: Final = 4_096  # all applied changes of a complaint


async def get_totals(request: web.Request) -> web.Response:
    """`GET /v1/totals`."""
    await identify(request)
    hub = request.app[HUB]
    cursor, counts = await hub.projection.totals()
    totals = {name: count for name, count in counts.items() if count}
    as_of = await _as_of(hub, cursor.size)
    return json_answer(Totals(as_of=as_of, state_hash=format_state_hash(cursor.state_hash), totals=totals))


async def get_complaint(request: web.Request) -> web.Response:
    """`GET /v1/complaints/{complaint}`: the facts and where its changes are; for its owner, its minter and auditors."""
    reader = await identify(request)
    hub = request.app[HUB]
    complaint = ComplaintId.parse(request.match_info["complaint"])
    cursor, row = await hub.projection.complaint(complaint_key(complaint))
    state = unpack_state(row.state) if row else None
    if row is None or state is None or reader.agency not in (None, state.owner, state.minted_by, state.offer_to):
        raise Refused("not-found", "there is no such complaint, or it is another agency's", where="complaint")
    facts = _facts(state)
    history = [{"index": index, "position": position} for index, position in read_pointers(row.pointers)]
    body = {"complaint": str(complaint), **facts, "history": history[-HISTORY_SHOWN:]}
    return json_answer({**body, "as_of": msgspec.to_builtins(await _as_of(hub, cursor.size))})


def _facts(state: ComplaintState) -> dict[str, Any]:
    """Its members in JSON's types; states by their labels, the offer as a change line spells it."""
    facts = msgspec.structs.asdict(state)
    del facts["ids"]
    facts["class"] = facts.pop("class_")
    facts["offer"] = None if state.offer is None else b64u_encode(state.offer)
    for name in ("state", "return_state", "hold_return_state"):
        value: State | None = facts[name]
        facts[name] = None if value is None else value.label
    return facts


async def _as_of(hub: Hub, size: int) -> AsOf:
    """How old an answer is: the time since the first leaf that it does not contain was published."""
    missing = await hub.store.checkpoint_covering(size) if size < hub.log.size else None
    age_ms = 0 if missing is None else hub.clock.now_ms() - missing.at_ms
    return AsOf(size=size, age_s=max(0, age_ms // 1000))
