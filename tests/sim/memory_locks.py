"""Lock store and turns in memory (node/hub/ports.py). Who dies lets go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from node.store.hub_records import KeptErasure
from sync_protocol.errors import Corrupt
from tests.sim.disk import Mount
from tests.sim.process import Process


@dataclass(frozen=True)
class LockState:
    """The files of the lock folder."""

    note: bytes | None = None
    proof: bytes | None = None
    statements: tuple[tuple[int, bytes], ...] = ()
    erasures: tuple[KeptErasure, ...] = ()

    def copy(self) -> LockState:
        return self


class MemoryTurn:
    """See Turn. `place` is shared by all who want it."""

    def __init__(self, place: asyncio.Lock, process: Process) -> None:
        self._place = place
        self._process = process
        self._is_held = False
        process.at_death(self.close)

    @property
    def is_held(self) -> bool:
        return self._is_held

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        self._process.check()
        await self._place.acquire()
        self._is_held = True
        try:
            yield
        finally:
            self.close()

    def close(self) -> None:
        if self._is_held:
            self._is_held = False
            self._place.release()


class MemoryLockStore:
    """See LockStore."""

    def __init__(self, mount: Mount[LockState], place: asyncio.Lock) -> None:
        self._mount = mount
        self._turn = MemoryTurn(place, mount.process)

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        async with self._turn.hold():
            yield

    async def read(self) -> bytes | None:
        return (await self._mount.read()).note

    async def proof(self) -> bytes | None:
        return (await self._mount.read()).proof

    async def keep_proof(self, note: bytes | None) -> None:
        self._check_held()
        self._mount.commit("proof", replace(self._mount.disk.state, proof=note))

    async def keep_statements(self, statements: Sequence[tuple[int, bytes]]) -> None:
        self._check_held()
        before = await self._mount.read()
        self._mount.commit("statements", replace(before, statements=(*before.statements, *statements)))

    async def statements(self) -> dict[int, bytes]:
        return dict((await self._mount.read()).statements)

    async def statements_kept_to(self) -> int:
        return max((await self.statements()), default=-1)

    async def keep_erasures(self, erasures: Sequence[KeptErasure]) -> None:
        self._mount.process.check()
        before = await self._mount.read()
        self._mount.commit("erasures", replace(before, erasures=(*before.erasures, *erasures)))

    async def erasures(self) -> list[KeptErasure]:
        return list((await self._mount.read()).erasures)

    async def swap(self, expected: bytes | None, note: bytes) -> None:
        self._check_held()
        before = await self._mount.read()
        if before.note != expected:
            raise Corrupt("the lock holds another checkpoint than this process published")
        self._mount.commit("swap", replace(before, note=note))

    def _check_held(self) -> None:
        self._mount.process.check()
        if not self._turn.is_held:
            raise AssertionError("written without holding the lock")

    def close(self) -> None:
        self._turn.close()
