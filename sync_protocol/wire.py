"""What goes over HTTP (protocol §7), without any HTTP: bodies, their reader and writer, and the problem types.

Bodies are read tolerantly (unknown members are left alone, so that a newer side may say more) but with one meaning (no
duplicate keys). What is signed in them is verified by its own rules afterwards, never because of where it came from.
Digests, keys and hashes keep their base64 spelling here; notes, receipts, manifests and statements are the exact text
that was signed or issued.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

from sync_protocol.errors import malformed, too_large
from sync_protocol.evidence import EVIDENCE_MAX_BYTES, EvidenceFile
from sync_protocol.problems import (
    PROBLEM_MEDIA_TYPE,
    PROBLEMS,
    Problem,
    Recovering,
    problem_body,
    refused_from_problem,
)
from sync_protocol.strict_json import parse_object

# What the problem room offers is part of the wire as well.
__all__ = [
    "PROBLEMS",
    "PROBLEM_MEDIA_TYPE",
    "Problem",
    "Recovering",
    "problem_body",
    "refused_from_problem",
]

PROTOCOL_VERSION: Final = 1
FOLD_VERSION: Final = 1
SIGNATURE_TAG: Final = "simpul-1"  # RFC 9421 `tag` of signed requests
ADMISSION_HEADER: Final = "Simpul-Pass"  # §7.4: in whose share a body waits
ADMISSION_PASS_MAX: Final = 128  # characters; the hub's own have 54
CHANGE_SET_MEDIA_TYPE: Final = "application/vnd.simpul.change-set"
BODY_MAX_BYTES: Final = 8 * 1024 * 1024  # a page of verdicts or statements; sets have their own reader
INBOX_MAX_BYTES: Final = 2 * EVIDENCE_MAX_BYTES  # a page ends early, but the largest evidence has to fit
BODY_DEPTH_MAX: Final = 8  # a page of sets of lists of objects, with room for what is added

Body = TypeVar("Body", bound=msgspec.Struct)


class _Body(msgspec.Struct, frozen=True, kw_only=True):
    """Written with all members, null where there is nothing to say."""


class HubDescription(_Body, frozen=True, kw_only=True):
    """`GET /v1/hub`. `time` is a timestamp, `genesis` a compact JWS, `size` that of the published log."""

    origin: str
    vkey: str
    genesis: str
    protocol: int
    fold: int
    limits: dict[str, int]
    time: str
    size: int


class Consistency(_Body, frozen=True, kw_only=True):
    """Hashes (base64) from the size that the caller named to the checkpoint's. Empty where equal, or `from` is 0."""

    from_size: int = msgspec.field(name="from")
    hashes: list[str]


class ConsistencyAnswer(_Body, frozen=True, kw_only=True):
    """`GET /v1/consistency`; hashes are base64."""

    from_size: int = msgspec.field(name="from")
    to_size: int = msgspec.field(name="to")
    hashes: list[str]


class StatementLine(_Body, frozen=True, kw_only=True):
    """One statement with its place in the log; the receipt (tlog-proof text) where the call promises one."""

    index: int
    statement: str
    receipt: str | None = None


class Entered(_Body, frozen=True, kw_only=True):
    """§7.2: the answer to whatever entered the log. `statements` null but after an enrolment."""

    index: int
    receipt: str
    checkpoint: str
    consistency: Consistency
    hidden: int
    erased: int
    statements: list[StatementLine] | None = None


class FileArrival(_Body, frozen=True, kw_only=True):
    """§13.5: how many bytes of a file are here, and how many it has."""

    offset: int
    length: int


class EnrolmentRequest(_Body, frozen=True, kw_only=True):
    """`POST /v1/enrolments`. `key` and `sealing` are base64url of 32 bytes, `proof` a compact JWS (§5.3)."""

    agency: str
    key: str
    sealing: str
    proof: str
    token: str


class StatementRequest(_Body, frozen=True, kw_only=True):
    """`POST /v1/statements`: a rotation or revocation."""

    statement: str


class SeqRange(_Body, frozen=True, kw_only=True):
    """Sequences from … to, both included."""

    from_seq: int = msgspec.field(name="from")
    to_seq: int = msgspec.field(name="to")


class HeadAnswer(_Body, frozen=True, kw_only=True):
    """`GET /v1/agencies/{agency}/head`. Before the first set: seq 0, epoch 1, `digest` of the enrolment, no manifest.

    `statement` is the digest of the last statement about the agency, `kid` its speaking key or null; `wanted` are
    sequences of which a restored hub lacks the lines (§10.6), null for none.
    """

    agency: str
    epoch: int
    seq: int
    digest: str
    statement: str
    checkpoint: str
    manifest: str | None = None
    kid: str | None = None
    receipt: str | None = None
    wanted: SeqRange | None = None


class AgencyLine(_Body, frozen=True, kw_only=True):
    """One of `GET /v1/agencies`. `index` is the log index of the head, or of the enrolment before the first set."""

    agency: str
    epoch: int
    seq: int
    digest: str
    index: int
    troubles: list[str]
    kid: str | None = None


class RefusedChange(_Body, frozen=True, kw_only=True):
    """`position` is that of the change in its set, from 0; `verdict` one of §9.3, never `applied`."""

    position: int
    id: str
    verdict: str


class SetVerdicts(_Body, frozen=True, kw_only=True):
    """What the fold refused of one set; empty: everything applied."""

    seq: int
    index: int
    refused: list[RefusedChange]


class VerdictPage(_Body, frozen=True, kw_only=True):
    """`GET …/verdicts?from=`: sets in order; `next` is the seq to ask for next."""

    sets: list[SetVerdicts]
    next: int


class InboxItem(_Body, frozen=True, kw_only=True):
    """Something that an agency is told (§7.6). `note` is a word of sync_protocol/inbox.py; its change is at `place`.

    `verdict` is `applied`, or why a change of the agency's own was refused; then `id` is that change's (empty where
    its line names none) and there is no evidence. `complaint` is null where the refused line names none.
    """

    place: str
    note: str
    complaint: str | None
    verdict: str
    id: str | None
    evidence: EvidenceFile | None


class InboxPage(_Body, frozen=True, kw_only=True):
    """`GET …/inbox?after=`: items in the order of the log; `next` is the `after` to ask with next.

    `judged_to`: the fold came so far; whatever stands before it and is not told of as refused was applied.
    """

    items: list[InboxItem]
    next: str
    judged_to: int


class AsOf(_Body, frozen=True, kw_only=True):
    """What an answer of the projection is made from (§7.5): log size and the state hash there, its age in whole
    seconds, and the hub's time.
    """

    size: int
    state_hash: str
    age_s: int
    time: str


class Totals(_Body, frozen=True, kw_only=True):
    """`GET /v1/totals`: the figures of §9.6 as plain objects; `next` is the `after` of the next page, or null."""

    as_of: AsOf
    state_hash: str
    totals: dict[str, Any]
    next: str | None = None


class ComplaintLine(_Body, frozen=True, kw_only=True):
    """One complaint in a list. `due_at` is the end of a day, null where nothing is due; `duty` is what is."""

    complaint: str
    state: str
    class_: str | None = msgspec.field(name="class")
    category: str | None
    area: str | None
    unit: str | None
    offer_to: str | None
    received_at: str
    rev: int
    due_at: str | None
    duty: str | None
    overdue: bool


class ComplaintPage(_Body, frozen=True, kw_only=True):
    """`GET /v1/agencies/{agency}/complaints`; `next` is the `after` of the next page, null on the last."""

    as_of: AsOf
    complaints: list[ComplaintLine]
    next: str | None


class SilentAgency(_Body, frozen=True, kw_only=True):
    """An agency not heard of since the tick `heard_at`; `open` counts the open complaints that it owns."""

    agency: str
    heard_at: str
    silent_s: int
    open: int


class SilentAgencies(_Body, frozen=True, kw_only=True):
    """`GET /v1/silent`, the longest silence first; `tick` is the newest tick of the log, null while there is none."""

    as_of: AsOf
    tick: str | None
    agencies: list[SilentAgency]


class SetLine(_Body, frozen=True, kw_only=True):
    """A set's manifest (compact JWS) with the receipt (tlog-proof text) that proves its place in the log."""

    manifest: str
    receipt: str


class RecoveryRequest(_Body, frozen=True, kw_only=True):
    """`POST /v1/recovery`: what a node holds that a restored hub may have lost (§10.6).

    `receipts` are those of first versions, which do not say of what they are.
    """

    agency: str
    checkpoint: str
    receipts: list[str]
    statements: list[StatementLine]
    seqs: SeqRange
    sets: list[SetLine] | None = None


class RecoveryAnswer(_Body, frozen=True, kw_only=True):
    """`size` is the log that the hub has; `wanted` the sequences of which it asks for the lines, null for none."""

    size: int
    wanted: SeqRange | None = None


class Key(_Body, frozen=True, kw_only=True):
    """A JWK (RFC 8037) with the log positions between which it speaks; `until_index` null while it does.

    `disputed_from` is the first seq that its revocation disputes, 0 for none; null unless it was revoked.
    """

    x: str
    kid: str
    from_index: int
    until_index: int | None = None
    disputed_from: int | None = None
    kty: str = "OKP"
    crv: str = "Ed25519"
    alg: str = "EdDSA"
    use: str = "sig"


class KeySet(_Body, frozen=True, kw_only=True):
    """`GET …/keys`."""

    keys: list[Key]


def parse_body(data: bytes, body: type[Body], *, max_bytes: int = BODY_MAX_BYTES) -> Body:
    """A JSON body as one of the types below. Raises Refused (too-large, malformed)."""
    return _convert(_bounded_object(data, max_bytes), body)


def parse_bodies(data: bytes, body: type[Body], *, max_bytes: int = BODY_MAX_BYTES) -> list[Body]:
    """A JSON list of such bodies. Raises Refused."""
    wrapped = _bounded_object(b'{"items":%b}' % data, max_bytes + 10)
    items = wrapped["items"]
    if len(wrapped) != 1 or not isinstance(items, list):
        raise malformed("not a list", "body")
    return [_convert(item, body) for item in items]


def format_body(body: msgspec.Struct | list[Any] | Mapping[str, object]) -> bytes:
    """UTF-8 JSON of a body, a list of them, or a problem."""
    return msgspec.json.encode(body)


def _convert(value: object, body: type[Body]) -> Body:
    """A decoded JSON value as `body`. Raises Refused(malformed)."""
    try:
        return msgspec.convert(value, body)
    except msgspec.ValidationError as error:
        raise malformed(str(error), "body") from None


def _bounded_object(data: bytes, max_bytes: int) -> dict[str, Any]:
    if len(data) > max_bytes:
        raise too_large("body", max_bytes)
    return parse_object(data, where="body", depth_max=BODY_DEPTH_MAX)
