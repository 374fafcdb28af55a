"""What whoever has a tracking number is shown of its complaint, by a node or by the hub (protocol §7.7)."""

from __future__ import annotations

from typing import Final

import msgspec

HISTORY_MAX: Final = 100  # the newest changes


class TrackedChange(msgspec.Struct, frozen=True, kw_only=True):
    """What was done, when, and by which agency. `text` is an answer or a question to the reporter, where the owner's
    node shows it: never of a confidential complaint, null anywhere else.
    """

    type: str
    at: str
    agency: str
    text: str | None


class Tracked(msgspec.Struct, frozen=True, kw_only=True):
    """A complaint as the public part of it is now. `due_at` is the end of a day, null where nothing is due."""

    tracking: str
    state: str
    owner: str
    offered_to: str | None
    class_: str | None = msgspec.field(name="class")
    received_at: str
    closed_by: str | None
    due_at: str | None
    duty: str | None
    overdue: bool
    history: list[TrackedChange]
    as_of: str
