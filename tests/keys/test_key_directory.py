"""Create, rotate, revoke: which key is in use after each step, and after a crash between any two."""

from __future__ import annotations

from pathlib import Path

import pytest

from keys.key_directory import KeyDirectory
from keys.key_file import load_any_key
from sync_protocol.errors import Corrupt, Refused
from sync_protocol.statement import Role


def seed(number: int) -> bytes:
    return bytes([number]) * 32


@pytest.fixture
def keys(tmp_path: Path) -> KeyDirectory:
    return KeyDirectory(tmp_path / "keys")


@pytest.mark.parametrize("role", list(Role))
def test_a_created_key_is_in_use_and_a_second_is_refused(keys: KeyDirectory, role: Role) -> None:
    made = keys.create(role, seed(1))
    assert keys.has(role)
    assert keys.load(role).public_key == made.public_key
    with pytest.raises(Refused, match="left as it is"):
        keys.create(role, seed(2))


@pytest.mark.parametrize("role", list(Role))
def test_a_rotation_switches_only_when_promoted_and_keeps_the_old_key(keys: KeyDirectory, role: Role) -> None:
    old = keys.create(role, seed(1))
    new = keys.prepare_next(role, seed(2))
    assert keys.load(role).public_key == old.public_key
    keys.promote(role, new.public_key)
    assert keys.load(role).public_key == new.public_key
    assert [key.public_key for key in keys.history(role)] == [old.public_key]
    assert keys.pending(role) is None


def test_an_interrupted_rotation_goes_on_with_the_same_new_key(keys: KeyDirectory) -> None:
    keys.create(Role.AGENCY, seed(1))
    first = keys.prepare_next(Role.AGENCY, seed(2))
    assert keys.prepare_next(Role.AGENCY, seed(3)).public_key == first.public_key


def test_what_waits_is_what_a_path_leads_to(keys: KeyDirectory) -> None:
    assert keys.pending(Role.AGENCY) is None  # not even a directory
    keys.create(Role.AGENCY, seed(1))
    link = keys.directory / "agency.next.pem"
    for target in ("nowhere.pem", link.name):  # nothing, and a link to itself
        link.symlink_to(target)
        assert keys.pending(Role.AGENCY) is None
        link.unlink()
    link.symlink_to("agency.pem")
    with pytest.raises(Refused) as caught:
        keys.pending(Role.AGENCY)
    assert caught.value.kind == "unsafe-key-file"


def test_what_cannot_be_looked_for_is_not_taken_for_absent(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too long"):
        KeyDirectory(tmp_path / ("k" * 300)).pending(Role.AGENCY)


def test_promoting_twice_is_promoting_once(keys: KeyDirectory) -> None:
    keys.create(Role.AGENCY, seed(1))
    new = keys.prepare_next(Role.AGENCY, seed(2))
    for _ in range(3):
        assert keys.promote(Role.AGENCY, new.public_key).public_key == new.public_key
    assert len(keys.history(Role.AGENCY)) == 1


def test_a_crash_between_keeping_the_old_key_and_the_switch_is_finished_by_promoting_again(keys: KeyDirectory) -> None:
    old = keys.create(Role.AGENCY, seed(1))
    new = keys.prepare_next(Role.AGENCY, seed(2))
    kept = keys.directory / f"agency.{keys.signer(Role.AGENCY).kid}.pem"
    kept.hardlink_to(keys.path(Role.AGENCY))
    assert keys.load(Role.AGENCY).public_key == old.public_key
    keys.promote(Role.AGENCY, new.public_key)
    assert keys.load(Role.AGENCY).public_key == new.public_key
    assert load_any_key(kept).public_key == old.public_key


def test_a_key_that_the_hub_did_not_confirm_is_not_put_into_use(keys: KeyDirectory) -> None:
    old = keys.create(Role.AGENCY, seed(1))
    keys.prepare_next(Role.AGENCY, seed(2))
    with pytest.raises(Refused, match="not the one waiting"):
        keys.promote(Role.AGENCY, bytes(32))
    assert keys.load(Role.AGENCY).public_key == old.public_key


def test_a_rotation_that_will_not_come_is_forgotten(keys: KeyDirectory) -> None:
    keys.create(Role.AGENCY, seed(1))
    keys.prepare_next(Role.AGENCY, seed(2))
    for _ in range(2):
        keys.discard_pending(Role.AGENCY)
        assert keys.pending(Role.AGENCY) is None


def test_after_a_revocation_nothing_signs_until_a_new_key_is_made(keys: KeyDirectory) -> None:
    old = keys.create(Role.AGENCY, seed(1))
    keys.retire(Role.AGENCY)
    assert not keys.has(Role.AGENCY)
    with pytest.raises(Refused, match="is not there"):
        keys.signer(Role.AGENCY)
    keys.create(Role.AGENCY, seed(2))
    assert [key.public_key for key in keys.history(Role.AGENCY)] == [old.public_key]


def test_a_sealing_key_of_before_still_opens_what_was_sealed_to_it(keys: KeyDirectory, tmp_path: Path) -> None:
    old = keys.create(Role.SEALING, seed(1))
    citizen = KeyDirectory(tmp_path / "other")
    citizen.create(Role.SEALING, seed(9))
    secret = citizen.sealing_key().exchange(old.public_key)
    keys.promote(Role.SEALING, keys.prepare_next(Role.SEALING, seed(2)).public_key)
    (kept,) = (key for key in keys.history(Role.SEALING) if key.public_key == old.public_key)
    assert hasattr(kept, "exchange")
    assert kept.exchange(citizen.sealing_key().public_key) == secret


def test_a_file_of_the_wrong_kind_under_a_roles_name_is_refused(keys: KeyDirectory) -> None:
    keys.create(Role.SEALING, seed(1))
    keys.path(Role.SEALING).rename(keys.path(Role.AGENCY))
    with pytest.raises(Refused, match="kind of key"):
        keys.signer(Role.AGENCY)
    keys.path(Role.AGENCY).rename(keys.path(Role.SEALING))
    with pytest.raises(Refused, match="no Ed25519Signer"):
        keys.signer(Role.SEALING)


def test_a_swapped_public_line_is_found_out(keys: KeyDirectory) -> None:
    keys.create(Role.LOG, seed(1))
    keys.create(Role.REGISTRAR, seed(2))
    line = keys.path(Role.REGISTRAR).read_bytes().splitlines(keepends=True)[0]
    rest = keys.path(Role.LOG).read_bytes().splitlines(keepends=True)[1:]
    keys.path(Role.LOG).write_bytes(b"".join([line, *rest]))
    with pytest.raises(Corrupt):
        keys.signer(Role.LOG)


def test_a_passphrase_holds_for_every_key_of_the_directory(tmp_path: Path) -> None:
    keys = KeyDirectory(tmp_path / "keys", "empat kata yang lepas")
    keys.create(Role.AGENCY, seed(1))
    keys.promote(Role.AGENCY, keys.prepare_next(Role.AGENCY, seed(2)).public_key)
    assert all(b"ENCRYPTED" in path.read_bytes() for path in keys.directory.iterdir())
    assert "empat" not in repr(keys)
    with pytest.raises(Refused, match="passphrase"):
        KeyDirectory(tmp_path / "keys").signer(Role.AGENCY)
