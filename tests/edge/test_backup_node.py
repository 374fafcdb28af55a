"""A node's directory saved while it serves, and put back elsewhere: nothing in it is lost, believed or let out."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from keys.key_directory import KeyDirectory
from keys.pem import format_pem
from node.files.limits import FileLimits
from node.files.store import FileStore
from sync_protocol.manifest import parse_manifest
from sync_protocol.statement import Role
from sync_protocol.values import Digest
from tests.edge.archives import (
    PASSPHRASE,
    WITH_PASSPHRASE,
    Saved,
    all_bytes,
    leftovers,
    restore_node,
    saved,
)
from tests.edge.place import complaints
from tests.edge.program import simpul, told, wait_for
from tests.edge.whole_way import NodeDirectory, end, post_json, serving_hub


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saved]:
    with saved(tmp_path_factory.mktemp("backup-node"), "node") as made:
        yield made


def rows(database: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


def check_chain(database: Path) -> int:
    """Every set follows the one before; how many."""
    query = "SELECT manifest FROM change_set WHERE status <> 2 ORDER BY seq"
    manifests = [parse_manifest(row[0]) for row in rows(database, query)]
    assert [signed.manifest.seq for signed in manifests] == list(range(1, len(manifests) + 1))
    for before, after in pairwise(manifests):
        assert after.manifest.prev == before.digest
    if manifests:
        (enrolment,) = rows(database, "SELECT enrolment FROM node")[0]
        assert manifests[0].manifest.prev == Digest(enrolment)
    return len(manifests)


def test_a_restored_node_refills_itself_from_the_hub_and_keeps_its_unsent_work(tmp_path: Path) -> None:
    with serving_hub(tmp_path) as hub:
        node = NodeDirectory(tmp_path / "node")
        node.enrol(hub)
        node.import_(complaints(tmp_path, range(1, 4)))
        node.push()
        node.import_(complaints(tmp_path, range(4, 6)))  # unsent when the backup is taken
        told("node", "backup", node.directory, tmp_path / "yesterday", "--with-keys", env=WITH_PASSPHRASE)
        node.import_(complaints(tmp_path, range(6, 9)))
        node.push()
        shutil.rmtree(node.directory)

        document = restore_node(tmp_path / "yesterday", tmp_path / "again")
        assert any("compares itself with the hub" in step for step in document["next"])
        again = NodeDirectory(tmp_path / "again")
        assert again.status()["unsent"] == 2
        again.import_(complaints(tmp_path, range(10, 12)))  # recorded before it has seen the hub
        status = again.push()

        assert (status["unsent"], status["unacknowledged"], status["set_aside"]) == (0, 0, 0)
        report = hub.audit_export(tmp_path / "export")
        assert (report["ok"], report["complaints"], report["changes"], report["refused"]) == (True, 10, 10, 0)
        assert rows(again.directory / "node.db", "SELECT count(*) FROM complaint") == [(10,)]
        check_chain(again.directory / "node.db")


def test_a_backup_taken_while_changes_are_recorded_holds_all_that_was_answered_before_and_nothing_in_halves(
    place: Saved, tmp_path: Path
) -> None:
    node = NodeDirectory(tmp_path / "node", "33.75")
    node.enrol(place.hub)
    token = told("node", "token", "create", node.directory, "desk")["token"]
    server = node.serve()
    answered: list[str] = []
    is_over = threading.Event()

    def record() -> None:
        body = {"channel": "web", "title": "Lampu padam", "text": "Gelap sekali.", "visibility": "public"}
        while not is_over.is_set():
            answered.append(post_json(f"{server.url}/v1/complaints", body, token)["complaint"])

    threads = [threading.Thread(target=record) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        before: list[set[str]] = []
        for number in range(4):
            seen = len(before[-1]) if before else 0
            wait_for("a complaint that was answered meanwhile", lambda seen=seen: len(answered) > seen, every_s=0.01)
            before.append(set(answered))
            told("node", "backup", node.directory, tmp_path / f"archive{number}")
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
        end(server)
    assert len({len(seen) for seen in before}) == 4
    for number, wanted in enumerate(before):
        directory = tmp_path / f"restored{number}"
        restore_node(tmp_path / f"archive{number}", directory)
        database = directory / "node.db"
        lines = [json.loads(row[0]) for row in rows(database, "SELECT line FROM change ORDER BY no")]
        assert wanted <= {line["complaint"] for line in lines}
        numbers = [row[0] for row in rows(database, "SELECT no FROM change ORDER BY no")]
        assert numbers == list(range(1, len(lines) + 1))
        assert rows(database, "SELECT count(*) FROM complaint") == [(len(lines),)]
        check_chain(database)
        assert told("node", "status", directory)["agency"] == "33.75"


def test_a_backup_says_what_is_in_it_and_leaves_its_time_in_the_directory(place: Saved, tmp_path: Path) -> None:
    document = told("node", "backup", place.node.directory, tmp_path / "archive")
    assert (document["kind"], document["agency"], document["keys"]) == ("node", "64.72", False)
    assert {file["name"] for file in document["files"]} == {"simpul.toml", "node.db"}
    manifest = json.loads((tmp_path / "archive" / "manifest.json").read_text())
    assert manifest["files"] == document["files"]
    assert (manifest["v"], manifest["subject"]) == (1, "64.72")
    left = json.loads((place.node.directory / "last-backup.json").read_text())
    assert left["at"] == document["created_at"]
    for path in [tmp_path / "archive", *(tmp_path / "archive").rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0
    assert {path.name for path in (tmp_path / "archive").iterdir()} == {
        *("simpul.toml", "node.db", "manifest.json", "manifest.sha256")
    }


def secrets_of(directory: Path) -> list[bytes]:
    """Every spelling of the private keys that somebody might search a backup for."""
    held = KeyDirectory(directory / "keys")
    found = []
    for key in (held.signer(Role.AGENCY), held.sealing_key()):
        seed = key.private_der()[-32:]
        found += [seed, seed.hex().encode(), b64encode(seed)[:40], b64encode(key.private_der())]
        found += [format_pem(key).splitlines()[2]]
    return found


def test_private_keys_are_not_in_a_backup_unless_asked_for_and_then_in_no_readable_form(
    place: Saved, tmp_path: Path
) -> None:
    told("node", "backup", place.node.directory, tmp_path / "without")
    with_keys, without = all_bytes(place.archive), all_bytes(tmp_path / "without")
    for secret in secrets_of(place.node.directory):
        assert secret not in without
        assert secret not in with_keys
    assert b"PRIVATE" not in without
    assert with_keys.count(b"BEGIN ENCRYPTED ") == 2


def shown_keys(directory: Path, env: Mapping[str, str] | None = None) -> Any:
    return told("keys", "show", directory, env=env)["keys"]


def test_keys_come_back_with_their_passphrase_and_not_with_another(place: Saved, tmp_path: Path) -> None:
    document = restore_node(place.archive, tmp_path / "again")
    assert document["keys"] is True
    assert shown_keys(tmp_path / "again") == shown_keys(place.node.directory)
    for wrong in ("another passphrase", ""):
        words = ("node", "restore", place.archive, tmp_path / "other", "--json")
        ran = simpul(*words, code=2, env={"SIMPUL_BACKUP_PASSPHRASE": wrong})
        assert "passphrase" in ran.document["error"]["detail"]
        assert PASSPHRASE not in ran.out + ran.err
    assert not (tmp_path / "other").exists()
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("passphrase", ["", "short"])
def test_keys_are_not_saved_under_an_empty_or_short_passphrase(place: Saved, tmp_path: Path, passphrase: str) -> None:
    words = ("node", "backup", place.node.directory, tmp_path / "archive", "--with-keys")
    assert "passphrase" in simpul(*words, code=2, env={"SIMPUL_BACKUP_PASSPHRASE": passphrase}).err
    assert not (tmp_path / "archive").exists()
    assert leftovers(tmp_path) == []


def test_keys_that_have_a_passphrase_of_their_own_keep_it_when_they_come_back(place: Saved, tmp_path: Path) -> None:
    own = {"SIMPUL_KEY_PASSPHRASE": "empat kata yang panjang"}
    with_both = own | WITH_PASSPHRASE
    words = ("--hub", place.hub.url, "--vkey", place.hub.vkey, "--agency", "35.71", "--token")
    told("node", "enrol", tmp_path / "node", *words, place.hub.invite("35.71"), env=own)
    told("node", "backup", tmp_path / "node", tmp_path / "archive", "--with-keys", env=with_both)
    told("node", "restore", tmp_path / "archive", tmp_path / "again", env=with_both)
    assert b"ENCRYPTED" in (tmp_path / "again" / "keys" / "agency.pem").read_bytes()
    assert shown_keys(tmp_path / "again", own) == shown_keys(tmp_path / "node", own)


def test_a_node_restored_without_keys_is_told_what_to_do_about_them(place: Saved, tmp_path: Path) -> None:
    document = restore_node(place.archive, tmp_path / "again", "--without-keys")
    assert document["keys"] is False
    assert "Put the key files back" in document["next"][0]
    assert not (tmp_path / "again" / "keys").exists()


def test_nothing_is_restored_over_a_directory_in_use_nor_saved_into_one(place: Saved, tmp_path: Path) -> None:
    kept = tmp_path / "in-use"
    kept.mkdir()
    (kept / "letter").write_text("ours")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    for target in (kept, kept / "letter", link, place.node.directory):
        for words in (("restore", place.archive, target), ("backup", place.node.directory, target)):
            error = told("node", *words, code=2, env=WITH_PASSPHRASE)["error"]
            assert "is in use" in error["detail"]
            assert "new folder" in error["next"]
    assert (kept / "letter").read_text() == "ours"
    assert place.node.status()["agency"] == "64.72"
    empty = tmp_path / "empty"
    empty.mkdir()
    restore_node(place.archive, empty)
    assert told("node", "status", empty)["unsent"] == 0


def test_a_full_disk_leaves_no_half_backup_and_no_half_directory(place: Saved, tmp_path: Path) -> None:
    size = (place.node.directory / "node.db").stat().st_size
    out = tmp_path / "archive"
    before = (place.node.directory / "last-backup.json").read_bytes()
    simpul("node", "backup", place.node.directory, out, code=1, file_size_max=size // 2)
    simpul("node", "restore", place.archive, tmp_path / "again", "--without-keys", code=1, file_size_max=size // 2)
    assert list(tmp_path.iterdir()) == []
    assert (place.node.directory / "last-backup.json").read_bytes() == before


def test_a_database_that_lay_elsewhere_is_restored_into_the_new_directory_and_the_other_left_alone(
    place: Saved, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "fast-disk" / "kota.db"
    elsewhere.parent.mkdir()
    directory = tmp_path / "node"
    restore_node(place.archive, directory)
    (directory / "node.db").rename(elsewhere)
    with (directory / "simpul.toml").open("a") as file:
        file.write(f'\ndatabase_url = "sqlite+aiosqlite:///{elsewhere}"\n')
    told("node", "backup", directory, tmp_path / "archive")
    restore_node(tmp_path / "archive", tmp_path / "again")
    elsewhere.unlink()
    assert told("node", "status", tmp_path / "again")["agency"] == "64.72"
    assert not elsewhere.exists()


def test_a_backup_and_a_restore_say_that_attached_files_are_copied_apart(place: Saved, tmp_path: Path) -> None:
    store = FileStore(place.node.directory / "files", FileLimits(free_min=0))
    stored = store.add([b"a photograph"])
    assert stored is not None
    told_apart = told("node", "backup", place.node.directory, tmp_path / "archive")
    assert told_apart["attachments"] == {"directory": str(store.directory), "files": 1, "bytes": 12}
    assert "1 attached files (12 bytes) are not in it" in " ".join(
        simpul("node", "backup", place.node.directory, tmp_path / "other").out.split()
    )
    restored = told("node", "restore", tmp_path / "archive", tmp_path / "again")
    assert any(str(tmp_path / "again" / "files") in step for step in restored["next"])
    store.remove(stored.digest)
