"""One good statement of each type, for the vectors of statements and of the roster."""

from __future__ import annotations

from sync_protocol.jws import Jws, sign_jws
from sync_protocol.statement import Extension, Signable, parse_statement
from tests.protocol.federation_samples import (
    DESK,
    GENESIS,
    HOUR_MS,
    KEDIRI,
    PEKALONGAN,
    START_MS,
    Federation,
)
from tests.protocol.log_samples import OTHER, FixedSigner

NEW, NEWER, OWN = FixedSigner("new"), FixedSigner("newer"), FixedSigner(PEKALONGAN)


def samples(federation: Federation) -> dict[str, Jws]:
    """One of each type, good at the end of a log with genesis, rules, Pekalongan and Kediri."""
    one, two = (federation.manifest(PEKALONGAN, at=START_MS + n) for n in range(2))
    return {
        "genesis": GENESIS,
        "rules": federation.rules(desk=KEDIRI),
        "enrolment": federation.enrolment(DESK, NEW),
        "rotation-of-an-agency": federation.rotation(PEKALONGAN, NEW),
        "rotation-of-the-registrar": federation.registrar_rotation(NEW),
        "rotation-of-the-log": federation.log_rotation(NEW),
        "rotation-of-a-sealing-key": federation.sealing_rotation(PEKALONGAN, b"s" * 32),
        "revocation": federation.revocation(PEKALONGAN, disputed_from=4),
        "fork": federation.fork(PEKALONGAN, one, two),
        "tick": federation.tick(START_MS + HOUR_MS),
        "extension": sign_jws("simpul-x-note", {"anything": "goes"}, OTHER),
    }


def signable(jws: Jws) -> Signable:
    statement = parse_statement(jws)
    assert not isinstance(statement, Extension)
    return statement
