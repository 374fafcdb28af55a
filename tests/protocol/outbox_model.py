"""A small world for the outbox: a hub that judges as §8 does, and a pusher that does what `next_step` says.

The pusher is as plain as the real one must be: do the step, store the outcome, ask again. Every step can be cut off:
the process dies before or after its transaction, a request or its reply gets lost.
"""

from __future__ import annotations

import random
from copy import deepcopy
from dataclasses import dataclass, field
from enum import Enum, auto

from sync_protocol.backoff import Schedule
from sync_protocol.errors import Refused
from sync_protocol.halts import Halt, HaltReason, halt_for_push
from sync_protocol.heads import Adoption, HubHead, OwnChain, Session, SetRef, judge_adoption
from sync_protocol.manifest import Manifest, sign_manifest
from sync_protocol.merkle import EMPTY_ROOT
from sync_protocol.outbox import (
    EPOCH_DRAW,
    SILENCE_MAX_MS,
    Adopt,
    CheckHead,
    Claim,
    Cut,
    Halted,
    Heartbeat,
    OutboxView,
    Push,
    Recover,
    Recut,
    Step,
    next_step,
)
from sync_protocol.values import AgencyId, Digest, sha256_digest
from tests.protocol.log_samples import FixedSigner

AGENCY = AgencyId("33.75")
ENROLMENT = sha256_digest(b"the enrolment")


class Fault(Enum):
    """Where a step is cut off."""

    NONE = auto()
    DIES_BEFORE = auto()
    REQUEST_LOST = auto()
    REPLY_LOST = auto()
    DIES_AFTER = auto()


class Dies(Exception):
    """The process is gone."""


class Lost(Exception):
    """No answer came."""


@dataclass(frozen=True)
class Signed:
    """A change set; its digest is as unique as a signing."""

    epoch: int
    seq: int
    prev: Digest
    digest: Digest
    changes: tuple[int, ...]
    at_ms: int = 0

    @property
    def ref(self) -> SetRef:
        return SetRef(self.epoch, self.seq, self.digest)

    def forked(self) -> Refused:
        """What the hub says of another set at this one's place."""
        root = Digest(EMPTY_ROOT)
        manifest = Manifest(AGENCY, self.epoch, self.seq, self.prev, root, 0, 0, 0, 0, root, bytes(64))
        text = sign_manifest(manifest, FixedSigner(AGENCY)).jws.text
        return Refused("forked", "another history", members={"manifest": text})


@dataclass
class Hub:
    """Accepted sets in order; what it refuses it refuses as §8 says."""

    sets: list[Signed] = field(default_factory=list)
    forks: list[tuple[Signed, Signed]] = field(default_factory=list)

    def head(self) -> HubHead:
        if not self.sets:
            return HubHead(1, 0, ENROLMENT, is_ours=True)
        newest = self.sets[-1]
        return HubHead(newest.epoch, newest.seq, newest.digest, is_ours=True, at_ms=newest.at_ms)

    def put(self, pushed: Signed) -> None:
        """Return for accepted and repeated, raise Refused for the rest."""
        head = self.head()
        held = self.sets[pushed.seq - 1] if pushed.seq <= head.seq else None
        if held is not None and held.digest == pushed.digest:
            return
        if held is not None and held.epoch == pushed.epoch:
            self.forks.append((held, pushed))
            raise held.forked()
        if pushed.epoch < head.epoch:
            raise Refused("superseded", "a later epoch")
        if pushed.seq > head.seq + 1:
            raise Refused("behind", "a gap")
        if held is not None or pushed.prev != head.digest:
            raise (held or self.sets[-1]).forked()
        self.sets.append(pushed)


@dataclass
class Disk:
    """What a node stores; copied as a whole by a backup or a clone."""

    epoch: int = 1
    is_claimed: bool = False
    adopted_at_ms: int | None = None
    sets: list[Signed] = field(default_factory=list)
    acknowledged: int = 0
    unsent: list[int] = field(default_factory=list)
    last_signed_at_ms: int | None = None
    schedule: Schedule = field(default_factory=Schedule)
    halt: Halt | None = None
    is_rotation_asked: bool = False

    @property
    def pending(self) -> Signed | None:
        return self.sets[self.acknowledged] if len(self.sets) > self.acknowledged else None


@dataclass
class World:
    """What nodes share: the hub, the time, the link, and a record of everything that was ever signed."""

    hub: Hub = field(default_factory=Hub)
    now_ms: int = 1_767_225_600_000
    is_link_up: bool = True
    signings: list[Signed] = field(default_factory=list)
    chance: random.Random = field(default_factory=lambda: random.Random(1))

    def assert_one_manifest_for_each_place(self) -> None:
        places = [(signed.epoch, signed.seq) for signed in self.signings]
        assert len(places) == len(set(places))


@dataclass
class Node:
    """A disk with the one process on it: each process brings the directory into use anew."""

    world: World
    disk: Disk = field(default_factory=Disk)
    session: Session = field(default_factory=Session)
    checked_at_ms: int | None = None  # by this process
    has_signed: bool = False  # this process

    def __post_init__(self) -> None:
        self.disk.is_claimed = False

    def view(self) -> OutboxView:
        disk = self.disk
        return OutboxView(
            epoch=disk.epoch,
            signed_seq=len(disk.sets),
            acknowledged_seq=disk.acknowledged,
            pending_epoch=disk.pending.epoch if disk.pending else None,
            unsent=len(disk.unsent),
            last_signed_at_ms=disk.last_signed_at_ms,
            schedule=disk.schedule,
            halt=disk.halt,
            is_rotation_asked=disk.is_rotation_asked,
            is_claimed=disk.is_claimed,
            adopted_at_ms=disk.adopted_at_ms,
            session=self.session,
        )

    def die(self) -> None:
        """Start anew on the same disk."""
        self.session, self.checked_at_ms, self.has_signed = Session(), None, False
        self.disk.is_claimed = False

    def clone(self) -> Node:
        """A machine image, started beside the original."""
        return Node(self.world, deepcopy(self.disk))

    def run(self, fault: Fault = Fault.NONE) -> Step:
        """One step, cut off at the fault."""
        step = next_step(self.view(), self.world.now_ms)
        try:
            if fault is not Fault.DIES_BEFORE:
                self.do(step, fault)
        except (Dies, Lost):
            pass
        if fault in (Fault.DIES_BEFORE, Fault.DIES_AFTER):
            self.die()
        return step

    def settle(self, steps_max: int = 200) -> Step:
        """Run undisturbed until nothing is left to do."""
        for _ in range(steps_max):
            step = self.run()
            if type(step).__name__ in ("Idle", "Halted"):
                return step
            if type(step).__name__ == "Wait":
                self.world.now_ms += 60_000
        raise AssertionError(f"does not come to rest: {step}")

    def take_over(self) -> None:
        """What `recover --take-over` does: nothing unacknowledged keeps its place, and a new epoch begins."""
        self._uncut(self.disk.acknowledged + 1)
        self.disk.epoch = max(self.disk.epoch, self.world.hub.head().epoch) + 1
        self.disk.halt = self.disk.adopted_at_ms = None
        self.die()

    def do(self, step: Step, fault: Fault) -> None:
        match step:
            case CheckHead():
                self._check_head(fault)
            case Cut() | Heartbeat():
                self._sign(step)
            case Push(seq=seq):
                self._push(self.disk.sets[seq - 1], fault)
            case Recut(from_seq=seq):
                self._uncut(seq)
            case Claim(above=above):
                assert self.disk.pending is None, "raised the epoch over a set that may be on its way"
                self.disk.epoch = above + 1 + self.world.chance.randrange(EPOCH_DRAW)
                self.disk.is_claimed = True
            case Adopt():
                self._adopt(step, fault)
            case Recover():
                self._recover(fault)
            case Halted(halt=halt, is_new=True):
                self.disk.halt = halt

    def _attempt(self, fault: Fault) -> None:
        self.disk.schedule = self.disk.schedule.attempting(self.world.now_ms, 0.5)
        if fault is Fault.REQUEST_LOST or not self.world.is_link_up:
            raise Lost

    def _answer(self, fault: Fault) -> None:
        if fault is Fault.REPLY_LOST:
            raise Lost
        self.disk.schedule = self.disk.schedule.succeeded(self.world.now_ms)

    def _check_head(self, fault: Fault) -> None:
        self._attempt(fault)
        head = self.world.hub.head()
        self._answer(fault)
        disk = self.disk
        held = None
        if head.seq == 0:
            held = SetRef(1, 0, ENROLMENT)
        elif head.seq <= len(disk.sets):
            held = disk.sets[head.seq - 1].ref
        own = OwnChain(disk.epoch, len(disk.sets), disk.acknowledged, held, disk.is_claimed)
        self.session = self.session.compared(head, own, self.world.now_ms)
        self.checked_at_ms = self.world.now_ms

    def _sign(self, step: Cut | Heartbeat) -> None:
        now_ms, disk = self.world.now_ms, self.disk
        assert self.checked_at_ms is not None, "signed before the heads were compared"
        assert now_ms - self.checked_at_ms < SILENCE_MAX_MS, "signed on old knowledge"
        assert disk.is_claimed, "signed in an epoch that another copy may use"
        assert disk.pending is None, "signed while a set is unacknowledged"
        assert step.seq == len(disk.sets) + 1
        changes = tuple(disk.unsent[:3]) if isinstance(step, Cut) else ()
        prev = disk.sets[-1].digest if disk.sets else ENROLMENT
        digest = sha256_digest(f"{len(self.world.signings)} {step.epoch} {step.seq} {changes}".encode())
        signed = Signed(step.epoch, step.seq, prev, digest, changes, now_ms)
        self.world.signings.append(signed)
        disk.sets.append(signed)
        del disk.unsent[: len(changes)]
        disk.last_signed_at_ms = now_ms
        self.has_signed = True

    def _push(self, pushed: Signed, fault: Fault) -> None:
        self._attempt(fault)
        try:
            self.world.hub.put(pushed)
        except Refused as refused:
            self._answer(fault)
            self.disk.halt = halt_for_push(refused, pushed.epoch)
            self.session = self.session.doubted()
            return
        self._answer(fault)
        self.disk.acknowledged = pushed.seq
        self.session = self.session.answered(self.world.now_ms)
        self.checked_at_ms = self.world.now_ms

    def _uncut(self, from_seq: int) -> None:
        for dropped in reversed(self.disk.sets[from_seq - 1 :]):
            self.disk.unsent[:0] = dropped.changes
        del self.disk.sets[from_seq - 1 :]

    def _adopt(self, step: Adopt, fault: Fault) -> None:
        disk, adopted = self.disk, self.world.hub.sets[step.from_seq - 1 : step.to_seq]
        are_earlier = all(theirs.epoch < disk.epoch for theirs in adopted)
        assert are_earlier or not self.has_signed, "adopted from a later life after this process had signed"
        for theirs in adopted:
            self._attempt(fault)
            self._answer(fault)
            own = disk.pending
            verdict = judge_adoption(own.ref if own else None, theirs.ref)
            if verdict is Adoption.FORKED:
                disk.halt = Halt(HaltReason.FORKED, "found while adopting")
                return
            if verdict is Adoption.TAKE:
                self._uncut(theirs.seq)
                disk.sets.append(theirs)
            disk.acknowledged = theirs.seq
            disk.unsent = [change for change in disk.unsent if change not in theirs.changes]
            if fault is Fault.DIES_AFTER:
                raise Dies
        disk.adopted_at_ms = self.world.now_ms
        self.session = self.session.adopted()

    def _recover(self, fault: Fault) -> None:
        self._attempt(fault)
        self.world.hub.sets = list(self.disk.sets[: self.disk.acknowledged])
        self._answer(fault)
        self.session = self.session.doubted()
