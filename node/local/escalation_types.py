"""What the desk knows of complaints whose limit has passed elsewhere: as it is kept on disk, and as it is shown."""

from typing import Literal

import msgspec

from node.deadlines.report import Unreachable
from node.local.api_types import DutyLabel
from sync_protocol import change_types as ct
from sync_protocol.wire import AsOf

Recallable = Literal["bounced", "silent"]


class EscalationFinding(msgspec.Struct, frozen=True, kw_only=True):
    """Evidence that the hub handed out at `at` and that does not hold; `kind` is what the verifier found.

    `file` is what is kept of it, beside the list; null where there was no room. `cleared_at`: when the hub first handed
    out evidence that holds since; null: not yet.
    """

    kind: str
    detail: str
    at: str
    file: str | None
    cleared_at: str | None = None


class EscalationEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """The evidence bundle of an escalation.

    `verified`: every signature, root and place in the log holds, and owner, state and the limit that has passed follow
    from it by this node's own tables; `file` is the bundle (null: no room for it), `log_size` the log that it proves
    its places in, `rev` the complaint's rev there. `not_verified`: see the escalation's `finding`. `waiting`: it is
    asked for again, `detail` says why. `asked_at`: when the hub was asked for it last; null: not yet.
    """

    status: Literal["verified", "not_verified", "waiting"]
    asked_at: str | None = None
    rev: int | None = None
    log_size: int | None = None
    file: str | None = None
    detail: str | None = None


class Escalation(msgspec.Struct, frozen=True, kw_only=True):
    """A complaint of another agency whose limit has passed. Owner, state, rev, `duty` and `due_at` are the hub's words.

    `noticed_at`: when this node first saw that this duty of this owner is overdue. `tracking` and `bounces` come from
    verified evidence, null before there is any. `recall` says on what ground the desk may recall it now: its offers
    were declined often enough, or its owner is silent; null: the log would refuse that yet. `unreachable` are seconds
    in which hub and owner were provably away meanwhile. `finding` is the newest evidence that did not hold; it stays
    when other evidence does.
    """

    complaint: str
    tracking: str | None = None
    owner: str
    state: ct.StateLabel
    rev: int
    duty: DutyLabel
    due_at: str
    noticed_at: str
    bounces: int | None = None
    recall: Recallable | None = None
    unreachable: Unreachable
    evidence: EscalationEvidence
    finding: EscalationFinding | None = None


class EscalationList(msgspec.Struct, frozen=True, kw_only=True):
    """All of them, the longest overdue first, as of the newest look that succeeded.

    `trouble` is why a later look (`failed_at`) did not. `more`: the hub has others beyond those.
    """

    as_of: AsOf | None = None
    looked_at: str | None = None
    failed_at: str | None = None
    trouble: str | None = None
    more: bool = False
    escalations: list[Escalation] = []


class EscalationPage(msgspec.Struct, frozen=True, kw_only=True):
    """The longest overdue first, `count` in all. `as_of` (of the hub's log), `looked_at`: null before the first look.

    `trouble` is why the newest look, at `failed_at`, did not succeed: the list is then that of `looked_at`. `more`: the
    hub has others, less overdue. `next` is the `after` of the next page, null on the last.
    """

    as_of: AsOf | None
    looked_at: str | None
    failed_at: str | None
    trouble: str | None
    more: bool
    count: int
    items: list[Escalation]
    next: str | None
