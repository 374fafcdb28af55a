"""The lock store as files: the newest signed checkpoint, apart from the database (protocol §6.3).

`DIR/lock/checkpoint` holds the newest note, whatever happens while it is written (lock_file.py); `DIR/lock/proof` is
another note while this hub is recovering (recovery.py), `DIR/lock/statements.jsonl` the log's statements
(statement_file.py), `DIR/lock/erasures.jsonl` what was erased (erasure_file.py). `DIR/lock/append.lock` is flock'ed
while an append runs: tasks queue in the process, processes wait for the kernel's lock, and a process that dies lets go.
The folder must never be restored from a backup.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from node.hub.erasure_file import ErasureFile
from node.hub.file_turn import FileTurn
from node.hub.lock_file import LockFile, read_file, replace_file
from node.hub.statement_file import StatementFile
from node.pace import Pace
from node.store.hub_records import KeptErasure
from sync_protocol.errors import Corrupt

AT_ONCE_MAX_S: Final = 0.001  # what writing the note may take on the event loop, usually


class FileLockStore:
    """See LockStore in node/hub/ports.py. One object per process and folder."""

    def __init__(self, folder: Path) -> None:
        self._append = FileTurn(folder / "append.lock")
        self._note_path = folder / "checkpoint"
        self._file = LockFile(self._note_path)
        self._proof_path = folder / "proof"
        self._proof_name = str(self._proof_path)
        self._statements = StatementFile(folder / "statements.jsonl")
        self._erasures = ErasureFile(folder / "erasures.jsonl")
        self._held = False
        self._pace = Pace(AT_ONCE_MAX_S)

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        async with self._append.hold():
            self._held = True
            try:
                yield
            finally:
                self._held = False

    async def read(self) -> bytes | None:
        kept = self._file.read()
        return None if kept is None else kept.note

    async def proof(self) -> bytes | None:
        return read_file(self._proof_name)

    async def keep_proof(self, note: bytes | None) -> None:
        self._check_held()
        await asyncio.to_thread(replace_file, self._proof_path, note)

    async def keep_statements(self, statements: Sequence[tuple[int, bytes]]) -> None:
        self._check_held()
        await asyncio.to_thread(self._statements.add, statements)

    async def statements(self) -> dict[int, bytes]:
        return await asyncio.to_thread(self._statements.read)

    async def statements_kept_to(self) -> int:
        return await asyncio.to_thread(self._statements.kept_to)

    async def keep_erasures(self, erasures: Sequence[KeptErasure]) -> None:
        await asyncio.to_thread(self._erasures.add, erasures)

    async def erasures(self) -> list[KeptErasure]:
        return await asyncio.to_thread(self._erasures.read)

    def _check_held(self) -> None:
        if not self._held:
            raise AssertionError("written without holding the lock")

    async def swap(self, expected: bytes | None, note: bytes) -> None:
        self._check_held()
        now_s = asyncio.get_running_loop().time
        if self._pace.is_quick:  # a page on a disk that answers at once: sooner than a thread is woken
            self._swap(expected, note, now_s)
        else:
            await asyncio.to_thread(self._swap, expected, note, now_s)

    def _swap(self, expected: bytes | None, note: bytes, now_s: Callable[[], float]) -> None:
        before = self._file.read()
        if (before.note if before else None) != expected:
            raise Corrupt(
                f"the lock file {self._note_path} holds another checkpoint than this process published",
                next_step="Make sure that no other program writes there; then start the hub again.",
            )
        begun_s = now_s()
        self._file.write(before, note)
        self._pace.note(now_s() - begun_s)

    def close(self) -> None:
        """Gives the descriptor back."""
        self._append.close()
