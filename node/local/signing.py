"""The agency's signing keys in a node's directory, behind the port that the pusher takes."""

from __future__ import annotations

import os

from keys.key_directory import KeyDirectory
from keys.signer import Ed25519Signer
from sync_protocol.ed25519 import Signer
from sync_protocol.errors import Refused
from sync_protocol.statement import Role


class DirectoryKeys:
    """See SigningKeys. Files are read again only when they have changed."""

    def __init__(self, directory: KeyDirectory) -> None:
        self._directory = directory
        self._name = str(directory.path(Role.AGENCY))
        self._known: tuple[tuple[int, int, int], Signer] | None = None

    def current(self) -> Signer:
        stamp = _stamp(self._name)
        if self._known is None or stamp is None or self._known[0] != stamp:
            signer = self._directory.signer(Role.AGENCY)
            self._known = None if stamp is None else (stamp, signer)
            return signer
        return self._known[1]

    def pending(self) -> Signer | None:
        key = self._directory.pending(Role.AGENCY)
        if key is not None and not isinstance(key, Ed25519Signer):
            raise Refused("configuration", "the key that waits for its rotation is no signing key")
        return key

    def promote(self, public_key: bytes) -> Signer:
        self._directory.promote(Role.AGENCY, public_key)
        self._known = None
        return self.current()

    def discard_pending(self) -> None:
        self._directory.discard_pending(Role.AGENCY)

    def kids(self) -> set[str]:
        before = self._directory.history(Role.AGENCY)
        return {self.current().kid} | {key.kid for key in before if isinstance(key, Ed25519Signer)}


def _stamp(name: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(name)  # noqa: PTH116 - as in KeyDirectory.pending
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_mode
