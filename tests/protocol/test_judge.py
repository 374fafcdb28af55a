"""Judging a submission (protocol §8): each answer, and that the first that holds is the answer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from sync_protocol.errors import Refused, Unavailable
from sync_protocol.intake import (
    Accept,
    Behind,
    Duplicate,
    Forked,
    Head,
    Held,
    IntakeView,
    RolledBack,
    Superseded,
    judge,
)
from sync_protocol.limits import EPOCH_STEP_MAX, INTEGER_MAX
from sync_protocol.manifest import SignedManifest, parse_manifest
from sync_protocol.problems import Recovering
from sync_protocol.values import AgencyId, Digest, b64u_encode
from tests.protocol.federation_samples import (
    DESK,
    GENESIS,
    KEDIRI,
    PEKALONGAN,
    REGISTRAR,
    START_MS,
    Federation,
    log_root,
)
from tests.protocol.log_samples import LOG, OTHER, FixedSigner

NEW = FixedSigner("new")


@dataclass
class Hub:
    """The judge's view over a real roster: what it accepts stands from then on."""

    federation: Federation = field(default_factory=lambda: Federation.founded(PEKALONGAN, KEDIRI))
    held: dict[tuple[AgencyId, int], Held] = field(default_factory=dict)
    heads: dict[AgencyId, Head] = field(default_factory=dict)

    def view(self, agency: AgencyId) -> IntakeView:
        def held(seq: int) -> Held | None:
            return self.held.get((agency, seq))

        return IntakeView(self.federation.roster, self.federation.size, log_root, self.heads.get(agency), held)

    def judge(self, submission: SignedManifest, agency: str | None = None, seq: int | None = None) -> object:
        manifest = submission.manifest
        return judge(self.view(manifest.agency), submission, agency or manifest.agency, seq or manifest.seq)

    def accept(self, submission: SignedManifest) -> SignedManifest:
        accepted = self.judge(submission)
        assert isinstance(accepted, Accept), accepted
        agency, seq = submission.manifest.agency, submission.manifest.seq
        self.held[agency, seq] = Held(self.federation.size, submission)
        self.heads[agency] = accepted.head
        self.federation.size += 1
        return submission

    def chain(self, length: int, agency: AgencyId = PEKALONGAN, epoch: int = 1) -> list[SignedManifest]:
        """So many sets accepted, the first after the enrolment."""
        sets: list[SignedManifest] = []
        for seq in range(1, length + 1):
            prev = sets[-1].digest if sets else None
            sets.append(self.accept(self.federation.manifest(agency, seq, prev, epoch=epoch)))
        return sets


@pytest.fixture
def hub() -> Hub:
    return Hub()


def with_signature(signed: SignedManifest, signature: bytes) -> SignedManifest:
    """The same signing input under another signature."""
    head, payload, _ = signed.jws.text.split(".")
    return parse_manifest(f"{head}.{payload}.{b64u_encode(signature)}")


def kind_of(hub: Hub, submission: SignedManifest, agency: str | None = None, seq: int | None = None) -> str:
    with pytest.raises(Refused) as caught:
        hub.judge(submission, agency, seq)
    return caught.value.kind


# --- each answer -----------------------------------------------------------------------------------------------------


def test_a_chain_is_accepted_set_by_set(hub: Hub) -> None:
    last = hub.chain(3)[-1]
    assert hub.heads[PEKALONGAN] == Head(PEKALONGAN, 1, 3, last.digest, last)


def test_a_repeat_is_a_duplicate_for_ever(hub: Hub) -> None:
    sets = hub.chain(3)
    for _ in range(1000):
        assert hub.judge(sets[1]) == Duplicate(hub.held[PEKALONGAN, 2])


def test_a_repeat_stays_a_duplicate_when_the_key_has_gone(hub: Hub) -> None:
    sets = hub.chain(2)
    hub.federation.enter(hub.federation.revocation(PEKALONGAN))
    assert hub.judge(sets[0]) == Duplicate(hub.held[PEKALONGAN, 1])


def test_a_repeat_with_a_worthless_signature_gets_the_receipt_of_the_stored_bytes(hub: Hub) -> None:
    """Identity is the signing input: a broken signature neither enters nor harms."""
    stored = hub.chain(1)[0]
    answer = hub.judge(with_signature(stored, bytes(64)))
    assert isinstance(answer, Duplicate)
    assert answer.held.manifest.jws.text == stored.jws.text


def test_another_content_for_an_accepted_seq_is_a_fork_with_evidence(hub: Hub) -> None:
    sets = hub.chain(3)
    other = hub.federation.manifest(PEKALONGAN, 2, sets[0].digest, at=START_MS + 1)
    assert hub.judge(other) == Forked(other, sets[1], is_evidence=True)


def test_the_evidence_of_a_fork_enters_the_roster(hub: Hub) -> None:
    hub.chain(1)
    answer = hub.judge(hub.federation.manifest(PEKALONGAN, 1, at=START_MS + 1))
    assert isinstance(answer, Forked)
    assert answer.held is not None
    hub.federation.enter(hub.federation.fork(PEKALONGAN, answer.held, answer.submission))


def test_a_lower_epoch_is_superseded(hub: Hub) -> None:
    head = hub.chain(2, epoch=3)[-1]
    answer = hub.judge(hub.federation.manifest(PEKALONGAN, 3, head.digest, epoch=2))
    assert answer == Superseded(hub.heads[PEKALONGAN])


def test_attack_a_stolen_key_cannot_use_up_all_epochs_in_one_set(hub: Hub) -> None:
    """Above the largest number no node could ever raise its epoch again, whoever holds the key."""
    head = hub.chain(2, epoch=3)[-1]
    highest = hub.federation.manifest(PEKALONGAN, 3, head.digest, epoch=3 + EPOCH_STEP_MAX)
    assert isinstance(hub.judge(highest), Accept)
    for epoch in (4 + EPOCH_STEP_MAX, INTEGER_MAX):
        with pytest.raises(Refused) as caught:
            hub.judge(hub.federation.manifest(PEKALONGAN, 3, head.digest, epoch=epoch))
        assert (caught.value.kind, caught.value.where) == ("malformed", "epoch")


def test_a_lower_epoch_at_an_accepted_place_is_superseded_too(hub: Hub) -> None:
    sets = hub.chain(2, epoch=3)
    assert isinstance(hub.judge(hub.federation.manifest(PEKALONGAN, 2, sets[0].digest, epoch=2)), Superseded)


def test_an_accepted_seq_cut_again_in_a_higher_epoch_is_forked_without_evidence(hub: Hub) -> None:
    sets = hub.chain(3)
    again = hub.federation.manifest(PEKALONGAN, 2, sets[0].digest, epoch=2)
    assert hub.judge(again) == Forked(again, sets[1], is_evidence=False)


def test_a_gap_is_behind_with_what_is_expected(hub: Hub) -> None:
    head = hub.chain(2)[-1]
    answer = hub.judge(hub.federation.manifest(PEKALONGAN, 4, head.digest))
    assert isinstance(answer, Behind)
    assert answer.refused().members == {"expected_seq": 3, "head_digest": head.digest.b64u, "head_epoch": 1}


def test_another_prev_is_forked_with_the_heads_manifest(hub: Hub) -> None:
    sets = hub.chain(2)
    astray = hub.federation.manifest(PEKALONGAN, 3, sets[0].digest)
    answer = hub.judge(astray)
    assert answer == Forked(astray, sets[1], is_evidence=False)
    assert isinstance(answer, Forked)
    assert answer.refused().members == {"manifest": sets[1].jws.text}


def test_the_first_set_follows_the_enrolment(hub: Hub) -> None:
    astray = hub.federation.manifest(PEKALONGAN, 1, GENESIS.digest)
    answer = hub.judge(astray)
    assert answer == Forked(astray, None, is_evidence=False)
    assert isinstance(answer, Forked)
    assert answer.refused().members == {"manifest": None}


def test_the_chain_goes_on_in_a_raised_epoch(hub: Hub) -> None:
    head = hub.chain(2)[-1]
    hub.accept(hub.federation.manifest(PEKALONGAN, 3, head.digest, epoch=2))


def test_the_chain_goes_on_after_rotation_revocation_and_enrolment_anew(hub: Hub) -> None:
    federation, newer = hub.federation, FixedSigner("newer")
    head = hub.chain(2)[-1]
    federation.enter(federation.rotation(PEKALONGAN, NEW))
    head = hub.accept(federation.manifest(PEKALONGAN, 3, head.digest, signer=NEW))
    federation.enter(federation.revocation(PEKALONGAN, kid=NEW.kid))
    federation.enter(federation.enrolment(PEKALONGAN, key=newer))
    assert isinstance(hub.judge(federation.manifest(PEKALONGAN, 1, signer=newer)), Forked)
    hub.accept(federation.manifest(PEKALONGAN, 4, head.digest, signer=newer))


def test_enrolled_anew_before_the_first_set_the_newest_enrolment_is_followed(hub: Hub) -> None:
    federation = hub.federation
    record = federation.roster.agency(PEKALONGAN)
    assert record is not None
    hub.heads[PEKALONGAN] = Head.at_enrolment(record)
    federation.enter(federation.enrolment(PEKALONGAN, key=NEW))
    hub.accept(federation.manifest(PEKALONGAN, 1, signer=NEW))


def test_a_rotation_before_the_first_set_does_not_move_the_beginning(hub: Hub) -> None:
    hub.federation.enter(hub.federation.rotation(PEKALONGAN, NEW))
    hub.accept(hub.federation.manifest(PEKALONGAN, 1, signer=NEW))


@pytest.mark.parametrize(
    ("agency", "signer", "kind"),
    [
        (DESK, OTHER, "unknown-agency"),
        (PEKALONGAN, OTHER, "unknown-key"),
        (PEKALONGAN, FixedSigner(KEDIRI), "wrong-agency"),
        (PEKALONGAN, REGISTRAR, "wrong-agency"),
    ],
)
def test_a_key_that_does_not_speak_is_named(hub: Hub, agency: AgencyId, signer: FixedSigner, kind: str) -> None:
    assert kind_of(hub, hub.federation.manifest(agency, signer=signer)) == kind


def test_a_rotated_or_revoked_key_is_revoked(hub: Hub) -> None:
    hub.federation.enter(hub.federation.rotation(PEKALONGAN, NEW))
    assert kind_of(hub, hub.federation.manifest(PEKALONGAN)) == "revoked-key"
    hub.federation.enter(hub.federation.revocation(KEDIRI))
    assert kind_of(hub, hub.federation.manifest(KEDIRI)) == "revoked-key"


def test_a_set_for_another_address_is_refused(hub: Hub) -> None:
    submission = hub.federation.manifest(PEKALONGAN)
    assert kind_of(hub, submission, agency=KEDIRI) == "wrong-agency"
    assert kind_of(hub, submission, seq=2) == "malformed"


def test_a_checkpoint_that_this_log_never_signed_is_malformed(hub: Hub) -> None:
    with pytest.raises(Refused) as caught:
        hub.judge(hub.federation.manifest(PEKALONGAN, seen_signer=OTHER))
    assert (caught.value.kind, caught.value.where) == ("malformed", "seen")


@pytest.mark.parametrize("seen", [{"seen_size": 99}, {"seen_root": Digest(b"\x01" * 32)}, {"seen_size": 0}])
def test_a_checkpoint_that_we_signed_and_do_not_hold_proves_that_we_rolled_back(hub: Hub, seen: dict[str, Any]) -> None:
    submission = hub.federation.manifest(PEKALONGAN, **seen)
    view = replace(hub.view(PEKALONGAN), root_at=lambda size: log_root(size) if size else None)
    answer = judge(view, submission, PEKALONGAN, 1)
    assert answer == RolledBack(submission, hub.federation.size)
    assert isinstance(answer, RolledBack)
    away = answer.unavailable()
    assert isinstance(away, Recovering)
    assert away.size == hub.federation.size


def test_a_checkpoint_signed_by_an_earlier_log_key_is_still_ours(hub: Hub) -> None:
    hub.federation.enter(hub.federation.log_rotation(NEW))
    hub.accept(hub.federation.manifest(PEKALONGAN))


def test_before_the_rules_nothing_is_accepted() -> None:
    federation = Federation()
    federation.enter(GENESIS)
    federation.enter(federation.enrolment(PEKALONGAN))
    with pytest.raises(Unavailable):
        Hub(federation).judge(federation.manifest(PEKALONGAN))


def test_judging_changes_nothing(hub: Hub) -> None:
    sets = hub.chain(2)
    submission = hub.federation.manifest(PEKALONGAN, 3, sets[1].digest)
    assert hub.judge(submission) == hub.judge(submission) == Accept(Head.after(submission))


# --- the order -------------------------------------------------------------------------------------------------------


def test_the_first_reason_that_holds_is_the_answer(hub: Hub) -> None:
    """One submission with every defect at once; cured one by one, it meets the reasons in the order of §8."""
    federation = hub.federation
    sets = hub.chain(2, epoch=5)
    gap, broken = 4, bytes(64)
    bad_seen: dict[str, Any] = {"seen_signer": OTHER}

    everything = federation.manifest(DESK, gap, GENESIS.digest, signer=OTHER, **bad_seen)
    everything = with_signature(everything, broken)
    assert kind_of(hub, everything, agency=KEDIRI, seq=9) == "wrong-agency"
    assert kind_of(hub, everything, seq=9) == "malformed"
    assert kind_of(hub, everything) == "unknown-agency"

    def submit(signer: FixedSigner, *, is_broken: bool = False, **changes: Any) -> SignedManifest:
        place: dict[str, Any] = {"epoch": 4, "prev": GENESIS.digest, "seq": gap, **bad_seen, **changes}
        signed = federation.manifest(PEKALONGAN, signer=signer, **place)
        return with_signature(signed, broken) if is_broken else signed

    assert kind_of(hub, submit(OTHER, is_broken=True)) == "unknown-key"
    assert kind_of(hub, submit(FixedSigner(KEDIRI), is_broken=True)) == "wrong-agency"
    own = FixedSigner(PEKALONGAN)
    assert kind_of(hub, submit(own, is_broken=True)) == "bad-signature"
    assert kind_of(hub, submit(own)) == "malformed"
    assert isinstance(hub.judge(submit(own, seen_signer=LOG, seen_size=99)), RolledBack)
    cured: dict[str, Any] = {"seen_signer": LOG}
    assert isinstance(hub.judge(submit(own, **cured)), Superseded)
    assert isinstance(hub.judge(submit(own, epoch=5, **cured)), Behind)
    astray = hub.judge(submit(own, epoch=5, seq=3, **cured))
    assert isinstance(astray, Forked)
    assert astray.held == sets[1]
    assert isinstance(hub.judge(submit(own, epoch=5, seq=3, prev=sets[1].digest, **cured)), Accept)


def test_a_duplicate_comes_before_every_doubt_about_the_key(hub: Hub) -> None:
    """The reply to the first was lost, the key rotated, the hub's log rolled on: still the same receipt."""
    first = hub.chain(1)[0]
    hub.federation.enter(hub.federation.rotation(PEKALONGAN, NEW))
    hub.accept(hub.federation.manifest(PEKALONGAN, 2, first.digest, epoch=7, signer=NEW))
    assert hub.judge(with_signature(first, OTHER.sign(b""))) == Duplicate(hub.held[PEKALONGAN, 1])


def test_a_revoked_key_comes_before_the_fork_that_it_signs(hub: Hub) -> None:
    """A thief with the old key cannot fill the log with evidence."""
    hub.chain(1)
    hub.federation.enter(hub.federation.revocation(PEKALONGAN))
    record = hub.federation.roster.agency(PEKALONGAN)
    assert record is not None
    other = hub.federation.manifest(PEKALONGAN, 1, record.enrolment, at=START_MS + 1)
    assert kind_of(hub, other) == "revoked-key"


def test_a_fork_comes_before_its_low_epoch(hub: Hub) -> None:
    """Evidence is kept even if the head has moved to a later epoch."""
    first = hub.chain(1)[0]
    hub.accept(hub.federation.manifest(PEKALONGAN, 2, first.digest, epoch=2))
    other = hub.federation.manifest(PEKALONGAN, 1, epoch=1, at=START_MS + 1)
    assert hub.judge(other) == Forked(other, first, is_evidence=True)


def test_the_addressed_seq_is_compared_before_the_duplicate(hub: Hub) -> None:
    sets = hub.chain(2)
    assert kind_of(hub, sets[0], seq=2) == "malformed"
