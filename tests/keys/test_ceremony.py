"""What a ceremony signs is what the rules of protocol §5 take, and nobody else's signature makes it so."""

from __future__ import annotations

import pytest

from keys import ceremony
from keys.signer import Ed25519Signer, SealingKey
from sync_protocol.errors import Refused
from sync_protocol.jws import parse_jws, verify_jws
from sync_protocol.possession import verify_enrolment_proof, verify_rotation_proof
from sync_protocol.statement import Enrolment, Genesis, HeadRef, Revocation, Role, Rotation, parse_statement
from sync_protocol.values import AgencyId, Digest, b64u_decode

ORIGIN = "hub.example/log"
AGENCY = AgencyId("33.75")
LOG_DIGEST = Digest(b"\x11" * 32)
PREV = Digest(b"\x22" * 32)
AT = 1_790_000_000_123
REGISTRAR, LOG_KEY, OLD, NEW = (Ed25519Signer.from_seed(bytes([number]) * 32) for number in range(1, 5))
SEALING = SealingKey.from_seed(b"\x09" * 32)


def test_the_genesis_holds_both_keys_and_is_signed_by_the_registrar() -> None:
    jws = ceremony.found_log(origin=ORIGIN, registrar=REGISTRAR, log=LOG_KEY, at_ms=AT)
    verify_jws(jws, REGISTRAR.public_key)
    genesis = parse_statement(parse_jws(jws.text))
    assert isinstance(genesis, Genesis)
    assert (genesis.registrar, genesis.log_vkey.public_key) == (REGISTRAR.public_key, LOG_KEY.public_key)
    assert (genesis.origin, genesis.at) == (ORIGIN, AT)


def test_one_key_for_log_and_registrar_is_refused() -> None:
    with pytest.raises(Refused, match="different keys"):
        ceremony.found_log(origin=ORIGIN, registrar=LOG_KEY, log=LOG_KEY, at_ms=AT)


def test_an_enrolment_request_proves_the_key_for_this_hub_agency_and_token_only() -> None:
    request = ceremony.request_enrolment(
        origin=ORIGIN, agency=AGENCY, token="token-1", signer=OLD, sealing_public_key=SEALING.public_key
    )
    assert b64u_decode(request.key) == OLD.public_key
    claim = {"origin": ORIGIN, "agency": AGENCY, "token": "token-1", "sealing": SEALING.public_key}

    def verify(**other: object) -> None:
        verify_enrolment_proof(request.proof, key=OLD.public_key, **{**claim, **other})  # type: ignore[arg-type]

    verify()
    for other in ({"origin": "other"}, {"agency": AgencyId("33.26")}, {"token": "token-2"}, {"sealing": bytes(32)}):
        with pytest.raises(Refused):
            verify(**other)


def test_an_enrolment_names_agency_and_keys() -> None:
    jws = ceremony.enrol(
        REGISTRAR, log=LOG_DIGEST, agency=AGENCY, prev=PREV, key=OLD.public_key, sealing=SEALING.public_key, at_ms=AT
    )
    verify_jws(jws, REGISTRAR.public_key)
    assert parse_statement(jws) == Enrolment(AT, LOG_DIGEST, AGENCY, PREV, OLD.public_key, SEALING.public_key)


def test_an_agency_rotation_is_signed_by_the_old_key_and_agreed_to_by_the_new() -> None:
    head = HeadRef(7, Digest(b"\x33" * 32))
    jws = ceremony.rotate_agency(OLD, NEW, log=LOG_DIGEST, agency=AGENCY, prev=PREV, head=head, at_ms=AT)
    verify_jws(jws, OLD.public_key)
    rotation = parse_statement(jws)
    assert isinstance(rotation, Rotation)
    assert (rotation.key, rotation.head, rotation.role) == (NEW.public_key, head, Role.AGENCY)
    verify_rotation_proof(rotation, OLD.kid)
    with pytest.raises(Refused):
        verify_rotation_proof(rotation, REGISTRAR.kid)


def test_a_sealing_rotation_needs_no_proof() -> None:
    jws = ceremony.rotate_sealing(OLD, SEALING.public_key, log=LOG_DIGEST, agency=AGENCY, prev=PREV, at_ms=AT)
    rotation = parse_statement(jws)
    assert isinstance(rotation, Rotation)
    assert (rotation.key, rotation.proof, rotation.agency) == (SEALING.public_key, None, AGENCY)


def test_the_registrars_and_the_logs_rotations_prove_the_new_key() -> None:
    registrar = parse_statement(ceremony.rotate_registrar(REGISTRAR, NEW, log=LOG_DIGEST, at_ms=AT))
    log = parse_statement(ceremony.rotate_log(LOG_KEY, NEW, origin=ORIGIN, log=LOG_DIGEST, at_ms=AT))
    assert isinstance(registrar, Rotation)
    assert isinstance(log, Rotation)
    verify_rotation_proof(registrar, REGISTRAR.kid)
    verify_rotation_proof(log, LOG_KEY.kid)
    assert log.vkey is not None
    assert log.vkey.name == ORIGIN


def test_a_key_that_follows_itself_is_refused() -> None:
    with pytest.raises(Refused, match="follow itself"):
        ceremony.rotate_registrar(REGISTRAR, REGISTRAR, log=LOG_DIGEST, at_ms=AT)


def test_a_revocation_names_the_key_and_what_is_disputed() -> None:
    jws = ceremony.revoke(
        OLD, log=LOG_DIGEST, agency=AGENCY, prev=PREV, kid=OLD.kid, at_ms=AT, disputed_from=5, reason="stolen"
    )
    verify_jws(jws, OLD.public_key)
    assert parse_statement(jws) == Revocation(AT, LOG_DIGEST, AGENCY, PREV, OLD.kid, 5, "stolen")


def test_a_reason_that_is_no_code_is_refused_before_it_is_signed() -> None:
    with pytest.raises(Refused):
        ceremony.revoke(
            OLD, log=LOG_DIGEST, agency=AGENCY, prev=PREV, kid=OLD.kid, at_ms=AT, reason="It was stolen from Budi!"
        )
