"""Evidence files over rotations of the log's key (protocol §12): whom it convinces, and what a stolen key is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from sync_protocol.change_set import build_change_set, draft_change_set
from sync_protocol.checkpoint import Checkpoint
from sync_protocol.errors import Refused
from sync_protocol.evidence import (
    EvidenceFile,
    EvidenceSet,
    EvidenceStatement,
    OpenEvidence,
    format_evidence,
    open_evidence,
)
from sync_protocol.line import format_content
from sync_protocol.note import VerifierKey
from sync_protocol.values import Digest
from tests.protocol.audit_samples import SampleLog
from tests.protocol.federation_samples import PEKALONGAN, START_MS
from tests.protocol.log_samples import LOG, ORIGIN, OTHER, FixedSigner
from tests.protocol.set_samples import change_line, uuid_of

NEW = FixedSigner("new")
COMPLAINT = f"{PEKALONGAN}:{uuid_of('complaint 1')}"


@dataclass
class Rotated:
    """Genesis 0, rules 1, enrolment 2, a set at 3, rotation at 4, tick 5, a second set at 6; their texts."""

    log: SampleLog
    lines: list[str]
    rotation: int

    @classmethod
    def made(cls) -> Rotated:
        log = SampleLog.founded(PEKALONGAN)
        lines = [pushed_lines(log, 1, None, LOG)]
        rotation = log.enter(log.federation.log_rotation(NEW))
        log.enter(log.federation.tick())
        lines.append(pushed_lines(log, 2, log.pushed[-1].digest, NEW))
        return cls(log, lines, rotation)

    def file(
        self,
        *,
        statements: Sequence[tuple[int, FixedSigner, int]],
        sets: Sequence[tuple[int, FixedSigner, int]],
        vkey: FixedSigner = LOG,
    ) -> bytes:
        """A file of (index, who signed the checkpoint of its receipt, that checkpoint's size)."""
        log = self.log
        return format_evidence(
            EvidenceFile(
                origin=ORIGIN,
                vkey=vkey.vkey().format(),
                complaint=COMPLAINT,
                statements=[
                    EvidenceStatement(log.entries[index].decode(), log.receipt(index, signer, size))
                    for index, signer, size in statements
                ],
                sets=[
                    EvidenceSet(self.lines[0 if index == 3 else 1], log.receipt(index, signer, size))
                    for index, signer, size in sets
                ],
            )
        )


def pushed_lines(log: SampleLog, seq: int, prev: Digest | None, seen_by: FixedSigner) -> str:
    """The text of a set of one change about the complaint, put into the log as well."""
    record = log.federation.roster.agency(PEKALONGAN)
    assert record is not None
    said = format_content({"text": f"word {seq}"}, b"s" * 16, uuid_of("change 1"))
    size, root = len(log.entries), log.root()
    change_set = build_change_set(
        draft_change_set([change_line(1)], [said]),
        FixedSigner(PEKALONGAN),
        agency=PEKALONGAN,
        epoch=1,
        seq=seq,
        prev=prev or record.enrolment,
        at=START_MS,
        seen_size=size,
        seen_root=Digest(root),
        seen_sig=seen_by.sign(Checkpoint(ORIGIN, size, root).text()),
    )
    log.put(change_set.manifest)
    return change_set.text.decode()


@pytest.fixture(scope="module")
def rotated() -> Rotated:
    return Rotated.made()


BEFORE = [(0, LOG, 4), (2, LOG, 4)]
ROTATION = (4, NEW, 7)


def opened(data: bytes, trusted: VerifierKey | None) -> OpenEvidence:
    return open_evidence(data, trusted)


def refusal(data: bytes, trusted: VerifierKey | None) -> str:
    with pytest.raises(Refused) as caught:
        open_evidence(data, trusted)
    return caught.value.kind


def test_receipts_from_before_and_after_a_rotation_stand_in_one_file_for_either_key(rotated: Rotated) -> None:
    data = rotated.file(statements=[*BEFORE, ROTATION], sets=[(3, LOG, 4), (6, NEW, 7)])
    by_old, by_new = opened(data, LOG.vkey()), opened(data, NEW.vkey())
    assert [proven.index for proven in by_new.changes] == [3, 6]
    assert [(proven.content or {})["text"] for proven in by_new.changes] == ["word 1", "word 2"]
    assert by_old.by_earlier_keys == 0
    assert by_new.by_earlier_keys == 3  # two statements and the first set: as good as the old key's keeping
    assert by_new.size == 7


def test_a_file_whose_receipts_were_all_renewed_leans_on_no_earlier_key(rotated: Rotated) -> None:
    statements = [(index, NEW, 7) for index in (0, 2, 4)]
    data = rotated.file(statements=statements, sets=[(3, NEW, 7)], vkey=NEW)
    assert opened(data, NEW.vkey()).by_earlier_keys == 0
    assert opened(data, None).vkey == NEW.vkey()


def test_a_file_from_before_the_rotation_is_verified_by_the_key_of_its_time(rotated: Rotated) -> None:
    data = rotated.file(statements=BEFORE, sets=[(3, LOG, 4)])
    assert opened(data, LOG.vkey()).by_earlier_keys == 0
    assert refusal(data, NEW.vkey()) == "bad-signature"


def test_a_set_that_the_retired_key_signed_for_after_its_end_is_none(rotated: Rotated) -> None:
    """The theft of a retired log key: the genuine rotation in the file, and a forged history beyond it."""
    for trusted in (LOG, NEW):
        data = rotated.file(statements=[*BEFORE, ROTATION], sets=[(6, LOG, 7)])
        assert refusal(data, trusted.vkey()) == "bad-signature"


def test_leaving_the_rotation_out_does_not_help_whoever_holds_the_retired_key(rotated: Rotated) -> None:
    data = rotated.file(statements=BEFORE, sets=[(6, LOG, 7)])
    assert refusal(data, NEW.vkey()) == "bad-signature"


def test_a_file_that_only_the_retired_key_vouches_for_proves_nothing_to_who_trusts_the_new_one(
    rotated: Rotated,
) -> None:
    """The rotation is genuine, and placed where the thief likes: every receipt is still the old key's."""
    data = rotated.file(statements=[*BEFORE, (4, LOG, 5)], sets=[(3, LOG, 4)])
    assert refusal(data, NEW.vkey()) == "bad-signature"
    assert opened(data, LOG.vkey()).by_earlier_keys == 0


def test_the_new_key_signs_nothing_of_the_sizes_before_it(rotated: Rotated) -> None:
    data = rotated.file(statements=[*BEFORE, ROTATION], sets=[(3, NEW, 4)])
    assert refusal(data, NEW.vkey()) == "bad-signature"


def test_a_rotation_left_out_of_the_middle_breaks_the_chain(rotated: Rotated) -> None:
    data = rotated.file(statements=BEFORE, sets=[(6, NEW, 7)])
    for trusted in (LOG, NEW, OTHER):
        assert refusal(data, trusted.vkey()) == "bad-signature"


def test_statements_out_of_order_twice_or_without_their_genesis_are_malformed(rotated: Rotated) -> None:
    """A hostile file is refused, never an error of our own."""
    good = [*BEFORE, ROTATION]
    for statements in ([], good[1:], good[::-1], [*good, good[-1]], [good[0], *good]):
        data = rotated.file(statements=statements, sets=[(3, LOG, 4)])
        assert refusal(data, LOG.vkey()) == "malformed"


def test_attack_sets_twice_or_out_of_order_tell_another_story_than_the_log_and_are_malformed(rotated: Rotated) -> None:
    """Every receipt and every root in the file holds: an answer told twice, or before what it answers."""
    first, second = (3, LOG, 4), (6, NEW, 7)
    for sets in ([second, first], [first, first], [first, (3, NEW, 7), second], [first, second, first]):
        data = rotated.file(statements=[*BEFORE, ROTATION], sets=sets)
        assert refusal(data, LOG.vkey()) == "malformed"
