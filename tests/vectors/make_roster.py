"""The vectors of the roster: the last statement of a log is the case. Written by make_statements.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sync_protocol.jws import Jws, parse_jws, sign_jws
from sync_protocol.roster import Roster
from sync_protocol.statement import Genesis, sign_statement
from sync_protocol.values import b64u_encode
from tests.protocol.federation_samples import (
    DESK,
    GENESIS,
    HOUR_MS,
    KEDIRI,
    PEKALONGAN,
    REGISTRAR,
    START_MS,
    Federation,
    resigned,
)
from tests.protocol.log_samples import LOG, ORIGIN, OTHER, FixedSigner
from tests.vectors.statement_samples import samples, signable
from tests.vectors.vector_files import Vector

NEW, NEWER, OWN = FixedSigner("new"), FixedSigner("newer"), FixedSigner(PEKALONGAN)


def replays() -> Iterator[Vector]:
    for name, jws in samples(Federation.founded(PEKALONGAN, KEDIRI)).items():
        if name == "genesis":
            yield _replay("valid-genesis", "The log begins.", Federation(), jws)
        else:
            yield _replay(f"valid-{name}", "It holds at its place.", Federation.founded(PEKALONGAN, KEDIRI), jws)
    federation = Federation.founded(PEKALONGAN)
    federation.enter(federation.revocation(PEKALONGAN))
    anew = federation.enrolment(PEKALONGAN, NEW)
    yield _replay("valid-enrolment-after-a-revocation", "The agency speaks again.", federation, anew)
    yield from _void()
    yield from _wrong_signers()


def _void() -> Iterator[Vector]:
    def founded() -> Federation:
        return Federation.founded(PEKALONGAN, KEDIRI)

    at = founded()
    tick = at.tick(START_MS + HOUR_MS)
    at.enter(tick)
    yield _void_case("a-statement-twice", "A statement enters the log once.", at, tick)
    yield _void_case("a-tick-that-goes-back", "Ticks never go back.", at, at.tick(START_MS))
    later = Federation()
    later.size = 1
    yield _void_case("a-genesis-at-index-1", "A genesis is at index 0 and only there.", later, GENESIS)
    second = sign_statement(Genesis(START_MS + 1, ORIGIN, NEW.public_key, OTHER.vkey()), NEW)
    yield _void_case("a-second-genesis", "There is one.", founded(), second)
    yield _void_case("no-genesis", "The genesis comes first.", Federation(), founded().tick())
    foreign = resigned(signable(at.tick(START_MS + 2 * HOUR_MS)), REGISTRAR, {"log": tick.digest.b64u})
    yield _void_case("a-statement-of-another-log", "Replay from another hub.", founded(), foreign)
    at = founded()
    stale = at.rotation(PEKALONGAN, NEW)
    at.enter(at.sealing_rotation(PEKALONGAN, b"s" * 32))
    yield _void_case("a-prev-that-is-stale", "It must follow the last one about the agency.", at, stale)
    for name, signer in (
        ("own", OWN),
        ("registrars", REGISTRAR),
        ("logs", LOG),
        ("another-agencys", FixedSigner(KEDIRI)),
    ):
        at = founded()
        what = "A key enters the roster once, ever."
        yield _void_case(f"a-key-again-the-{name}", what, at, at.enrolment(DESK, signer))
    at = founded()
    at.enter(at.revocation(PEKALONGAN))
    yield _void_case("a-revoked-key-enrolled-again", "Once, ever.", at, at.enrolment(PEKALONGAN, OWN))
    yield from _void_about_others(founded())


def _void_about_others(at: Federation) -> Iterator[Vector]:
    yield _void_case("a-log-key-of-another-name", "The name stays.", at, at.log_rotation(NEW, origin="other.example"))
    revocation = at.revocation(PEKALONGAN, kid=FixedSigner(KEDIRI).kid)
    yield _void_case("a-revocation-of-another-agencys-key", "It is not the agency's.", at, revocation)
    one, two = (at.manifest(PEKALONGAN, at=START_MS + n) for n in range(2))
    at.enter(at.fork(PEKALONGAN, one, two))
    yield _void_case("a-fork-twice", "Once for each pair.", at, at.fork(PEKALONGAN, two, one))
    framed = at.manifest(PEKALONGAN, seq=2, signer=REGISTRAR)
    true = at.manifest(PEKALONGAN, seq=2)
    yield _void_case(
        "a-fork-framed-by-the-registrar", "Both bear the agency's key.", at, at.fork(PEKALONGAN, true, framed)
    )


def _wrong_signers() -> Iterator[Vector]:
    at = Federation.founded(PEKALONGAN, KEDIRI)
    cases = (
        ("a-tick-by-an-agency", at.tick(START_MS, OWN), "wrong-agency"),
        ("a-tick-by-a-stranger", at.tick(START_MS, OTHER), "unknown-key"),
        ("rules-by-the-log", at.rules(KEDIRI, LOG), "wrong-agency"),
        ("a-rotation-by-another-agency", at.rotation(PEKALONGAN, NEW, old=FixedSigner(KEDIRI)), "wrong-agency"),
        ("a-rotation-of-the-log-by-the-registrar", at.log_rotation(NEW, old=REGISTRAR), "wrong-agency"),
        ("a-revocation-by-another-agency", at.revocation(PEKALONGAN, signer=FixedSigner(KEDIRI)), "wrong-agency"),
        ("a-rotation-of-nobody", at.rotation(DESK, NEW), "unknown-agency"),
        ("a-forged-signature", _forged(at.tick()), "bad-signature"),
    )
    for name, jws, kind in cases:
        yield _replay(name, "This key may not say this.", at, jws, kind)
    proof = at.rotation(PEKALONGAN, NEWER).fields["proof"]
    rotation = at.rotation(PEKALONGAN, NEW)
    stolen = sign_jws(rotation.typ, {**rotation.fields, "proof": proof}, OWN)
    yield _replay("a-rotation-with-anothers-proof", "The new key itself has to agree.", at, stolen, "bad-signature")
    at = Federation.founded(PEKALONGAN)
    at.enter(at.rotation(PEKALONGAN, NEW))
    old = at.rotation(PEKALONGAN, NEWER, old=OWN)
    yield _replay("a-rotation-by-the-old-key", "It speaks no more.", at, old, "revoked-key")


def _forged(jws: Jws) -> Jws:
    head, payload, _ = jws.text.split(".")
    return parse_jws(f"{head}.{payload}.{b64u_encode(OTHER.sign(jws.signing_input))}")


def _void_case(name: str, what: str, federation: Federation, jws: Jws) -> Vector:
    return _replay(name, what, federation, jws, "void-statement")


def _replay(name: str, what: str, federation: Federation, jws: Jws, kind: str | None = None) -> Vector:
    log = [{"index": index, "statement": entry.text} for index, entry in federation.log]
    last = {"index": federation.size, "statement": jws.text}
    if kind is not None:
        return Vector("roster", name, what, "5.4", "replay-roster", {"log": [*log, last]}, {"refuse": kind})
    after = Federation()
    for index, entry in [*federation.log, (federation.size, jws)]:
        after.enter(entry, index)
    accept = roster_contents(after.roster)
    return Vector("roster", name, what, "5.4", "replay-roster", {"log": [*log, last]}, {"accept": accept})


def roster_contents(roster: Roster) -> dict[str, Any]:
    """What a replay must come to."""
    agencies = [
        {
            "agency": record.agency,
            "kid": record.kid,
            "sealing": b64u_encode(record.sealing),
            "enrolment": record.enrolment.b64u,
            "last_statement": record.last_statement.b64u,
            "keys": [
                {"kid": key.kid, "from_index": key.from_index, "until_index": key.until_index}
                for key in roster.keys_of(record.agency)
            ],
        }
        for record in roster.agencies
    ]
    vkeys = [vkey.format() for vkey in roster.vkeys]
    return {"registrar": roster.registrar.kid, "vkeys": vkeys, "agencies": agencies}
