"""Whose history is longer: a node's chain compared with the hub's (protocol §10.2, §10.3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

from sync_protocol.backoff import MINUTE_MS
from sync_protocol.errors import Corrupt
from sync_protocol.values import Digest

# How long after a process began a set may still come in that was signed before: many times what a hub lets a request
# wait. Later it is a copy, or a thief who dates back.
ON_ITS_WAY_MAX_MS: Final = 60 * MINUTE_MS


@dataclass(frozen=True, slots=True)
class SetRef:
    """A signed set of ours: its place and digest."""

    epoch: int
    seq: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class HubHead:
    """The head as the hub tells it, its manifest verified. `is_ours`: signed by a key that this node holds (or held).

    `at_ms` is when it says that it was signed. Before the first set: seq 0, epoch 1, the enrolment's digest, `is_ours`
    True, and no time.
    """

    epoch: int
    seq: int
    digest: Digest
    is_ours: bool
    at_ms: int | None = None

    def was_on_its_way(self, own: OwnChain, began_at_ms: int | None) -> bool:
        """Whether it was signed before we came into use, and lost its way to the hub in between: no copy is alive.

        Never where a set of the epoch that we have claimed, or of a later one, is in the log: that was signed since.
        """
        is_earlier = began_at_ms is not None and self.at_ms is not None and self.at_ms < began_at_ms
        return is_earlier and not (own.is_claimed and self.epoch >= own.epoch)


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
    HUB_AHEAD = auto()  # sets of ours that we do not hold: we are an old backup, or an earlier life's came in late
    COPY_ALIVE = auto()  # the same, while running
    FOREIGN = auto()  # somebody else's key stands at the head
    FORKED = auto()  # another set at the same place
    CONTRADICTION = auto()  # another set at a place for which we hold a receipt


def compare_heads(hub: HubHead, own: OwnChain, *, is_starting: bool, began_at_ms: int | None = None) -> Finding:
    """One row of §10.3; `began_at_ms` is when this process first compared heads, None if that is long ago.

    Raises Corrupt if we compare with another place than the hub's head.
    """
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
    return Finding.HUB_AHEAD if is_starting or hub.was_on_its_way(own, began_at_ms) else Finding.COPY_ALIVE


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

    `is_starting` until heads were in step once, or an adoption was completed: only so long may sets be adopted, and
    never in a directory that has claimed its epoch, whichever of its processes did that; later only what was signed
    before `began_at_ms`, the first comparison. `compared_epoch` is our own epoch at the comparison: raising it asks for
    another one.
    """

    is_starting: bool = True
    began_at_ms: int | None = None
    hub: HubHead | None = None
    finding: Finding | None = None
    compared_epoch: int | None = None
    answered_at_ms: int | None = None
    hub_seen_at_ms: int | None = None

    def compared(self, hub: HubHead, own: OwnChain, now_ms: int) -> Session:
        """After the hub told its head and we looked at ours."""
        is_starting = self.is_starting and not own.is_claimed
        began_at_ms = now_ms if self.began_at_ms is None else self.began_at_ms
        has_just_begun = 0 <= now_ms - began_at_ms < ON_ITS_WAY_MAX_MS
        finding = compare_heads(hub, own, is_starting=is_starting, began_at_ms=began_at_ms if has_just_begun else None)
        return replace(
            self,
            is_starting=is_starting and finding is not Finding.IN_STEP,
            began_at_ms=began_at_ms,
            hub=hub,
            finding=finding,
            compared_epoch=own.epoch,
            answered_at_ms=now_ms,
        )

    def answered(self, now_ms: int) -> Session:
        """After any answer by which the hub confirmed our head (a receipt)."""
        return replace(self, answered_at_ms=now_ms)

    def doubted(self) -> Session:
        """After an answer that does not fit our picture (`behind`, `recovering`), and after a recovery was posted."""
        return replace(self, finding=None)

    def adopted(self) -> Session:
        """After an adoption: heads are compared once more; what is ahead then, and was signed since, is alive."""
        return replace(self, is_starting=False, finding=None)

    def renewed(self) -> Session:
        """After somebody else raised the epoch or ended a halt: what was known before says nothing about it."""
        return Session(hub_seen_at_ms=self.hub_seen_at_ms)

    def saw_hub(self, now_ms: int) -> Session:
        """After any sign of life of the hub: a waiting attempt is due at once."""
        return replace(self, hub_seen_at_ms=now_ms)
