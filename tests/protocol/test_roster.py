"""The roster (protocol §5.4): who speaks is replayed from the log, by position; what does not fit leaves no trace."""

from __future__ import annotations

import copy
from dataclasses import replace
from time import perf_counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from sync_protocol.errors import Corrupt, Refused
from sync_protocol.jws import Jws, sign_jws
from sync_protocol.manifest import SignedManifest, parse_manifest
from sync_protocol.roster import Roster
from sync_protocol.statement import Extension, Genesis, Revocation, sign_statement
from sync_protocol.values import b64u_encode
from tests.protocol.federation_samples import (
    DESK,
    GENESIS,
    HOUR_MS,
    KEDIRI,
    PEKALONGAN,
    REGISTRAR,
    SEALING,
    START_MS,
    Federation,
)
from tests.protocol.log_samples import LOG, ORIGIN, OTHER, FixedSigner

OLD = FixedSigner(PEKALONGAN)
NEW = FixedSigner("new")
NEWER = FixedSigner("newer")


@pytest.fixture
def federation() -> Federation:
    """Genesis at 0, rules at 1, Pekalongan at 2, Kediri at 3."""
    return Federation.founded(PEKALONGAN, KEDIRI)


def contents(roster: Roster) -> object:
    """Everything that the roster holds, to be compared."""
    return copy.deepcopy(vars(roster))


def refused(federation: Federation, jws: Jws, kind: str, index: int | None = None) -> Refused:
    """Refused for this reason, and the roster as before."""
    before = contents(federation.roster)
    with pytest.raises(Refused) as caught:
        federation.enter(jws, index)
    assert caught.value.kind == kind, str(caught.value)
    assert contents(federation.roster) == before
    return caught.value


# --- genesis ---------------------------------------------------------------------------------------------------------


def test_the_genesis_brings_registrar_log_key_and_origin(federation: Federation) -> None:
    roster = federation.roster
    assert (roster.origin, roster.genesis_digest) == (ORIGIN, GENESIS.digest)
    assert roster.registrar.kid == REGISTRAR.kid
    assert roster.vkeys == (LOG.vkey(),)


def test_a_genesis_stands_at_index_0_and_only_there(federation: Federation) -> None:
    refused(Federation(), GENESIS, "void-statement", index=1)
    second = sign_statement(Genesis(START_MS + 1, ORIGIN, NEW.public_key, OTHER.vkey()), NEW)
    refused(federation, second, "void-statement")


def test_a_genesis_is_signed_by_the_registrar_key_inside() -> None:
    genesis = Genesis(START_MS, ORIGIN, REGISTRAR.public_key, LOG.vkey())
    refused(Federation(), sign_statement(genesis, OTHER), "bad-signature")


def test_before_the_genesis_nothing_is_admitted_and_nothing_known() -> None:
    refused(Federation(), Federation().tick(), "void-statement")
    with pytest.raises(Corrupt):
        _ = Roster().origin
    assert Roster().speaks_problem(OLD.kid, PEKALONGAN, 0) is not None


def test_positions_only_grow(federation: Federation) -> None:
    with pytest.raises(Corrupt):
        federation.roster.admit(3, federation.tick())


# --- replays ---------------------------------------------------------------------------------------------------------


def test_every_statement_replayed_is_void(federation: Federation) -> None:
    federation.enter(federation.tick(START_MS + HOUR_MS))
    federation.enter(federation.rotation(PEKALONGAN, NEW))
    federation.enter(federation.revocation(KEDIRI))
    for _, jws in list(federation.log):
        refused(federation, jws, "void-statement")


def test_a_statement_with_another_signature_spelling_is_still_the_same_statement(federation: Federation) -> None:
    """Replay by a second signature over the same signing input: the digest is what counts."""
    jws = federation.tick(START_MS + HOUR_MS)
    federation.enter(jws)
    again = replace(jws, signature=bytes(64))
    refused(federation, again, "void-statement")


def test_cross_hub_replay_is_void(federation: Federation) -> None:
    """A registrar that runs two hubs with one key: what it said on one does not count on the other."""
    elsewhere = federation.tick(START_MS + HOUR_MS).digest.b64u
    for _, jws in federation.log[1:]:
        replayed = sign_jws(jws.typ, {**jws.fields, "log": elsewhere, "at": "2026-01-02T00:00:00.000Z"}, REGISTRAR)
        refused(federation, replayed, "void-statement")


def test_a_statement_about_an_agency_follows_the_last_one_about_it(federation: Federation) -> None:
    stale = federation.rotation(PEKALONGAN, NEW)
    federation.enter(federation.sealing_rotation(PEKALONGAN, b"s" * 32))
    expected = federation.prev(PEKALONGAN).b64u
    assert refused(federation, stale, "void-statement").members == {"statement": expected}
    federation.enter(federation.rotation(PEKALONGAN, NEW))


def test_a_first_enrolment_follows_the_genesis(federation: Federation) -> None:
    stranger = federation.enrolment(DESK, prev=federation.prev(KEDIRI))
    assert refused(federation, stranger, "void-statement").members == {"statement": GENESIS.digest.b64u}


# --- keys ------------------------------------------------------------------------------------------------------------


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


# --- enrolment, rotation, revocation ---------------------------------------------------------------------------------


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


# --- evidence, rules, ticks ------------------------------------------------------------------------------------------


def test_a_fork_is_logged_once_for_each_pair(federation: Federation) -> None:
    one, two, three = (federation.manifest(PEKALONGAN, at=START_MS + n) for n in range(3))
    federation.enter(federation.fork(PEKALONGAN, one, two))
    refused(federation, federation.fork(PEKALONGAN, two, one), "void-statement")
    federation.enter(federation.fork(PEKALONGAN, two, three))


def test_evidence_against_an_agency_must_bear_its_own_signatures(federation: Federation) -> None:
    """A registrar cannot frame an agency."""
    true = federation.manifest(PEKALONGAN)
    false = federation.manifest(PEKALONGAN, at=START_MS + 1, signer=REGISTRAR)
    refused(federation, federation.fork(PEKALONGAN, true, false), "void-statement")
    forged = resigned_manifest_with_foreign_signature(federation)
    with pytest.raises(Refused, match="bad-signature"):
        federation.enter(federation.fork(PEKALONGAN, true, forged))


def resigned_manifest_with_foreign_signature(federation: Federation) -> SignedManifest:
    signed = federation.manifest(PEKALONGAN, at=START_MS + 1)
    head, payload, _ = signed.jws.text.split(".")
    return parse_manifest(f"{head}.{payload}.{b64u_encode(OTHER.sign(signed.jws.signing_input))}")


def test_rules_hold_from_their_own_index_on(federation: Federation) -> None:
    federation.enter(federation.rules(desk=KEDIRI), 9)
    at = federation.roster.rules_at
    assert at(0) is None
    assert [rules.desk for rules in map(at, (1, 8, 9, 10**6)) if rules] == [DESK, DESK, KEDIRI, KEDIRI]


def test_ticks_never_go_back(federation: Federation) -> None:
    federation.enter(federation.tick(START_MS + HOUR_MS), 5)
    refused(federation, federation.tick(START_MS + HOUR_MS - 1), "void-statement")
    federation.enter(federation.tick(START_MS + 2 * HOUR_MS), 8)
    times = [federation.roster.tick_before(index) for index in (5, 6, 8, 9)]
    assert times == [None, START_MS + HOUR_MS, START_MS + HOUR_MS, START_MS + 2 * HOUR_MS]


def test_an_agency_is_enrolled_only_after_its_first_enrolment(federation: Federation) -> None:
    assert [federation.roster.is_enrolled(PEKALONGAN, index) for index in (2, 3)] == [False, True]
    assert not federation.roster.is_enrolled(DESK, 100)


def test_an_extension_changes_nothing_but_its_place(federation: Federation) -> None:
    assert federation.enter(sign_jws("simpul-x-note", {"text": "hello"}, OTHER)) == Extension("simpul-x-note")


def test_an_agency_can_replay_its_own_part(federation: Federation) -> None:
    """What `GET …/statements` gives is enough for a roster that agrees about the agency."""
    federation.enter(federation.registrar_rotation(NEW))
    federation.enter(federation.rotation(PEKALONGAN, NEWER))
    own = Roster()
    for logged in federation.roster.statements_for(PEKALONGAN):
        own.admit(logged.index, logged.jws)
    assert own.agency(PEKALONGAN) == federation.roster.agency(PEKALONGAN)
    assert own.agency(KEDIRI) is None
    assert own.registrar == federation.roster.registrar


def test_examining_changes_nothing_and_an_admission_is_used_once(federation: Federation) -> None:
    before = contents(federation.roster)
    admission = federation.roster.examine(9, federation.rotation(PEKALONGAN, NEW))
    assert contents(federation.roster) == before
    federation.roster.apply(admission)
    with pytest.raises(Corrupt):
        federation.roster.apply(admission)


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


def test_asking_is_cheap_whatever_the_length_of_the_log(federation: Federation) -> None:
    """A change set asks once; a log of 100,000 of them must not notice."""
    for number in range(500):
        federation.enter(federation.tick(START_MS + number * HOUR_MS), 10 + number * 200)
    started = perf_counter()
    for index in range(100_000):
        federation.roster.speaks_problem(OLD.kid, PEKALONGAN, index)
        federation.roster.rules_at(index)
        federation.roster.tick_before(index)
    assert perf_counter() - started < 5  # 0.15 s when nobody else works; a look-up that walks the log takes minutes
