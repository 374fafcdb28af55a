"""Wiring of backup and restore: which files of a directory, in which order, and what the operator does next.

In an archive: settings, the database as of one moment, and keys only where asked for. Never in one: the lock store of
a hub (G6: it must not come back from a backup), the query tables (they are folded again), and what processes find each
other by.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy.engine import make_url

from node.backup.archive import (
    ARCHIVE_VERSION,
    SETTINGS,
    Kind,
    LogFacts,
    Manifest,
    check_is_free,
    check_schema,
    collect,
    copy_out,
    damaged,
    new_folder,
    open_archive,
    replace_private,
    seal,
    write_private,
)
from node.backup.key_copies import archive_keys, restore_keys
from node.backup.log_copy import log_facts, verify_log
from node.hub.lock_file import LockFile
from node.ports import Progress
from node.settings import HubSettings, NodeSettings
from node.settings_file import load_settings, write_settings
from node.store.hub_tables import HUB_REVISION
from node.store.local_store import open_local_store
from node.store.local_tables import LOCAL_REVISION
from node.store.sqlite_copy import copy_database, find_damage, rows_of, schema_of
from node.system import SystemClock
from node.wiring.file_store import file_store
from node.wiring.named_files import left_out, steps_for_missing
from sync_protocol.checkpoint import claimed_size
from sync_protocol.errors import Corrupt, Refused
from sync_protocol.values import format_timestamp

LAST_BACKUP: Final = "last-backup.json"  # in the directory: when, and how large; `doctor` reads it
Settings = HubSettings | NodeSettings

_REVISIONS: Final[Mapping[Kind, str]] = {"hub": HUB_REVISION, "node": LOCAL_REVISION}
_DAMAGED: Final = "Stop the process, copy the whole directory away, and see docs/operations.md, 'A damaged database'."


@dataclass(frozen=True)
class _Source:
    """What is to be saved."""

    kind: Kind
    settings: Settings

    def copy_to(self, target: Path, progress: Progress) -> None:
        """Its database as of one moment, as one SQLite file. Runs in a thread."""
        source = _sqlite_file(self.settings)
        if source is not None:
            copy_database(source, target, progress)
        else:
            from node.store.postgres_copy import copy_from_postgres

            copy_from_postgres(self.settings.database, target, progress)


async def backup_node(directory: Path, out: Path, *, passphrase: str | None, progress: Progress) -> dict[str, Any]:
    """`simpul node backup`: with keys if there is a `passphrase` for them."""
    settings = load_settings(directory, NodeSettings)
    return await _backup(_Source("node", settings), out, passphrase, progress)


async def backup_hub(directory: Path, out: Path, *, passphrase: str | None, progress: Progress) -> dict[str, Any]:
    """`simpul hub backup`, of a log in SQLite or in PostgreSQL: the archive is the same."""
    settings = load_settings(directory, HubSettings)
    return await _backup(_Source("hub", settings), out, passphrase, progress)


def holds_keys(archive: Path, kind: Kind) -> bool:
    """Whether a restore needs a passphrase. Raises Refused where the folder is no such backup."""
    return bool(open_archive(archive, kind).key_files)


async def restore_node(archive: Path, directory: Path, *, passphrase: str | None) -> dict[str, Any]:
    """`simpul node restore` into a new directory; `passphrase` opens the keys, None leaves them out."""
    document, settings = await _in_thread(lambda _: _restore(_Target(archive, directory, "node", passphrase)))
    steps = [] if document["keys"] else [_KEYS_BACK.format(directory=settings.keys_directory)]
    steps += await asyncio.to_thread(steps_for_missing, settings)
    steps += [_FILES_BACK.format(folder=settings.file(settings.files_directory)), _only_one("node")]
    steps += [f"simpul node serve {directory}", _REFILLS]
    return {**document, "next": document["next"] + steps}


async def restore_hub(
    archive: Path, directory: Path, *, passphrase: str | None, database_url: str = ""
) -> dict[str, Any]:
    """`simpul hub restore` into a new directory, without the lock store: that one stays where it is, or is brought.

    `database_url` names an empty PostgreSQL database, or a SQLite file in the new directory, which is the default.
    """
    target = _Target(archive, directory, "hub", passphrase, database_url)
    document, settings = await _in_thread(lambda _: _restore(target))
    assert isinstance(settings, HubSettings)
    steps = [] if document["keys"] else [_KEYS_BACK.format(directory=settings.keys_directory)]
    lock = None if settings.lock_url else _locked_size(settings)
    steps += await asyncio.to_thread(steps_for_missing, settings)
    steps.append(_FILES_BACK.format(folder=settings.file(settings.files_directory)))
    steps += [_only_one("hub"), *_lock_steps(settings, lock, document["log"]["size"]), f"simpul hub serve {directory}"]
    return {**document, "lock": {"size": lock}, "next": document["next"] + steps}


_KEYS_BACK: Final = (
    "Put the key files back into {directory} (mode 0700, files 0600) from your key backup: this backup brought none."
    " Without them, ask the hub's operator (docs/operations.md, 'Keys')."
)
_REFILLS: Final = (
    "It compares itself with the hub before it signs anything, fetches what it pushed after the backup, and goes on by"
    " itself. What was recorded after the backup and never pushed is lost."
)

_FILES_BACK: Final = (
    "Attached files are not in a backup: put your copy of them into {folder}. What is missing there comes back from the"
    " other side, node or hub (docs/operations.md, 'Files')."
)
_BRING_LOCK: Final = (
    "Bring the lock folder of the machine where the hub ran last to {folder}: the newest one, never one from a backup."
    " Without it the hub does not start, because it cannot know what it signed after this backup (docs/operations.md,"
    " 'A restored hub')."
)
_LOCK_AHEAD: Final = (
    "The lock holds a log of {locked} leaves, this backup {size}: the hub will say `recovering` and sign nothing until"
    " what is missing is back (docs/operations.md, 'A restored hub')."
)


def _only_one(kind: Kind) -> str:
    return f"See that the {kind} that this is a copy of does not run any more, on any machine."


def _lock_steps(settings: HubSettings, locked: int | None, size: int) -> list[str]:
    if settings.lock_url:
        return ["Leave the database of lock_url as it is: it is never restored."]
    if locked is None:
        return [_BRING_LOCK.format(folder=settings.file(settings.lock_directory))]
    return [_LOCK_AHEAD.format(locked=locked, size=size)] if locked > size else []


async def _backup(source: _Source, out: Path, passphrase: str | None, progress: Progress) -> dict[str, Any]:
    manifest = await _in_thread(lambda is_stopped: _write(source, out, passphrase, _heeding(progress, is_stopped)))
    return {
        "kind": manifest.kind,
        _subject_name(manifest): manifest.subject,
        "out": str(out),
        "created_at": manifest.created_at,
        "schema": manifest.database_schema,
        "keys": bool(manifest.key_files),
        "bytes": manifest.total_bytes,
        "files": msgspec.to_builtins(manifest.files),
        "attachments": await asyncio.to_thread(_attachments_of, source.settings),
        "not_in_it": await asyncio.to_thread(left_out, source.settings),
        **({} if manifest.log is None else {"log": {"size": manifest.log.size, "root": manifest.log.root}}),
    }


def _attachments_of(settings: Settings) -> dict[str, Any]:
    """Attached files, which are not in the archive: they never change, and are copied as they are."""
    store = file_store(settings)
    count, size = store.totals()
    return {"directory": str(store.directory), "files": count, "bytes": size}


def _write(source: _Source, out: Path, passphrase: str | None, progress: Progress) -> Manifest:
    """Runs in a thread. The archive appears when all of it is written, read again and on the disk."""
    settings, database = source.settings, f"{source.kind}.db"
    created_at = format_timestamp(SystemClock().now_ms())  # whatever was committed before this moment is in it
    with new_folder(out) as folder:
        source.copy_to(folder / database, progress)
        schema = _verified_schema(folder / database, source.kind)
        if schema > _REVISIONS[source.kind]:
            step = "Install the newest version of the program."
            detail = f"the database is of a later version of the program (schema {schema})"
            raise Refused("configuration", detail, members={"next": step})
        subject, log = _facts(source.kind, folder / database)
        write_private(folder / SETTINGS, (settings.directory / SETTINGS).read_bytes())
        keys = []
        if passphrase is not None:
            keys = archive_keys(settings.keys_directory, settings.passphrase(), folder, passphrase)
        manifest = Manifest(
            v=ARCHIVE_VERSION,
            kind=source.kind,
            subject=subject,
            database_schema=schema,
            program=version("simpul"),
            created_at=created_at,
            files=collect(folder, [SETTINGS, database, *keys]),
            log=log,
        )
        seal(folder, manifest)
    note = {"at": created_at, "bytes": manifest.total_bytes, "keys": bool(keys)}
    replace_private(settings.directory / LAST_BACKUP, note)
    return manifest


def _verified_schema(copy: Path, kind: Kind) -> str:
    """Of a fresh copy that is whole. Raises Corrupt: then the original is damaged."""
    damage, schema = find_damage(copy), None
    if damage is None:
        schema = schema_of(copy)
        damage = None if schema else "it holds no tables of this program"
    if damage is not None or schema is None:
        raise Corrupt(f"the {kind}'s database is damaged: {damage}", next_step=_DAMAGED)
    return schema


def _facts(kind: Kind, database: Path) -> tuple[str, LogFacts | None]:
    if kind == "hub":
        return log_facts(database)
    rows = rows_of(database, "SELECT agency FROM node WHERE id = 1")
    if not rows:
        step = "Enrol it first: simpul node enrol …"
        raise Refused(
            "configuration", "this node is not enrolled yet: there is nothing to save", members={"next": step}
        )
    return str(rows[0][0]), None


@dataclass(frozen=True)
class _Target:
    """What is to be restored, and to where."""

    archive: Path
    directory: Path
    kind: Kind
    passphrase: str | None
    database_url: str = ""


def _restore(target: _Target) -> tuple[dict[str, Any], Settings]:
    """Runs in a thread. The directory appears when everything in it is verified and on the disk."""
    check_is_free(target.directory)
    manifest = open_archive(target.archive, target.kind)
    has_keys = bool(manifest.key_files) and target.passphrase is not None
    with new_folder(target.directory) as folder:
        for file in manifest.files:
            if not file.name.startswith("keys/"):
                copy_out(target.archive, file, folder / file.name)
        database = folder / manifest.database
        _verify_database(database, manifest)
        if target.kind == "node":
            _call_old(database)
        settings = _settle_settings(folder, target)
        steps: list[str] = []
        if manifest.key_files and target.passphrase is not None:
            steps = _put_keys(target.archive, manifest, folder, target.passphrase, settings)
        if _sqlite_file(settings) is None:  # last: from here on nothing of ours can be wrong any more
            from node.store.postgres_copy import copy_into_postgres

            copy_into_postgres(database, settings.database)
            database.unlink()
    document: dict[str, Any] = {
        "kind": target.kind,
        _subject_name(manifest): manifest.subject,
        "directory": str(target.directory),
        "created_at": manifest.created_at,
        "keys": has_keys,
        "bytes": manifest.total_bytes,
        "next": steps,
    }
    if manifest.log is not None:
        document["log"] = {"size": manifest.log.size, "root": manifest.log.root}
    return document, load_settings(target.directory, type(settings))


def _call_old(database: Path) -> None:
    """A restored node shows nobody what was said before it knows from the hub what was erased since."""

    async def work() -> None:
        store = await open_local_store(database)
        try:
            await store.set_behind(is_behind=True)
        finally:
            await store.close()

    asyncio.run(work())


def _verify_database(database: Path, manifest: Manifest) -> None:
    """Raises Refused: damaged-backup, configuration."""
    damage = find_damage(database)
    if damage is not None:
        raise damaged(f"its database is damaged: {damage}")
    check_schema(manifest, schema_of(database) or "none", _REVISIONS[manifest.kind])
    try:
        subject, log = _facts(manifest.kind, database)
        if log is not None:
            verify_log(database, log)
    except Corrupt as error:
        raise damaged(f"its log does not hold: {error.detail}") from None
    if (subject, log) != (manifest.subject, manifest.log):
        raise damaged("its database says something else of itself than its manifest")


def _settle_settings(folder: Path, target: _Target) -> Settings:
    """A database that lay elsewhere lies where it is told to: a restored copy must never open the original's."""
    model: type[Settings] = HubSettings if target.kind == "hub" else NodeSettings
    settings: Settings = load_settings(folder, model)
    if _sqlite_file(settings) is None and not target.database_url:
        step = "Name an empty one: --database-url postgresql+asyncpg://…; or, for a file, sqlite+aiosqlite:///hub.db"
        raise Refused("configuration", "this hub's log was in PostgreSQL", members={"next": step})
    own = {"database_url": target.database_url} | ({"projection_url": ""} if target.kind == "hub" else {})
    if any(getattr(settings, name) != value for name, value in own.items()):
        write_settings(settings.model_copy(update=own), replace=True)
        settings = load_settings(folder, model)
    if settings.database_url != target.database_url or _sqlite_file(settings) not in (
        None,
        folder / f"{target.kind}.db",
    ):
        step = "Take SIMPUL_DATABASE_URL out of the environment, and name no file elsewhere; then restore again."
        raise Refused("configuration", "another database is named for this directory", members={"next": step})
    return settings


def _put_keys(archive: Path, manifest: Manifest, folder: Path, passphrase: str, settings: Settings) -> list[str]:
    """Under the passphrase that the settings name; if that cannot be read here, they stay under the archive's."""
    steps = []
    try:
        passphrase_there = settings.passphrase()
    except Refused:
        passphrase_there = passphrase
        steps.append(
            f"Put the passphrase of this backup into {settings.key_passphrase_file} (mode 0600), relative to the"
            " directory: the key files are protected by it now."
        )
    restore_keys(archive, manifest, folder, passphrase, passphrase_there)
    return steps


def _sqlite_file(settings: Settings) -> Path | None:
    """Where the database is; None if it is in PostgreSQL."""
    url = make_url(settings.database)
    return Path(url.database or "") if url.get_backend_name() == "sqlite" else None


def _locked_size(settings: HubSettings) -> int | None:
    """How many leaves the lock folder holds, None if there is none yet."""
    kept = LockFile(settings.file(settings.lock_directory) / "checkpoint").read()
    return None if kept is None else claimed_size(kept.note)


def _subject_name(manifest: Manifest) -> str:
    return "origin" if manifest.kind == "hub" else "agency"


class _StoppedError(Exception):
    """The command was interrupted while a thread was copying."""


async def _in_thread(work: Callable[[threading.Event], Any]) -> Any:
    """Beside the event loop; an interrupt reaches the copying at its next piece."""
    stopped = threading.Event()
    task = asyncio.ensure_future(asyncio.to_thread(work, stopped))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stopped.set()
        await asyncio.gather(task, return_exceptions=True)  # it clears away what it had begun
        raise


def _heeding(progress: Progress, stopped: threading.Event) -> Progress:
    def told(done: int, total: int) -> None:
        if stopped.is_set():
            raise _StoppedError
        progress(done, total)

    return told
