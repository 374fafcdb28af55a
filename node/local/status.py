"""How a local node is, read from its store: true whether or not `serve` runs (architecture G9)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from node.local.ports import LocalStore
from node.local.troubles import is_refusal
from node.ports import Clock
from node.store.local_records import SetAside
from sync_protocol.inbox import format_place
from sync_protocol.line_columns import parse_changes
from sync_protocol.values import format_timestamp

HALTED = "halted"  # an operator is needed
WAITING = "waiting"  # the hub is away; the next attempt has a time
BUSY = "busy"  # there is something to send
BEHIND = "This node comes from an old backup: what it lacks comes from the hub, and until then no words are shown."
UNREADABLE = "change"
ASIDE_SHOWN = 5  # by name in one line; the JSON document names all
IDLE = "idle"  # everything is at the hub, with receipts
COUNTED_MAX: Final = 1_000  # more are "a thousand or more" to whoever reads a status


class AsideLine(msgspec.Struct, frozen=True, kw_only=True):
    """A change of an old backup that is not possible any more: which, and the fold's reason; never its words."""

    complaint: str
    change: str
    type: str
    reason: str
    at: str


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """`simpul node status --json`. Counts are changes; `troubles` are sentences with the operator's next step.

    `offered` counts complaints that wait for this agency's answer, `refused` changes of its own that the log refused;
    both at most COUNTED_MAX. `inbox_place` is how far the inbox was read (protocol §7.6), empty in the beginning.
    """

    agency: str
    origin: str
    unsent: int
    unacknowledged: int
    last_receipt_age_s: float | None
    pusher: str
    next_attempt_at: str | None
    failing_since: str | None
    epoch: int
    seq: int
    acknowledged_seq: int
    log_size_seen: int
    set_aside: int
    offered: int
    refused: int
    inbox_place: str
    aside: list[AsideLine]
    troubles: list[str]


async def node_status(store: LocalStore, clock: Clock) -> NodeStatus:
    """Raises Corrupt before the enrolment."""
    view = await store.outbox()
    seen = await store.seen()
    identity = await store.identity()
    assert identity is not None  # outbox() would have raised
    unacknowledged = await store.unacknowledged()
    receipt_at_ms = await store.last_receipt_at_ms()
    aside = aside_lines(await store.set_aside())
    trouble = await store.trouble()
    offered = await store.count_offered(identity.agency, COUNTED_MAX)
    refused = await store.count_refusals(COUNTED_MAX)
    place = await store.inbox_place()
    failing = view.schedule.failures > 0 and trouble is not None
    troubles = [] if view.halt is None else [f"{view.halt.reason}: {view.halt.detail}. {view.halt.next_step}"]
    troubles += [] if trouble is None else [trouble]
    if await store.is_behind():
        troubles.append(BEHIND)
    if aside:
        troubles.append(aside_words(aside))
    pusher = IDLE
    if view.halt is not None:
        pusher = HALTED
    elif failing:
        pusher = WAITING
    elif view.unsent or unacknowledged:
        pusher = BUSY
    since_ms = view.schedule.since_ms if failing else None
    return NodeStatus(
        agency=identity.agency,
        origin=identity.origin,
        unsent=view.unsent,
        unacknowledged=unacknowledged,
        last_receipt_age_s=None if receipt_at_ms is None else max(clock.now_ms() - receipt_at_ms, 0) / 1000,
        pusher=pusher,
        next_attempt_at=format_timestamp(view.schedule.next_attempt_at_ms) if pusher == WAITING else None,
        failing_since=None if since_ms is None else format_timestamp(since_ms),
        epoch=view.epoch,
        seq=view.signed_seq,
        acknowledged_seq=view.acknowledged_seq,
        log_size_seen=seen.size,
        set_aside=len(aside),
        offered=offered,
        refused=refused,
        inbox_place="" if place < 0 else format_place(place >> 16, place & 0xFFFF),
        aside=aside,
        troubles=troubles,
    )


def aside_lines(aside: Sequence[SetAside]) -> list[AsideLine]:
    """What is kept for the operator, oldest first; a line that cannot be read any more is named all the same."""
    return [
        AsideLine(
            complaint=one.complaint,
            change=one.change_id,
            type=UNREADABLE if change is None else change.type,
            reason=one.reason,
            at=format_timestamp(one.at_ms),
        )
        for one, change in zip(aside, parse_changes([one.line for one in aside]), strict=True)
    ]


def aside_words(aside: Sequence[AsideLine]) -> str:
    """One sentence that names them, as far as a line has room."""
    named = ", ".join(f"{one.type} of {one.complaint} ({one.reason})" for one in aside[:ASIDE_SHOWN])
    more = " …" if len(aside) > ASIDE_SHOWN else ""
    return f"{len(aside)} change(s) of an old backup are not possible any more and were set aside: {named}{more}"


@dataclass(frozen=True, slots=True)
class Freshness:
    """How an answer to a monitor comes about; `reason` is None while the node is fresh."""

    reason: str | None
    last_receipt_age_s: float | None


async def find_freshness(store: LocalStore, clock: Clock, *, stale_after_s: float, refused_after_s: float) -> Freshness:
    """Whether this node is stale, and why, in words that say nothing about it (architecture G9).

    Fresh is a receipt of the hub that is at most `stale_after_s` old: that proves disk, key, link and hub at once. A
    hub that refuses is told sooner: once changes have been waiting for `refused_after_s` since its first refusal.
    """
    now_ms = clock.now_ms()
    view, receipt_at_ms = await store.outbox(), await store.last_receipt_at_ms()
    age_s = None if receipt_at_ms is None else max(now_ms - receipt_at_ms, 0) / 1_000
    if view.halt is not None:
        return Freshness("the pusher has halted", age_s)
    if age_s is None:
        return Freshness("the hub has given no receipt yet", age_s)
    if age_s > stale_after_s:
        return Freshness(f"the newest receipt of the hub is older than {stale_after_s:g} seconds", age_s)
    schedule, trouble = view.schedule, await store.trouble()
    is_refused = schedule.failures > 0 and trouble is not None and is_refusal(trouble)
    is_long = now_ms - (schedule.since_ms or now_ms) > refused_after_s * 1_000
    if is_refused and is_long and (view.unsent or await store.unacknowledged()):
        return Freshness(f"what waits has been refused for more than {refused_after_s:g} seconds", age_s)
    return Freshness(None, age_s)
