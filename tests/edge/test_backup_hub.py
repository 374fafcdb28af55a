"""A hub saved while it serves, and put back: the same log to the same root, and never a lock from a backup (G6)."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from node.wiring.backup import backup_hub, restore_hub
from tests.edge.archives import (
    WITH_PASSPHRASE,
    Meddling,
    Saved,
    all_bytes,
    cut_short,
    flip_bit,
    leftovers,
    reseal,
    saved,
)
from tests.edge.hub_lab import ORIGIN, options_for, projected, running_hub
from tests.edge.import_support import sp4n_row, write_csv
from tests.edge.program import simpul, told, wait_for
from tests.edge.test_hub_erasing import LETTER, erasure, held, two_complaints
from tests.edge.whole_way import HubDirectory, NodeDirectory, end, serving_hub


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saved]:
    with saved(tmp_path_factory.mktemp("backup-hub"), "hub") as made:
        yield made


@pytest.fixture
def archive(place: Saved, tmp_path: Path) -> Path:
    """A copy of the backup, to be spoilt."""
    return shutil.copytree(place.archive, tmp_path / "archive")


def save(directory: Path, out: Path) -> Any:
    return told("hub", "backup", directory, out, "--with-keys", env=WITH_PASSPHRASE)


def restore(archive: Path, directory: Path, *options: str, code: int = 0) -> Any:
    return told("hub", "restore", archive, directory, *options, code=code, env=WITH_PASSPHRASE)


def test_a_hub_that_moves_with_its_lock_goes_on_with_the_same_log(tmp_path: Path) -> None:
    with serving_hub(tmp_path) as hub:
        node = NodeDirectory(tmp_path / "node")
        node.enrol(hub)
        rows = [sp4n_row(number) for number in range(1, 8)]
        node.import_(write_csv(tmp_path / "a.csv", rows[:5]))
        node.push()
        before = hub.status()
        kept = tmp_path / "kept.checkpoint"
        kept.write_bytes(hub.get("/checkpoint"))
        port = hub.server.port if hub.server else 0
        document = save(hub.directory, tmp_path / "archive")
        end(hub.server)
    assert document["log"] == before["log"]
    assert document["origin"] == "hub.example/log"

    back = restore(tmp_path / "archive", tmp_path / "moved")
    assert back["log"] == before["log"]
    assert back["lock"] == {"size": None}
    assert any(str(tmp_path / "moved" / "lock") in step for step in back["next"])
    shutil.copytree(hub.directory / "lock", tmp_path / "moved" / "lock")
    moved = HubDirectory(tmp_path / "moved", hub.vkey)
    try:
        moved.serve(port)
        node.import_(write_csv(tmp_path / "b.csv", rows))
        node.push()
        assert moved.status()["troubles"] == []
        report = moved.audit(moved.export(tmp_path / "export"), "--since", kept)
        assert (report["ok"], report["complaints"]) == (True, 7)
    finally:
        end(moved.server)


def test_a_restored_hub_without_its_lock_does_not_start(place: Saved, tmp_path: Path) -> None:
    restore(place.archive, tmp_path / "again")
    assert not (tmp_path / "again" / "lock").exists()
    error = told("hub", "serve", tmp_path / "again", "--port", "0", code=1)["error"]
    assert "lock" in error["detail"]
    assert "never restore it from a backup" in error["next"]


def test_a_hub_older_than_its_lock_says_so_at_the_restore_and_signs_nothing(place: Saved, tmp_path: Path) -> None:
    """The lock folder lies apart, on a disk that survived."""
    lock = tmp_path / "other-disk" / "lock"
    hub = HubDirectory.make(tmp_path / "hub")
    shutil.move(hub.directory / "lock", lock)
    with (hub.directory / "simpul.toml").open("a") as file:
        file.write(f'\nlock_directory = "{lock}"\n')
    save(hub.directory, tmp_path / "archive")
    hub.invite("33.75")
    before = hub.status()["log"]["size"]
    serving = HubDirectory(hub.directory, hub.vkey)
    serving.serve()
    try:
        NodeDirectory(tmp_path / "node").enrol(serving)
    finally:
        end(serving.server)
    document = restore(tmp_path / "archive", tmp_path / "again")
    assert document["lock"]["size"] > before
    assert any("recovering" in step for step in document["next"])
    (trouble,) = told("hub", "status", tmp_path / "again")["troubles"]
    assert "restored from a backup" in trouble


def test_the_lock_is_in_no_backup_and_no_backup_brings_one(place: Saved, archive: Path, tmp_path: Path) -> None:
    names = {path.relative_to(place.archive).as_posix() for path in place.archive.rglob("*")}
    assert names == {
        *("simpul.toml", "hub.db", "keys", "keys/log.pem", "keys/registrar.pem", "manifest.json", "manifest.sha256")
    }
    (archive / "lock").mkdir()
    shutil.copy(place.hub.directory / "lock" / "checkpoint", archive / "lock" / "checkpoint")
    restore(archive, tmp_path / "again")
    assert {path.name for path in (tmp_path / "again").iterdir()} == {"simpul.toml", "hub.db", "keys"}


def test_the_query_tables_are_folded_again_to_the_same_state(place: Saved, tmp_path: Path) -> None:
    before = place.hub.status()
    save(place.hub.directory, tmp_path / "archive")
    restore(tmp_path / "archive", tmp_path / "again")
    shutil.copytree(place.hub.directory / "lock", tmp_path / "again" / "lock")
    after = told("hub", "rebuild", tmp_path / "again")
    assert after["before"] == after["after"] == before["state_hash"]


def test_a_backup_taken_while_sets_come_in_leads_to_a_root_that_was_published(place: Saved, tmp_path: Path) -> None:
    stop = threading.Event()
    node = NodeDirectory(tmp_path / "node", "33.75")
    node.enrol(place.hub)

    def push() -> None:
        for number in range(1, 200):
            if stop.is_set():
                return
            node.import_(write_csv(tmp_path / "rows.csv", [sp4n_row(n) for n in range(number * 10, number * 10 + 10)]))
            node.push()

    pushing = threading.Thread(target=push)
    pushing.start()
    documents: list[Any] = []
    sizes = [place.hub.size]
    try:
        for number in range(3):
            wait_for("a set that came in meanwhile", lambda: place.hub.size > sizes[-1])
            documents.append(save(place.hub.directory, tmp_path / f"archive{number}"))
            sizes.append(documents[-1]["log"]["size"])
        wait_for("a set that came in after all of them", lambda: place.hub.size > sizes[-1])
    finally:
        stop.set()
        pushing.join()
    assert sizes == sorted(set(sizes)), "each has what came in since the one before"
    published = place.hub.status()["log"]["size"]
    export = place.hub.export(tmp_path / "export")
    for number, document in enumerate(documents):
        restore(tmp_path / f"archive{number}", tmp_path / f"again{number}")
        assert document["log"]["size"] <= published
        note = json.loads((tmp_path / f"archive{number}" / "manifest.json").read_text())["log"]["note"]
        (tmp_path / "note").write_text(note)
        assert place.hub.audit(export, "--since", tmp_path / "note")["ok"] is True


def change_row(query: str, *, reseals: bool = True) -> Meddling:
    def meddle(archive: Path) -> None:
        with closing(sqlite3.connect(archive / "hub.db")) as connection, connection:
            assert connection.execute(query).rowcount > 0
        if reseals:
            reseal(archive)

    return meddle


def other_note(archive: Path) -> None:
    reseal(archive, lambda manifest: manifest["log"].update(size=manifest["log"]["size"] + 1))


LEAF = "UPDATE log_entry SET entry = CAST(replace(CAST(entry AS TEXT), 'A', 'B') AS BLOB)"
MEDDLINGS: dict[str, tuple[Meddling, int]] = {
    "a set's leaf altered": (change_row(f"{LEAF} WHERE idx = (SELECT max(idx) FROM change_set)"), 1),
    "a statement altered": (change_row(f"{LEAF} WHERE idx = 1"), 1),
    "a leaf removed": (change_row("DELETE FROM log_entry WHERE idx = (SELECT max(idx) FROM change_set)"), 1),
    "two leaves exchanged": (
        change_row("UPDATE log_entry SET entry = (SELECT entry FROM log_entry WHERE idx = 2) WHERE idx = 3"),
        1,
    ),
    "a hash tile altered": (change_row("UPDATE hash_tile SET hashes = zeroblob(length(hashes))"), 1),
    "a hash tile removed": (change_row("DELETE FROM hash_tile"), 1),
    "an older checkpoint on top": (
        change_row("UPDATE checkpoint SET note = (SELECT note FROM checkpoint LIMIT 1) WHERE size > 4"),
        1,
    ),
    "the newest checkpoint removed": (
        change_row("DELETE FROM checkpoint WHERE size = (SELECT max(size) FROM checkpoint)"),
        1,
    ),
    "another checkpoint in the manifest": (other_note, 1),
    "newer schema": (change_row("UPDATE alembic_version SET version_num = '9999'"), 1),
    "swapped": (change_row("UPDATE checkpoint SET at_ms = 0", reseals=False), 1),
    "cut short": (lambda archive: cut_short(archive / "hub.db", 8_192), 1),
    "bit flip": (lambda archive: flip_bit(archive / "hub.db", 30_000), 1),
}


@pytest.mark.parametrize("name", MEDDLINGS)
def test_a_log_that_was_torn_or_altered_is_not_restored_even_if_every_digest_fits(
    archive: Path, tmp_path: Path, name: str
) -> None:
    meddle, code = MEDDLINGS[name]
    meddle(archive)
    error = restore(archive, tmp_path / "again", code=code)["error"]
    assert error["kind"] == "damaged-backup"
    assert not (tmp_path / "again").exists()
    assert leftovers(tmp_path) == []


def test_private_keys_of_a_hub_are_not_in_its_backup_unless_asked_for(place: Saved, tmp_path: Path) -> None:
    told("hub", "backup", place.hub.directory, tmp_path / "without")
    for role in ("log", "registrar"):
        secret = (place.hub.directory / "keys" / f"{role}.pem").read_bytes().splitlines()[2]
        assert secret not in all_bytes(tmp_path / "without")
        assert secret not in all_bytes(place.archive)
    assert told("hub", "restore", tmp_path / "without", tmp_path / "again")["keys"] is False


def test_a_full_disk_leaves_no_half_backup_of_a_hub(place: Saved, tmp_path: Path) -> None:
    words = ("hub", "backup", place.hub.directory, tmp_path / "archive")
    simpul(*words, code=1, file_size_max=(place.hub.directory / "hub.db").stat().st_size // 2)
    assert list(tmp_path.iterdir()) == []


def test_a_nodes_backup_is_no_hubs(place: Saved, tmp_path: Path) -> None:
    told("node", "backup", place.node.directory, tmp_path / "archive")
    assert "simpul node restore" in restore(tmp_path / "archive", tmp_path / "again", code=2)["error"]["next"]


async def test_words_erased_after_the_log_was_told_are_erased_again_in_a_restored_hub(tmp_path: Path) -> None:
    """The log is the ledger of erasures: a restored hub folds all of it, and forgets on the way."""
    async with running_hub(tmp_path, projector=False) as lab:
        agency = await lab.enrol("33.75")
        complaints, contents, _ = await two_complaints(agency)
        index = lab.hub.log.size - 1
        await agency.push_new([erasure(agency, complaints[0], contents[0])])
    directory = options_for(tmp_path).directory
    (directory / "simpul.toml").write_text(f'role = "hub"\norigin = "{ORIGIN}"\n')
    await backup_hub(directory, tmp_path / "archive", passphrase="kuda lumping batik", progress=lambda *_: None)
    await restore_hub(tmp_path / "archive", tmp_path / "again" / "hub", passphrase="kuda lumping batik")
    shutil.copytree(directory / "lock", tmp_path / "again" / "hub" / "lock")
    async with running_hub(tmp_path / "again", clock=lab.clock, seed=2) as again:
        await projected(again)
        assert LETTER.encode() not in (await held(again, index)).contents
        assert (await again.hub.status())["troubles"] == []
