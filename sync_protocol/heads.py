"""Whose history is longer: a node's chain compared with the hub's (protocol §10.2, §10.3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto

from sync_protocol.errors import Corrupt
from sync_protocol.values import Digest


@dataclass(frozen=True, slots=True)
class SetRef:
    """A signed set of ours: its place and digest."""

    epoch: int
    seq: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class HubHead:
    """The head as the hub tells it, its manifest verified. `is_ours`: signed by a key that this node holds (or held).

    Before the first set: seq 0, epoch 1, the enrolment's digest, `is_ours` True.
    """

    epoch: int
    seq: int
    digest: Digest
    is_ours: bool


@dataclass(frozen=True, slots=True)
class OwnChain:
    """Our side of the comparison, read in one transaction.

    `epoch` is the one that we sign with, `is_claimed` if this directory has raised it since it came into use (§10.2).
    `signed_seq` is our newest set, `acknowledged_seq` the newest with a verified receipt and none missing below it.
    `at_hub_head` is what we hold at the hub's head seq: the set, or for seq 0 the enrolment (epoch 1); None if we hold
    nothing there.
    """

    epoch: int
    signed_seq: int
    acknowledged_seq: int
    at_hub_head: SetRef | None
    is_claimed: bool = False


class Finding(Enum):
    """What a comparison of heads says; rows of §10.3."""

    IN_STEP = auto()  # equal, or the hub only lacks sets that we hold no receipt for
    HUB_LOST = auto()  # the hub lacks sets that it gave us receipts for
    HUB_AHEAD = auto()  # sets of ours that we do not hold: we are an old backup, or our earlier life's came late
    COPY_ALIVE = auto()  # the same, with an epoch that we have claimed and signed in, or a later one
    FOREIGN = auto()  # somebody else's key stands at the head
    FORKED = auto()  # another set at the same place
    CONTRADICTION = auto()  # another set at a place for which we hold a receipt


def compare_heads(hub: HubHead, own: OwnChain) -> Finding:
    """One row of §10.3. Raises Corrupt if we compare with another place than the hub's head."""
    held = own.at_hub_head
    if held is not None and held.seq != hub.seq:
        raise Corrupt(f"seq {held.seq} of ours was compared with seq {hub.seq} of the hub")
    is_equal = held is not None and held.digest == hub.digest
    if hub.seq <= own.acknowledged_seq and held is not None and not is_equal:
        return Finding.FOREIGN if hub.seq == 0 else Finding.CONTRADICTION
    if hub.seq < own.acknowledged_seq:
        return Finding.HUB_LOST
    if is_equal:
        return Finding.IN_STEP
    if not hub.is_ours:
        return Finding.FOREIGN
    if held is not None and held.epoch == hub.epoch:
        return Finding.FORKED
    # Who has claimed nothing has signed nothing since it came into use. And where nothing of a claimed epoch is in the
    # log yet, what is ahead was signed before: it was on its way then, or a copy's that is told `superseded` next.
    return Finding.HUB_AHEAD if not own.is_claimed or hub.epoch < own.epoch else Finding.COPY_ALIVE


class Adoption(Enum):
    """What becomes of one of the hub's sets that an old backup meets."""

    ACKNOWLEDGE = auto()  # we hold the very same: its receipt is all that was missing
    TAKE = auto()  # we hold nothing there, or a set of another epoch that the hub never took
    FORKED = auto()  # this node signed two sets for one (epoch, seq): halt


def judge_adoption(own: SetRef | None, theirs: SetRef) -> Adoption:
    """For each set that `Adopt` fetches, against what we hold, without receipt, at its seq."""
    if own is None:
        return Adoption.TAKE
    if own.digest == theirs.digest:
        return Adoption.ACKNOWLEDGE
    return Adoption.FORKED if own.epoch == theirs.epoch else Adoption.TAKE


@dataclass(frozen=True, slots=True)
class Session:
    """What one process knows of the hub since its start. Never stored.

    `has_adopted`: it completed an adoption; another one that follows on it is no second time. `compared_epoch` is our
    own epoch at the comparison: raising it asks for another one.
    """

    has_adopted: bool = False
    hub: HubHead | None = None
    finding: Finding | None = None
    compared_epoch: int | None = None
    answered_at_ms: int | None = None
    hub_seen_at_ms: int | None = None

    def compared(self, hub: HubHead, own: OwnChain, now_ms: int) -> Session:
        """After the hub told its head and we looked at ours."""
        finding = compare_heads(hub, own)
        return replace(self, hub=hub, finding=finding, compared_epoch=own.epoch, answered_at_ms=now_ms)

    def answered(self, now_ms: int) -> Session:
        """After any answer by which the hub confirmed our head (a receipt)."""
        return replace(self, answered_at_ms=now_ms)

    def doubted(self) -> Session:
        """After an answer that does not fit our picture (`behind`, `recovering`), and after a recovery was posted."""
        return replace(self, finding=None)

    def adopted(self) -> Session:
        """After an adoption: heads are compared once more."""
        return replace(self, has_adopted=True, finding=None)

    def renewed(self) -> Session:
        """After somebody else raised the epoch or ended a halt: what was known before says nothing about it."""
        return Session(hub_seen_at_ms=self.hub_seen_at_ms)

    def saw_hub(self, now_ms: int) -> Session:
        """After any sign of life of the hub: a waiting attempt is due at once."""
        return replace(self, hub_seen_at_ms=now_ms)
