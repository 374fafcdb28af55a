"""Evidence files: what a citizen or another authority takes home of one complaint (protocol §12).

Some lines of signed sets, the statements that say whose keys signed them, and proof that all of it stands in the
national log. Verified offline, with nothing but the log's key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from sync_protocol.errors import Refused, malformed, too_large
from sync_protocol.excerpt import Excerpt, parse_excerpt
from sync_protocol.jws import parse_jws
from sync_protocol.limits import FORK_JWS_MAX_BYTES
from sync_protocol.line import Change, content_mark, parse_change, parse_content
from sync_protocol.note import VerifierKey
from sync_protocol.receipt import parse_receipt, verify_receipt
from sync_protocol.roster import Roster
from sync_protocol.strict_json import parse_object
from sync_protocol.values import ComplaintId

EVIDENCE_TYP: Final = "simpul-evidence"
EVIDENCE_MAX_BYTES: Final = 32 * 1024 * 1024  # a complaint of thousands of changes with long letters
_DEPTH_MAX: Final = 5


class EvidenceStatement(msgspec.Struct, frozen=True):
    """A statement (compact JWS) with its receipt (tlog-proof text)."""

    statement: str
    receipt: str


class EvidenceSet(msgspec.Struct, frozen=True):
    """An excerpt (protocol §3.2, as text) of one set, with the receipt of its manifest."""

    lines: str
    receipt: str


class EvidenceFile(msgspec.Struct, frozen=True, kw_only=True):
    """The file as it is written; a claim until `open_evidence` returns."""

    typ: str = EVIDENCE_TYP
    v: int = 1
    origin: str
    vkey: str
    complaint: str
    statements: Sequence[EvidenceStatement]
    sets: Sequence[EvidenceSet]


@dataclass(frozen=True, slots=True)
class ProvenChange:
    """A change of the complaint at its place in the log; `content` is what was said, None where it is not shown."""

    index: int
    agency: str
    seq: int
    change: Change
    content: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class OpenEvidence:
    """Evidence whose every signature, root and inclusion was verified. `size` is that of its newest checkpoint."""

    complaint: ComplaintId
    origin: str
    vkey: VerifierKey
    size: int
    changes: Sequence[ProvenChange]


def format_evidence(evidence: EvidenceFile) -> bytes:
    """UTF-8 JSON, indented, so that a person can look into it."""
    return msgspec.json.format(msgspec.json.encode(evidence)) + b"\n"


def open_evidence(data: bytes, trusted: VerifierKey | None) -> OpenEvidence:
    """Verify a file against the log key that the reader trusts (None: the one that the file names).

    Raises Refused: malformed, too-large, bad-signature, bad-proof, root-mismatch, unknown-key, wrong-agency …
    """
    evidence = _parse(data)
    roster = Roster()
    sizes = [0]
    known = [trusted or VerifierKey.parse(evidence.vkey)]
    for held in evidence.statements:
        jws = parse_jws(held.statement, max_bytes=FORK_JWS_MAX_BYTES)
        receipt = parse_receipt(held.receipt.encode("utf-8"))
        opened = verify_receipt(receipt, held.statement.encode("ascii"), known, evidence.origin)
        roster.admit(receipt.index, jws)
        known += [vkey for vkey in roster.vkeys if vkey not in known]
        sizes.append(opened.checkpoint.size)
    if not evidence.statements or (trusted is not None and trusted not in roster.vkeys):
        raise Refused("bad-signature", "the statements do not lead to the log key that is trusted", where="statements")
    changes: list[ProvenChange] = []
    for shown in evidence.sets:
        receipt = parse_receipt(shown.receipt.encode("utf-8"))
        excerpt = parse_excerpt(shown.lines.encode("utf-8"))
        manifest = excerpt.manifest
        opened = verify_receipt(receipt, manifest.jws.text.encode("ascii"), roster.vkeys, evidence.origin)
        roster.verify_change_set_key(manifest.jws, manifest.manifest.agency, receipt.index)
        changes += _changes_of(evidence.complaint, excerpt, receipt.index)
        sizes.append(opened.checkpoint.size)
    if not changes:
        raise Refused("bad-proof", "the file shows no change of the complaint that it names", where="sets")
    return OpenEvidence(ComplaintId.parse(evidence.complaint), evidence.origin, roster.vkey, max(sizes), changes)


def _parse(data: bytes) -> EvidenceFile:
    if len(data) > EVIDENCE_MAX_BYTES:
        raise too_large("evidence file", EVIDENCE_MAX_BYTES)
    try:
        evidence = msgspec.convert(parse_object(data, where="evidence", depth_max=_DEPTH_MAX), EvidenceFile)
    except msgspec.ValidationError as error:
        raise malformed(str(error), "evidence") from None
    if evidence.typ != EVIDENCE_TYP or evidence.v != 1:
        raise malformed(f"not a file of typ {EVIDENCE_TYP}, version 1", "evidence")
    ComplaintId.parse(evidence.complaint)
    for held in evidence.statements:
        if not held.statement.isascii():
            raise malformed("a statement is ASCII", "statements")
    return evidence


def _changes_of(complaint: str, excerpt: Excerpt, index: int) -> list[ProvenChange]:
    """The shown changes of the complaint, each with the shown content line that names it (protocol §2.3, `of`)."""
    manifest = excerpt.manifest.manifest
    said: dict[str, dict[str, Any]] = {}
    for place, line in excerpt.lines.items():
        if place >= manifest.changes:
            content = parse_content(line)
            said[str(content.get("of"))] = content
    proven = []
    for place, line in sorted(excerpt.lines.items()):
        if place >= manifest.changes:
            continue
        change = parse_change(line)
        if change.complaint == complaint:
            content_of_it = said.get(content_mark(change.id)) if change.content else None
            proven.append(ProvenChange(index, manifest.agency, manifest.seq, change, content_of_it))
    return proven
