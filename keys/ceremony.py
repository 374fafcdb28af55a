"""What is signed when a key comes, changes or goes (protocol §5). Values in, signed statements out.

Files are keys/key_directory.py's; where a statement stands in the log is the hub's; which statement came before it is
the caller's to know (`prev`, from the hub's head answer or from its own store).
"""

from __future__ import annotations

from sync_protocol.ed25519 import Signer
from sync_protocol.errors import Refused
from sync_protocol.jws import Jws
from sync_protocol.note import vkey_for
from sync_protocol.possession import sign_enrolment_proof, sign_rotation_proof
from sync_protocol.statement import Enrolment, Genesis, HeadRef, Revocation, Role, Rotation, sign_statement
from sync_protocol.values import AgencyId, Digest, b64u_encode
from sync_protocol.wire import EnrolmentRequest


def found_log(*, origin: str, registrar: Signer, log: Signer, at_ms: int) -> Jws:
    """The genesis: first leaf of a new log. Raises Refused(malformed) for a bad origin or one key in both roles."""
    genesis = Genesis(
        at=at_ms, origin=origin, registrar=registrar.public_key, log_vkey=vkey_for(origin, log.public_key)
    )
    return sign_statement(genesis, registrar)


def request_enrolment(
    *, origin: str, agency: AgencyId, token: str, signer: Signer, sealing_public_key: bytes
) -> EnrolmentRequest:
    """What an agency sends with its one-time token: its public keys, and the proof that the signing key is its own."""
    proof = sign_enrolment_proof(signer, origin=origin, agency=agency, sealing=sealing_public_key, token=token)
    return EnrolmentRequest(
        agency=str(agency),
        key=b64u_encode(signer.public_key),
        sealing=b64u_encode(sealing_public_key),
        proof=proof,
        token=token,
    )


def enrol(
    registrar: Signer, *, log: Digest, agency: AgencyId, prev: Digest, key: bytes, sealing: bytes, at_ms: int
) -> Jws:
    """The registrar's word that these keys (32 bytes each) are the agency's. The proof was verified before."""
    statement = Enrolment(at=at_ms, log=log, agency=agency, prev=prev, key=key, sealing=sealing)
    return sign_statement(statement, registrar)


def rotate_agency(
    old: Signer, new: Signer, *, log: Digest, agency: AgencyId, prev: Digest, head: HeadRef, at_ms: int
) -> Jws:
    """From `old` to `new` after the set `head` (all sets before it are drained; protocol §10.5)."""
    _differ(old, new)
    proof = sign_rotation_proof(new, log=log, old_kid=old.kid, role=Role.AGENCY, prev=prev)
    rotation = Rotation(
        at=at_ms,
        log=log,
        role=Role.AGENCY,
        key=new.public_key,
        proof=proof,
        agency=agency,
        prev=prev,
        head=head,
    )
    return sign_statement(rotation, old)


def rotate_sealing(
    signer: Signer, sealing_public_key: bytes, *, log: Digest, agency: AgencyId, prev: Digest, at_ms: int
) -> Jws:
    """A new X25519 key for an agency, signed by its signing key."""
    rotation = Rotation(at=at_ms, log=log, role=Role.SEALING, key=sealing_public_key, agency=agency, prev=prev)
    return sign_statement(rotation, signer)


def rotate_registrar(old: Signer, new: Signer, *, log: Digest, at_ms: int) -> Jws:
    """From one registrar key to the next."""
    _differ(old, new)
    proof = sign_rotation_proof(new, log=log, old_kid=old.kid, role=Role.REGISTRAR)
    return sign_statement(Rotation(at=at_ms, log=log, role=Role.REGISTRAR, key=new.public_key, proof=proof), old)


def rotate_log(old: Signer, new: Signer, *, origin: str, log: Digest, at_ms: int) -> Jws:
    """From one log key to the next; the name (origin) stays."""
    _differ(old, new)
    vkey = vkey_for(origin, new.public_key)
    proof = sign_rotation_proof(new, log=log, old_kid=old.kid, role=Role.LOG, key_text=vkey.format())
    return sign_statement(Rotation(at=at_ms, log=log, role=Role.LOG, key=new.public_key, vkey=vkey, proof=proof), old)


def revoke(
    signer: Signer,
    *,
    log: Digest,
    agency: AgencyId,
    prev: Digest,
    kid: str,
    at_ms: int,
    disputed_from: int = 0,
    reason: str = "unspecified",
) -> Jws:
    """A key speaks no more. `signer` is the registrar or the agency's own key; `disputed_from` undoes nothing."""
    statement = Revocation(
        at=at_ms, log=log, agency=agency, prev=prev, kid=kid, disputed_from=disputed_from, reason=reason
    )
    return sign_statement(statement, signer)


def _differ(old: Signer, new: Signer) -> None:
    if old.kid == new.kid:
        raise Refused("configuration", "a key cannot follow itself")
