"""Health of a hub: not that a process runs, but that what it does comes through to the end (architecture G9).

Every hour at the latest something is signed, committed, locked and published (the tick); and what is published is
folded. So the age of the newest checkpoint proves key, disk, database and lock store at once, and the age of the
oldest leaf that waits for the fold proves the rest. An append that failed or hangs is told at once.
"""

from __future__ import annotations

from typing import Final

import msgspec

from node.hub.hub import Hub
from sync_protocol.errors import Unavailable

TICKS: Final = 2  # one may be under way
MARGIN_S: Final = 300.0  # for a hub that has just been started, or has a slow disk
ASK_AGAIN_S: Final = 60.0


class HubHealth(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /healthz`. Ages in seconds: of the newest checkpoint, and of what has waited longest for the fold.

    The same members, `ok` being false, stand in the problem that a hub which is not healthy answers.
    """

    ok: bool
    size: int
    projected_to: int
    waiting: int
    published_age_s: float
    projection_age_s: float


async def hub_health(hub: Hub) -> HubHealth:
    """How fresh everything is; whether that is fresh enough is `sickness`, whether the hub signs was asked before."""
    cursor = await hub.projection.cursor()  # as stored: the projector forgets its own while it folds
    now_ms, size = hub.clock.now_ms(), hub.log.size
    waiting = await hub.store.checkpoint_covering(cursor.size) if cursor.size < size else None
    return HubHealth(
        ok=True,
        size=size,
        projected_to=cursor.size,
        waiting=hub.appender.waiting,
        published_age_s=max(0, now_ms - hub.log.published.at_ms) / 1000,
        projection_age_s=0.0 if waiting is None else max(0, now_ms - waiting.at_ms) / 1000,
    )


def sickness(found: HubHealth, hub: Hub) -> Unavailable | None:
    """What has stood still for too long, or cannot be done now; None in a healthy hub."""
    if hub.appender.trouble is not None:
        return Unavailable(f"{hub.appender.trouble}; it goes on by itself", retry_after_s=ASK_AGAIN_S)
    if found.published_age_s > TICKS * hub.options.tick_interval_s + MARGIN_S:
        detail = f"nothing was published for {found.published_age_s:.0f} s, not even a tick"
        return Unavailable(detail, retry_after_s=ASK_AGAIN_S)
    if found.projection_age_s > hub.options.projected_after_s:
        trouble = f": {hub.projector.trouble}" if hub.projector.trouble else ""
        detail = f"the query tables are {found.projection_age_s:.0f} s behind the log{trouble}"
        return Unavailable(detail, retry_after_s=ASK_AGAIN_S)
    return None
