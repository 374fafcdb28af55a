"""The vectors of the judge. Written by make_statements.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sync_protocol.manifest import SignedManifest, parse_manifest
from sync_protocol.values import Digest, b64u_encode
from tests.protocol.federation_samples import (
    DESK,
    GENESIS,
    KEDIRI,
    PEKALONGAN,
    START_MS,
    Federation,
    log_root,
)
from tests.protocol.log_samples import OTHER, FixedSigner
from tests.vectors.vector_files import Vector


def judgements() -> Iterator[Vector]:
    at = Federation.founded(PEKALONGAN, KEDIRI)
    first = at.manifest(PEKALONGAN)
    at.size += 1
    second = at.manifest(PEKALONGAN, 2, first.digest, epoch=2)
    at.size += 1
    chain = [first, second]

    def case(name: str, what: str, submission: SignedManifest, expect: Any, **changes: Any) -> Vector:
        return _judgement(at, chain, name, what, submission, expect, **changes)

    def third(prev: Digest = second.digest, seq: int = 3, epoch: int = 2, **changes: Any) -> SignedManifest:
        return at.manifest(PEKALONGAN, seq, prev, epoch=epoch, **changes)

    yield case("accept", "It follows the head.", third(), {"accept": {"answer": "accept"}})
    yield case("accept-in-a-raised-epoch", "After a recovery.", third(epoch=9), {"accept": {"answer": "accept"}})
    yield case("accept-first", "It follows the enrolment.", at.manifest(KEDIRI), {"accept": {"answer": "accept"}})
    duplicate = {"accept": {"answer": "duplicate", "index": 4}}
    yield case("duplicate", "Accepted before.", first, duplicate)
    yield case("duplicate-with-a-worthless-signature", "The digest counts.", _unsigned(first), duplicate)
    yield case("other-agency-in-the-address", "§8 step 2.", third(), "wrong-agency", agency=str(KEDIRI))
    yield case("other-seq-in-the-address", "§8 step 2.", third(), "malformed", seq=4)
    yield case("unknown-agency", "§8 step 4.", at.manifest(DESK), "unknown-agency")
    yield case("unknown-key", "§8 step 4.", third(signer=OTHER), "unknown-key")
    yield case("key-of-another-agency", "§8 step 4.", third(signer=FixedSigner(KEDIRI)), "wrong-agency")
    yield case("bad-signature", "§8 step 5.", _unsigned(third()), "bad-signature")
    yield case("seen-not-signed-by-the-log", "§8 step 6.", third(seen_signer=OTHER), "malformed")
    yield case("seen-ahead-of-the-log", "The hub rolled back.", third(seen_size=99), "recovering")
    split = third(seen_root=log_root(77))
    yield case("seen-another-root", "Two roots for one size.", split, "recovering")
    yield case("forked", "Another digest for one place.", at.manifest(PEKALONGAN, at=START_MS + 1), "forked")
    yield case("forked-place-in-a-higher-epoch", "§8 step 8.", at.manifest(PEKALONGAN, epoch=3), "forked")
    yield case("forked-prev", "It follows something else.", third(prev=first.digest), "forked")
    yield case("forked-first-prev", "Not the enrolment.", at.manifest(KEDIRI, 1, GENESIS.digest), "forked")
    yield case("superseded", "An epoch that is over.", third(epoch=1), "superseded")
    yield case("behind", "A gap.", third(seq=5), "behind")
    yield from _after_the_key_went(at, chain)


def _after_the_key_went(at: Federation, chain: list[SignedManifest]) -> Iterator[Vector]:
    at.enter(at.revocation(PEKALONGAN))
    duplicate = {"accept": {"answer": "duplicate", "index": 4}}
    yield _judgement(at, chain, "duplicate-after-revocation", "A receipt is for ever.", chain[0], duplicate)
    record = at.roster.agency(PEKALONGAN)
    assert record is not None
    thief = at.manifest(PEKALONGAN, 1, record.enrolment, at=START_MS + 1)
    what = "A thief cannot fill the log with evidence."
    yield _judgement(at, chain, "revoked-key-before-forked", what, thief, "revoked-key")


def _judgement(
    at: Federation,
    chain: list[SignedManifest],
    name: str,
    what: str,
    submission: SignedManifest,
    expect: str | Mapping[str, Any],
    *,
    agency: str | None = None,
    seq: int | None = None,
) -> Vector:
    manifest = submission.manifest
    sets = chain if manifest.agency == PEKALONGAN else []
    roots = {str(size): log_root(size).b64u for size in range(at.size + 1)}
    given = {
        "log": [{"index": index, "statement": entry.text} for index, entry in at.log],
        "sets": [{"index": 4 + place, "manifest": signed.jws.text} for place, signed in enumerate(sets)],
        "roots": roots,
        "agency": agency or str(manifest.agency),
        "seq": seq or manifest.seq,
        "submission": submission.jws.text,
    }
    outcome = {"refuse": expect} if isinstance(expect, str) else expect
    return Vector("judge", name, what, "8", "judge", given, outcome)


def _unsigned(signed: SignedManifest) -> SignedManifest:
    head, payload, _ = signed.jws.text.split(".")
    return parse_manifest(f"{head}.{payload}.{b64u_encode(bytes(64))}")
