"""What an operator is told of a refusal that is no verdict on this node (protocol §7.1)."""

from __future__ import annotations

from typing import Final

from sync_protocol.errors import Refused
from sync_protocol.values import parse_timestamp

_AWAY: Final = "The hub is away"


def away_trouble(detail: str) -> str:
    """Nobody answers: nothing to do but wait."""
    return f"{_AWAY}: {detail}. Nothing is lost."


def is_refusal(trouble: str) -> bool:
    """Whether the hub answered, and something is to be done: anything but that it is away."""
    return not trouble.startswith(_AWAY)


def refusal_trouble(refused: Refused, now_ms: int) -> str:
    """One or two sentences; for a clock that is off, by how much."""
    return _clock_trouble(refused, now_ms) or f"The hub refused: {refused}"


def _clock_trouble(refused: Refused, now_ms: int) -> str | None:
    """If the hub says that our clock is wrong. Whole seconds."""
    told = refused.members.get("time")
    if refused.kind != "unauthorised" or not isinstance(told, str):
        return None
    try:
        seconds = round((now_ms - parse_timestamp(told)) / 1000)
    except Refused:
        return None
    return (
        f"The clock of this machine differs from the hub's by {abs(seconds)} s"
        f" ({'ahead' if seconds > 0 else 'behind'}), and the hub refuses its requests. Set the clock right"
        " (a time server keeps it so); nothing is lost, and the node goes on by itself."
    )
