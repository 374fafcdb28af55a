"""Proofs of possession (protocol §5.3): who brings a key shows, with that key, that it is theirs and what it is for."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from sync_protocol.ed25519 import Signer, kid_of
from sync_protocol.errors import Refused, malformed
from sync_protocol.jws import parse_jws, sign_jws, verify_jws
from sync_protocol.statement import Role, Rotation
from sync_protocol.values import AgencyId, Digest, b64u_encode

ROTATION_PROOF_TYP: Final = "simpul-rotation-proof"
ENROLMENT_PROOF_TYP: Final = "simpul-enrolment-proof"


def sign_rotation_proof(
    new_key: Signer, *, log: Digest, old_kid: str, role: Role, prev: Digest | None = None, key_text: str | None = None
) -> str:
    """The compact JWS for `Rotation.proof`. `key_text` is the vkey where the log's key is replaced, else not given."""
    key = b64u_encode(new_key.public_key) if key_text is None else key_text
    return sign_jws(ROTATION_PROOF_TYP, _rotation_claim(key, log, old_kid, role, prev), new_key).text


def verify_rotation_proof(rotation: Rotation, old_kid: str) -> None:
    """That the new key itself agreed to follow `old_kid`, here and now. Raises Refused(malformed, bad-signature)."""
    if rotation.proof is None:
        raise malformed("the new key's proof is missing", "proof")
    claim = _rotation_claim(rotation.key_text, rotation.log, old_kid, rotation.role, rotation.prev)
    _verify(rotation.proof, ROTATION_PROOF_TYP, claim, rotation.key)


def sign_enrolment_proof(new_key: Signer, *, origin: str, agency: AgencyId, sealing: bytes, token: str) -> str:
    """The compact JWS for `POST /v1/enrolments`; `sealing` is the 32-byte X25519 public key."""
    claim = _enrolment_claim(new_key.public_key, origin, agency, sealing, token)
    return sign_jws(ENROLMENT_PROOF_TYP, claim, new_key).text


def verify_enrolment_proof(
    proof: str, *, origin: str, agency: AgencyId, key: bytes, sealing: bytes, token: str
) -> None:
    """That who holds the token holds the key as well. Raises Refused(malformed, too-large, bad-signature)."""
    _verify(proof, ENROLMENT_PROOF_TYP, _enrolment_claim(key, origin, agency, sealing, token), key)


def token_hash(token: str) -> bytes:
    """SHA-256 of a token's ASCII: what is kept and compared, never the token. Raises Refused(malformed)."""
    if not token.isascii():
        raise malformed("a token is ASCII", "token")
    return sha256(token.encode("ascii")).digest()


def _rotation_claim(key: str, log: Digest, old_kid: str, role: Role, prev: Digest | None) -> dict[str, object]:
    claim: dict[str, object] = {"key": key, "log": log.b64u, "old": old_kid, "role": role.value}
    return claim if prev is None else {**claim, "prev": prev.b64u}


def _enrolment_claim(key: bytes, origin: str, agency: AgencyId, sealing: bytes, token: str) -> dict[str, object]:
    return {
        "agency": str(agency),
        "key": b64u_encode(key),
        "origin": origin,
        "sealing": b64u_encode(sealing),
        "token": b64u_encode(token_hash(token)),
    }


def _verify(proof: str, typ: str, claim: Mapping[str, object], key: bytes) -> None:
    jws = parse_jws(proof)
    if jws.typ != typ or jws.kid != kid_of(key):
        raise Refused("bad-signature", "the proof is of another kind or by another key", where="proof")
    if dict(jws.fields) != claim:
        raise Refused("bad-signature", "the proof was made for something else", where="proof")
    verify_jws(jws, key)
