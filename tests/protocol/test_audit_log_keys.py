"""Which key of the log speaks for a checkpoint (protocol §5.4, §6.2): a retired one never for what came after it."""

from __future__ import annotations

import pytest

from sync_protocol.errors import Refused
from sync_protocol.intake import IntakeView, judge
from sync_protocol.jws import sign_jws
from tests.protocol.audit_samples import SampleLog, audited
from tests.protocol.federation_samples import PEKALONGAN
from tests.protocol.log_samples import LOG, OTHER, FixedSigner

NEW = FixedSigner("new")
NEWEST = FixedSigner("newest")


def rotated() -> tuple[SampleLog, int]:
    """A log with one set before and one tick after the rotation of its key; the rotation's index."""
    log = SampleLog.founded(PEKALONGAN)
    log.push(PEKALONGAN)
    index = log.enter(log.federation.log_rotation(NEW))
    log.enter(log.federation.tick())
    return log, index


def test_each_size_has_one_key_and_the_commit_of_the_rotation_is_the_old_ones() -> None:
    log, index = rotated()
    roster = log.federation.roster
    keys = [roster.log_key_at(size) for size in range(index + 4)]
    assert keys == [LOG.vkey()] * (index + 2) + [NEW.vkey()] * 2
    later = log.enter(log.federation.log_rotation(NEWEST, old=NEW))
    assert roster.log_key_at(later + 1) == NEW.vkey()
    assert roster.log_key_at(later + 2) == NEWEST.vkey()
    assert roster.log_key_at(index + 1) == LOG.vkey()


def test_a_rotated_log_is_proven_to_whoever_trusts_either_key() -> None:
    log, index = rotated()
    for trusted in (LOG.vkey(), NEW.vkey()):
        assert audited(log.entries, log.note(NEW), trusted) == []
    assert audited(log.entries, log.note(NEW), NEW.vkey(), since=log.note(LOG, index + 1)) == []


@pytest.mark.parametrize("trusted", [LOG, NEW], ids=["old", "new"])
def test_a_retired_key_signs_nothing_after_its_end(trusted: FixedSigner) -> None:
    """The theft: history after the rotation cut off, another leaf put there, signed with the retired key."""
    log, index = rotated()
    forged = SampleLog(entries=log.entries[: index + 1])
    forged.entries.append(sign_jws("simpul-x-note", {"v": 1}, LOG).text.encode())
    assert audited(forged.entries, forged.note(LOG), trusted.vkey()) == ["bad-checkpoint"]


def test_the_history_before_a_rotation_signed_again_is_nothing_to_whoever_trusts_the_new_key() -> None:
    """With the retired key the old history can be written anew, the published rotation put at its end."""
    log, index = rotated()
    forged = SampleLog(entries=[*log.entries[: index - 1], log.entries[index]])
    assert audited(forged.entries, forged.note(LOG), NEW.vkey()) == ["wrong-log-key"]


def test_a_key_does_not_sign_what_was_before_it() -> None:
    log, index = rotated()
    assert audited(log.entries[: index + 1], log.note(NEW, index + 1), NEW.vkey()) == ["bad-checkpoint"]
    assert audited(log.entries, log.note(NEW), NEW.vkey(), since=log.note(NEW, index + 1)) == ["bad-checkpoint"]


def test_a_kept_checkpoint_by_the_retired_key_convicts_nobody() -> None:
    """Else whoever finds the old key could show a split view that never was."""
    log, index = rotated()
    framed = SampleLog(entries=[*log.entries[: index + 1], b"never there"])
    assert audited(log.entries, log.note(NEW), NEW.vkey(), since=framed.note(LOG)) == ["bad-checkpoint"]


def test_a_set_that_saw_a_checkpoint_by_the_retired_key_is_a_finding() -> None:
    log, _ = rotated()
    log.push(PEKALONGAN, 2, log.pushed[-1].digest, seen_signer=LOG)
    assert audited(log.entries, log.note(NEW), NEW.vkey()) == ["bad-seen"]


def test_the_intake_takes_no_countersigned_checkpoint_by_the_retired_key() -> None:
    """Else a thief of the retired key could stop the hub: `recovering` for a history that never was."""
    log, _ = rotated()
    federation = log.federation
    view = IntakeView(federation.roster, federation.size, log.root, None, lambda _seq: None)
    ahead = federation.manifest(PEKALONGAN, seen_size=federation.size + 9, seen_signer=LOG)
    with pytest.raises(Refused) as caught:
        judge(view, ahead, PEKALONGAN, 1)
    assert (caught.value.kind, caught.value.where) == ("malformed", "seen")


def test_a_log_whose_keys_are_others_is_not_the_one_that_is_trusted() -> None:
    log, _ = rotated()
    assert audited(log.entries, log.note(NEW), OTHER.vkey()) == ["wrong-log-key"]
