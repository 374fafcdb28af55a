"""Evidence files: what a citizen or another authority takes home of one complaint (protocol §12).

Some lines of signed sets, the statements that say whose keys signed them, and proof that all of it stands in the
national log. Verified offline, with nothing but the log's key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from sync_protocol.errors import Refused, malformed, too_large
from sync_protocol.excerpt import Excerpt, parse_excerpt
from sync_protocol.jws import parse_jws
from sync_protocol.limits import FORK_JWS_MAX_BYTES
from sync_protocol.line import Change, content_mark, parse_change
from sync_protocol.note import VerifierKey
from sync_protocol.receipt import Receipt, parse_receipt, verify_receipt
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
    """A change of the complaint at its place in the log; `content` is what was said, None where it is not shown.

    `position` is that in its set; `line` and `content_line` are the signed bytes, without LF.
    """

    index: int
    agency: str
    seq: int
    change: Change
    content: dict[str, Any] | None
    position: int
    line: bytes = field(repr=False)
    content_line: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class OpenEvidence:
    """Evidence whose every signature, root and inclusion was verified. `size` is that of its newest checkpoint.

    `vkey` is the log key that it was held against. `by_earlier_keys` of its receipts are signed by log keys before that
    one: true as long as nobody who came into possession of those has made them.
    """

    complaint: ComplaintId
    origin: str
    vkey: VerifierKey
    size: int
    changes: Sequence[ProvenChange]
    by_earlier_keys: int


class _Receipts:
    """Verifies receipts by the log keys of a roster, and counts how many the trusted key leads to."""

    def __init__(self, roster: Roster, trusted: VerifierKey) -> None:
        self._roster = roster
        self._rank = roster.vkeys.index(trusted)  # newest first: those before it follow it
        self.size = 0
        self.by_earlier_keys = 0
        self.count = 0

    def verify(self, receipt: Receipt, entry: bytes) -> None:
        """By the one key that signs the size of its checkpoint (protocol §5.4). Raises Refused."""
        opened = verify_receipt(receipt, entry, self._roster.log_keys_for(receipt.note), self._roster.origin)
        self.size = max(self.size, opened.checkpoint.size)
        self.count += 1
        if self._roster.vkeys.index(opened.vkey) > self._rank:
            self.by_earlier_keys += 1


def format_evidence(evidence: EvidenceFile) -> bytes:
    """UTF-8 JSON, indented, so that a person can look into it."""
    return msgspec.json.format(msgspec.json.encode(evidence)) + b"\n"


def open_evidence(data: bytes, trusted: VerifierKey | None) -> OpenEvidence:
    """Verify a file against the log key that the reader trusts (None: the one that the file names).

    Raises Refused: malformed, too-large, bad-signature, bad-proof, root-mismatch, unknown-key, wrong-agency …
    """
    return verify_evidence(_parse(data), trusted)


def verify_evidence(evidence: EvidenceFile, trusted: VerifierKey | None) -> OpenEvidence:
    """As `open_evidence`, of one that was read as part of something larger (protocol §7.6)."""
    _check_head(evidence)
    key = trusted or VerifierKey.parse(evidence.vkey)
    proofs = [parse_receipt(held.receipt.encode("utf-8")) for held in evidence.statements]
    roster = _replay(evidence, proofs)
    if key not in roster.vkeys:
        detail = "the statements do not lead to the trusted log key (a file from before it wants the key of its time)"
        raise Refused("bad-signature", detail, where="statements")
    receipts = _Receipts(roster, key)
    for proof, held in zip(proofs, evidence.statements, strict=True):
        receipts.verify(proof, held.statement.encode("ascii"))
    changes: list[ProvenChange] = []
    for proof, shown in zip(_places_of(evidence.sets), evidence.sets, strict=True):
        excerpt = parse_excerpt(shown.lines.encode("utf-8"))
        manifest = excerpt.manifest
        receipts.verify(proof, manifest.jws.text.encode("ascii"))
        roster.verify_change_set_key(manifest.jws, manifest.manifest.agency, proof.index)
        changes += _changes_of(evidence.complaint, excerpt, proof.index)
    if receipts.by_earlier_keys == receipts.count:
        detail = "nothing in the file is signed by the log key that is trusted or by one after it"
        raise Refused("bad-signature", detail, where="receipt")
    if not changes:
        raise Refused("bad-proof", "the file shows no change of the complaint that it names", where="sets")
    complaint = ComplaintId.parse(evidence.complaint)
    return OpenEvidence(complaint, roster.origin, key, receipts.size, changes, receipts.by_earlier_keys)


def _replay(evidence: EvidenceFile, proofs: Sequence[Receipt]) -> Roster:
    """The roster that the statements make at the places which their receipts name; these are verified afterwards."""
    roster = Roster()
    places = [proof.index for proof in proofs]
    if places[:1] != [0] or places != sorted(set(places)):
        raise malformed("the statements begin with the genesis and stand in the order of the log", "statements")
    for held, place in zip(evidence.statements, places, strict=True):
        roster.admit(place, parse_jws(held.statement, max_bytes=FORK_JWS_MAX_BYTES))
    if not roster.has_genesis or roster.origin != evidence.origin:
        raise malformed("the file names another log than its statements", "origin")
    return roster


def _places_of(sets: Sequence[EvidenceSet]) -> list[Receipt]:
    """The receipts of the sets, in the order of the log, each place once: what is told in another order, or twice, is
    another story than the log's.
    """
    proofs = [parse_receipt(shown.receipt.encode("utf-8")) for shown in sets]
    places = [proof.index for proof in proofs]
    if places != sorted(set(places)):
        raise malformed("the sets stand in the order of the log, each once", "sets")
    return proofs


def _parse(data: bytes) -> EvidenceFile:
    if len(data) > EVIDENCE_MAX_BYTES:
        raise too_large("evidence file", EVIDENCE_MAX_BYTES)
    try:
        evidence = msgspec.convert(parse_object(data, where="evidence", depth_max=_DEPTH_MAX), EvidenceFile)
    except msgspec.ValidationError as error:
        raise malformed(str(error), "evidence") from None
    return evidence


def _check_head(evidence: EvidenceFile) -> None:
    if evidence.typ != EVIDENCE_TYP or evidence.v != 1:
        raise malformed(f"not a file of typ {EVIDENCE_TYP}, version 1", "evidence")
    ComplaintId.parse(evidence.complaint)
    for held in evidence.statements:
        if not held.statement.isascii():
            raise malformed("a statement is ASCII", "statements")


def _changes_of(complaint: str, excerpt: Excerpt, index: int) -> list[ProvenChange]:
    """The shown changes of the complaint, each with the shown content line that names it (protocol §2.3, `of`)."""
    manifest = excerpt.manifest.manifest
    said = excerpt.said()
    proven = []
    for place, line in sorted(excerpt.lines.items()):
        if place >= manifest.changes:
            continue
        change = parse_change(line)
        if change.complaint == complaint:
            found = said.get(content_mark(change.id)) if change.content else None
            who = (index, manifest.agency, manifest.seq)
            proven.append(ProvenChange(*who, change, found and found[0], place, line, found and found[1]))
    return proven
