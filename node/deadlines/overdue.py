"""What `GET /v1/overdue` says (protocol §7.5): written by the hub, read by the desk's node."""

from __future__ import annotations

import msgspec

from node.deadlines.report import Unreachable
from sync_protocol.wire import AsOf, ComplaintLine


class OverdueLine(ComplaintLine, frozen=True, kw_only=True):
    """A complaint whose limit has passed, and how long hub and node were provably away meanwhile."""

    agency: str
    unreachable: Unreachable


class OverduePage(msgspec.Struct, frozen=True, kw_only=True):
    """The longest overdue first; `next` is the `after` of the next page, null on the last."""

    as_of: AsOf
    complaints: list[OverdueLine]
    next: str | None
