"""Whether a node's directory comes into use, or other processes push from it already (protocol §10.2).

Every process that pushes holds `pusher.lock` shared, for as long as it lives; the kernel lets go when it dies. Who gets
it exclusively for a moment is alone. A copy of the directory, on this machine or another, has a lock of its own that
nobody holds: that is how a clone is told from a sibling, which no file's content could tell.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

LOCK_NAME = "pusher.lock"


class DirectoryLease:
    """One process's part in a directory. One object per pusher."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / LOCK_NAME
        self._descriptor: int | None = None

    def join(self) -> bool:
        """Takes part, and says whether nobody did before. To be called where processes take turns.

        Waits for nothing longer than another process takes between two calls here. Raises OSError.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            is_alone = _is_alone(descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        except BaseException:
            os.close(descriptor)
            raise
        self.leave()
        self._descriptor = descriptor
        return is_alone

    def leave(self) -> None:
        """Takes part no more. May be called at any time."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _is_alone(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
