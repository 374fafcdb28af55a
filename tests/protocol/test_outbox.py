"""What a node does next (protocol §10): row by row, and as a machine that is interrupted everywhere."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sync_protocol.backoff import DAY_MS, Schedule
from sync_protocol.errors import Corrupt, Refused
from sync_protocol.halts import NEXT_STEPS, Halt, HaltReason, halt_for_answer, halt_for_push, halt_for_request
from sync_protocol.heads import (
    ON_ITS_WAY_MAX_MS,
    Adoption,
    Finding,
    HubHead,
    OwnChain,
    Session,
    SetRef,
    compare_heads,
    judge_adoption,
)
from sync_protocol.outbox import (
    ADOPTION_APART_MS,
    SILENCE_MAX_MS,
    Adopt,
    CheckHead,
    Claim,
    Cut,
    Halted,
    Heartbeat,
    Idle,
    OutboxView,
    Push,
    Recover,
    Recut,
    Rotate,
    Wait,
    next_step,
)
from sync_protocol.values import sha256_digest
from tests.protocol.outbox_model import Signed

NOW = 1_767_225_600_000
OURS, THEIRS = sha256_digest(b"ours"), sha256_digest(b"theirs")
HUB = HubHead(1, 5, OURS, is_ours=True)
OWN = OwnChain(1, 5, 5, SetRef(1, 5, OURS))
IN_STEP = Session().compared(HUB, OWN, NOW)
DRAINED = OutboxView(1, 5, 5, None, 0, NOW, is_claimed=True, session=IN_STEP)


# --- comparing heads -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hub", "own", "at_start", "while_running"),
    [
        (HUB, OWN, Finding.IN_STEP, Finding.IN_STEP),
        (HUB, OwnChain(1, 6, 5, SetRef(1, 5, OURS)), Finding.IN_STEP, Finding.IN_STEP),
        (HUB, OwnChain(1, 5, 4, SetRef(1, 5, OURS)), Finding.IN_STEP, Finding.IN_STEP),
        (HubHead(1, 0, OURS, is_ours=True), OwnChain(1, 0, 0, SetRef(1, 0, OURS)), Finding.IN_STEP, Finding.IN_STEP),
        (HUB, OwnChain(1, 9, 9, SetRef(1, 5, OURS)), Finding.HUB_LOST, Finding.HUB_LOST),
        (HUB, OwnChain(1, 9, 9, None), Finding.HUB_LOST, Finding.HUB_LOST),
        (HUB, OwnChain(1, 9, 9, SetRef(1, 5, THEIRS)), Finding.CONTRADICTION, Finding.CONTRADICTION),
        (HUB, OwnChain(1, 5, 5, SetRef(1, 5, THEIRS)), Finding.CONTRADICTION, Finding.CONTRADICTION),
        (HUB, OwnChain(1, 3, 3, None), Finding.HUB_AHEAD, Finding.COPY_ALIVE),
        (HUB, OwnChain(1, 4, 3, None), Finding.HUB_AHEAD, Finding.COPY_ALIVE),
        (HUB, OwnChain(1, 5, 4, SetRef(1, 5, THEIRS)), Finding.FORKED, Finding.FORKED),
        (HUB, OwnChain(2, 5, 4, SetRef(2, 5, THEIRS)), Finding.HUB_AHEAD, Finding.COPY_ALIVE),
        (replace(HUB, is_ours=False), OwnChain(1, 3, 3, None), Finding.FOREIGN, Finding.FOREIGN),
        (replace(HUB, is_ours=False), OwnChain(1, 5, 4, SetRef(1, 5, THEIRS)), Finding.FOREIGN, Finding.FOREIGN),
        (HubHead(1, 0, OURS, is_ours=True), OwnChain(1, 0, 0, SetRef(1, 0, THEIRS)), Finding.FOREIGN, Finding.FOREIGN),
    ],
)
def test_the_comparison_of_heads_row_by_row(
    hub: HubHead, own: OwnChain, at_start: Finding, while_running: Finding
) -> None:
    assert compare_heads(hub, own, is_starting=True) is at_start
    assert compare_heads(hub, own, is_starting=False) is while_running


def test_a_process_stops_starting_once_it_is_in_step_or_has_adopted() -> None:
    assert not IN_STEP.is_starting
    ahead = Session().compared(HUB, OwnChain(1, 3, 3, None), NOW)
    assert ahead.is_starting
    assert not ahead.adopted().is_starting
    assert ahead.adopted().finding is None


def test_a_process_that_joins_others_of_its_directory_does_not_adopt() -> None:
    """They have signed: what is ahead of them is alive."""
    joined = Session().compared(HUB, OwnChain(1, 3, 3, None, is_claimed=True), NOW)
    assert joined.finding is Finding.COPY_ALIVE


@pytest.mark.parametrize(
    ("epoch", "at_ms", "claimed", "finding"),
    [
        (8, NOW - 1, 9, Finding.HUB_AHEAD),
        (8, NOW - 1, None, Finding.HUB_AHEAD),
        (9, NOW - 1, None, Finding.HUB_AHEAD),
        (9, NOW - 1, 9, Finding.COPY_ALIVE),
        (10, NOW - 1, 9, Finding.COPY_ALIVE),
        (8, NOW, 9, Finding.COPY_ALIVE),
        (8, None, None, Finding.COPY_ALIVE),
    ],
)
def test_what_was_signed_before_this_process_began_was_on_its_way_and_what_is_newer_is_alive(
    epoch: int, at_ms: int | None, claimed: int | None, finding: Finding
) -> None:
    own = OwnChain(claimed or 9, 4, 4, None, is_claimed=claimed is not None)
    session = IN_STEP.compared(replace(HUB, epoch=epoch, at_ms=at_ms), own, NOW + 60_000)
    assert session.finding is finding
    view = replace(DRAINED, epoch=9, signed_seq=4, acknowledged_seq=4, adopted_at_ms=NOW, session=session)
    assert isinstance(next_step(view, NOW + 60_000), Adopt if finding is Finding.HUB_AHEAD else Halted)


def test_attack_a_set_of_a_stolen_key_dated_back_halts_a_node_that_has_been_running() -> None:
    idle = OwnChain(9, 4, 4, None)
    stolen = replace(HUB, epoch=2**30, at_ms=NOW - 1)
    assert IN_STEP.compared(stolen, idle, NOW + ON_ITS_WAY_MAX_MS - 1).finding is Finding.HUB_AHEAD
    assert IN_STEP.compared(stolen, idle, NOW + ON_ITS_WAY_MAX_MS).finding is Finding.COPY_ALIVE
    assert IN_STEP.compared(stolen, idle, NOW - 1).finding is Finding.COPY_ALIVE  # a clock that went back
    assert IN_STEP.compared(stolen, replace(idle, is_claimed=True), NOW + 1).finding is Finding.COPY_ALIVE


@pytest.mark.parametrize(("of_epoch", "is_halt"), [(1, False), (2, True), (3, True)])
def test_a_set_of_an_earlier_epoch_at_our_place_is_no_halt_before_heads_were_compared(
    of_epoch: int, *, is_halt: bool
) -> None:
    there = Signed(of_epoch, 5, OURS, THEIRS, ()).forked()
    assert (halt_for_push(there, 2) is not None) is is_halt
    for words in (None, "", "x.y.z"):
        assert halt_for_push(Refused("forked", "so", members={"manifest": words}), 2) is not None


def test_after_another_process_raised_the_epoch_a_session_starts_anew() -> None:
    seen = IN_STEP.saw_hub(NOW)
    assert seen.renewed() == Session(hub_seen_at_ms=NOW)


@pytest.mark.parametrize(
    ("own", "becomes"),
    [
        (None, Adoption.TAKE),
        (SetRef(1, 5, OURS), Adoption.ACKNOWLEDGE),
        (SetRef(1, 5, THEIRS), Adoption.FORKED),
        (SetRef(2, 5, THEIRS), Adoption.TAKE),
    ],
)
def test_an_old_backup_takes_what_it_lacks_and_notices_what_it_signed_twice(
    own: SetRef | None, becomes: Adoption
) -> None:
    assert judge_adoption(own, SetRef(1, 5, OURS)) is becomes


# --- one step --------------------------------------------------------------------------------------------------------


def test_a_process_first_compares_heads_whatever_is_waiting() -> None:
    for changes in ({}, {"unsent": 9}, {"pending_epoch": 1}, {"is_rotation_asked": True}):
        assert next_step(replace(DRAINED, session=Session(), **changes), NOW) == CheckHead()


def test_unsent_changes_are_cut_after_the_head() -> None:
    assert next_step(replace(DRAINED, unsent=3, epoch=1), NOW) == Cut(epoch=1, seq=6)


def test_before_its_first_signature_a_directory_raises_the_epoch_above_its_own_and_the_hubs() -> None:
    anew = replace(DRAINED, is_claimed=False)
    for waiting in ({"unsent": 1}, {"last_signed_at_ms": None}, {"is_rotation_asked": True}):
        assert next_step(replace(anew, **waiting), NOW) == Claim(above=1)
    ahead = Session().compared(replace(HUB, epoch=4), replace(OWN, epoch=3), NOW)
    assert next_step(replace(anew, unsent=1, epoch=3, session=ahead), NOW) == Claim(above=4)
    assert next_step(anew, NOW) == Idle(NOW + DAY_MS)


def test_what_was_signed_before_goes_out_before_the_epoch_is_raised() -> None:
    """It may have arrived already: cut anew under a higher epoch it would be two sets for one seq."""
    assert next_step(replace(DRAINED, is_claimed=False, signed_seq=6, pending_epoch=1), NOW) == Push(6)


def test_after_the_raise_heads_are_compared_once_more() -> None:
    assert next_step(replace(DRAINED, epoch=2, unsent=1), NOW) == CheckHead()


def test_an_unacknowledged_set_goes_before_a_new_one() -> None:
    assert next_step(replace(DRAINED, unsent=3, signed_seq=6, pending_epoch=1), NOW) == Push(6)


def test_after_a_quarter_of_an_hour_of_silence_heads_are_compared_before_signing() -> None:
    waiting = replace(DRAINED, unsent=3)
    assert next_step(waiting, NOW + SILENCE_MAX_MS - 1) == Cut(1, 6)
    assert next_step(waiting, NOW + SILENCE_MAX_MS) == CheckHead()
    answered = replace(waiting, session=IN_STEP.answered(NOW + SILENCE_MAX_MS))
    assert next_step(answered, NOW + SILENCE_MAX_MS) == Cut(1, 6)


def test_a_clock_that_went_back_knows_nothing() -> None:
    assert next_step(replace(DRAINED, unsent=3, last_signed_at_ms=None), NOW - 1) == CheckHead()


def test_a_raised_epoch_is_compared_first_and_then_cuts_anew() -> None:
    pending = replace(DRAINED, epoch=2, signed_seq=6, pending_epoch=1)
    assert next_step(pending, NOW) == CheckHead()
    compared = Session().compared(HUB, replace(OWN, epoch=2, signed_seq=6), NOW)
    assert next_step(replace(pending, session=compared), NOW) == Recut(6)


def test_a_raised_epoch_does_not_cut_anew_what_the_hub_holds() -> None:
    """The reply was lost, then the epoch raised: the set is in the log and only needs its receipt."""
    hub = HubHead(1, 6, THEIRS, is_ours=True)
    compared = Session().compared(hub, OwnChain(2, 6, 5, SetRef(1, 6, THEIRS)), NOW)
    pending = replace(DRAINED, epoch=2, signed_seq=6, pending_epoch=1, session=compared)
    assert next_step(pending, NOW) == Push(6)


def test_an_idle_node_signs_a_heartbeat_every_day() -> None:
    assert next_step(DRAINED, NOW) == Idle(NOW + DAY_MS)
    assert next_step(DRAINED, NOW + DAY_MS) == CheckHead()
    fresh = replace(DRAINED, session=IN_STEP.answered(NOW + DAY_MS))
    assert next_step(fresh, NOW + DAY_MS) == Heartbeat(1, 6)


def test_a_new_node_says_that_it_is_there() -> None:
    assert next_step(replace(DRAINED, last_signed_at_ms=None), NOW) == Heartbeat(1, 6)


def test_a_set_signed_in_the_future_does_not_silence_the_heartbeat() -> None:
    """The clock was wrong by a year and is right again."""
    assert next_step(replace(DRAINED, last_signed_at_ms=NOW + 365 * DAY_MS), NOW) == Heartbeat(1, 6)


def test_a_rotation_drains_first_and_keeps_new_sets_waiting() -> None:
    asked = replace(DRAINED, is_rotation_asked=True, unsent=5)
    assert next_step(replace(asked, signed_seq=6, pending_epoch=1), NOW) == Push(6)
    assert next_step(asked, NOW) == Rotate()
    assert next_step(asked, NOW + SILENCE_MAX_MS) == CheckHead()


def test_an_outage_waits_for_its_time_or_for_the_hub() -> None:
    schedule = Schedule().attempting(NOW, 0.0)
    away = replace(DRAINED, signed_seq=6, pending_epoch=1, schedule=schedule)
    assert next_step(away, NOW + 1) == Wait(schedule.next_attempt_at_ms, Push(6))
    assert next_step(replace(away, session=IN_STEP.saw_hub(NOW + 1)), NOW + 1) == Push(6)
    assert next_step(away, schedule.next_attempt_at_ms) == Push(6)


def test_changes_are_still_cut_between_two_attempts_while_the_head_is_known() -> None:
    assert next_step(replace(DRAINED, unsent=1, schedule=Schedule().attempting(NOW, 0.0)), NOW) == Cut(1, 6)


BEHIND = Session().compared(replace(HUB, seq=9, epoch=3), replace(OWN, at_hub_head=None), NOW)


def test_an_old_backup_adopts() -> None:
    assert next_step(replace(DRAINED, session=BEHIND), NOW) == Adopt(6, 9)


def test_what_another_process_adopted_meanwhile_is_not_adopted_again() -> None:
    done = replace(DRAINED, session=BEHIND, signed_seq=9, acknowledged_seq=9, adopted_at_ms=NOW)
    assert next_step(done, NOW) == CheckHead()


def test_copies_that_push_in_turns_from_timers_do_not_adopt_each_other_for_ever() -> None:
    again = replace(DRAINED, session=BEHIND, adopted_at_ms=NOW - ADOPTION_APART_MS + 1)
    step = next_step(again, NOW)
    assert isinstance(step, Halted)
    assert (step.halt.reason, step.is_new) == (HaltReason.COPY_ALIVE, True)
    for long_ago in (NOW - ADOPTION_APART_MS, NOW + 1):  # the second: a clock that was wrong
        assert next_step(replace(again, adopted_at_ms=long_ago), NOW) == Adopt(6, 9)


def test_a_comparison_with_the_wrong_place_is_noticed() -> None:
    with pytest.raises(Corrupt):
        compare_heads(replace(HUB, seq=9), OWN, is_starting=True)


def test_a_hub_that_lost_something_is_refilled_and_never_rewound_to() -> None:
    lost = Session().compared(replace(HUB, seq=2), replace(OWN, at_hub_head=None), NOW)
    view = replace(DRAINED, session=lost, unsent=7)
    assert next_step(view, NOW) == Recover(3, 5)
    assert isinstance(next_step(replace(view, schedule=Schedule().attempting(NOW, 0.0)), NOW), Wait)
    assert next_step(replace(view, session=lost.doubted()), NOW) == CheckHead()


@pytest.mark.parametrize(
    ("hub", "own", "reason"),
    [
        (replace(HUB, seq=9), OWN, HaltReason.COPY_ALIVE),
        (HUB, OwnChain(1, 5, 4, SetRef(1, 5, THEIRS)), HaltReason.FORKED),
        (HubHead(1, 9, OURS, is_ours=False), OWN, HaltReason.FOREIGN_HEAD),
        (HUB, OwnChain(1, 5, 5, SetRef(1, 5, THEIRS)), HaltReason.HUB_CONTRADICTS),
    ],
)
def test_what_waiting_cannot_heal_halts(hub: HubHead, own: OwnChain, reason: HaltReason) -> None:
    own = own if hub.seq <= 5 else replace(own, at_hub_head=None)
    step = next_step(replace(DRAINED, session=IN_STEP.compared(hub, own, NOW), unsent=1), NOW)
    assert isinstance(step, Halted)
    assert (step.halt.reason, step.is_new) == (reason, True)


def test_a_stored_halt_outlives_everything() -> None:
    halt = Halt(HaltReason.COPY_ALIVE, "seen")
    halted = replace(DRAINED, halt=halt, unsent=4, signed_seq=6, pending_epoch=1)
    for session in (Session(), IN_STEP, IN_STEP.saw_hub(NOW)):
        for now_ms in (0, NOW, NOW + 1000 * DAY_MS):
            assert next_step(replace(halted, session=session), now_ms) == Halted(halt, is_new=False)


def test_every_halt_tells_its_operator_what_to_do() -> None:
    assert NEXT_STEPS.keys() == set(HaltReason)
    assert "--take-over" in Halt(HaltReason.COPY_ALIVE, "x").next_step


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("superseded", HaltReason.COPY_ALIVE),
        ("forked", HaltReason.FORKED),
        ("revoked-key", HaltReason.KEY_REFUSED),
        ("bad-signature", HaltReason.KEY_REFUSED),
        ("unknown-agency", HaltReason.NOT_ENROLLED),
        ("unsupported-version", HaltReason.OUTDATED),
        ("root-mismatch", HaltReason.SET_REFUSED),
        ("a-kind-of-next-year", HaltReason.SET_REFUSED),
    ],
)
def test_a_refused_push_halts_with_its_reason(kind: str, reason: HaltReason) -> None:
    halt = halt_for_push(Refused(kind, "so"), 1)
    assert halt is not None
    assert halt.reason is reason


@pytest.mark.parametrize("kind", ["unauthorised", "bad-signature", "malformed", "not-found", "a-kind-of-next-year"])
def test_a_request_that_is_not_believed_is_no_halt(kind: str) -> None:
    """A clock that is off, a proxy that changes the address: both heal."""
    assert halt_for_request(Refused(kind, "so")) is None


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("revoked-key", HaltReason.KEY_REFUSED),
        ("unknown-key", HaltReason.KEY_REFUSED),
        ("unknown-agency", HaltReason.NOT_ENROLLED),
        ("unsupported-version", HaltReason.OUTDATED),
    ],
)
def test_a_key_that_is_over_halts_also_outside_of_a_push(kind: str, reason: HaltReason) -> None:
    halt = halt_for_request(Refused(kind, "so"))
    assert halt is not None
    assert halt.reason is reason


def test_behind_is_no_halt_and_a_false_receipt_is_one() -> None:
    assert halt_for_push(Refused("behind", "expected 3"), 1) is None
    assert halt_for_answer(Refused("bad-proof", "no")).reason is HaltReason.HUB_CONTRADICTS
