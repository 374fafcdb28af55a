"""Judging a submission (protocol §8, steps 2 to 9 and 12): pure, cheapest first, the first reason that holds.

The normal answers are values: Accept, Duplicate, Behind, Forked, Superseded, RolledBack. What no client should ever
send is raised as Refused. Limits (step 1) and lines (10, 11) are change_set.py's. The caller judges and appends under
one lock; several sets of one agency in one commit are judged one after the other, each against the head before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from sync_protocol.checkpoint import verify_seen
from sync_protocol.errors import Refused, Unavailable, malformed
from sync_protocol.limits import EPOCH_STEP_MAX
from sync_protocol.manifest import SignedManifest
from sync_protocol.problems import Recovering
from sync_protocol.roster import Roster
from sync_protocol.roster_state import AgencyRecord
from sync_protocol.values import AgencyId, Digest


@dataclass(frozen=True, slots=True)
class Head:
    """The end of an agency's chain. Before the first set: epoch 1, seq 0, the enrolment's digest, no manifest."""

    agency: AgencyId
    epoch: int
    seq: int
    digest: Digest
    manifest: SignedManifest | None

    @classmethod
    def at_enrolment(cls, record: AgencyRecord) -> Head:
        """Where a chain begins."""
        return cls(record.agency, 1, 0, record.enrolment, None)

    @classmethod
    def after(cls, submission: SignedManifest) -> Head:
        """The head once this set is accepted."""
        manifest = submission.manifest
        return cls(manifest.agency, manifest.epoch, manifest.seq, submission.digest, submission)


@dataclass(frozen=True, slots=True)
class Held:
    """A set that was accepted, at its log index."""

    index: int
    manifest: SignedManifest


@dataclass(frozen=True, slots=True)
class IntakeView:
    """All that the judge looks at, as of one moment under the append lock.

    `head` is None for an agency without one (not enrolled, or no set yet). `held(seq)` is the set accepted at that seq
    of this agency; asked only for 1 ≤ seq ≤ head's. `root_at(size)` is the log's own root (32 bytes); asked only for
    0 ≤ size ≤ `log_size`, and may be None if it cannot be known any more, which counts as not ours.
    """

    roster: Roster
    log_size: int
    root_at: Callable[[int], bytes | None]
    head: Head | None
    held: Callable[[int], Held | None]


@dataclass(frozen=True, slots=True)
class Accept:
    """It goes in; `head` is the agency's head afterwards."""

    head: Head


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Accepted before, at `held.index`. The receipt is over the stored JWS, whatever signature came now."""

    held: Held


@dataclass(frozen=True, slots=True)
class Behind:
    """Sets are missing before it."""

    head: Head

    def refused(self) -> Refused:
        """The problem of §7.3."""
        members: dict[str, object] = {
            "expected_seq": self.head.seq + 1,
            "head_digest": self.head.digest.b64u,
            "head_epoch": self.head.epoch,
        }
        return Refused("behind", f"set {self.head.seq + 1} is expected next", members=members)


@dataclass(frozen=True, slots=True)
class Forked:
    """Another manifest stands there (`held`; or the head's, None before the first set).

    `is_evidence`: both were signed for one (agency, epoch, seq), so that the pair goes into the log as `simpul-fork`.
    """

    submission: SignedManifest
    held: SignedManifest | None
    is_evidence: bool

    def refused(self) -> Refused:
        """The problem of §7.3."""
        text = self.held.jws.text if self.held else None
        return Refused("forked", "another history stands at this place", members={"manifest": text})


@dataclass(frozen=True, slots=True)
class Superseded:
    """A later life of this node has raised the epoch."""

    head: Head

    def refused(self) -> Refused:
        """The problem of §7.3."""
        members: dict[str, object] = {"head_epoch": self.head.epoch, "head_seq": self.head.seq}
        return Refused("superseded", f"the head stands in epoch {self.head.epoch}", members=members)


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The submission proves that this hub once signed what it does not hold now: stop signing, ask the nodes.

    `seen_size` and `seen_root` with `seen_sig` are the proof; `log_size` is what the hub has.
    """

    submission: SignedManifest
    log_size: int

    def unavailable(self) -> Unavailable:
        """What the node is told; the hub answers `recovering` from now on."""
        return Recovering("this hub lost a part of its log and signs nothing until that is back", size=self.log_size)


Judgement: TypeAlias = Accept | Duplicate | Behind | Forked | Superseded | RolledBack


def judge(view: IntakeView, submission: SignedManifest, url_agency: str, url_seq: int) -> Judgement:
    """The answer of §8 to a parsed manifest.

    Raises Refused: wrong-agency, malformed, unknown-agency, unknown-key, revoked-key, bad-signature; and Unavailable
    while the log has no rules yet (§9.1).
    """
    manifest = submission.manifest
    if manifest.agency != url_agency:
        raise Refused("wrong-agency", f"the set is {manifest.agency}'s", where="agency")
    if manifest.seq != url_seq:
        raise malformed("the set has another seq than the address", "seq")
    head = view.head
    held = view.held(manifest.seq) if head is not None and manifest.seq <= head.seq else None
    if held is not None and held.manifest.digest == submission.digest:
        return Duplicate(held)
    view.roster.verify_change_set_key(submission.jws, manifest.agency, view.log_size)
    _verify_seen(view.roster, submission)
    if manifest.seen_size > view.log_size or view.root_at(manifest.seen_size) != manifest.seen_root:
        return RolledBack(submission, view.log_size)
    if head is None or head.seq == 0:  # a re-enrolment before the first set moves the beginning
        head = _first_head(view.roster, manifest.agency)
    place = judge_place(head, held, submission)
    if place is None and view.roster.rules_at(view.log_size) is None:
        raise Unavailable("the log has no rules yet")
    return place or Accept(Head.after(submission))


def judge_place(head: Head, held: Held | None, submission: SignedManifest) -> Behind | Forked | Superseded | None:
    """Steps 7 to 9: None if the set follows the head. `held` is what stands at its seq, if anything does.

    Raises Refused(malformed) for an epoch that is out of reach.
    """
    manifest = submission.manifest
    if held is not None and held.manifest.manifest.epoch == manifest.epoch:
        return Forked(submission, held.manifest, is_evidence=True)
    if manifest.epoch < head.epoch:
        return Superseded(head)
    if manifest.epoch > head.epoch + EPOCH_STEP_MAX:
        raise malformed(f"an epoch is raised by {EPOCH_STEP_MAX} at most", "epoch")
    if manifest.seq <= head.seq:
        return Forked(submission, held.manifest if held else head.manifest, is_evidence=False)
    if manifest.seq > head.seq + 1:
        return Behind(head)
    if manifest.prev != head.digest:
        return Forked(submission, head.manifest, is_evidence=False)
    return None


def _first_head(roster: Roster, agency: AgencyId) -> Head:
    record = roster.agency(agency)
    assert record is not None  # its key speaks, so it is enrolled
    return Head.at_enrolment(record)


def _verify_seen(roster: Roster, submission: SignedManifest) -> None:
    """That the key of this log for that size (§5.4) signed the checkpoint which the node says it saw."""
    manifest = submission.manifest
    size = manifest.seen_size
    try:
        verify_seen(roster.origin, size, manifest.seen_root, manifest.seen_sig, (roster.log_key_at(size),))
    except Refused:
        raise malformed("this log never signed the checkpoint that was seen", "seen") from None
