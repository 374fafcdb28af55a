"""`GET /v1/track/{number}` (protocol §7.7): for whoever has the number, without a token."""

from __future__ import annotations

from typing import Final

import msgspec
from aiohttp import web

from node.deadlines.slot import NOTHING_DUE
from node.guessing import Guessing
from node.local.evidence import find_complaint
from node.local.ports import LocalStore
from node.local.shared import history_of
from node.ports import Clock
from node.store.local_records import HeldChange, HeldComplaint
from node.tracked import HISTORY_MAX, Tracked, TrackedChange
from sync_protocol.change_types import CONFIDENTIAL
from sync_protocol.errors import Refused
from sync_protocol.line import parse_change, parse_content
from sync_protocol.values import parse_tracking

TRACKING_ROUTE: Final = "/v1/track/{number}"
#: What is said to the reporter; everything else that is said is not for whoever has a number.
_TO_REPORTER: Final = frozenset({"answered", "information_requested"})


class Tracking:
    """The handler and what it stands on."""

    def __init__(self, store: LocalStore, clock: Clock, agency: str) -> None:
        self._store = store
        self._agency = agency
        self._clock = clock
        self._guessing = Guessing(clock)

    async def show(self, request: web.Request) -> web.Response:
        """State, owner and history; of what was said only what was said to the reporter, and never in confidence."""
        self._guessing.check(request.remote)
        try:
            held = await find_complaint(self._store, parse_tracking(request.match_info["number"]))
        except Refused:
            self._guessing.miss(request.remote)
            raise Refused("not-found", "there is no complaint of that number here", where="number") from None
        body = msgspec.json.encode(await tracked_of(self._store, held, self._agency, self._clock.now_ms()))
        return web.Response(body=body, content_type="application/json")


async def tracked_of(store: LocalStore, held: HeldComplaint, agency: str, now_ms: int) -> Tracked:
    """The public part of a complaint, at the node of `agency`."""
    shown = (await history_of(store, held))[-HISTORY_MAX:]
    # In an old backup words may stand that were erased since.
    is_open = held.state.visibility not in CONFIDENTIAL and not await store.is_behind()
    history = [_entry(one, agency, with_text=is_open) for one in shown if one.verdict is None]
    slot = NOTHING_DUE if held.slot is None else held.slot
    return Tracked.of(held.state, slot, history, now_ms=now_ms, as_of_ms=now_ms)


def _entry(held: HeldChange, agency: str, *, with_text: bool) -> TrackedChange:
    change = parse_change(held.line)
    text = None
    if with_text and held.content is not None and change.type in _TO_REPORTER:
        said = parse_content(held.content).get("text")
        text = said if isinstance(said, str) else None
    return TrackedChange(type=change.type, at=change.at, agency=held.agency or agency, text=text)
