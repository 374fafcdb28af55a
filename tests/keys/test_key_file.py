"""Key files under attack: they appear whole or not at all, overwrite nothing, and are unused where others can read."""

from __future__ import annotations

import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from keys.key_file import (
    create_key,
    create_sealing_key,
    load_any_key,
    load_key,
    load_sealing_key,
    make_key_directory,
    save_key,
)
from keys.signer import Ed25519Signer, SealingKey
from sync_protocol.errors import Corrupt, Refused

SEED = bytes(range(32))
PASSPHRASE = "empat kata yang lepas"
PEM_BEGIN = "-----BEGIN " + "PRIVATE KEY-----"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "agency.pem"


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_saved_key_comes_back_the_same_for_both_kinds(path: Path) -> None:
    signer, sealing = create_key(path, SEED), create_sealing_key(path.with_name("sealing.pem"), SEED)
    assert load_key(path).kid == signer.kid
    assert load_sealing_key(path.with_name("sealing.pem")).public_key == sealing.public_key


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277])
def test_file_and_directory_belong_to_their_owner_alone_whatever_the_umask(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        create_key(path, SEED)
    finally:
        os.umask(before)
    assert (mode_of(path), mode_of(path.parent)) == (0o600, 0o700)


def test_the_plain_file_is_pkcs8_pem_that_openssl_reads(path: Path) -> None:
    create_key(path, SEED)
    assert path.read_text().splitlines()[1] == PEM_BEGIN
    shown = subprocess.run(
        ["openssl", "pkey", "-in", path, "-noout", "-text"], capture_output=True, text=True, check=True
    )
    assert "ED25519 Private-Key" in shown.stdout


def test_the_encrypted_file_opens_with_its_passphrase_here_and_in_openssl_and_hides_the_seed(path: Path) -> None:
    signer = create_key(path, SEED, PASSPHRASE)
    assert load_key(path, PASSPHRASE).kid == signer.kid
    command = ["openssl", "pkey", "-in", str(path), "-pubout", "-outform", "DER", "-passin", f"pass:{PASSPHRASE}"]
    assert subprocess.run(command, capture_output=True, check=True).stdout.endswith(signer.public_key)
    parsed = subprocess.run(["openssl", "asn1parse", "-in", path], capture_output=True, text=True, check=True).stdout
    assert f"INTEGER           :{600_000:06X}" in parsed
    assert "ENCRYPTED" in path.read_text()


def test_a_wrong_or_missing_passphrase_is_said_plainly_and_names_the_file(path: Path) -> None:
    create_key(path, SEED, PASSPHRASE)
    for passphrase, words in (("something else", "does not open"), (None, "none was given"), ("", "does not open")):
        with pytest.raises(Refused, match=words) as caught:
            load_key(path, passphrase)
        assert caught.value.kind == "configuration"
        assert str(path) in caught.value.detail
        assert PASSPHRASE not in str(caught.value) + str(caught.value.members)


def test_a_passphrase_that_was_typed_decomposed_opens_the_file_all_the_same(path: Path) -> None:
    create_key(path, SEED, "caf\u00e9 yang tenang")
    load_key(path, "cafe\u0301 yang tenang")


def test_a_short_passphrase_is_refused_and_leaves_no_file(path: Path) -> None:
    with pytest.raises(Refused, match="fewer than 12"):
        create_key(path, SEED, "short")
    assert not path.exists()


def test_an_existing_key_is_never_overwritten(path: Path) -> None:
    first = create_key(path, SEED)
    with pytest.raises(Refused, match="left as it is"):
        create_key(path, bytes(32))
    assert load_key(path).kid == first.kid
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("dangling", [True, False])
def test_attack_symlink_at_the_target_is_neither_followed_nor_replaced(
    tmp_path: Path, path: Path, dangling: bool
) -> None:
    make_key_directory(path.parent)
    victim = tmp_path / "victim"
    if not dangling:
        victim.write_text("precious")
    path.symlink_to(victim)
    with pytest.raises(Refused, match="left as it is"):
        create_key(path, SEED)
    assert path.is_symlink()
    assert victim.exists() is not dangling
    assert dangling or victim.read_text() == "precious"


def test_attack_a_link_to_somebody_elses_key_is_not_loaded(tmp_path: Path, path: Path) -> None:
    create_key(path, SEED)
    link = path.with_name("link.pem")
    link.symlink_to(path)
    with pytest.raises(Refused, match="symbolic link"):
        load_key(link)


def test_attack_a_linked_key_directory_is_refused(tmp_path: Path, path: Path) -> None:
    create_key(path, SEED)
    linked = tmp_path / "linked"
    linked.symlink_to(path.parent)
    with pytest.raises(Refused, match="not a directory of its own"):
        load_key(linked / path.name)


def test_attack_a_pipe_at_the_target_neither_hangs_nor_loads(path: Path) -> None:
    make_key_directory(path.parent)
    os.mkfifo(path, 0o600)
    with pytest.raises(Refused, match="not a plain file"):
        load_key(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644, 0o666])
def test_a_file_that_others_may_read_or_change_is_refused_with_the_command_that_mends_it(path: Path, mode: int) -> None:
    create_key(path, SEED)
    path.chmod(mode)
    with pytest.raises(Refused) as caught:
        load_key(path)
    assert caught.value.kind == "unsafe-key-file"
    assert f"chmod 600 {path}" in str(caught.value.members["next"])


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o710, 0o755, 0o777])
def test_a_directory_that_others_may_enter_is_refused_for_loading_and_creating(path: Path, mode: int) -> None:
    create_key(path, SEED)
    path.parent.chmod(mode)
    attempts: list[Callable[[], object]] = [lambda: load_key(path), lambda: create_key(path.with_name("new.pem"), SEED)]
    for attempt in attempts:
        with pytest.raises(Refused) as caught:
            attempt()
        assert caught.value.kind == "unsafe-key-file"
        assert caught.value.members["next"] == f"chmod 700 {path.parent}"
    assert not path.with_name("new.pem").exists()


def test_a_missing_file_says_where_keys_come_from(path: Path) -> None:
    make_key_directory(path.parent)
    with pytest.raises(Refused, match="is not there"):
        load_key(path)


def test_every_truncation_of_a_key_file_is_corrupt_or_refused_and_never_another_error(path: Path) -> None:
    create_key(path, SEED)
    whole = path.read_bytes().rstrip(b"\n")
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(Corrupt, match="damaged"):
            load_key(path)


@pytest.mark.parametrize(("passphrase", "step"), [(None, 1), (PASSPHRASE, 23)])
def test_a_flipped_bit_is_refused_or_changes_nothing_and_never_gives_another_key(
    path: Path, passphrase: str | None, step: int
) -> None:
    signer = create_key(path, SEED, passphrase)
    whole = path.read_bytes()
    for position in range(0, len(whole), step):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        try:
            assert load_key(path, passphrase).kid == signer.kid
        except (Corrupt, Refused):
            continue


def test_a_key_file_that_openssl_made_is_taken(path: Path) -> None:
    make_key_directory(path.parent)
    subprocess.run(["openssl", "genpkey", "-algorithm", "ED25519", "-out", path], check=True, capture_output=True)
    path.chmod(0o600)
    load_key(path)


@pytest.mark.parametrize(
    "junk", [b"", b"\x00" * 50_000, b"not a key\n", PEM_BEGIN.encode() + b"\n\n-----END PRIVATE KEY-----"]
)
def test_a_file_with_something_else_in_it_is_corrupt(path: Path, junk: bytes) -> None:
    create_key(path, SEED)
    path.write_bytes(junk)
    with pytest.raises(Corrupt):
        load_key(path)


def test_a_key_of_the_other_kind_or_of_a_foreign_kind_is_refused(path: Path) -> None:
    save_key(path, SealingKey.from_seed(SEED))
    with pytest.raises(Refused, match="sealing key"):
        load_key(path)
    other = path.with_name("other.pem")
    save_key(other, Ed25519Signer.from_seed(SEED))
    with pytest.raises(Refused, match="signing key"):
        load_sealing_key(other)
    foreign = path.with_name("foreign.pem")
    subprocess.run(["openssl", "genpkey", "-algorithm", "ED448", "-out", foreign], check=True, capture_output=True)
    foreign.chmod(0o600)
    with pytest.raises(Refused, match="neither"):
        load_any_key(foreign)


def test_of_many_creators_at_once_exactly_one_wins_and_its_key_is_the_one_in_the_file(path: Path) -> None:
    make_key_directory(path.parent)
    barrier = threading.Barrier(16)
    won: list[str] = []
    lost: list[Refused] = []

    def creator(number: int) -> None:
        barrier.wait()
        try:
            won.append(create_key(path, bytes([number]) * 32).kid)
        except Refused as refused:
            lost.append(refused)

    threads = [threading.Thread(target=creator, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 15)
    assert load_key(path).kid == won[0]
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def _race(path: Path, number: int, start: Event) -> None:
    start.wait()
    try:
        create_key(path, bytes([number]) * 32)
    except Refused:
        sys.exit(7)


def test_of_several_processes_exactly_one_wins(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start = context.Event()
    racers = [context.Process(target=_race, args=(path, number, start)) for number in range(1, 4)]
    for racer in racers:
        racer.start()
    start.set()
    for racer in racers:
        racer.join()
    assert sorted(racer.exitcode or 0 for racer in racers) == [0, 7, 7]
    load_key(path)


def test_leftovers_of_a_crash_are_never_loaded_do_not_hinder_and_are_swept(path: Path) -> None:
    make_key_directory(path.parent)
    leftover = path.with_name(f".{path.name}.0123456789abcdef.new")
    leftover.write_bytes(b"half a k")
    leftover.chmod(0o600)
    with pytest.raises(Refused, match="is not there"):
        load_key(path)
    create_key(path, SEED)
    load_key(path)
    assert not leftover.exists()


KILLED_CREATOR = """
import sys
from pathlib import Path
from keys.key_file import create_key
from sync_protocol.errors import Refused
number = 0
print("ready", flush=True)
while True:
    number += 1
    create_key(Path(sys.argv[1]) / f"{number}.pem", bytes(32))
"""


def test_attack_kill_9_at_any_moment_leaves_whole_keys_or_none(tmp_path: Path) -> None:
    for attempt in range(10):
        directory = tmp_path / str(attempt)
        with subprocess.Popen([sys.executable, "-c", KILLED_CREATOR, directory], stdout=subprocess.PIPE) as creator:
            assert creator.stdout is not None
            creator.stdout.readline()
            threading.Event().wait(0.003 * attempt)
            creator.send_signal(signal.SIGKILL)
        for found in directory.glob("[0-9]*.pem"):
            load_key(found)
