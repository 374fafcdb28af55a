"""What is signed: JWS, manifests, statements, possession, excerpts, evidence, audits (protocol §4 – §6, §12)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from node.audit.command import report
from sync_protocol.audit import LogAudit
from sync_protocol.errors import Refused
from sync_protocol.evidence import EVIDENCE_MAX_BYTES, open_evidence
from sync_protocol.excerpt import OpenSet, parse_excerpt
from sync_protocol.jws import Jws, parse_jws
from sync_protocol.limits import (
    FORK_JWS_MAX_BYTES,
    JWS_MAX_BYTES,
    SET_MAX_BYTES,
)
from sync_protocol.manifest import CHANGE_SET_TYP, Manifest, parse_manifest, sign_manifest
from sync_protocol.possession import ENROLMENT_PROOF_TYP, sign_enrolment_proof, verify_enrolment_proof
from sync_protocol.statement import Extension, Genesis, Statement, parse_statement, sign_statement
from sync_protocol.strict_json import parse_object
from sync_protocol.tiles import pack_entries, unpack_entries
from tests.fuzz.target import KIB, Target, must
from tests.protocol.audit_samples import SampleLog
from tests.protocol.federation_samples import KEDIRI, PEKALONGAN, REGISTRAR, SEALING, Federation
from tests.protocol.log_samples import LOG, ORIGIN, FixedSigner
from tests.protocol.set_samples import (
    SIGNER,
    header_of,
    raw_jws,
    sample_set,
)
from tests.protocol.test_evidence import Rotated

SIGNERS = (REGISTRAR, LOG, FixedSigner(PEKALONGAN), FixedSigner(KEDIRI), FixedSigner("new"))
TOKEN = "a token of an invitation"


@lru_cache(maxsize=1)
def federation() -> Federation:
    """Two agencies; never changed."""
    return Federation.founded(PEKALONGAN, KEDIRI)


@lru_cache(maxsize=1)
def _statements() -> tuple[Jws, ...]:
    """One of each typ that could come next."""
    at, new = federation(), FixedSigner("new")
    pair = at.manifest(PEKALONGAN), at.manifest(PEKALONGAN, at=at.manifest(PEKALONGAN).manifest.at + 1)
    return (
        at.log[0][1], at.rules(KEDIRI), at.tick(), at.enrolment(PEKALONGAN, new), at.rotation(PEKALONGAN, new),
        at.registrar_rotation(new), at.log_rotation(new), at.sealing_rotation(PEKALONGAN, SEALING),
        at.revocation(PEKALONGAN), at.fork(PEKALONGAN, *pair),
    )  # fmt: skip


def _texts() -> list[bytes]:
    return [jws.text.encode() for jws in (*_statements(), federation().manifest(KEDIRI).jws)]


TYPS = (
    "simpul-genesis", "simpul-rules", "simpul-tick", "simpul-enrolment", "simpul-rotation", "simpul-revocation",
    "simpul-fork", "simpul-x-ours", CHANGE_SET_TYP, ENROLMENT_PROOF_TYP,
)  # fmt: skip


def _signed_by(data: bytes) -> Jws:
    """Typ and signer by the first two bytes, the rest is the payload, well signed whatever it says."""
    if len(data) < 2:
        raise Refused("malformed", "no payload")
    signer = SIGNERS[data[0] % len(SIGNERS)]
    header = header_of(signer, TYPS[data[1] % len(TYPS)]).encode()
    return parse_jws(raw_jws(header, data[2:], signer), max_bytes=FORK_JWS_MAX_BYTES)


def _payloads() -> list[bytes]:
    kids = [signer.kid for signer in SIGNERS]
    return [bytes([kids.index(jws.kid), TYPS.index(jws.typ)]) + jws.payload for jws in _statements()]


def _statement(data: bytes) -> Statement:
    """What a JWS says, and that it can be said again."""
    statement = parse_statement(_signed_by(data))
    if not isinstance(statement, Extension):
        must(parse_statement(sign_statement(statement, REGISTRAR)) == statement, "signed again it says something else")
    return statement


def _admitted(data: bytes) -> object:
    """At its place in the log: taken into the roster or not, which is not changed by being asked."""
    at = federation()
    return at.roster.examine(at.size, _signed_by(data))


def _admissible() -> list[bytes]:
    return [payload for payload in _payloads() if TYPS[payload[1]] != Genesis.TYP]


def _manifest(data: bytes) -> Manifest:
    manifest = parse_manifest(raw_jws(header_of().encode(), data)).manifest
    must(sign_manifest(manifest, SIGNER).manifest == manifest, "signed again it says something else")
    return manifest


def _proof(data: bytes) -> bytes:
    """A proof of possession of this one key for this one token, or none."""
    text = raw_jws(header_of(typ=ENROLMENT_PROOF_TYP).encode(), data)
    verify_enrolment_proof(text, origin=ORIGIN, agency=PEKALONGAN, key=SIGNER.public_key, sealing=SEALING, token=TOKEN)
    must(dict(parse_jws(_good_proof()).fields) == dict(parse_jws(text).fields), "another claim was believed")
    return data


def _good_proof() -> str:
    return sign_enrolment_proof(SIGNER, origin=ORIGIN, agency=PEKALONGAN, sealing=SEALING, token=TOKEN)


def _excerpts() -> list[bytes]:
    whole = sample_set(5, 3)
    return [OpenSet(whole).excerpt({0, 5}), OpenSet(whole).excerpt(set()), whole.text]


@lru_cache(maxsize=1)
def _evidence() -> bytes:
    made = Rotated.made()
    whole = [(index, LOG, 4) for index in range(3)]
    return made.file(statements=whole, sets=[(3, LOG, 4)])


@lru_cache(maxsize=1)
def _small_log() -> SampleLog:
    log = SampleLog.founded(PEKALONGAN)
    first = log.push(PEKALONGAN)
    log.enter(log.federation.tick())
    log.push(PEKALONGAN, 2, first.digest)
    return log


def _audit(data: bytes) -> Any:
    """An entry bundle (its width first) under the true checkpoint: only the true entries pass without a finding."""
    log = _small_log()
    audit = LogAudit()
    entries = unpack_entries(data[1:], data[0] if data else 0)
    for entry in entries:
        if audit.read_entry(entry) is not None:
            audit.read_lines((b'{"manifest":"%b"}\n' % entry, b""))
    audit.close(log.note(), LOG.vkey())
    audit.compare_earlier(log.note(size=3))
    told = report(audit)
    must(told["ok"] is (entries == log.entries), "a false log passed, or the true one did not")
    return told


def _bundles() -> list[bytes]:
    entries = _small_log().entries
    return [bytes([len(part)]) + pack_entries(part) for part in (entries, entries[:3], entries[::-1])]


def sample_manifest_payload() -> bytes:
    """The payload of the sample manifest."""
    return sample_set().manifest.jws.payload


def targets() -> Sequence[Target]:
    """All of this module."""
    return (
        Target(
            "json",
            lambda d: parse_object(d, where="x"),
            lambda: [b"{}", sample_manifest_payload(), b'{"a":[1,{"b":null}],"c":true}'],
        ),
        Target(
            "jws",
            lambda d: parse_jws(d, max_bytes=FORK_JWS_MAX_BYTES),
            _texts,
            lambda v: v.text.encode(),
            FORK_JWS_MAX_BYTES,
        ),
        Target(
            "manifest",
            parse_manifest,
            lambda: [sample_set().manifest.jws.text.encode()],
            lambda v: v.jws.text.encode(),
            JWS_MAX_BYTES,
        ),
        Target("manifest-payload", _manifest, lambda: [sample_manifest_payload()], None, JWS_MAX_BYTES),
        Target("statement", _statement, _payloads, None, FORK_JWS_MAX_BYTES),
        Target("roster", _admitted, _admissible, None, FORK_JWS_MAX_BYTES),
        Target("possession", _proof, lambda: [parse_jws(_good_proof()).payload], None, JWS_MAX_BYTES),
        Target("excerpt", parse_excerpt, _excerpts, None, SET_MAX_BYTES),
        Target("evidence", lambda d: open_evidence(d, LOG.vkey()), lambda: [_evidence()], None, EVIDENCE_MAX_BYTES),
        Target("audit", _audit, _bundles, None, 64 * KIB),
    )
