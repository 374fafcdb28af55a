"""What whoever has a tracking number may know of a complaint that is held here (protocol §7.7), however they ask."""

from __future__ import annotations

from typing import Final

from node.deadlines.slot import NOTHING_DUE
from node.local.ports import LocalStore
from node.local.shared import history_of
from node.store.local_records import ComplaintFilter, HeldChange, HeldComplaint
from node.tracked import HISTORY_MAX, Tracked, TrackedChange
from sync_protocol.change_types import CONFIDENTIAL
from sync_protocol.line import Change, parse_change, readable_content

#: What is said to the reporter; everything else that is said is not for whoever has a number.
TO_REPORTER: Final = frozenset({"answered", "information_requested"})


async def find_tracked(store: LocalStore, tracking: str) -> HeldComplaint | None:
    """By the tracking number in its one spelling. A line may claim any number: nobody hides another's by claiming it.

    So of several it is the one that this agency minted, or else the one that came first.
    """
    page = await store.complaints(ComplaintFilter(tracking=tracking, oldest_first=True))
    identity = await store.identity()
    own = None if identity is None else identity.agency
    return min(page, key=lambda held: (held.state.minted_by != own, held.no), default=None)


async def tracked_of(store: LocalStore, held: HeldComplaint, agency: str, now_ms: int) -> Tracked:
    """The public part of a complaint, at the node of `agency`; what is due only where the complaint is its own."""
    shown = (await history_of(store, held))[-HISTORY_MAX:]
    # In an old backup words may stand that were erased since.
    is_open = held.state.visibility not in CONFIDENTIAL and not await store.is_behind()
    history = [_entry(one, agency, with_text=is_open) for one in shown if one.verdict is None]
    slot = NOTHING_DUE if held.slot is None else held.slot
    return Tracked.of(held.state, slot, history, now_ms=now_ms, as_of_ms=now_ms)


def said_to_reporter(change: Change, content: bytes | None) -> str | None:
    """The words of an answer or a question to the reporter; None of anything else, and where they are not held here.

    None of a content line that cannot be read, too.
    """
    said = readable_content(content) if change.type in TO_REPORTER else None
    text = None if said is None else said.get("text")
    return text if isinstance(text, str) else None


def _entry(held: HeldChange, agency: str, *, with_text: bool) -> TrackedChange:
    change = parse_change(held.line)
    text = said_to_reporter(change, held.content) if with_text else None
    return TrackedChange(type=change.type, at=change.at, agency=held.agency or agency, text=text)
