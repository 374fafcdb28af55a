"""The fold of a whole log, with a real roster and real signatures (protocol §9)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from hashlib import sha256

import pytest

from sync_protocol.errors import Corrupt, Refused
from sync_protocol.figures import FIGURES, Figures
from sync_protocol.jws import Jws, parse_jws, sign_jws
from sync_protocol.ledger import FoldedLeaf, Ledger, format_state_hash
from sync_protocol.line_columns import parse_changes
from sync_protocol.manifest import Manifest, sign_manifest
from sync_protocol.merkle import leaf_hashes, tree_root
from sync_protocol.transitions import Verdict
from sync_protocol.values import AgencyId, Digest, format_timestamp
from tests.protocol.federation_samples import DESK, HOUR_MS, KEDIRI, PEKALONGAN, REGISTRAR, START_MS, Federation
from tests.protocol.line_samples import BORN, line_of, spoilt
from tests.protocol.log_samples import FixedSigner

DAY_MS = 24 * HOUR_MS
AT = format_timestamp(START_MS)


class Log:
    """A federation's log as it is folded: statements by their makers, sets of lines by anybody."""

    def __init__(self, *agencies: AgencyId) -> None:
        self.federation = Federation()
        self.ledger = Ledger(self.federation.roster, {})
        self.leaves: list[tuple[Jws, list[bytes] | None]] = []
        founded = Federation.founded(*agencies)
        for _, jws in founded.log:
            self.enter(jws)

    def enter(self, jws: Jws, lines: list[bytes] | None = None, *, authentic: bool = True) -> FoldedLeaf:
        hashes = None if lines is None else leaf_hashes(lines)
        folded = self.ledger.apply(self.ledger.size, jws, lines, hashes, authentic=authentic)
        self.leaves.append((jws, lines))
        return folded

    def signed(self, agency: AgencyId, lines: Sequence[bytes], signer: FixedSigner | None = None, seq: int = 1) -> Jws:
        root = Digest(tree_root(leaf_hashes(list(lines))))
        manifest = Manifest(
            agency=agency, epoch=1, seq=seq, prev=Digest(bytes(32)), root=root, changes=len(lines), size=len(lines),
            at=START_MS, seen_size=0, seen_root=Digest(bytes(32)), seen_sig=bytes(64),
        )  # fmt: skip
        return sign_manifest(manifest, signer or FixedSigner(agency)).jws

    def push(self, agency: AgencyId, *lines: bytes, signer: FixedSigner | None = None) -> FoldedLeaf:
        return self.enter(self.signed(agency, lines, signer), list(lines))

    def tick(self, at: int) -> FoldedLeaf:
        return self.enter(self.federation.tick(at))


def _log() -> Log:
    return Log(PEKALONGAN, KEDIRI, DESK)


def _labels(folded: FoldedLeaf) -> list[str]:
    return [verdict.label for verdict in folded.verdicts]


def _change(change_type: str, rev: int, data: Mapping[str, object] | None = None, at: str = AT) -> bytes:
    return line_of(change_type, data, rev=rev, label=f"{change_type} {rev}", at=at)


def test_a_set_is_judged_line_by_line_and_the_rest_applies_without_the_refused() -> None:
    folded = _log().push(
        PEKALONGAN,
        _change("received", 1),
        b"nonsense",
        spoilt("x.merged"),
        _change("closed", 2),
        _change("verified", 3),
    )
    assert _labels(folded) == ["applied", "malformed", "unknown_type", "bad_transition", "applied"]
    assert [change is None for change in folded.changes] == [False, True, False, False, False]
    assert (folded.agency, folded.seq, list(folded.touched.values())) == (PEKALONGAN, 1, [None])


def test_the_state_hash_is_what_the_specification_says_byte_for_byte() -> None:
    log = _log()
    lines = [_change("received", 1), b"nonsense", _change("closed", 2)]
    before = log.ledger.state_hash
    index = log.ledger.size
    folded = log.push(PEKALONGAN, *lines)
    first, second, third = (sha256(b"\0" + line).digest() for line in lines)
    transcript = first + b"\x00\x0533.75\x01" + second + b"\x02\x00\x00" + third + b"\x0e\x0533.75\x01"
    expected = sha256(before + index.to_bytes(8, "big") + sha256(transcript).digest()).digest()
    assert folded.state_hash == log.ledger.state_hash == expected
    assert format_state_hash(expected) == "fold1:" + expected.hex()


def test_statements_step_the_state_hash_with_an_empty_transcript() -> None:
    state_hash = bytes(32)
    log = _log()
    for index in range(log.ledger.size):
        state_hash = sha256(state_hash + index.to_bytes(8, "big") + sha256(b"").digest()).digest()
    assert log.ledger.state_hash == state_hash


def test_every_change_of_a_key_that_does_not_speak_is_unauthorised() -> None:
    log = _log()
    for signer in (FixedSigner("a stranger"), FixedSigner(KEDIRI), REGISTRAR):
        folded = log.push(PEKALONGAN, _change("received", 1), b"nonsense", signer=signer)
        assert _labels(folded) == ["unauthorised", "unauthorised"]
    assert not log.ledger.complaints
    assert log.ledger.figures.by_key("refused") == {"unauthorised": 6}


def test_a_set_whose_signature_does_not_verify_is_unauthorised() -> None:
    log = _log()
    lines = [_change("received", 1)]
    assert _labels(log.enter(log.signed(PEKALONGAN, lines), lines, authentic=False)) == ["unauthorised"]


def test_a_revoked_key_speaks_for_the_sets_before_it_and_none_after() -> None:
    log = _log()
    assert _labels(log.push(PEKALONGAN, _change("received", 1))) == ["applied"]
    log.enter(log.federation.revocation(PEKALONGAN))
    assert _labels(log.push(PEKALONGAN, _change("verified", 2))) == ["unauthorised"]


def test_a_void_statement_is_passed_over_and_reported() -> None:
    log = _log()
    log.tick(START_MS + HOUR_MS)
    folded = log.tick(START_MS)
    assert folded.problem is not None
    assert log.federation.roster.tick_before(log.ledger.size) == START_MS + HOUR_MS
    assert _labels(log.push(PEKALONGAN, _change("received", 1))) == ["applied"]


@pytest.mark.parametrize("typ", ["simpul-redaction", "jwt"])
def test_an_unknown_typ_stops_the_fold_and_changes_nothing(typ: str) -> None:
    log = _log()
    size, state_hash = log.ledger.size, log.ledger.state_hash
    with pytest.raises(Refused, match="unsupported-version"):
        log.enter(sign_jws(typ, {"v": 1}, REGISTRAR))
    assert (log.ledger.size, log.ledger.state_hash) == (size, state_hash)


def test_an_extension_is_passed_over_whoever_signed_it() -> None:
    log = _log()
    folded = log.enter(sign_jws("simpul-x-note", {"v": 1}, FixedSigner("a stranger")))
    assert (folded.typ, folded.problem, folded.verdicts) == ("simpul-x-note", None, [])


def test_a_copy_that_hides_change_lines_is_never_judged() -> None:
    log = _log()
    lines = [_change("received", 1), _change("verified", 2)]
    for shown in (None, [], lines[:1], [*lines, lines[0]]):
        with pytest.raises(Refused, match="malformed"):
            log.enter(log.signed(PEKALONGAN, lines), shown)
    assert not log.ledger.complaints
    assert _labels(log.push(PEKALONGAN, *lines)) == ["applied", "applied"]


def test_no_set_is_folded_before_the_first_rules() -> None:
    log = Log()
    bare = Federation()
    ledger = Ledger(bare.roster, {})
    ledger.apply(0, log.leaves[0][0])
    lines = [_change("received", 1)]
    with pytest.raises(Refused, match="before the first rules"):
        ledger.apply(1, log.signed(PEKALONGAN, lines), lines, leaf_hashes(lines))


def test_a_leaf_out_of_order_is_refused() -> None:
    log = _log()
    with pytest.raises(Corrupt):
        log.ledger.apply(log.ledger.size + 1, log.federation.tick())


def test_a_manifest_that_does_not_parse_stops_the_fold() -> None:
    with pytest.raises(Refused, match="malformed"):
        _log().enter(sign_jws("simpul-change-set", {"v": 1}, FixedSigner(PEKALONGAN)), [])


def test_a_fold_taken_up_again_comes_to_the_same_end() -> None:
    log = _log()
    log.push(PEKALONGAN, _change("received", 1), _change("verified", 2))
    early = log.ledger
    resumed = Ledger(
        copy.deepcopy(early.roster),
        copy.deepcopy(dict(early.complaints)),
        size=early.size,
        state_hash=early.state_hash,
        figures=copy.deepcopy(early.figures),
        last_heard=dict(early.last_heard),
    )
    log.push(PEKALONGAN, _change("assigned", 3), _change("closed", 4))
    jws, lines = log.leaves[-1]
    assert lines is not None
    resumed.apply(resumed.size, jws, lines, leaf_hashes(lines))
    for name in ("state_hash", "size", "figures", "complaints", "last_heard"):
        assert getattr(resumed, name) == getattr(early, name)


def test_lines_parsed_ahead_fold_as_the_lines_themselves() -> None:
    log, other = _log(), _log()
    lines = [_change("received", 1), spoilt("started", rev=0), _change("verified", 2)]
    jws = log.signed(PEKALONGAN, lines)
    folded = log.enter(jws, lines)
    ahead = other.ledger.apply(other.ledger.size, jws, change_leaves=leaf_hashes(lines), changes=parse_changes(lines))
    assert ahead == folded
    assert ahead.verdicts == [Verdict.APPLIED, Verdict.MALFORMED, Verdict.APPLIED]


def test_figures_of_the_leaves_add_up_to_the_figures_of_the_log() -> None:
    log = _log()
    total = Figures()
    for rev, change_type in enumerate(("received", "verified", "assigned", "answered", "closed", "reopened"), 1):
        total.merge(log.push(PEKALONGAN, _change(change_type, rev)).figures)
    assert total == log.ledger.figures
    assert {place[0] for place in total.counts} <= set(FIGURES)


def test_the_figures_say_who_closed_why_archived_and_what_was_refused() -> None:
    log = _log()
    log.push(
        PEKALONGAN,
        *(_change(name, rev) for rev, name in enumerate(("received", "verified", "assigned", "assigned"), 1)),
        *(_change(name, rev) for rev, name in enumerate(("answered", "closed", "rated", "started"), 5)),
        _change("rated", 9, {"rating": 2}),
        _change("reopened", 10),
    )
    other = "33.75:019b0000-0000-7000-8000-000000000001"
    gone = {**BORN, "state": "archived", "reason": "spam"}
    log.push(PEKALONGAN, line_of("imported", gone, complaint=other))
    figures = log.ledger.figures
    assert figures.by_state() == {"in_progress": 1, "archived": 1}
    assert figures.by_key("closed") == {"reporter": 1}
    assert figures.by_key("archived", PEKALONGAN) == {"spam": 1}
    assert figures.by_key("ratings") == {"2": 1}
    assert figures.by_key("refused") == {"bad_transition": 1}
    assert [figures.total(name) for name in ("applied", "hand_overs", "reopened", "reclassified")] == [10, 1, 1, 1]
    assert figures.by_key("archived", KEDIRI) == {}


def test_a_bounce_is_counted_for_the_agency_that_offered() -> None:
    log = _log()
    offer = _change("offered", 2)
    log.push(PEKALONGAN, _change("received", 1), offer)
    answer = {"offer": Digest(sha256(b"\0" + offer).digest()).b64u, "reason": "not_ours"}
    assert _labels(log.push(KEDIRI, _change("declined", 3, answer))) == ["applied"]
    assert log.ledger.figures.by_key("bounces", PEKALONGAN) == {"": 1}
    assert log.ledger.figures.total("bounces") == 1


def test_complaints_are_counted_where_they_are_after_a_transfer() -> None:
    log = _log()
    offer = _change("offered", 2)
    log.push(PEKALONGAN, _change("received", 1), offer)
    log.push(KEDIRI, _change("accepted", 3, {"offer": Digest(sha256(b"\0" + offer).digest()).b64u}))
    assert log.ledger.figures.by_state(PEKALONGAN) == {}
    assert log.ledger.figures.by_state(KEDIRI) == {"received": 1}


def test_what_is_a_day_off_the_last_tick_is_flagged_but_applied() -> None:
    log = _log()
    late, early = format_timestamp(START_MS - 1), format_timestamp(START_MS + 2 * DAY_MS + 1)
    log.push(PEKALONGAN, _change("received", 1, at=late))  # no tick yet: nothing to compare with
    log.tick(START_MS + DAY_MS)
    folded = log.push(
        PEKALONGAN,
        _change("noted", 2, at=format_timestamp(START_MS)),
        _change("noted", 3, at=late),
        _change("noted", 4, at=early),
        _change("closed", 5, at=late),
    )
    assert _labels(folded) == ["applied", "applied", "applied", "bad_transition"]
    assert (log.ledger.figures.total("stale"), log.ledger.figures.total("ahead")) == (1, 1)


def test_the_desk_takes_a_complaint_from_an_owner_that_is_silent_by_ticks() -> None:
    log = _log()
    log.push(PEKALONGAN, _change("received", 1))
    log.tick(START_MS)
    log.tick(START_MS + 7 * DAY_MS)
    assert _labels(log.push(DESK, _change("recalled", 2))) == ["not_yet"]
    log.tick(START_MS + 7 * DAY_MS + 1)
    assert _labels(log.push(DESK, _change("recalled", 3))) == ["applied"]


def test_a_heartbeat_breaks_the_silence() -> None:
    log = _log()
    log.tick(START_MS)
    log.push(PEKALONGAN, _change("received", 1))
    log.tick(START_MS + 6 * DAY_MS)
    log.push(PEKALONGAN)
    log.tick(START_MS + 8 * DAY_MS)
    assert _labels(log.push(DESK, _change("recalled", 2))) == ["not_yet"]


def test_a_set_that_nobody_was_allowed_to_sign_does_not_break_the_silence() -> None:
    log = _log()
    log.tick(START_MS)
    log.push(PEKALONGAN, _change("received", 1))
    log.tick(START_MS + 6 * DAY_MS)
    log.push(PEKALONGAN, signer=FixedSigner("a stranger"))
    log.tick(START_MS + 8 * DAY_MS)
    assert _labels(log.push(DESK, _change("recalled", 2))) == ["applied"]


def test_exactly_one_agency_owns_a_complaint_at_every_position() -> None:
    log = _log()
    offer = _change("offered", 2)
    answer = {"offer": Digest(sha256(b"\0" + offer).digest()).b64u}
    owners = []
    for agency, lines in (
        (PEKALONGAN, [_change("received", 1), offer]),
        (DESK, [_change("accepted", 3, answer)]),
        (KEDIRI, [_change("accepted", 4, answer), _change("accepted", 5, answer)]),
        (PEKALONGAN, [_change("noted", 6), _change("withdrawn", 7, answer)]),
    ):
        log.push(agency, *lines)
        owners += [state.owner for state in log.ledger.complaints.values()]
    assert owners == [PEKALONGAN, PEKALONGAN, KEDIRI, KEDIRI]


def test_a_fold_keeps_the_states_that_it_was_given() -> None:
    log = _log()
    log.push(PEKALONGAN, _change("received", 1))
    kept = dict(log.ledger.complaints)
    copies = copy.deepcopy(kept)
    folded = log.push(PEKALONGAN, _change("verified", 2))
    assert kept == copies
    assert list(folded.touched.values()) == list(kept.values())


def test_verdict_codes_fit_the_transcript() -> None:
    assert max(Verdict) < 256
    assert parse_jws(_log().federation.tick().text).typ == "simpul-tick"
