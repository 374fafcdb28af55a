"""Key files: one private key each, 0600, in a 0700 directory.

What the caller may rely on:

- A file appears whole and on disk, or not at all; nothing that is already there (a key, a link, a directory) is ever
  overwritten or followed. Of several creators exactly one wins.
- A key that others could have read or replaced is not used: loose permissions, foreign owners and symbolic links are
  refused with the command that mends them.

Errors: Refused `unsafe-key-file` (permissions) and `configuration` (missing, exists already, passphrase); Corrupt for
a damaged file; OSError where the disk itself fails.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from pathlib import Path
from typing import Final, NoReturn

from keys.pem import format_pem, parse_pem
from keys.signer import Ed25519Signer, PrivateKey, SealingKey
from sync_protocol.errors import Refused

KEY_FILE_MAX_BYTES: Final = 16_384  # a PEM of ours has under 500; whatever is longer is not a key
FILE_MODE: Final = 0o600
DIRECTORY_MODE: Final = 0o700
_OTHERS: Final = 0o077
_LEFTOVER_PATTERN: Final = ".{name}.*.new"


def make_key_directory(directory: Path) -> None:
    """Create it (0700) if it is not there, and check it. Its parent must exist.

    Raises Refused(unsafe-key-file) where others may look in.
    """
    try:
        directory.mkdir(DIRECTORY_MODE)
    except FileExistsError:
        check_key_directory(directory)
        return
    directory.chmod(DIRECTORY_MODE)  # whatever the umask took away
    sync_directory(directory.parent)


def check_key_directory(directory: Path) -> None:
    """Raises Refused: unsafe-key-file if others may look in, configuration if it is missing."""
    try:
        found = directory.lstat()
    except FileNotFoundError:
        _missing(directory)
    if not stat.S_ISDIR(found.st_mode):
        _unsafe(f"{directory} is not a directory of its own", f"Put the keys into a real directory at {directory}.")
    _check_owner(found, directory)
    if found.st_mode & _OTHERS:
        _unsafe(f"others may enter the key directory {directory} ({_mode(found)})", f"chmod 700 {directory}")


def save_key(path: Path, key: PrivateKey, passphrase: str | None = None) -> None:
    """Write a new key file; the directory is made if needed.

    Raises Refused: configuration if anything is at `path` already (it is left alone), unsafe-key-file.
    """
    text = format_pem(key, passphrase)
    make_key_directory(path.parent)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    try:
        _write_new(fresh, text)
        _link_new(fresh, path)
    finally:
        # A crash before this line leaves the hidden file: never loaded, 0600, swept by the next creator that wins.
        fresh.unlink(missing_ok=True)
    sync_directory(path.parent)
    for leftover in path.parent.glob(_LEFTOVER_PATTERN.format(name=path.name)):
        leftover.unlink(missing_ok=True)


def create_key(path: Path, random32: bytes, passphrase: str | None = None) -> Ed25519Signer:
    """A new Ed25519 key in a new file. Raises as `save_key` does."""
    signer = Ed25519Signer.generate(random32)
    save_key(path, signer, passphrase)
    return signer


def create_sealing_key(path: Path, random32: bytes, passphrase: str | None = None) -> SealingKey:
    """A new X25519 key in a new file. Raises as `save_key` does."""
    key = SealingKey.generate(random32)
    save_key(path, key, passphrase)
    return key


def load_key(path: Path, passphrase: str | None = None) -> Ed25519Signer:
    """The signer in a file. Raises Refused(unsafe-key-file, configuration) and Corrupt."""
    key = load_any_key(path, passphrase)
    if not isinstance(key, Ed25519Signer):
        raise Refused("configuration", f"{path} holds a sealing key (X25519) where a signing key (Ed25519) is wanted")
    return key


def load_sealing_key(path: Path, passphrase: str | None = None) -> SealingKey:
    """The X25519 key in a file. Raises Refused(unsafe-key-file, configuration) and Corrupt."""
    key = load_any_key(path, passphrase)
    if not isinstance(key, SealingKey):
        raise Refused("configuration", f"{path} holds a signing key (Ed25519) where a sealing key (X25519) is wanted")
    return key


def load_any_key(path: Path, passphrase: str | None = None) -> PrivateKey:
    """The key in a file, of either kind. Raises Refused(unsafe-key-file, configuration) and Corrupt."""
    check_key_directory(path.parent)
    return parse_pem(_read_private(path), passphrase, name=str(path))


def sync_directory(directory: Path) -> None:
    """Have the names in a directory on disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_new(path: Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, FILE_MODE)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
        os.fchmod(descriptor, FILE_MODE)
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def _link_new(fresh: Path, path: Path) -> None:
    """Give the written file its name, unless the name is taken: link() is the test and the act in one."""
    try:
        os.link(fresh, path, follow_symlinks=False)
    except FileExistsError:
        _taken(path)
    except FileNotFoundError:
        if not path.is_symlink() and not path.exists():
            raise
        _taken(path)  # another creator won and swept our file away


def _read_private(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        _missing(path)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        _unsafe(f"{path} is a symbolic link", "Put the key file itself there.")
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor, not a path
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            _unsafe(f"{path} is not a plain file", "Put the key file itself there.")
        _check_owner(found, path)
        if found.st_mode & _OTHERS:
            step = f"If nobody can have copied it: chmod 600 {path}. If somebody can: rotate the key afterwards."
            _unsafe(f"others may read or change the key file {path} ({_mode(found)})", step)
        return file.read(KEY_FILE_MAX_BYTES)


def _check_owner(found: os.stat_result, path: Path) -> None:
    """Ours, or root's; root itself may use anybody's (an operator looks after a service's directory)."""
    user = os.geteuid()
    if user != 0 and found.st_uid not in (0, user):
        _unsafe(f"{path} belongs to another user", f"Run as that user, or as root: chown -R $(id -un) {path}")


def _mode(found: os.stat_result) -> str:
    return f"mode {stat.S_IMODE(found.st_mode):04o}"


def _unsafe(detail: str, next_step: str) -> NoReturn:
    raise Refused("unsafe-key-file", detail, members={"next": next_step})


def _missing(path: Path) -> NoReturn:
    step = "Check the directory you named. `simpul node enrol` makes a node's keys, `simpul hub init` a hub's."
    raise Refused("configuration", f"{path} is not there", members={"next": step})


def _taken(path: Path) -> NoReturn:
    step = "Use the key that is there, or choose another directory. Keys are never overwritten."
    raise Refused("configuration", f"{path} is there already and was left as it is", members={"next": step})
