"""A node's backup, and what somebody may do to one: for the tests of what a restore lets in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.edge.import_support import sp4n_row, write_csv
from tests.edge.program import told
from tests.edge.whole_way import HubDirectory, NodeDirectory, serving_hub

PASSPHRASE = "kuda lumping batik tulis"
WITH_PASSPHRASE = {"SIMPUL_BACKUP_PASSPHRASE": PASSPHRASE}

Meddling = Callable[[Path], None]


def reseal(archive: Path, change: Callable[[dict[str, Any]], None] = lambda _: None) -> None:
    """The manifest, made to fit whatever was done to the files, and sealed again: what no accident does."""
    manifest = json.loads((archive / "manifest.json").read_text())
    for file in manifest["files"]:
        data = (archive / file["name"]).read_bytes()
        file |= {"bytes": len(data), "sha256": sha256(data).hexdigest()}
    change(manifest)
    text = json.dumps(manifest).encode()
    (archive / "manifest.json").write_bytes(text)
    (archive / "manifest.sha256").write_text(f"{sha256(text).hexdigest()}  manifest.json\n")


def flip_bit(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def cut_short(path: Path, by: int = 1) -> None:
    path.write_bytes(path.read_bytes()[:-by])


def leftovers(folder: Path) -> list[str]:
    """Hidden folders of a backup or restore that did not come to its end."""
    return sorted(path.name for path in folder.iterdir() if path.name.endswith(".new"))


def all_bytes(folder: Path) -> bytes:
    """Of every file in it."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


@dataclass
class SavedNode:
    """A hub that serves, a node with five complaints that are there, and a backup of it with its keys."""

    folder: Path
    hub: HubDirectory
    node: NodeDirectory
    archive: Path


@contextmanager
def saved_node(folder: Path) -> Iterator[SavedNode]:
    """In `folder`."""
    with serving_hub(folder) as hub:
        node = NodeDirectory(folder / "node")
        node.enrol(hub)
        node.import_(complaints(folder, range(1, 6)))
        node.push()
        told("node", "backup", node.directory, folder / "archive", "--with-keys", env=WITH_PASSPHRASE)
        yield SavedNode(folder, hub, node, folder / "archive")


def complaints(folder: Path, numbers: range) -> Path:
    """A file to import, one complaint for each number."""
    return write_csv(folder / f"{numbers.start}.csv", [sp4n_row(number) for number in numbers])


def restore_node(archive: Path, directory: Path, *options: str, code: int = 0) -> Any:
    """The document of `simpul node restore`."""
    return told("node", "restore", archive, directory, *options, code=code, env=WITH_PASSPHRASE)
