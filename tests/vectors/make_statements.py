"""Writes the vectors of statements, roster and judge: `python -m tests.vectors.make_statements`; same bytes always."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sync_protocol.jws import Jws, sign_jws
from sync_protocol.possession import sign_enrolment_proof
from sync_protocol.values import b64u_encode
from tests.protocol.federation_samples import (
    GENESIS,
    KEDIRI,
    PEKALONGAN,
    REGISTRAR,
    SEALING,
    Federation,
    resigned,
)
from tests.protocol.log_samples import LOG, ORIGIN, OTHER, FixedSigner
from tests.vectors.make_judge import judgements
from tests.vectors.make_roster import replays
from tests.vectors.statement_samples import samples, signable
from tests.vectors.vector_files import Vector, save

NEW = FixedSigner("new")
SMALL_ORDER = b64u_encode((1).to_bytes(32, "little"))


def vectors() -> list[Vector]:
    """All of them, in a fixed order."""
    return [*statements(), *proofs(), *replays(), *judgements()]


# --- statements: read alone ------------------------------------------------------------------------------------------


def statements() -> Iterator[Vector]:
    federation = Federation.founded(PEKALONGAN, KEDIRI)
    good = samples(federation)
    for name, jws in good.items():
        accept = {"typ": jws.typ, "digest": jws.digest.b64u}
        yield _statement(f"valid-{name}", f"A {jws.typ} as it should be.", jws, {"accept": accept})
    for name, (sample, changes, what) in DEFECTS.items():
        jws = resigned(signable(good[sample]), REGISTRAR, changes)
        yield _statement(name, what, jws, {"refuse": "malformed"})
    for name, (sample, changes) in VERSIONS.items():
        jws = resigned(signable(good[sample]), REGISTRAR, changes)
        yield _statement(name, "A fold of version 1 stops here.", jws, {"refuse": "unsupported-version"})
    unknown = sign_jws("simpul-redaction", {"v": 1, "at": "2026-01-01T00:00:00.000Z"}, REGISTRAR)
    yield _statement("unknown-typ", "A fold stops at it.", unknown, {"refuse": "unsupported-version"})
    long = resigned(signable(good["tick"]), REGISTRAR, {"padding": "x" * 4096})
    yield _statement("too-long", "Over 4,096 bytes.", long, {"refuse": "too-large"})
    yield from _fork_defects(good["fork"], federation)


DEFECTS: Mapping[str, tuple[str, dict[str, Any], str]] = {
    "at-without-milliseconds": ("tick", {"at": "2026-01-01T00:00:00Z"}, "A timestamp has one spelling."),
    "at-on-a-day-that-is-not": ("tick", {"at": "2026-02-30T00:00:00.000Z"}, "There is no such day."),
    "log-missing": ("tick", {"log": None}, "Every statement but the genesis names its log."),
    "log-with-spare-bits": ("tick", {"log": GENESIS.digest.b64u[:-1] + "B"}, "base64url that is not canonical."),
    "v-as-text": ("tick", {"v": "1"}, "The version is an integer."),
    "genesis-registrar-of-small-order": ("genesis", {"registrar": SMALL_ORDER}, "Anybody can sign for such a key."),
    "genesis-log-named-unlike-the-origin": (
        "genesis",
        {"log_vkey": LOG.vkey("other.example").format()},
        "The origin is the name of the log's key.",
    ),
    "genesis-one-key-for-log-and-registrar": (
        "genesis",
        {"registrar": b64u_encode(LOG.public_key)},
        "They are different keys.",
    ),
    "genesis-vkey-with-wrong-key-id": (
        "genesis",
        {"log_vkey": LOG.vkey().format().replace("+", "+00000000+", 1)},
        "The key id follows from name and key.",
    ),
    "rules-bounce-limit-zero": ("rules", {"bounce_limit": 0}, "At least 1."),
    "rules-silence-as-text": ("rules", {"silence_s": "604800"}, "An integer."),
    "rules-desk-in-capitals": ("rules", {"desk": "Kementerian-PANRB"}, "Not an agency's name."),
    "enrolment-key-of-small-order": ("enrolment", {"key": SMALL_ORDER}, "Anybody can sign for such a key."),
    "enrolment-key-of-31-bytes": ("enrolment", {"key": b64u_encode(b"k" * 31)}, "32 bytes."),
    "enrolment-without-sealing-key": ("enrolment", {"sealing": None}, "Both keys are needed."),
    "enrolment-agency-not-a-name": ("enrolment", {"agency": "33..75"}, "Not an agency's name."),
    "rotation-of-an-unknown-role": ("rotation-of-an-agency", {"role": "desk"}, "One of four roles."),
    "rotation-without-proof": ("rotation-of-an-agency", {"proof": None}, "The new key has to agree."),
    "rotation-without-head": ("rotation-of-an-agency", {"head": None}, "An agency names the head it follows."),
    "rotation-without-prev": ("rotation-of-an-agency", {"prev": None}, "It concerns an agency."),
    "rotation-of-the-log-to-a-bare-key": (
        "rotation-of-the-log",
        {"key": b64u_encode(NEW.public_key)},
        "For the log the key is a vkey.",
    ),
    "revocation-reason-with-a-telephone-number": ("revocation", {"reason": "call.0812345678901"}, "Not a code."),
    "revocation-of-a-negative-seq": ("revocation", {"disputed_from": -1}, "From 0."),
    "revocation-kid-of-31-bytes": ("revocation", {"kid": b64u_encode(b"k" * 31)}, "A kid is 32 bytes."),
}
VERSIONS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "statement-of-version-2": ("tick", {"v": 2}),
    "rules-of-fold-2": ("rules", {"fold": 2}),
}


def _fork_defects(fork: Jws, federation: Federation) -> Iterator[Vector]:
    one, two = fork.fields["manifests"]
    elsewhere = federation.manifest(PEKALONGAN, seq=2).jws.text
    for name, manifests, what in (
        ("fork-of-one-manifest-twice", [one, one], "Equal digests prove nothing."),
        ("fork-of-a-single-manifest", [one], "Two are needed."),
        ("fork-of-three-manifests", [one, two, elsewhere], "Two, not more."),
        ("fork-of-two-places", [one, elsewhere], "Both stand at one (agency, epoch, seq)."),
    ):
        jws = resigned(signable(fork), REGISTRAR, {"manifests": manifests})
        yield _statement(name, what, jws, {"refuse": "malformed"})


def _statement(name: str, what: str, jws: Jws, expect: Mapping[str, Any]) -> Vector:
    return Vector("statements", name, what, "5", "parse-statement", {"jws": jws.text}, expect)


def proofs() -> Iterator[Vector]:
    """Proofs of possession for an enrolment; those for rotations are judged with the roster."""
    proof = sign_enrolment_proof(NEW, origin=ORIGIN, agency=PEKALONGAN, sealing=SEALING, token="t-1")
    given: dict[str, Any] = {
        "proof": proof,
        "origin": ORIGIN,
        "agency": str(PEKALONGAN),
        "key": b64u_encode(NEW.public_key),
        "sealing": b64u_encode(SEALING),
        "token": "t-1",
    }
    others: Mapping[str, tuple[str, str]] = {
        "origin": ("for-another-hub", "other.example"),
        "agency": ("for-another-agency", str(KEDIRI)),
        "key": ("by-another-key", b64u_encode(OTHER.public_key)),
        "sealing": ("for-another-sealing-key", b64u_encode(b"s" * 32)),
        "token": ("for-another-token", "t-2"),
    }
    yield _proof("valid-enrolment-proof", "Token, agency, hub and both keys are bound.", given, {"accept": {}})
    for member, (name, value) in others.items():
        what = f"Made for another {member}."
        yield _proof(f"enrolment-proof-{name}", what, {**given, member: value}, {"refuse": "bad-signature"})


def _proof(name: str, what: str, given: Mapping[str, Any], expect: Mapping[str, Any]) -> Vector:
    return Vector("statements", name, what, "5.3", "verify-enrolment-proof", given, expect)


if __name__ == "__main__":
    save(vectors())
