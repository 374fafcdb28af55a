"""The archive of one directory: a folder of plain files, with a manifest that names each by size and SHA-256.

    OUT/simpul.toml        settings, as they were
    OUT/node.db, hub.db    the database, consistent as of one moment
    OUT/keys/*.pem         only where asked for, and then encrypted
    OUT/manifest.json      what this is, and every file
    OUT/manifest.sha256    of the manifest and of every file, written last: without it there is no backup

`sha256sum -c manifest.sha256` checks all of it on any machine. A folder appears under its name when everything in it
is on the disk, or not at all. Nothing in an archive is believed: names are of one narrow form, sizes bound what is
read, links are not followed. Raises Refused: `damaged-backup` for what is not as it was written, `configuration` where
a name or a folder was chosen wrongly; and OSError where the disk fails.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from io import BufferedWriter
from pathlib import Path
from typing import Annotated, Final, Literal, NoReturn

import msgspec

from keys.key_file import sync_directory
from node.files.disk import open_new, write_whole
from sync_protocol.errors import Refused

ARCHIVE_VERSION: Final = 1
MANIFEST: Final = "manifest.json"
SEAL: Final = "manifest.sha256"
SETTINGS: Final = "simpul.toml"
FILES_MAX: Final = 1_000  # a database, settings, and the keys of a lifetime
MANIFEST_MAX_BYTES: Final = 512 * 1024  # that many lines and a checkpoint note

_NAME: Final = re.compile(r"(?:keys/[a-z]+(?:\.[A-Za-z0-9_-]{1,64})?\.pem|simpul\.toml|node\.db|hub\.db)")
_CHUNK_BYTES: Final = 1024 * 1024
_OPEN_PLAIN: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_OTHER_COPY: Final = "Use another backup; keep this one as it is if there is no other."

Kind = Literal["hub", "node"]


class ArchivedFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file; `name` is its path in the archive, `sha256` in hex."""

    name: str
    bytes: Annotated[int, msgspec.Meta(ge=0)]
    sha256: str


class LogFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Of a hub: its newest checkpoint in the copied database. `root` in base64, `note` as it was signed."""

    size: int
    root: str
    note: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an archive says of itself. `subject` is the agency of a node, the origin of a hub."""

    v: int
    kind: Kind
    subject: str
    database_schema: str
    program: str
    created_at: str
    files: list[ArchivedFile]
    log: LogFacts | None = None

    @property
    def database(self) -> str:
        """The name of its database."""
        return f"{self.kind}.db"

    @property
    def key_files(self) -> list[ArchivedFile]:
        """Those with keys."""
        return [file for file in self.files if file.name.startswith("keys/")]

    @property
    def total_bytes(self) -> int:
        """Of all files."""
        return sum(file.bytes for file in self.files)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A private folder beside `target` that takes its place when the block ends well, and is gone otherwise.

    `target` must be empty or not there. A crash leaves at most a hidden folder that nothing reads.
    """
    target = Path(os.path.abspath(target))  # noqa: PTH100 - resolve() would follow a link that is to be refused
    check_is_free(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = target.with_name(f".{target.name}.{secrets.token_hex(8)}.new")
    staging.mkdir(0o700)
    try:
        yield staging
        _sync_tree(staging)
        try:
            staging.rename(target)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY, errno.ENOTDIR}:
                raise
            _in_use(target)
        sync_directory(target.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def check_is_free(target: Path) -> None:
    """Raises Refused(configuration) where anything is at `target` but an empty folder."""
    if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
        _in_use(target)


def _in_use(target: Path) -> NoReturn:
    step = "Name a new folder, or an empty one. Nothing that is there is ever written over."
    raise Refused("configuration", f"{target} is in use", members={"next": step})


def describe_file(folder: Path, name: str) -> ArchivedFile:
    """A file of the archive that is being written."""
    digest, size = sha256(), 0
    with (folder / name).open("rb") as file:
        while part := file.read(_CHUNK_BYTES):
            digest.update(part)
            size += len(part)
    return ArchivedFile(name=name, bytes=size, sha256=digest.hexdigest())


def write_private(path: Path, data: bytes) -> None:
    """A new file, 0600, on the disk."""
    with os.fdopen(open_new(path), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def seal(folder: Path, manifest: Manifest) -> None:
    """Ends the writing of an archive: manifest, then the lines that vouch for it and for every file."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"
    write_private(folder / MANIFEST, text)
    write_private(folder / SEAL, _seal_of(text) + _seals_of_files(manifest))


def _seal_of(manifest_text: bytes) -> bytes:
    """The line of the manifest, as `sha256sum` writes it."""
    return f"{sha256(manifest_text).hexdigest()}  {MANIFEST}\n".encode()


def _seals_of_files(manifest: Manifest) -> bytes:
    """The lines of the files."""
    return "".join(f"{file.sha256}  {file.name}\n" for file in manifest.files).encode()


def open_archive(folder: Path, kind: Kind) -> Manifest:
    """What the archive in `folder` says of itself; its files are verified as they are copied out."""
    if not (folder / SEAL).is_file() or not (folder / MANIFEST).is_file():
        step = "Name the folder that `backup` wrote. One without a manifest was never finished: use another."
        raise Refused("configuration", f"{folder} holds no backup", members={"next": step})
    text = _read_small(folder / MANIFEST)
    sealed = _read_small(folder / SEAL)
    if not sealed.startswith(_seal_of(text)):
        _damaged("the manifest is not the one that was written")
    try:
        version = msgspec.json.decode(text, type=dict[str, msgspec.Raw]).get("v")
        if version is None or bytes(version) != str(ARCHIVE_VERSION).encode():
            _too_new("this backup")
        manifest = msgspec.json.decode(text, type=Manifest)
    except msgspec.DecodeError:
        _damaged("the manifest is not of the form that this program writes")
    if manifest.kind != kind:
        step = f"Use `simpul {manifest.kind} restore …`."
        raise Refused("configuration", f"{folder} is the backup of a {manifest.kind}", members={"next": step})
    _check_names(manifest)
    if sealed.removeprefix(_seal_of(text)) not in (
        b"",
        _seals_of_files(manifest),
    ):  # early ones sealed the manifest alone
        _damaged(f"{SEAL} is not the one that was written")
    return manifest


def _check_names(manifest: Manifest) -> None:
    """Exactly what a directory consists of, each once; no name leads out of the folder."""
    names = [file.name for file in manifest.files]
    for name in names:
        if not _NAME.fullmatch(name):
            _damaged("the manifest names a file that no backup holds")
    wanted = {SETTINGS, manifest.database}
    others = {name for name in names if not name.startswith("keys/")}
    if others != wanted or len(set(names)) != len(names) or len(names) > FILES_MAX:
        _damaged("the manifest does not name the files that a backup consists of")
    if (manifest.log is None) == (manifest.kind == "hub"):
        _damaged("the manifest does not say what it should of the log")


def copy_out(folder: Path, file: ArchivedFile, target: Path) -> None:
    """Copies a file, private, and verifies it on the way: size, then digest."""
    digest, left = sha256(), file.bytes
    descriptor = _open_plain(folder / file.name)
    with os.fdopen(descriptor, "rb") as source, _create(target) as copy:
        while left and (part := source.read(min(left, _CHUNK_BYTES))):
            digest.update(part)
            copy.write(part)
            left -= len(part)
        is_longer = bool(source.read(1))
    if left:
        _damaged(f"{file.name} is cut short: {left} of {file.bytes} bytes are missing")
    if is_longer or digest.hexdigest() != file.sha256:
        _damaged(f"{file.name} is not the file that was written: its SHA-256 differs")


def read_out(folder: Path, file: ArchivedFile, bytes_max: int) -> bytes:
    """The same for a small file, as bytes."""
    if file.bytes > bytes_max:
        _damaged(f"{file.name} is too long")
    data = _read_small(folder / file.name, bytes_max)
    if len(data) != file.bytes or sha256(data).hexdigest() != file.sha256:
        _damaged(f"{file.name} is not the file that was written: its SHA-256 differs")
    return data


def check_schema(manifest: Manifest, found: str, newest: str) -> None:
    """Raises Refused if the database is not of the schema that the manifest names, or of a later program."""
    if found != manifest.database_schema:
        _damaged(f"its database has schema {found}, its manifest says {manifest.database_schema}")
    if not found.isdigit() or found > newest:
        _too_new(f"its database (schema {found}, this program knows {newest})")


def collect(folder: Path, names: Sequence[str]) -> list[ArchivedFile]:
    """All files that were written."""
    return [describe_file(folder, name) for name in names]


def replace_private(path: Path, document: Mapping[str, object]) -> None:
    """A small JSON document, whole or as it was before; 0600."""
    write_whole(path, msgspec.json.encode(document) + b"\n")


def _open_plain(path: Path) -> int:
    """A plain file, by itself: no link, no device, no pipe."""
    try:
        descriptor = os.open(path, _OPEN_PLAIN)
    except FileNotFoundError:
        _damaged(f"{path.name} is missing")
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        _damaged(f"{path.name} is a link")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        _damaged(f"{path.name} is no plain file")
    return descriptor


def _read_small(path: Path, bytes_max: int = MANIFEST_MAX_BYTES) -> bytes:
    with os.fdopen(_open_plain(path), "rb") as file:
        data = file.read(bytes_max + 1)
    if len(data) > bytes_max:
        _damaged(f"{path.name} is too long")
    return data


@contextmanager
def _create(path: Path) -> Iterator[BufferedWriter]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        yield file


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_dir():
            sync_directory(path)
        else:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    sync_directory(folder)


def damaged(detail: str) -> Refused:
    """What is in an archive is not what was written."""
    return Refused("damaged-backup", detail, members={"next": _OTHER_COPY})


def _damaged(detail: str) -> NoReturn:
    raise damaged(detail)


def _too_new(what: str) -> NoReturn:
    step = "Install the newest version of the program, then restore again."
    raise Refused("configuration", f"{what} is of a later version of the program", members={"next": step})
