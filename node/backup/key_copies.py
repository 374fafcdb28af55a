"""Private keys in an archive: only encrypted, under a passphrase that belongs to the archive alone.

Whatever the key files were protected with on the machine, in the archive each stands under the given passphrase: who
finds the archive has nothing, and who has archive and passphrase has everything.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from keys.key_file import KEY_FILE_MAX_BYTES, load_any_key, make_key_directory, save_key
from keys.pem import check_passphrase, format_pem, parse_pem
from node.backup.archive import Manifest, read_out, write_private

KEYS: Final = "keys"


def archive_keys(directory: Path, passphrase_there: str | None, folder: Path, passphrase: str) -> list[str]:
    """Every key of `directory`, encrypted, into the archive at `folder`; their names in it.

    Raises Refused (configuration: a passphrase that is empty or too short; unsafe-key-file), Corrupt.
    """
    check_passphrase(passphrase)
    (folder / KEYS).mkdir(0o700)
    names = []
    for path in sorted(directory.glob("*.pem")):
        key = load_any_key(path, passphrase_there)
        name = f"{KEYS}/{path.name}"
        write_private(folder / name, format_pem(key, passphrase))
        names.append(name)
    return names


def restore_keys(
    archive: Path, manifest: Manifest, folder: Path, passphrase: str, passphrase_there: str | None
) -> None:
    """The keys of an archive into the new directory at `folder`, there under its own passphrase (None: plain files).

    Raises Refused (configuration: the passphrase does not open them; damaged-backup), Corrupt.
    """
    make_key_directory(folder / KEYS)
    for file in manifest.key_files:
        data = read_out(archive, file, KEY_FILE_MAX_BYTES)
        key = parse_pem(data, passphrase, name=f"{os.fspath(archive)}/{file.name}")
        save_key(folder / file.name, key, passphrase_there)
