"""A node's backup, and what somebody may do to one: for the tests of what a restore lets in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.edge.place import Place, settled_place
from tests.edge.program import told

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
class Saved(Place):
    """And a backup of one of the two, with its keys."""

    archive: Path


@contextmanager
def saved(folder: Path, role: str) -> Iterator[Saved]:
    """In `folder`, a backup of its "hub" or its "node"."""
    with settled_place(folder) as place:
        told(role, "backup", folder / role, folder / "archive", "--with-keys", env=WITH_PASSPHRASE)
        yield Saved(place.folder, place.hub, place.node, folder / "archive")


def restore_node(archive: Path, directory: Path, *options: str, code: int = 0) -> Any:
    """The document of `simpul node restore`."""
    return told("node", "restore", archive, directory, *options, code=code, env=WITH_PASSPHRASE)
