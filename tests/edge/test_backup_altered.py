"""Backups that were torn, swapped or forged: nothing of them is let in, and nothing is left behind."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.edge.archives import Meddling, Saved, cut_short, flip_bit, leftovers, reseal, restore_node, saved


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saved]:
    with saved(tmp_path_factory.mktemp("backup-altered"), "node") as made:
        yield made


@pytest.fixture
def archive(place: Saved, tmp_path: Path) -> Path:
    """A copy of the backup, to be spoilt."""
    return shutil.copytree(place.archive, tmp_path / "archive")


def another_database(archive: Path) -> None:
    """Whole in itself, of the same node, and not the one of this backup."""
    with closing(sqlite3.connect(archive / "node.db")) as connection, connection:
        connection.execute("UPDATE node SET epoch = epoch + 1")


def newer_schema(archive: Path) -> None:
    with closing(sqlite3.connect(archive / "node.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    reseal(archive, lambda manifest: manifest.update(database_schema="9999"))


def of_another_agency(archive: Path) -> None:
    reseal(archive, lambda manifest: manifest.update(subject="33.75"))


def damaged_inside(archive: Path) -> None:
    """Pages overwritten, digest made to fit: only the database itself can tell."""
    data = bytearray((archive / "node.db").read_bytes())
    for start in range(8_192 * 3, len(data) - 4_096, 8_192):
        data[start : start + 4_096] = b"\xff" * 4_096
    (archive / "node.db").write_bytes(data)
    reseal(archive)


def swapped_files(archive: Path) -> None:
    shutil.copy(archive / "simpul.toml", archive / "node.db")


def emptied(archive: Path) -> None:
    (archive / "node.db").write_bytes(b"")


def grown(archive: Path) -> None:
    (archive / "node.db").write_bytes((archive / "node.db").read_bytes() + b"x")


def link_to_another_file(archive: Path) -> None:
    (archive / "node.db").rename(archive / "elsewhere")
    (archive / "node.db").symlink_to("elsewhere")


def renamed_to(name: str) -> Meddling:
    """The manifest says that the settings lie at a place outside."""

    def meddle(archive: Path) -> None:
        def change(manifest: dict[str, Any]) -> None:
            manifest["files"][0]["name"] = name

        reseal(archive, change)

    return meddle


def a_file_more(name: str) -> Meddling:
    def meddle(archive: Path) -> None:
        reseal(archive, lambda manifest: manifest["files"].append({"name": name, "bytes": 0, "sha256": "0" * 64}))

    return meddle


MEDDLINGS: dict[str, tuple[Meddling, int]] = {
    "database cut short": (lambda archive: cut_short(archive / "node.db"), 1),
    "database empty": (emptied, 1),
    "database grown": (grown, 1),
    "database missing": (lambda archive: (archive / "node.db").unlink(), 1),
    "bit flip in the database": (lambda archive: flip_bit(archive / "node.db", 20_000), 1),
    "bit flip in the settings": (lambda archive: flip_bit(archive / "simpul.toml", 5), 1),
    "bit flip in a key": (lambda archive: flip_bit(archive / "keys" / "agency.pem", 120), 1),
    "bit flip in the manifest": (lambda archive: flip_bit(archive / "manifest.json", 30), 1),
    "bit flip in the seal": (lambda archive: flip_bit(archive / "manifest.sha256", 3), 1),
    "manifest cut short": (lambda archive: cut_short(archive / "manifest.json", 40), 1),
    "never finished": (lambda archive: (archive / "manifest.sha256").unlink(), 2),
    "swapped database": (another_database, 1),
    "swapped files": (swapped_files, 1),
    "damaged inside": (damaged_inside, 1),
    "of another agency": (of_another_agency, 1),
    "newer schema": (newer_schema, 2),
    "newer archive": (lambda archive: reseal(archive, lambda manifest: manifest.update(v=2)), 2),
    "a hub's": (lambda archive: reseal(archive, lambda manifest: manifest.update(kind="hub")), 2),
    "a link": (link_to_another_file, 1),
    "negative length": (
        lambda archive: reseal(archive, lambda manifest: manifest["files"][0].update(bytes=-1)),
        1,
    ),
    **{f"path {name}": (renamed_to(name), 1) for name in ("../simpul.toml", "/tmp/simpul.toml", "keys/../node.pem")},
    **{f"more {name}": (a_file_more(name), 1) for name in ("keys/../../evil.pem", "lock/checkpoint", "hub.db")},
}


@pytest.mark.parametrize("name", MEDDLINGS)
def test_a_torn_or_altered_backup_is_refused_and_leaves_nothing_behind(
    archive: Path, tmp_path: Path, name: str
) -> None:
    meddle, code = MEDDLINGS[name]
    meddle(archive)
    error = restore_node(archive, tmp_path / "again", code=code)["error"]
    assert error["next"]
    assert not (tmp_path / "again").exists()
    assert leftovers(tmp_path) == []
    assert {path.name for path in tmp_path.iterdir()} == {"archive"}


def test_path_traversal_a_key_that_would_be_written_outside_the_new_directory_is_refused(
    archive: Path, tmp_path: Path
) -> None:
    """Everything about it fits: it is there, opens with the passphrase, and has the digest that the manifest names."""
    shutil.copy(archive / "keys" / "agency.pem", tmp_path / "planted.pem")
    name = "keys/../../planted.pem"

    def add(manifest: dict[str, Any]) -> None:
        of_key = next(file for file in manifest["files"] if file["name"] == "keys/agency.pem")
        manifest["files"].append({**of_key, "name": name})

    reseal(archive, add)
    (tmp_path / "machine").mkdir()
    error = restore_node(archive, tmp_path / "machine" / "node", code=1)["error"]
    assert "names a file that no backup holds" in error["detail"]
    assert list((tmp_path / "machine").iterdir()) == []


def sha256sum(archive: Path) -> int:
    return subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "manifest.sha256"],
        cwd=archive,
        capture_output=True,
        check=False,
    ).returncode


@pytest.mark.parametrize("name", ["node.db", "simpul.toml", "manifest.json", "keys/agency.pem"])
def test_a_check_by_hand_finds_damage_in_every_file_of_a_backup(archive: Path, name: str) -> None:
    assert sha256sum(archive) == 0
    flip_bit(archive / name, 100)
    assert sha256sum(archive) != 0


def test_a_backup_whose_seal_names_the_manifest_alone_is_restored_all_the_same(archive: Path, tmp_path: Path) -> None:
    seal = archive / "manifest.sha256"
    whole = seal.read_text()
    assert len(whole.splitlines()) == 5
    seal.write_text(whole.splitlines(keepends=True)[0])
    restore_node(archive, tmp_path / "again")
    seal.write_text(whole.replace("node.db", "hub.db"))
    assert "manifest.sha256" in restore_node(archive, tmp_path / "other", code=1)["error"]["detail"]
