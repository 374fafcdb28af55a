"""Statements (protocol §5.1 – §5.3): read back as written, refused in every other form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from sync_protocol.errors import Refused
from sync_protocol.jws import Jws, parse_jws, sign_jws
from sync_protocol.limits import FORK_JWS_MAX_BYTES
from sync_protocol.possession import (
    ENROLMENT_PROOF_TYP,
    sign_enrolment_proof,
    sign_rotation_proof,
    verify_enrolment_proof,
    verify_rotation_proof,
)
from sync_protocol.statement import Extension, Role, Rotation, Signable, parse_statement, sign_statement
from sync_protocol.values import b64u_encode
from tests.protocol.federation_samples import (
    GENESIS,
    KEDIRI,
    PEKALONGAN,
    REGISTRAR,
    SEALING,
    START_MS,
    Federation,
    resigned,
)
from tests.protocol.log_samples import LOG, ORIGIN, FixedSigner, bit_flips, truncations

FEDERATION = Federation.founded(PEKALONGAN, KEDIRI)
NEW = FixedSigner("new")
FORK = FEDERATION.fork(
    PEKALONGAN, FEDERATION.manifest(PEKALONGAN, at=START_MS), FEDERATION.manifest(PEKALONGAN, at=START_MS + 1)
)
SAMPLES: Mapping[str, Jws] = {
    "genesis": GENESIS,
    "rules": FEDERATION.rules(desk=KEDIRI),
    "enrolment": FEDERATION.enrolment(PEKALONGAN, NEW),
    "rotation-of-agency": FEDERATION.rotation(PEKALONGAN, NEW),
    "rotation-of-registrar": FEDERATION.registrar_rotation(NEW),
    "rotation-of-log": FEDERATION.log_rotation(NEW),
    "rotation-of-sealing": FEDERATION.sealing_rotation(PEKALONGAN, b"s" * 32),
    "revocation": FEDERATION.revocation(PEKALONGAN),
    "fork": FORK,
    "tick": FEDERATION.tick(),
}


def known(jws: Jws) -> Signable:
    statement = parse_statement(jws)
    assert not isinstance(statement, Extension)
    return statement


@pytest.mark.parametrize("name", SAMPLES)
def test_a_statement_is_read_back_as_it_was_written(name: str) -> None:
    statement = known(SAMPLES[name])
    assert sign_statement(statement, REGISTRAR).payload == SAMPLES[name].payload
    assert known(sign_statement(statement, REGISTRAR)) == statement


@pytest.mark.parametrize("name", SAMPLES)
def test_every_member_is_needed(name: str) -> None:
    statement = known(SAMPLES[name])
    for member in SAMPLES[name].fields:
        with pytest.raises(Refused) as caught:
            parse_statement(resigned(statement, REGISTRAR, {member: None}))
        assert caught.value.kind == "malformed", member


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("wrong", [-1, 2**53, True, "", "Ü", [], {}, ["a", "b"]])
def test_a_member_of_the_wrong_kind_is_refused_with_our_own_error(name: str, wrong: object) -> None:
    statement = known(SAMPLES[name])
    for member in SAMPLES[name].fields:
        if member == "proof" and isinstance(wrong, str):
            continue  # any text; it is judged with the key that it is for
        with pytest.raises(Refused, match=r"malformed|unsupported-version"):
            parse_statement(resigned(statement, REGISTRAR, {member: wrong}))


@pytest.mark.parametrize("name", ["rules", "tick", "revocation"])
def test_every_flipped_bit_is_refused_by_form_or_signature(name: str) -> None:
    federation = Federation.founded(PEKALONGAN, KEDIRI)
    for damaged in bit_flips(SAMPLES[name].text.encode()):
        with pytest.raises(Refused):
            federation.enter(parse_jws(damaged))
    federation.enter(SAMPLES[name])


@pytest.mark.parametrize("name", SAMPLES)
def test_every_truncation_is_refused(name: str) -> None:
    for damaged in truncations(SAMPLES[name].text.encode()):
        with pytest.raises(Refused):
            parse_jws(damaged, max_bytes=FORK_JWS_MAX_BYTES)


def test_unknown_members_are_let_be() -> None:
    statement = known(SAMPLES["tick"])
    assert known(resigned(statement, REGISTRAR, {"note": "kept"})) == statement


def test_an_unknown_typ_stops_a_fold() -> None:
    jws = sign_jws("simpul-redaction", {"v": 1}, REGISTRAR)
    with pytest.raises(Refused, match="unsupported-version"):
        parse_statement(jws)


def test_an_extension_is_passed_over_whatever_it_says() -> None:
    assert parse_statement(sign_jws("simpul-x-test", {"anything": 0}, REGISTRAR)) == Extension("simpul-x-test")


@pytest.mark.parametrize(("name", "member"), [("tick", "v"), ("rules", "v"), ("rules", "fold")])
def test_a_later_version_stops_a_fold(name: str, member: str) -> None:
    with pytest.raises(Refused, match="unsupported-version"):
        parse_statement(resigned(known(SAMPLES[name]), REGISTRAR, {member: 2}))


def test_only_evidence_may_be_longer_than_a_manifest() -> None:
    padded = resigned(known(SAMPLES["tick"]), REGISTRAR, {"padding": "x" * 4096})
    with pytest.raises(Refused, match="too-large"):
        parse_statement(padded)


def test_evidence_must_name_one_place_and_two_manifests() -> None:
    fork = known(FORK)
    one, other = FORK.fields["manifests"]
    later = FEDERATION.manifest(PEKALONGAN, seq=2).jws.text
    for manifests in ([one, one], [one], [one, other, other], [one, later], [one, FORK.text]):
        with pytest.raises(Refused):
            parse_statement(resigned(fork, REGISTRAR, {"manifests": manifests}))


def test_the_genesis_gives_log_and_registrar_different_keys_and_the_log_its_name() -> None:
    genesis = known(GENESIS)
    same = {"registrar": b64u_encode(LOG.public_key)}
    for changes in (same, {"log_vkey": LOG.vkey("another.example").format()}):
        with pytest.raises(Refused, match="malformed"):
            parse_statement(resigned(genesis, REGISTRAR, changes))


@pytest.mark.parametrize(("name", "member"), [("genesis", "registrar"), ("enrolment", "key")])
def test_a_key_of_small_order_is_refused(name: str, member: str) -> None:
    identity = b64u_encode((1).to_bytes(32, "little"))
    with pytest.raises(Refused, match="small order"):
        parse_statement(resigned(known(SAMPLES[name]), REGISTRAR, {member: identity}))


def test_a_proof_of_possession_holds_for_its_own_rotation_only() -> None:
    rotation = known(SAMPLES["rotation-of-agency"])
    assert isinstance(rotation, Rotation)
    old = FixedSigner(PEKALONGAN)
    verify_rotation_proof(rotation, old.kid)
    with pytest.raises(Refused, match="something else"):
        verify_rotation_proof(rotation, FixedSigner(KEDIRI).kid)
    assert rotation.prev is not None
    for other in (
        sign_rotation_proof(NEW, log=rotation.prev, old_kid=old.kid, role=Role.AGENCY, prev=rotation.prev),
        sign_rotation_proof(NEW, log=GENESIS.digest, old_kid=old.kid, role=Role.REGISTRAR, prev=rotation.prev),
        sign_rotation_proof(NEW, log=GENESIS.digest, old_kid=old.kid, role=Role.AGENCY, prev=GENESIS.digest),
        sign_rotation_proof(NEW, log=GENESIS.digest, old_kid=old.kid, role=Role.AGENCY),
        sign_rotation_proof(old, log=GENESIS.digest, old_kid=old.kid, role=Role.AGENCY, prev=rotation.prev),
    ):
        with pytest.raises(Refused, match="bad-signature"):
            verify_rotation_proof(_with_proof(rotation, other), old.kid)


def _with_proof(rotation: Rotation, proof: str) -> Rotation:
    changed = known(resigned(rotation, REGISTRAR, {"proof": proof}))
    assert isinstance(changed, Rotation)
    return changed


def test_an_enrolment_proof_binds_token_agency_hub_and_both_keys() -> None:
    proof = sign_enrolment_proof(NEW, origin=ORIGIN, agency=PEKALONGAN, sealing=SEALING, token="t-1")

    def verify(**changes: Any) -> None:
        claim = {"origin": ORIGIN, "agency": PEKALONGAN, "key": NEW.public_key, "sealing": SEALING, "token": "t-1"}
        verify_enrolment_proof(proof, **{**claim, **changes})

    verify()
    others = {"origin": "other.example", "agency": KEDIRI, "key": LOG.public_key, "sealing": b"s" * 32, "token": "t-2"}
    for name, other in others.items():
        with pytest.raises(Refused, match="bad-signature"):
            verify(**{name: other})


def test_a_proof_with_a_forged_signature_is_refused() -> None:
    proof = sign_enrolment_proof(NEW, origin=ORIGIN, agency=PEKALONGAN, sealing=SEALING, token="t-1")
    head, payload, _ = proof.split(".")
    forged = ".".join((head, payload, b64u_encode(LOG.sign(f"{head}.{payload}".encode()))))
    with pytest.raises(Refused, match="bad-signature"):
        verify_enrolment_proof(
            forged, origin=ORIGIN, agency=PEKALONGAN, key=NEW.public_key, sealing=SEALING, token="t-1"
        )


def test_a_token_that_is_not_ascii_is_refused() -> None:
    with pytest.raises(Refused, match="malformed"):
        sign_enrolment_proof(NEW, origin=ORIGIN, agency=PEKALONGAN, sealing=SEALING, token="tökén")


def test_the_proofs_have_types_of_their_own() -> None:
    jws = parse_jws(sign_enrolment_proof(NEW, origin=ORIGIN, agency=PEKALONGAN, sealing=SEALING, token="t"))
    assert jws.typ == ENROLMENT_PROOF_TYP
    with pytest.raises(Refused, match="unsupported-version"):
        parse_statement(jws)
