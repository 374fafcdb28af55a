"""Whose turn it is among the processes of one machine, by flock (node/hub/ports.py Turn).

Tasks of one process queue in the process. Who finds the file locked by another process waits in the kernel, in a thread
of its own: it is woken when the lock is let go of, by whatever end, and costs nothing meanwhile. Fair: who waits holds
the gate, a second file that everybody passes on the way in. Without it a busy hub, which takes its turn again at once,
would never let another process in.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


class FileTurn:
    """One object for each process and file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = path
        self._locks = _Locks(path)
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Waits for its turn. A process that dies gives it up; a waiter that is cancelled leaves the line."""
        async with self._turn:
            if not self._locks.take_at_once():
                await self._wait()
            try:
                yield
            finally:
                self._locks.let_go()

    async def _wait(self) -> None:
        locks, loop = self._locks, asyncio.get_running_loop()
        granted: asyncio.Future[None] = loop.create_future()

        def deliver() -> None:
            if granted.done():  # cancelled meanwhile
                locks.close()
            else:
                granted.set_result(None)

        def wait_in_kernel() -> None:
            locks.take()
            try:
                loop.call_soon_threadsafe(deliver)
            except RuntimeError:  # the loop is closed: nobody wants it any more
                locks.close()

        # Nothing in the kernel's line can be called back: a thread that nobody waits for lets go as soon as it is its
        # turn. A daemon: one that waits at the end of the process must not keep it.
        threading.Thread(target=wait_in_kernel, name=f"turn {self._path.name}", daemon=True).start()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.cancelled():
                self._locks = _Locks(self._path)
            else:
                locks.let_go()  # granted in the same moment
            raise

    def close(self) -> None:
        """Gives the files back. Nobody may hold the turn, or wait for it."""
        self._locks.close()


class _Locks:
    """The two files, opened anew: flock counts what is opened, not who asks."""

    def __init__(self, path: Path) -> None:
        self._lock = _open(path)
        self._gate = _open(path.with_suffix(".gate"))

    def take_at_once(self) -> bool:
        """False if that takes waiting; the gate may be ours by then."""
        if not _try(self._gate) or not _try(self._lock):
            return False
        fcntl.flock(self._gate, fcntl.LOCK_UN)
        return True

    def take(self) -> None:
        """Waits in the kernel."""
        fcntl.flock(self._gate, fcntl.LOCK_EX)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        fcntl.flock(self._gate, fcntl.LOCK_UN)

    def let_go(self) -> None:
        fcntl.flock(self._lock, fcntl.LOCK_UN)

    def close(self) -> None:
        """Lets go as well: the kernel unlocks what is closed."""
        os.close(self._lock)
        os.close(self._gate)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
