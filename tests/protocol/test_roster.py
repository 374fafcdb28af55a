"""The roster (protocol §5.4): who speaks is replayed from the log, by position; what does not fit leaves no trace."""

from __future__ import annotations

from dataclasses import replace
from time import process_time

import pytest

from sync_protocol.errors import Corrupt, Refused
from sync_protocol.jws import sign_jws
from sync_protocol.manifest import SignedManifest, parse_manifest
from sync_protocol.roster import Roster
from sync_protocol.statement import Extension, Genesis, sign_statement
from sync_protocol.values import b64u_encode
from tests.protocol.federation_samples import (
    DESK,
    GENESIS,
    HOUR_MS,
    KEDIRI,
    PEKALONGAN,
    REGISTRAR,
    START_MS,
    Federation,
    contents,
    refused,
)
from tests.protocol.log_samples import LOG, ORIGIN, OTHER, FixedSigner

OLD = FixedSigner(PEKALONGAN)
NEW = FixedSigner("new")
NEWER = FixedSigner("newer")


@pytest.fixture
def federation() -> Federation:
    """Genesis at 0, rules at 1, Pekalongan at 2, Kediri at 3."""
    return Federation.founded(PEKALONGAN, KEDIRI)


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


def test_asking_is_cheap_whatever_the_length_of_the_log(federation: Federation) -> None:
    """A change set asks once; a log of 100,000 of them must not notice."""
    for number in range(500):
        federation.enter(federation.tick(START_MS + number * HOUR_MS), 10 + number * 200)
    started = process_time()
    for index in range(100_000):
        federation.roster.speaks_problem(OLD.kid, PEKALONGAN, index)
        federation.roster.rules_at(index)
        federation.roster.tick_before(index)
    assert process_time() - started < 5  # 0.15 s when nobody else works; a look-up that walks the log takes minutes
