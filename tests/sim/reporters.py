"""What citizens and officers do: commands that are possible now, by the seed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Final

from node.local.recording import Command
from sync_protocol.transitions import State
from sync_protocol.values import format_timestamp
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


def new_complaint(draw: random.Random) -> Command:
    """From the web, with or without words."""
    data = {"channel": "web", "visibility": "public", "received_at": format_timestamp(START_MS)}
    words = {"text": "Jalan berlubang " + "x" * draw.randrange(200)} if draw.random() < 0.8 else {}
    return Command("received", data, words, role="reporter")


def some_commands(state: LocalState, draw: random.Random, count: int) -> list[Command]:
    """New complaints, and what comes next for those that are there; two of them may be for the same complaint."""
    commands: list[Command] = []
    held = [one for one in state.complaints.values() if one.state.state in NEXT]
    for _ in range(count):
        if not held or draw.random() < 0.45:
            commands.append(new_complaint(draw))
        else:
            one = draw.choice(held)
            type_, data = draw.choice(NEXT[one.state.state])
            commands.append(Command(type_, data, {"note": "catatan"} if draw.random() < 0.5 else {}, str(one.id)))
    return commands
