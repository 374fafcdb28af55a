"""Keys in the roster (protocol §5.2 – §5.4): enrolled, rotated, revoked; each speaks from its index to its end."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from sync_protocol.errors import Refused
from sync_protocol.jws import Jws, sign_jws
from sync_protocol.statement import Revocation, sign_statement
from tests.protocol.federation_samples import (
    DESK,
    GENESIS,
    KEDIRI,
    PEKALONGAN,
    REGISTRAR,
    SEALING,
    START_MS,
    Federation,
    contents,
    refused,
)
from tests.protocol.log_samples import LOG, OTHER, FixedSigner

OLD = FixedSigner(PEKALONGAN)
NEW = FixedSigner("new")
NEWER = FixedSigner("newer")


@pytest.fixture
def federation() -> Federation:
    """Genesis at 0, rules at 1, Pekalongan at 2, Kediri at 3."""
    return Federation.founded(PEKALONGAN, KEDIRI)


def test_an_enrolled_key_speaks_from_its_index_for_its_agency_only(federation: Federation) -> None:
    roster = federation.roster
    assert not roster.speaks(OLD.kid, PEKALONGAN, 1)
    assert roster.speaks(OLD.kid, PEKALONGAN, 2)
    assert roster.speaks(OLD.kid, PEKALONGAN, 10**9)
    assert not roster.speaks(OLD.kid, KEDIRI, 10)
    assert not roster.speaks(REGISTRAR.kid, PEKALONGAN, 10)
    assert not roster.speaks(LOG.kid, PEKALONGAN, 10)


def test_the_problem_with_a_key_is_named_in_the_order_of_the_protocol(federation: Federation) -> None:
    federation.enter(federation.revocation(PEKALONGAN), 10)

    def problem(kid: str, agency: str, index: int) -> str | None:
        found = federation.roster.speaks_problem(kid, agency, index)
        return found.kind if found else None

    assert problem(OTHER.kid, DESK, 20) == "unknown-agency"
    assert problem(OTHER.kid, PEKALONGAN, 20) == "unknown-key"
    assert problem(OLD.kid, PEKALONGAN, 1) == "unknown-key"
    assert problem(OLD.kid, KEDIRI, 20) == "wrong-agency"
    assert problem(OLD.kid, PEKALONGAN, 10) == "revoked-key"
    assert problem(OLD.kid, PEKALONGAN, 9) is None


@pytest.mark.parametrize("taken", [OLD, FixedSigner(KEDIRI), REGISTRAR, LOG], ids=["own", "other", "registrar", "log"])
def test_a_key_enters_once_ever(federation: Federation, taken: FixedSigner) -> None:
    refused(federation, federation.enrolment(DESK, key=taken), "void-statement")
    refused(federation, federation.rotation(PEKALONGAN, taken), "void-statement")
    refused(federation, federation.registrar_rotation(taken), "void-statement")
    refused(federation, federation.log_rotation(taken), "void-statement")


def test_a_revoked_key_never_comes_back(federation: Federation) -> None:
    federation.enter(federation.revocation(PEKALONGAN))
    refused(federation, federation.enrolment(PEKALONGAN, key=OLD, at=START_MS + 1), "void-statement")


def test_only_the_registrar_enrols_ticks_and_rules(federation: Federation) -> None:
    for jws in (federation.tick(START_MS, OLD), federation.rules(KEDIRI, LOG)):
        refused(federation, jws, "wrong-agency")
    refused(federation, federation.tick(START_MS, OTHER), "unknown-key")
    enrolment = federation.enrolment(DESK)
    refused(federation, sign_jws(enrolment.typ, dict(enrolment.fields), OLD), "wrong-agency")


def test_a_forged_registrar_signature_is_refused(federation: Federation) -> None:
    forged = replace(federation.tick(), signature=OTHER.sign(federation.tick().signing_input))
    refused(federation, forged, "bad-signature")


def test_a_rotation_hands_over_at_its_index(federation: Federation) -> None:
    federation.enter(federation.rotation(PEKALONGAN, NEW), 7)
    roster = federation.roster
    assert [roster.speaks(OLD.kid, PEKALONGAN, index) for index in (6, 7)] == [True, False]
    assert [roster.speaks(NEW.kid, PEKALONGAN, index) for index in (6, 7)] == [False, True]
    record = roster.agency(PEKALONGAN)
    assert record is not None
    assert record.kid == NEW.kid


def test_a_rotation_keeps_the_enrolment_that_the_first_set_follows(federation: Federation) -> None:
    before = federation.roster.agency(PEKALONGAN)
    federation.enter(federation.rotation(PEKALONGAN, NEW))
    after = federation.roster.agency(PEKALONGAN)
    assert before is not None
    assert after is not None
    assert (after.enrolment, after.enrolled_index) == (before.enrolment, before.enrolled_index)


def test_only_the_speaking_key_rotates(federation: Federation) -> None:
    federation.enter(federation.rotation(PEKALONGAN, NEW))
    refused(federation, federation.rotation(PEKALONGAN, NEWER, old=OLD), "revoked-key")
    refused(federation, federation.rotation(PEKALONGAN, NEWER, old=FixedSigner(KEDIRI)), "wrong-agency")
    refused(federation, federation.rotation(PEKALONGAN, NEWER, old=REGISTRAR), "wrong-agency")
    federation.enter(federation.rotation(PEKALONGAN, NEWER, old=NEW))


def test_a_rotation_to_a_key_that_one_does_not_hold_is_refused(federation: Federation) -> None:
    """Stealing a name: the proof must be by the new key, for this very step."""
    statement = federation.rotation(PEKALONGAN, NEW)
    foreign = federation.rotation(PEKALONGAN, NEWER).fields["proof"]
    for proof in (foreign, "", statement.text):
        jws = sign_jws(statement.typ, {**statement.fields, "proof": proof}, OLD)
        before = contents(federation.roster)
        with pytest.raises(Refused, match=r"bad-signature|malformed"):
            federation.enter(jws)
        assert contents(federation.roster) == before


def test_the_registrar_rotates_and_the_old_one_falls_silent(federation: Federation) -> None:
    federation.enter(federation.registrar_rotation(NEW))
    refused(federation, federation.tick(), "revoked-key")
    federation.enter(federation.tick(signer=NEW))
    assert federation.roster.registrar.kid == NEW.kid


def test_the_log_rotates_and_its_old_key_still_verifies_old_receipts(federation: Federation) -> None:
    federation.enter(federation.log_rotation(NEW))
    assert federation.roster.vkeys == (NEW.vkey(), LOG.vkey())
    assert federation.roster.vkey == NEW.vkey()
    refused(federation, federation.log_rotation(NEWER, old=LOG), "revoked-key")
    refused(federation, federation.log_rotation(NEWER, old=REGISTRAR), "wrong-agency")


def test_the_log_keeps_its_name(federation: Federation) -> None:
    refused(federation, federation.log_rotation(NEW, origin="other.example/log"), "void-statement")


def test_an_agency_changes_its_sealing_key_by_itself(federation: Federation) -> None:
    federation.enter(federation.sealing_rotation(PEKALONGAN, b"s" * 32))
    record = federation.roster.agency(PEKALONGAN)
    assert record is not None
    assert (record.sealing, record.kid) == (b"s" * 32, OLD.kid)
    refused(federation, federation.sealing_rotation(PEKALONGAN, SEALING, signer=REGISTRAR), "wrong-agency")


@pytest.mark.parametrize("by", [REGISTRAR, OLD], ids=["registrar", "itself"])
def test_a_key_is_revoked_by_the_registrar_or_by_itself(federation: Federation, by: FixedSigner) -> None:
    federation.enter(federation.revocation(PEKALONGAN, signer=by, disputed_from=4), 9)
    key, record = federation.roster.key(OLD.kid), federation.roster.agency(PEKALONGAN)
    assert key is not None
    assert (key.until_index, key.disputed_from) == (9, 4)
    assert record is not None
    assert record.kid is None


def test_nobody_else_revokes(federation: Federation) -> None:
    refused(federation, federation.revocation(PEKALONGAN, signer=FixedSigner(KEDIRI)), "wrong-agency")
    refused(federation, federation.revocation(PEKALONGAN, signer=LOG), "wrong-agency")
    refused(federation, federation.revocation(PEKALONGAN, kid=FixedSigner(KEDIRI).kid), "void-statement")
    refused(federation, federation.revocation(PEKALONGAN, kid=OTHER.kid), "void-statement")


def test_after_a_revocation_only_a_new_enrolment_speaks_again(federation: Federation) -> None:
    federation.enter(federation.revocation(PEKALONGAN))
    refused(federation, federation.rotation(PEKALONGAN, NEW), "revoked-key")
    refused(federation, federation.sealing_rotation(PEKALONGAN, SEALING), "revoked-key")
    first = federation.roster.agency(PEKALONGAN)
    jws = federation.enrolment(PEKALONGAN, key=NEW)
    federation.enter(jws, 20)
    record = federation.roster.agency(PEKALONGAN)
    assert first is not None
    assert record is not None
    assert (record.kid, record.enrolment) == (NEW.kid, jws.digest)
    assert record.enrolled_index == first.enrolled_index == 2
    assert federation.roster.speaks(NEW.kid, PEKALONGAN, 20)


def test_a_key_that_was_rotated_out_can_still_be_disputed(federation: Federation) -> None:
    federation.enter(federation.rotation(PEKALONGAN, NEW), 5)
    federation.enter(federation.revocation(PEKALONGAN, kid=OLD.kid, disputed_from=3), 8)
    key = federation.roster.key(OLD.kid)
    assert key is not None
    assert (key.until_index, key.disputed_from) == (5, 3)
    assert federation.roster.speaks(NEW.kid, PEKALONGAN, 9)


def test_a_second_enrolment_ends_the_first_key(federation: Federation) -> None:
    federation.enter(federation.enrolment(PEKALONGAN, key=NEW), 6)
    assert not federation.roster.speaks(OLD.kid, PEKALONGAN, 6)
    assert [key.kid for key in federation.roster.keys_of(PEKALONGAN)] == [OLD.kid, NEW.kid]


def test_nothing_can_be_said_about_an_agency_that_is_not_there(federation: Federation) -> None:
    refused(federation, federation.rotation(DESK, NEW), "unknown-agency")
    revocation = Revocation(START_MS, GENESIS.digest, DESK, GENESIS.digest, OLD.kid, 0, "lost")
    refused(federation, sign_statement(revocation, REGISTRAR), "unknown-agency")


def moves(federation: Federation, signer: FixedSigner, fresh: FixedSigner) -> list[Jws]:
    """What a signer may try to have logged about Pekalongan."""
    return [
        federation.rotation(PEKALONGAN, fresh, old=signer),
        federation.revocation(PEKALONGAN, kid=signer.kid),
        federation.enrolment(PEKALONGAN, key=fresh),
        federation.revocation(PEKALONGAN, kid=signer.kid, signer=signer),
        federation.rotation(PEKALONGAN, signer, old=signer),
        federation.sealing_rotation(PEKALONGAN, SEALING, signer=signer),
        federation.enrolment(PEKALONGAN, key=signer),
    ]


@settings(deadline=None)  # the machine is shared
@given(some.lists(some.tuples(some.integers(0, 6), some.integers(0, 12)), max_size=12))
def test_at_most_one_key_speaks_for_an_agency_at_any_index(tries: list[tuple[int, int]]) -> None:
    federation = Federation.founded(PEKALONGAN)
    keys = [OLD]
    for move, key in tries:
        fresh = FixedSigner(f"fresh {len(keys)}")
        jws = moves(federation, keys[key % len(keys)], fresh)[move]
        before = contents(federation.roster)
        try:
            federation.enter(jws)
        except Refused:
            assert contents(federation.roster) == before
        else:
            keys.append(fresh)
    for index in range(federation.size + 1):
        speaking = [key.kid for key in federation.roster.keys_of(PEKALONGAN) if key.speaks_at(index)]
        assert len(speaking) <= 1
    record = federation.roster.agency(PEKALONGAN)
    assert record is not None
    assert record.kid == (speaking[0] if speaking else None)
