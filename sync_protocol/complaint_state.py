"""What a fold knows of one complaint, and what of its surroundings a verdict may depend on (protocol §9)."""

from collections.abc import Callable
from typing import Protocol

import msgspec

from sync_protocol import change_types as ct
from sync_protocol.transitions import State


class FoldRules(Protocol):
    """What the fold asks of the rules in force (protocol §5.2, `simpul-rules`)."""

    @property
    def desk(self) -> str:
        """The agency that may recall and direct."""

    @property
    def bounce_limit(self) -> int:
        """How many declined offers make a complaint recallable."""


class FoldContext(msgspec.Struct, frozen=True):
    """Where in the log a change stands: all that its verdict may depend on besides the complaint itself."""

    index: int
    agency: str  # the signer of the set
    rules: FoldRules
    is_enrolled: Callable[[str], bool]  # before this index
    is_silent: Callable[[str], bool]  # protocol §9.4, last paragraph


class ComplaintState(msgspec.Struct, kw_only=True, gc=False):
    """One complaint after its last applied change: everything that verdicts and figures need, nothing that was said."""

    owner: str
    state: State
    rev: int
    minted_by: str
    unit: str | None = None
    return_state: State | None = None
    hold_return_state: State | None = None
    offer: bytes | None = None  # leaf hash of the pending offer's line
    offer_to: str | None = None
    bounces: int = 0  # declined offers since the desk last directed it
    hand_overs: int = 0
    reopened: int = 0
    reclassified: int = 0
    class_: str | None = None
    category: str | None = None
    visibility: str
    channel: str
    area: str | None = None
    tracking: str
    source: ct.Source | None = None
    received_at: str
    level: str | None = None  # how well the reporter is known
    closed_by: str | None = None  # who closed or archived it, while it is closed or archived
    closed_at: str | None = None
    reason: str | None = None  # why it is held, closed or archived
    rating: int | None = None  # of the present closure
    applied: int = 1
    ids: bytes = b""  # raw 16-byte ids of the applied changes, in order
