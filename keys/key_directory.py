"""The keys of one node or hub: for each role the key in use, the one that is to follow it, and those of before.

    keys/agency.pem            in use
    keys/agency.next.pem       made for a rotation that the hub has not confirmed yet
    keys/agency.<kid>.pem      of before (a sealing key has no kid: the same thumbprint stands in for it)

The order of a rotation, and what a crash after each step leaves:

1. `prepare_next`: the new key is on disk before anybody hears of it. Asked again, it gives the same key.
2. the rotation is signed, sent and confirmed. The hub may know the new key while we do not know that it does: the
   caller asks the hub (its roster names the key that speaks) and repeats or goes on.
3. `promote`: the old key gets its name of before, then the new one is renamed over the one in use. Between the two
   the old key has both names and is still the one in use; asked again, `promote` finishes.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from keys.key_file import check_key_directory, load_any_key, save_key, sync_directory
from keys.signer import Ed25519Signer, PrivateKey, SealingKey
from sync_protocol.ed25519 import kid_of
from sync_protocol.errors import Refused
from sync_protocol.statement import Role

HUB_ROLES: Final = (Role.REGISTRAR, Role.LOG)
NODE_ROLES: Final = (Role.AGENCY, Role.SEALING)
_NOT_THERE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)

Key = TypeVar("Key", Ed25519Signer, SealingKey)


class KeyDirectory:
    """One `keys/` directory. It reads its files each time it is asked; it keeps no key.

    Every method raises what keys/key_file.py says: Refused(unsafe-key-file, configuration), Corrupt.
    """

    def __init__(self, directory: Path, passphrase: str | None = None) -> None:
        self.directory = directory
        self._passphrase = passphrase
        # A pusher looks for a pending key at every step: a look is one call of the kernel, and no path is put together.
        self._paths = {role: directory / f"{role}.pem" for role in Role}
        self._next_paths = {role: directory / f"{role}.next.pem" for role in Role}
        self._next_names = {role: str(path) for role, path in self._next_paths.items()}

    def __repr__(self) -> str:
        return f"KeyDirectory({str(self.directory)!r})"

    def path(self, role: Role) -> Path:
        """Where the key in use lies."""
        return self._paths[role]

    def has(self, role: Role) -> bool:
        """Whether there is a key in use."""
        return self.path(role).is_file()

    def create(self, role: Role, random32: bytes) -> PrivateKey:
        """The first key of a role, or the first after its revocation. Refused if one is in use."""
        key = _make(role, random32)
        save_key(self.path(role), key, self._passphrase)
        return key

    def load(self, role: Role) -> PrivateKey:
        """The key in use."""
        return self._load(role, self.path(role))

    def signer(self, role: Role) -> Ed25519Signer:
        """The signing key in use; `role` is any but sealing."""
        return _expect(self.load(role), Ed25519Signer)

    def sealing_key(self) -> SealingKey:
        """The sealing key in use."""
        return _expect(self.load(Role.SEALING), SealingKey)

    def pending(self, role: Role) -> PrivateKey | None:
        """The key of a rotation that is under way, if there is one."""
        return self._load(role, self._next_path(role)) if _is_there(self._next_names[role]) else None

    def prepare_next(self, role: Role, random32: bytes) -> PrivateKey:
        """The key that is to follow: a new one, or the one that an interrupted rotation left."""
        self.load(role)
        pending = self.pending(role)
        if pending is not None:
            return pending
        key = _make(role, random32)
        save_key(self._next_path(role), key, self._passphrase)
        return key

    def promote(self, role: Role, public_key: bytes) -> PrivateKey:
        """Put the pending key into use, after the hub's receipt; it must be the one with `public_key`.

        Repeatable: if that key is in use already, it is given back. Refused(configuration) if it is neither.
        """
        pending, current = self.pending(role), self.load(role)
        if current.public_key == public_key:
            return current
        if pending is None or pending.public_key != public_key:
            raise Refused(
                "configuration",
                f"the {role} key that the hub confirmed is not the one waiting in {self._next_path(role)}",
                members={"next": "Restore the key directory from your newest key backup, or ask for a new invitation."},
            )
        self._keep(role, current)
        try:
            self._next_path(role).replace(self.path(role))
        except FileNotFoundError:  # another process finished the same rotation
            return self.promote(role, public_key)
        sync_directory(self.directory)
        return pending

    def discard_pending(self, role: Role) -> None:
        """Forget a key that was made for a rotation which will not come. Only if the hub never took it."""
        self._next_path(role).unlink(missing_ok=True)
        sync_directory(self.directory)

    def retire(self, role: Role) -> None:
        """After a revocation: no key is in use any more; the old one is kept among those of before."""
        self._keep(role, self.load(role))
        self.path(role).unlink()
        sync_directory(self.directory)

    def history(self, role: Role) -> list[PrivateKey]:
        """The keys of before, in no order (the roster knows it). Only a sealing key of before has a use: opening."""
        check_key_directory(self.directory)
        reserved = {self.path(role), self._next_path(role)}
        paths = sorted(path for path in self.directory.glob(f"{role}.*.pem") if path not in reserved)
        return [self._load(role, path) for path in paths]

    def _next_path(self, role: Role) -> Path:
        return self._next_paths[role]

    def _keep(self, role: Role, key: PrivateKey) -> None:
        """Give the key in use its name of before, too. A second time changes nothing."""
        name = self.directory / f"{role}.{kid_of(key.public_key)}.pem"
        with suppress(FileExistsError):
            os.link(self.path(role), name, follow_symlinks=False)
        sync_directory(self.directory)

    def _load(self, role: Role, path: Path) -> PrivateKey:
        key = load_any_key(path, self._passphrase)
        wanted = SealingKey if role is Role.SEALING else Ed25519Signer
        if not isinstance(key, wanted):
            raise Refused("configuration", f"{path} does not hold the kind of key that the role {role} needs")
        return key


def _is_there(name: str) -> bool:
    """Whether a path leads to something. Raises OSError where that cannot be told."""
    try:
        os.stat(name)  # noqa: PTH116 - a Path would be three more calls at every step of every push
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
        return False
    return True


def _make(role: Role, random32: bytes) -> PrivateKey:
    return SealingKey.generate(random32) if role is Role.SEALING else Ed25519Signer.generate(random32)


def _expect(key: PrivateKey, kind: type[Key]) -> Key:
    if not isinstance(key, kind):
        raise Refused("configuration", f"this role's key is no {kind.__name__}")
    return key
