"""What a local node does next (protocol §10): a pure function of what is stored, what the process knows, and the time.

    step = next_step(view, now_ms)  →  the pusher does it, stores the outcome, and asks again

Nothing is remembered between two calls but the view, so a crash between any two steps needs no code of its own: the
same question is asked again. A Session (heads.py) is what a process has learnt since its start and forgets when it
dies; that forgetting is what forces a new comparison of heads before anything is signed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

from sync_protocol.backoff import DAY_MS, MINUTE_MS, Schedule
from sync_protocol.halts import Halt, HaltReason
from sync_protocol.heads import Finding, HubHead, Session

SILENCE_MAX_MS: Final = 15 * MINUTE_MS  # older knowledge of the hub's head is no ground to sign on (§10.2)
HEARTBEAT_EVERY_MS: Final = DAY_MS
EPOCH_DRAW: Final = 2**20  # two copies that raise at one moment draw the same epoch once in a million times
ADOPTION_APART_MS: Final = 7 * DAY_MS  # two restored backups in a week are rarer than a copy pushing from a timer


@dataclass(frozen=True, slots=True)
class CheckHead:
    """Ask the hub for its head, compare, keep the Session that comes out."""


@dataclass(frozen=True, slots=True)
class Adopt:
    """Fetch, verify and adopt the hub's sets `from_seq` … `to_seq`, then store that and when it was done.

    Each set is one transaction with all that follows from it: a set of ours at its place (`judge_adoption`) leaves the
    chain, its changes are unsent again, unsent changes whose id was adopted are dropped, the rest is rebased. The epoch
    is raised by the `Claim` that comes before the next signature, wherever an adoption is cut off.
    """

    from_seq: int
    to_seq: int


@dataclass(frozen=True, slots=True)
class Claim:
    """Raise the epoch above `above` by 1 … EPOCH_DRAW at random and store it as claimed by this directory.

    Only if it is neither raised nor claimed since, and no set waits for its receipt: one transaction.
    """

    above: int


@dataclass(frozen=True, slots=True)
class Recut:
    """Signed sets from `from_seq` on were never accepted, and their epoch is over: their changes are unsent again.

    The sets leave the chain (`signed_seq` is `from_seq` − 1 afterwards) and never go out.
    """

    from_seq: int


@dataclass(frozen=True, slots=True)
class Cut:
    """Cut a set from unsent changes, sign it for this place, store its bytes: one transaction, unique (epoch, seq).

    If the schedule allows it, the attempt may be stored with it and the push follow at once; else, or if the process
    dies in between, the next step is `Push`.
    """

    epoch: int
    seq: int


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The same with no changes."""

    epoch: int
    seq: int


@dataclass(frozen=True, slots=True)
class Push:
    """Send the stored bytes of this set, verify the receipt, store it."""

    seq: int


@dataclass(frozen=True, slots=True)
class Rotate:
    """Post the rotation of this agency's key that was asked for: nothing signed by the old key is on its way."""


@dataclass(frozen=True, slots=True)
class Recover:
    """Hand the hub what it lost (§10.6): sets `from_seq` … `to_seq`, their receipts, the newest checkpoint."""

    from_seq: int
    to_seq: int


@dataclass(frozen=True, slots=True)
class Wait:
    """The hub is away or wants time: `then` is due at `until_ms`, or as soon as the hub is seen."""

    until_ms: int
    then: Step


@dataclass(frozen=True, slots=True)
class Halted:
    """Nothing, until an operator acts. `is_new`: to be stored before anything else happens."""

    halt: Halt
    is_new: bool


@dataclass(frozen=True, slots=True)
class Idle:
    """Everything is acknowledged; the heartbeat is due at `until_ms`. New changes end it."""

    until_ms: int


Step: TypeAlias = CheckHead | Adopt | Claim | Recut | Cut | Heartbeat | Push | Rotate | Recover | Wait | Halted | Idle


@dataclass(frozen=True, slots=True)
class OutboxView:
    """Everything that the next step depends on.

    Stored: `epoch` to sign with, and whether it is claimed; `signed_seq` and `acknowledged_seq` as in OwnChain;
    `pending_epoch`, the epoch of set `acknowledged_seq` + 1 if it is signed; `unsent` changes in no set;
    `last_signed_at_ms`, when the newest set was cut; `adopted_at_ms`, when an adoption was last completed; `schedule`;
    `halt`; `is_rotation_asked`. Not stored: `session`.
    """

    epoch: int
    signed_seq: int
    acknowledged_seq: int
    pending_epoch: int | None
    unsent: int
    last_signed_at_ms: int | None
    schedule: Schedule = field(default_factory=Schedule)
    halt: Halt | None = None
    is_rotation_asked: bool = False
    is_claimed: bool = False
    adopted_at_ms: int | None = None
    session: Session = field(default_factory=Session)


def next_step(view: OutboxView, now_ms: int) -> Step:
    """The one thing to do now. Times are milliseconds since 1970."""
    session = view.session
    if view.halt is not None:
        return Halted(view.halt, is_new=False)
    if session.finding is None or session.hub is None or session.compared_epoch != view.epoch:
        return _when_due(view, now_ms, CheckHead())
    if session.finding is not Finding.IN_STEP:
        return _out_of_step(view, now_ms, session.finding, session.hub)
    if view.pending_epoch is not None:
        return _pending(view, now_ms, view.pending_epoch, session.hub)
    heartbeat_at_ms = _heartbeat_at_ms(view, now_ms)
    if not view.is_rotation_asked and view.unsent == 0 and now_ms < heartbeat_at_ms:
        return Idle(heartbeat_at_ms)
    if not _is_fresh(session.answered_at_ms, now_ms):
        return _when_due(view, now_ms, CheckHead())
    if not view.is_claimed:
        return Claim(max(view.epoch, session.hub.epoch))
    if view.is_rotation_asked:
        return _when_due(view, now_ms, Rotate())
    seq = view.signed_seq + 1
    return Cut(view.epoch, seq) if view.unsent else Heartbeat(view.epoch, seq)


def _pending(view: OutboxView, now_ms: int, pending_epoch: int, hub: HubHead) -> Step:
    """One set is signed and without receipt. Not cut anew if the hub holds it: then only the answer was lost."""
    seq = view.acknowledged_seq + 1
    if pending_epoch < view.epoch and hub.seq < seq:
        return Recut(seq)
    return _when_due(view, now_ms, Push(seq))


def _when_due(view: OutboxView, now_ms: int, step: Step) -> Step:
    """Steps that need the hub keep to the stored schedule."""
    if view.schedule.is_due(now_ms, view.session.hub_seen_at_ms):
        return step
    return Wait(view.schedule.next_attempt_at_ms, step)


def _out_of_step(view: OutboxView, now_ms: int, finding: Finding, hub: HubHead) -> Step:
    if finding is Finding.HUB_LOST:
        return _when_due(view, now_ms, Recover(hub.seq + 1, view.acknowledged_seq))
    if finding is Finding.HUB_AHEAD:
        return _adoption(view, now_ms, hub)
    ours = f"ours is seq {view.signed_seq} of epoch {view.epoch}"
    detail = f"the hub's head is seq {hub.seq} of epoch {hub.epoch}, {ours}"
    return Halted(Halt(_HALTS[finding], detail), is_new=True)


def _adoption(view: OutboxView, now_ms: int, hub: HubHead) -> Step:
    """Once. Copies that push in turns, each from a timer, would otherwise adopt each other's sets for ever.

    What was on its way when this process began is no second time: there is one such set, and an end to it.
    """
    if view.acknowledged_seq >= hub.seq:  # another process of this directory was quicker
        return _when_due(view, now_ms, CheckHead())
    adopted_at_ms = view.adopted_at_ms if view.session.is_starting else None
    if adopted_at_ms is not None and 0 <= now_ms - adopted_at_ms < ADOPTION_APART_MS:
        hours = (now_ms - adopted_at_ms) // (60 * MINUTE_MS)
        detail = f"this node was refilled {hours} h ago already, and the hub is ahead again (seq {hub.seq})"
        return Halted(Halt(HaltReason.COPY_ALIVE, detail), is_new=True)
    return _when_due(view, now_ms, Adopt(view.acknowledged_seq + 1, hub.seq))


_HALTS: Final = {
    Finding.COPY_ALIVE: HaltReason.COPY_ALIVE,
    Finding.FOREIGN: HaltReason.FOREIGN_HEAD,
    Finding.FORKED: HaltReason.FORKED,
    Finding.CONTRADICTION: HaltReason.HUB_CONTRADICTS,
}


def _is_fresh(answered_at_ms: int | None, now_ms: int) -> bool:
    """Whether the hub's head is known well enough to sign on; a clock that went back knows nothing."""
    return answered_at_ms is not None and 0 <= now_ms - answered_at_ms < SILENCE_MAX_MS


def _heartbeat_at_ms(view: OutboxView, now_ms: int) -> int:
    """A day after the newest set; at once if there is none, or it lies in the future (the clock was wrong)."""
    if view.last_signed_at_ms is None or view.last_signed_at_ms > now_ms:
        return now_ms
    return view.last_signed_at_ms + HEARTBEAT_EVERY_MS
