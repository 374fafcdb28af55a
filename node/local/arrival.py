"""When a complaint came in, as whoever reports it says: any time before, but not one that is still to come.

What is dated ahead would be in no figure of deadlines until that day comes, and what ended before it began never.
"""

from __future__ import annotations

from typing import Final

from sync_protocol.errors import Refused
from sync_protocol.values import format_timestamp, parse_timestamp

AHEAD_MAX_MS: Final = 86_400_000  # a zone that was taken for UTC is 14 hours; two clocks differ by less


def is_ahead(moment: str, now_ms: int) -> bool:
    """Whether a timestamp of protocol §1.1 is still to come, by more than clocks and zones differ."""
    return parse_timestamp(moment) > now_ms + AHEAD_MAX_MS


def check_arrival(received_at: str, closed_at: str | None, now_ms: int) -> None:
    """For timestamps of protocol §1.1. Raises Refused(malformed), naming the one that is wrong."""
    for where, moment in (("received_at", received_at), ("closed_at", closed_at)):
        if moment is not None and is_ahead(moment, now_ms):
            detail = f"lies more than a day ahead of this node's clock, which says {format_timestamp(now_ms)}"
            raise _wrong(where, detail)
    if closed_at is not None and parse_timestamp(closed_at) < parse_timestamp(received_at):
        raise _wrong("closed_at", "lies before received_at")


def _wrong(where: str, detail: str) -> Refused:
    step = "Correct it: both are in UTC. If they are right, set the clock of this node, and send it again."
    return Refused("malformed", detail, where=where, members={"next": step})
