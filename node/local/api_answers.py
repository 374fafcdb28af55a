"""From what is stored to what the REST API shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec

from node.deadlines.clocks import due_words
from node.deadlines.slot import NOTHING_DUE
from node.local.api_types import ComplaintDetail, ComplaintSummary, DutyLabel, HistoryEntry
from node.store.local_records import HeldChange, HeldComplaint
from sync_protocol import change_types as ct
from sync_protocol.line import parse_change, readable_content
from sync_protocol.merkle import leaf_hash
from sync_protocol.values import b64u_encode, format_timestamp


def summary_of(held: HeldComplaint, now_ms: int) -> ComplaintSummary:
    """A complaint as it is now."""
    state = held.state
    due_at, duty, overdue = due_words(NOTHING_DUE if held.slot is None else held.slot, now_ms)
    return ComplaintSummary(
        complaint=str(held.id),
        tracking=state.tracking,
        state=cast("ct.StateLabel", state.state.label),
        rev=state.rev,
        owner=state.owner,
        visibility=cast("ct.Visibility", state.visibility),
        channel=cast("ct.Channel", state.channel),
        received_at=state.received_at,
        changed_at=format_timestamp(held.changed_at_ms),
        class_=cast("ct.ComplaintClass | None", state.class_),
        category=state.category,
        area=state.area,
        unit=state.unit,
        source=state.source,
        offered_to=state.offer_to,
        offer=None if state.offer is None else b64u_encode(state.offer),
        bounces=state.bounces,
        closed_by=state.closed_by,
        closed_at=state.closed_at,
        reason=state.reason,
        rating=state.rating,
        due_at=due_at,
        duty=cast("DutyLabel | None", duty),
        overdue=overdue,
    )


def detail_of(held: HeldComplaint, changes: Sequence[HeldChange], now_ms: int) -> ComplaintDetail:
    """With its history."""
    return ComplaintDetail(complaint=summary_of(held, now_ms), history=[_entry(change) for change in changes])


def _entry(held: HeldChange) -> HistoryEntry:
    change = parse_change(held.line)
    data: dict[str, Any] = msgspec.to_builtins(change.data)
    return HistoryEntry(
        id=change.id,
        type=change.type,
        rev=change.rev,
        at=change.at,
        actor=change.actor,
        data=data,
        content=_said(held.content),
        leaf=None if held.content is None else b64u_encode(leaf_hash(held.content)),
        seq=held.seq,
        index=held.index,
        agency=held.agency,
        verdict=held.verdict,
    )


def _said(line: bytes | None) -> dict[str, Any] | None:
    said = readable_content(line)
    if said is None:
        return None
    del said["salt"]  # it protects a line that is erased later; nobody needs to see it
    said.pop("of", None)  # which change it belongs to is seen from where it stands
    return said
