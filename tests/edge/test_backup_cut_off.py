"""A backup that is interrupted or killed half-way leaves nothing that looks like one."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.edge.archives import leftovers
from tests.edge.program import Running, spawn, told
from tests.edge.whole_way import NodeDirectory, serving_hub

pytestmark = pytest.mark.slow

TRIES = 5  # a busy machine may look away for as long as a backup takes
BALLAST_MIB = 400  # half a second of copying, where disks are fast


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Path]:
    """A node with a large database."""
    with serving_hub(tmp_path) as hub:
        made = NodeDirectory(tmp_path / "node")
        made.enrol(hub)
    with closing(sqlite3.connect(made.directory / "node.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("CREATE TABLE ballast (words BLOB)")
        for _ in range(BALLAST_MIB // 8):
            connection.execute("INSERT INTO ballast VALUES (zeroblob(8388608))")
    yield made.directory
    (made.directory / "node.db").unlink()  # pytest keeps the folders of its last runs


def _has_begun(file: Path) -> bool:
    with suppress(FileNotFoundError):  # it was done in between
        return file.stat().st_size > 0
    return False


def begun(node: Path, folder: Path) -> Running:
    """A backup into `folder`, once it has begun to copy."""
    folder.mkdir()
    running = spawn("node", "backup", node, folder / "archive")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if (folder / "archive").exists() or any(_has_begun(path) for path in folder.glob(".*.new/node.db")):
            return running
        time.sleep(0.005)
    raise AssertionError(f"the backup never began: {running.said()}")


def cut_off(node: Path, folder: Path, how: signal.Signals) -> int:
    """How a backup ended that was sent this signal while it copied."""
    for _ in range(TRIES):
        running = begun(node, folder)
        assert running.process.pid is not None
        with suppress(ProcessLookupError):
            os.kill(running.process.pid, how)
        code = running.wait().code
        if not (folder / "archive").exists():
            return code
        shutil.rmtree(folder)  # it was done before the signal came
        (node / "last-backup.json").unlink(missing_ok=True)
    raise AssertionError(f"{TRIES} backups were done before they could be cut off")


def test_an_interrupted_backup_clears_away_what_it_wrote(node: Path, tmp_path: Path) -> None:
    assert cut_off(node, tmp_path / "usb", signal.SIGINT) != 0
    assert list((tmp_path / "usb").iterdir()) == []
    assert not (node / "last-backup.json").exists()


def test_a_killed_backup_leaves_a_hidden_folder_and_the_next_one_is_whole(node: Path, tmp_path: Path) -> None:
    cut_off(node, tmp_path / "usb", signal.SIGKILL)
    assert len(leftovers(tmp_path / "usb")) == 1
    told("node", "backup", node, tmp_path / "usb" / "archive")
    restored = told("node", "restore", tmp_path / "usb" / "archive", tmp_path / "again")
    assert restored["agency"] == "64.72"
    for place in ("usb", "again"):
        shutil.rmtree(tmp_path / place)
