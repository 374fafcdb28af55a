"""The machine under a hub or a node: room on the disk, who may read the files, the database file, the last backup."""

from __future__ import annotations

import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from node.doctor.findings import Finding, Words, fail, ok, warn
from node.store.sqlite_copy import find_damage, schema_of
from sync_protocol.errors import Refused
from sync_protocol.values import parse_timestamp

MIB: Final = 1024 * 1024
QUICK_CHECK_MAX_BYTES: Final = 512 * MIB  # seconds to read through; a larger database is checked by each backup
NOTE_MAX_BYTES: Final = 4_096  # of last-backup.json, which has three members
BACKUP_OLD_DAYS: Final = 8  # a weekly backup, and a day for whoever makes it
_DAY_MS: Final = 86_400_000
_OTHERS: Final = 0o077


@dataclass(frozen=True, slots=True)
class Room:
    """Below which free space and inodes a disk is short, and below which it is as good as full."""

    bytes_short: int = 1024 * MIB
    bytes_full: int = 100 * MIB
    inodes_short: int = 10_000
    inodes_full: int = 500


def check_disk(folder: Path, room: Room = Room()) -> Finding:
    """That `folder` can be written, and for how long."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x" * 4_096)
    except OSError as error:
        detail = Words(
            f"{folder} cannot be written: {error.strerror}", f"{folder} tidak dapat ditulisi: {error.strerror}"
        )
        step = Words(
            "Look for a full disk, one that is mounted read-only, or another owner; then start again.",
            "Periksa apakah disk penuh, hanya-baca, atau pemiliknya lain; lalu jalankan lagi.",
        )
        return fail("disk", detail, step)
    found = os.statvfs(folder)
    free, inodes = found.f_bavail * found.f_frsize, found.f_favail
    short_of_inodes = found.f_files > 0 and inodes < room.inodes_short  # some file systems have no table of them
    detail = Words(
        f"{free // MIB:,} MiB and {inodes:,} inodes are free for {folder}",
        f"{free // MIB:,} MiB dan {inodes:,} inode masih bebas untuk {folder}",
    )
    step = Words(
        "Free some space, or move the directory to a larger disk. When it is full nothing more is taken in.",
        "Kosongkan ruang atau pindahkan direktori ke disk yang lebih besar. Bila penuh, tidak ada lagi yang diterima.",
    )
    if free < room.bytes_full or (found.f_files > 0 and inodes < room.inodes_full):
        return fail("disk", detail, step)
    if free < room.bytes_short or short_of_inodes:
        return warn("disk", detail, step)
    return ok("disk", detail)


def check_permissions(directory: Path, owner: int | None = None) -> Finding:
    """That nobody else reads what citizens said, and that all files are the `owner`'s, by default the directory's."""
    top = directory.stat()
    owner = top.st_uid if owner is None else owner
    is_shut = not top.st_mode & _OTHERS  # whoever cannot enter reads nothing in it
    for path in sorted(directory.rglob("*")):
        try:
            found = path.lstat()
        except FileNotFoundError:
            continue  # a write-ahead log that was just put away
        if found.st_uid != owner:
            return fail(
                "permissions",
                Words(
                    f"{path} belongs to another user than {directory}: a command was run as somebody else",
                    f"{path} milik pengguna lain daripada {directory}: perintah dijalankan sebagai pengguna lain",
                ),
                Words(f"chown -R --reference={directory} {directory}", f"chown -R --reference={directory} {directory}"),
            )
        if stat.S_ISREG(found.st_mode) and found.st_mode & _OTHERS and not is_shut:
            mode = stat.S_IMODE(found.st_mode)
            return fail(
                "permissions",
                Words(
                    f"others may read {path} (mode {mode:04o})", f"pengguna lain dapat membaca {path} (mode {mode:04o})"
                ),
                Words(f"chmod 700 {directory}", f"chmod 700 {directory}"),
            )
    return ok("permissions", Words("only the owner reads the directory", "hanya pemilik yang dapat membaca direktori"))


def check_database(path: Path, newest: str) -> Finding:
    """A SQLite file: there, whole, and of a schema that this program knows. Waits for the disk."""
    if not path.is_file():
        step = Words(
            "Check the directory; restore a backup if it is lost.", "Periksa direktori; pulihkan cadangan bila hilang."
        )
        return fail("database", Words(f"{path} is not there", f"{path} tidak ada"), step)
    is_small = path.stat().st_size <= QUICK_CHECK_MAX_BYTES
    damage = find_damage(path) if is_small else None
    if damage is not None:
        step = Words(
            "Stop the process, copy the directory away, and see docs/operations.md, 'A damaged database'.",
            "Hentikan proses, salin seluruh direktorinya, lalu lihat docs/operations.md, 'A damaged database'.",
        )
        return fail("database", Words(f"{path} is damaged: {damage}", f"{path} rusak: {damage}"), step)
    schema = schema_of(path)
    if schema is None or schema > newest:
        step = Words("Install the version of the program that made it.", "Pasang versi program yang membuatnya.")
        detail = Words(
            f"{path} has schema {schema or 'none'}, this program knows {newest}",
            f"{path} memiliki skema {schema or 'kosong'}, program ini mengenal {newest}",
        )
        return fail("database", detail, step)
    if schema < newest:
        step = Words(
            "Stop what still runs of the old version, and start again: the first command brings it forward.",
            "Hentikan versi lama yang masih berjalan, lalu jalankan lagi: perintah pertama akan memperbaruinya.",
        )
        detail = Words(f"{path} has the older schema {schema}", f"{path} masih memakai skema lama {schema}")
        return warn("database", detail, step)
    how = (
        Words("whole", "utuh")
        if is_small
        else Words("too large to be read through here", "terlalu besar untuk dibaca di sini")
    )
    return ok("database", Words(f"{path} has schema {schema}, {how.en}", f"{path} memiliki skema {schema}, {how.id}"))


def check_backup(note: Path, now_ms: int, command: str) -> Finding:
    """How old the last backup is, by the note that it left. `command` makes one."""
    step = Words(
        f"Make one, and take it to another machine: {command}", f"Buat cadangan dan simpan di mesin lain: {command}"
    )
    try:
        with note.open("rb") as file:
            at_ms = parse_timestamp(msgspec.json.decode(file.read(NOTE_MAX_BYTES))["at"])
    except (OSError, msgspec.DecodeError, Refused, KeyError, TypeError):
        detail = Words(
            "no backup was ever made with `simpul … backup`", "belum pernah ada cadangan dengan `simpul … backup`"
        )
        return warn("backup", detail, step)
    days = (now_ms - at_ms) // _DAY_MS
    detail = Words(f"the last backup is {days} day(s) old", f"cadangan terakhir berumur {days} hari")
    return warn("backup", detail, step) if days >= BACKUP_OLD_DAYS else ok("backup", detail)
