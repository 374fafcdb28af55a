"""Vectors of the fold: each verdict by itself, lives of complaints, a whole log with its state hash (protocol §9)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sync_protocol.jws import sign_jws
from sync_protocol.ledger import Ledger, format_state_hash
from sync_protocol.manifest import Manifest, sign_manifest
from sync_protocol.merkle import leaf_hash, leaf_hashes, tree_root
from sync_protocol.roster import Roster
from sync_protocol.values import AgencyId, Digest, format_timestamp
from tests.protocol.federation_samples import DESK, HOUR_MS, KEDIRI, PEKALONGAN, START_MS, Federation
from tests.protocol.line_samples import BORN, COMPLAINT, line_of, spoilt
from tests.protocol.log_samples import FixedSigner
from tests.vectors.vector_files import Vector

SUBJECT: Final = "fold"
OWNER, OTHER, CENTRE = "33.75", "35.71", "desk"
#: agency, type, data (None: as in line_samples), rev
Step = tuple[str, str, Mapping[str, object] | None, int]
_BORN: Final[list[Step]] = [(OWNER, "received", None, 1)]
_OFFERED: Final[list[Step]] = [*_BORN, (OWNER, "offered", {"reason": "area", "to": OTHER}, 2)]


def fold_vectors() -> list[Vector]:
    """Every case of this subject."""
    return [*_lives(), *_refusals(), *_logs()]


def _line(step: Step, number: int) -> bytes:
    _, change_type, data, rev = step
    return line_of(change_type, data, rev=rev, label=f"step {number}")


def _answer(step: Step, number: int, **more: object) -> dict[str, object]:
    return {"offer": Digest(leaf_hash(_line(step, number))).b64u, **more}


def _case(
    name: str,
    what: str,
    steps: Sequence[Step | tuple[str, bytes]],
    verdicts: str,
    after: str,
    silent: Sequence[str] = (),
) -> Vector:
    """`after` is `owner state rev` of the one complaint, or nothing where it does not exist."""
    lines = [
        {"agency": step[0], "line": (step[1] if isinstance(step[1], bytes) else _line(step, number)).decode()}
        for number, step in enumerate(steps)
    ]
    owner, state, rev = after.split() if after else ("", "", "0")
    complaints = {COMPLAINT: {"owner": owner, "state": state, "rev": int(rev)}} if after else {}
    given = {
        "rules": {"desk": CENTRE, "bounce_limit": 1},
        "enrolled": [OWNER, OTHER, CENTRE],
        "silent": list(silent),
        "steps": lines,
    }
    expect = {"accept": {"verdicts": verdicts.split(), "complaints": complaints}}
    return Vector(SUBJECT, name, what, "§9.3, §9.4", "fold-lines", given, expect)


def _lives() -> Iterator[Vector]:
    names = ["received", "verified", "assigned", "started", "answered"]
    names += ["replied", "answered", "closed", "rated", "reopened"]
    steps: list[Step] = [(OWNER, name, None, rev) for rev, name in enumerate(names, 1)]
    yield _case("life-to-the-end", "from received to reopened", steps, "applied " * 10, f"{OWNER} in_progress 10")
    names = ["received", "verified", "assigned", "information_requested"]
    names += ["held", "resumed", "information_supplied", "archived", "erased"]
    steps = [(OWNER, name, None, rev) for rev, name in enumerate(names, 1)]
    what = "awaiting information survives a hold, and both lead back to where they came from"
    yield _case("life-with-returns", what, steps, "applied " * 9, f"{OWNER} archived 9")
    on_hold: list[Step] = [(OWNER, "imported", {**BORN, "state": "on_hold"}, 1), (OWNER, "resumed", None, 2)]
    what = "the return state of an imported complaint is not known: received"
    yield _case("life-imported-on-hold", what, on_hold, "applied applied", f"{OWNER} received 2")
    accepted: list[Step] = [*_OFFERED, (OTHER, "accepted", _answer(_OFFERED[1], 1), 3)]
    yield _case("life-accepted", "ownership moves in two steps", accepted, "applied " * 3, f"{OTHER} received 3")
    withdrawn: list[Step] = [*_OFFERED, (OWNER, "withdrawn", _answer(_OFFERED[1], 1), 3), (OWNER, "verified", None, 4)]
    yield _case("life-withdrawn", "a withdrawn offer binds no longer", withdrawn, "applied " * 4, f"{OWNER} verified 4")
    declined: list[Step] = [
        *_OFFERED, (OTHER, "declined", _answer(_OFFERED[1], 1, reason="no"), 3), (CENTRE, "recalled", None, 4),
        (CENTRE, "directed", {"reason": "law", "to": OTHER}, 5),
    ]  # fmt: skip
    yield _case("life-recalled", "bounced, recalled, directed", declined, "applied " * 5, f"{OTHER} received 5")
    silent: list[Step] = [*_OFFERED, (CENTRE, "recalled", None, 3), (OTHER, "accepted", _answer(_OFFERED[1], 1), 4)]
    what = "a recall from a silent owner ends the pending offer"
    yield _case("life-silent-owner", what, silent, "applied applied applied no_offer", f"{CENTRE} received 3", [OWNER])


def _refusals() -> Iterator[Vector]:
    one = f"{OWNER} received 1"
    offered = f"{OWNER} received 2"
    same = line_of("noted", label="step 0", rev=2)
    first_that_holds: list[Step] = [*_BORN, (OTHER, "closed", None, 1)]
    cases: dict[str, tuple[Sequence[Step | tuple[str, bytes]], str]] = {
        "malformed": ([*_BORN, (OWNER, spoilt("assigned", data_unit="3375012345678901"))], one),
        "unknown-type": ([*_BORN, (OWNER, spoilt("x.merged"))], one),
        "foreign-id": ([(OTHER, "received", None, 1)], ""),
        "already-exists": ([*_BORN, (OWNER, "imported", {**BORN, "state": "closed"}, 2)], one),
        "unknown-complaint": ([(OWNER, "verified", None, 1)], ""),
        "repeated-id": ([*_BORN, (OWNER, same)], one),
        "no-offer": ([*_BORN, (OTHER, "accepted", None, 2)], one),
        "not-offered": ([*_OFFERED, (CENTRE, "accepted", _answer(_OFFERED[1], 1), 3)], offered),
        "not-desk": ([*_BORN, (OTHER, "recalled", None, 2)], one),
        "not-owner": ([*_BORN, (OTHER, "verified", None, 2)], one),
        "under-offer": ([*_OFFERED, (OWNER, "verified", None, 3)], offered),
        "wrong-rev": ([*_BORN, (OWNER, "verified", None, 1)], one),
        "bad-transition": ([*_BORN, (OWNER, "closed", None, 2)], one),
        "unknown-agency": ([*_BORN, (OWNER, "offered", {"reason": "area", "to": "99.99"}, 2)], one),
        "bad-target": ([*_BORN, (OWNER, "offered", {"reason": "area", "to": OWNER}, 2)], one),
        "not-yet": ([*_BORN, (CENTRE, "recalled", None, 2)], one),
    }
    for name, (steps, after) in cases.items():
        verdicts = "applied " * (len(steps) - 1) + name.replace("-", "_")
        yield _case(name, f"refused: {name.replace('-', ' ')}; and nothing changes", steps, verdicts, after)
    what = "not the owner, an old rev and no such transition: the first in the order of the table is the verdict"
    yield _case("first-reason-wins", what, first_that_holds, "applied not_owner", one)
    gap: list[Step] = [*_BORN, (OWNER, "verified", None, 900), (OWNER, "assigned", None, 899)]
    yield _case("rev-may-skip", "a gap in rev is no reason", gap, "applied applied wrong_rev", f"{OWNER} verified 900")


def _logs() -> Iterator[Vector]:
    """A log of every kind of leaf: its expectation is recomputed by hand in tests/protocol/test_ledger.py."""
    leaves = list(_log_leaves())
    ledger = Ledger(Roster(), {})
    verdicts = []
    for index, (jws, lines) in enumerate(leaves):
        hashes = None if lines is None else leaf_hashes(lines)
        folded = ledger.apply(index, jws, lines, hashes)
        verdicts.append([verdict.label for verdict in folded.verdicts])
    entries = [
        {"entry": jws.text} if lines is None else {"entry": jws.text, "lines": [line.decode() for line in lines]}
        for jws, lines in leaves
    ]
    figures = [list(row) for row in ledger.figures.rows()]
    accept = {"state_hash": format_state_hash(ledger.state_hash), "verdicts": verdicts, "figures": figures}
    what = (
        "genesis, rules, enrolments, ticks, sets that apply and sets that do not, a revocation and what comes after it"
    )
    yield Vector(SUBJECT, "log", what, "§9.5, §9.6", "fold-log", {"leaves": entries}, {"accept": accept})


def _log_leaves() -> Iterator[tuple[Any, list[bytes] | None]]:
    federation = Federation.founded(PEKALONGAN, KEDIRI, DESK)
    yield from ((jws, None) for _, jws in federation.log)
    born, offered = _line(_BORN[0], 0), _line(_OFFERED[1], 1)
    yield _set(PEKALONGAN, [born, b"nonsense", offered], 1)
    yield federation.tick(START_MS + HOUR_MS), None
    yield _set(KEDIRI, [_line((OTHER, "accepted", _answer(_OFFERED[1], 1), 3), 2)], 1)
    yield federation.tick(START_MS), None  # goes back in time: void
    yield _set(PEKALONGAN, [line_of("noted", label="late", rev=4)], 2)
    yield sign_jws("simpul-x-note", {"v": 1}, FixedSigner("anybody")), None
    far = format_timestamp(START_MS + 90 * 24 * HOUR_MS)
    yield _set(KEDIRI, [line_of("verified", label="far", rev=5, at=far), line_of("closed", label="no", rev=6)], 2)
    yield federation.revocation(KEDIRI), None
    yield _set(KEDIRI, [line_of("assigned", label="after", rev=7)], 3)


def _set(agency: AgencyId, lines: list[bytes], seq: int) -> tuple[Any, list[bytes]]:
    root = Digest(tree_root(leaf_hashes(lines)))
    manifest = Manifest(
        agency=agency, epoch=1, seq=seq, prev=Digest(bytes(32)), root=root, changes=len(lines), size=len(lines),
        at=START_MS, seen_size=0, seen_root=Digest(bytes(32)), seen_sig=bytes(64),
    )  # fmt: skip
    return sign_manifest(manifest, FixedSigner(agency)).jws, lines
