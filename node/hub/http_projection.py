"""One complaint, and what every answer of the projection says of itself (protocol §7.5)."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from aiohttp import web

from node.deadlines.clocks import due_words
from node.deadlines.report import unreachable
from node.deadlines.slot import due_of
from node.hub.folding import PackedState, unpack_state
from node.hub.http_requests import HUB, identify, json_answer
from node.hub.hub import Hub
from node.store.complaint_keys import complaint_key
from node.store.complaint_place import slot_at
from node.store.projection_records import Cursor, read_pointers
from sync_protocol.complaint import ComplaintState
from sync_protocol.errors import Refused
from sync_protocol.ledger import format_state_hash
from sync_protocol.transitions import State
from sync_protocol.values import ComplaintId, b64u_encode, format_timestamp
from sync_protocol.wire import AsOf

HISTORY_SHOWN: Final = 4_096  # all applied changes of a complaint


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
    now_ms = hub.clock.now_ms()
    due_at, duty, overdue = due_words(slot_at(row.place), now_ms)
    body |= {"due_at": due_at, "duty": duty, "overdue": overdue}
    due = due_of(slot_at(row.place))
    if due is not None:
        outages, heard = await hub.absences.as_of(cursor.size), await hub.projection.last_heard()
        away = unreachable(outages, outages.node(state.owner, heard.get(state.owner)), state.clocks, due)
        body["unreachable"] = msgspec.to_builtins(away)
    return json_answer({**body, "as_of": msgspec.to_builtins(await as_of(hub, cursor, now_ms))})


#: How the hub keeps it, not what it is.
_NOT_SHOWN: Final = ("ids", *(set(PackedState.__struct_fields__) - set(ComplaintState.__struct_fields__)))


def _facts(state: PackedState) -> dict[str, Any]:
    """Its members in JSON's types; states by their labels, the offer as a change line spells it."""
    facts = msgspec.structs.asdict(state)
    for name in _NOT_SHOWN:
        del facts[name]
    facts["class"] = facts.pop("class_")
    facts["offer"] = None if state.offer is None else b64u_encode(state.offer)
    for name in ("state", "return_state", "hold_return_state"):
        value: State | None = facts[name]
        facts[name] = None if value is None else value.label
    return facts


async def as_of(hub: Hub, cursor: Cursor, now_ms: int) -> AsOf:
    """What an answer is made from; its age is the time since the first leaf that it lacks was published."""
    missing = await hub.store.checkpoint_covering(cursor.size) if cursor.size < hub.log.size else None
    age_ms = 0 if missing is None else now_ms - missing.at_ms
    return AsOf(
        size=cursor.size,
        state_hash=format_state_hash(cursor.state_hash),
        age_s=max(0, age_ms // 1000),
        time=format_timestamp(now_ms),
    )
