"""What citizens and officers do: commands that are possible now, by the seed.

Every command has an idempotency key, so that a caller who hears nothing asks again; new complaints have a source of
their own, by which one that was recorded twice is found.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from node.local.recording import Command, RequestKey
from sync_protocol.merkle import leaf_hash
from sync_protocol.transitions import State
from sync_protocol.values import b64u_encode, format_timestamp
from tests.sim.chance import START_MS
from tests.sim.local_state import LocalState

Choice = tuple[str, Mapping[str, object]]

NEXT: Final[Mapping[State, tuple[Choice, ...]]] = {
    State.RECEIVED: (("verified", {"class": "complaint_ordinary"}), ("noted", {}), ("information_requested", {})),
    State.AWAITING_INFORMATION: (("information_supplied", {}), ("noted", {})),
    State.VERIFIED: (("assigned", {"unit": "dinas-pu"}), ("amended", {"category": "roads"})),
    State.ASSIGNED: (("started", {}), ("answered", {}), ("held", {"reason": "budget"})),
    State.IN_PROGRESS: (("answered", {}), ("noted", {})),
    State.ANSWERED: (("replied", {}), ("closed", {"by": "officer", "reason": "done"})),
    State.ON_HOLD: (("resumed", {}), ("noted", {})),
    State.CLOSED: (("rated", {"rating": 4}), ("reopened", {"reason": "not_done"})),
}


def some_commands(state: LocalState, draw: random.Random, count: int) -> list[Command]:
    """New complaints, and what comes next for those that are there; several may be for one complaint."""
    commands = [_one(state, draw) for _ in range(count)]
    return [replace(command, request=RequestKey(draw.randbytes(32), bytes(32))) for command in commands]


def _one(state: LocalState, draw: random.Random) -> Command:
    held = [one for one in state.complaints.values() if one.state.state in NEXT]
    if not held or draw.random() < 0.45:
        return _new_complaint(draw)
    one = draw.choice(held)
    said = [leaf_hash(change.content) for change in state.changes.values() if change.key == one.key and change.content]
    if said and draw.random() < 0.1:
        return Command(
            "erased", {"ground": "request", "leaves": [b64u_encode(draw.choice(said))]}, complaint=str(one.id)
        )
    type_, data = draw.choice(NEXT[one.state.state])
    return Command(type_, data, {"note": "catatan"} if draw.random() < 0.5 else {}, str(one.id))


def _new_complaint(draw: random.Random) -> Command:
    """From the web, with or without words."""
    data = {
        "channel": "web",
        "visibility": "public",
        "received_at": format_timestamp(START_MS),
        "source": {"id": draw.randbytes(8).hex(), "system": "sim"},
    }
    words = {"text": "Jalan berlubang " + "x" * draw.randrange(200)} if draw.random() < 0.8 else {}
    return Command("received", data, words, role="reporter")
