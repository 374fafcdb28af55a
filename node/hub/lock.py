"""The lock store as files: the newest signed checkpoint, apart from the database (protocol §6.3).

`DIR/lock/checkpoint` holds the newest note, whatever happens while it is written (lock_file.py); `DIR/lock/proof` is
another note while this hub is recovering (recovery.py). `DIR/lock/append.lock` is flock'ed while an append runs: tasks
queue in the process, processes wait for the kernel's lock, and a process that dies lets go. The folder must never be
restored from a backup.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from node.hub.file_turn import FileTurn
from node.hub.lock_file import read_kept, replace_file, write_kept
from sync_protocol.errors import Corrupt


class FileLockStore:
    """See LockStore in node/hub/ports.py. One object per process and folder."""

    def __init__(self, folder: Path) -> None:
        self._append = FileTurn(folder / "append.lock")
        self._note_path = folder / "checkpoint"
        self._proof_path = folder / "proof"
        self._held = False

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        async with self._append.hold():
            self._held = True
            try:
                yield
            finally:
                self._held = False

    async def read(self) -> bytes | None:
        kept = read_kept(self._note_path)
        return None if kept is None else kept.note

    async def proof(self) -> bytes | None:
        try:
            return self._proof_path.read_bytes()
        except FileNotFoundError:
            return None

    async def keep_proof(self, note: bytes | None) -> None:
        self._check_held()
        await asyncio.to_thread(replace_file, self._proof_path, note)

    def _check_held(self) -> None:
        if not self._held:
            raise AssertionError("written without holding the lock")

    async def swap(self, expected: bytes | None, note: bytes) -> None:
        self._check_held()
        await asyncio.get_running_loop().run_in_executor(None, self._swap, expected, note)

    def _swap(self, expected: bytes | None, note: bytes) -> None:
        before = read_kept(self._note_path)
        if (before.note if before else None) != expected:
            raise Corrupt(
                f"the lock file {self._note_path} holds another checkpoint than this process published",
                next_step="Make sure that no other program writes there; then start the hub again.",
            )
        write_kept(self._note_path, before, note)

    def close(self) -> None:
        """Gives the descriptor back."""
        self._append.close()
