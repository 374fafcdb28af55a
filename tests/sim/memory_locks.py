"""Lock store and turns in memory (node/hub/ports.py). Who dies lets go; who loses the connection that holds the turn
may be the last to hear of it."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

from node.store.hub_records import KeptErasure
from sync_protocol.errors import Corrupt
from tests.sim.disk import Mount
from tests.sim.faults import Faults, Rates
from tests.sim.process import Process

LOST_WITHIN_S: Final = 0.2  # while an append writes
STOPPED_S: Final = 20.0


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
    """See Turn. `place` is shared by all who want it.

    By the seed it is lost while it is held, as of a machine that stands still for a while: the next one gets it, and
    this one goes on in the belief that it has it, until it writes in the turn's name (`is_noticed`), or altogether.
    """

    def __init__(
        self,
        place: asyncio.Lock,
        process: Process,
        faults: Faults | None = None,
        lost_within_s: float = LOST_WITHIN_S,
    ) -> None:
        self._place = place
        self._own = asyncio.Lock()  # tasks of this process queue here
        self._process = process
        self._faults = faults or Faults("", Rates(), lambda _: None)
        self._lost_within_s = lost_within_s
        self._is_held = False
        self._holds = 0
        self.is_believed = False
        self.is_noticed = False
        process.at_death(self.close)

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        self._process.check()
        async with self._own:
            await self._place.acquire()
            self._is_held = self.is_believed = True
            self.is_noticed = False
            self._holds += 1
            if self._faults.happens(self._faults.rates.lost_turn):
                after_s = self._faults.random.random() * self._lost_within_s
                asyncio.get_running_loop().call_later(after_s, self._lose, self._holds)
            try:
                yield
            finally:
                self.close()

    def _lose(self, hold: int) -> None:
        if self._is_held and self._holds == hold:
            self._is_held = False
            self._process.stop_for(self._faults.random.random() * STOPPED_S)
            self.is_noticed = self._faults.random.random() < 0.5
            self._faults.tell(f"{self._process.name} loses its turn, {'un' * (not self.is_noticed)}noticed")
            self._place.release()

    def close(self) -> None:
        self.is_believed = False
        if self._is_held:
            self._is_held = False
            self._place.release()


class MemoryLockStore:
    """See LockStore."""

    def __init__(self, mount: Mount[LockState], place: asyncio.Lock, faults: Faults | None = None) -> None:
        self._mount = mount
        self._faults = faults or Faults("", Rates(), lambda _: None)
        self._turn = MemoryTurn(place, mount.process, faults)

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        async with self._turn.hold():
            yield

    async def read(self) -> bytes | None:
        return (await self._mount.read()).note

    async def proof(self) -> bytes | None:
        return (await self._mount.read()).proof

    async def keep_proof(self, note: bytes | None) -> None:
        await self._mount.wait()
        self._check_held()
        self._mount.commit("proof", replace(self._mount.disk.state, proof=note))

    async def keep_statements(self, statements: Sequence[tuple[int, bytes]]) -> None:
        await self._mount.wait()
        self._check_held()
        before = self._mount.disk.state
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
        await self._mount.wait()
        self._check_held()
        self._mount.commit("swap", self._swapped(self._mount.disk.state, expected, note))

    def _swapped(self, before: LockState, expected: bytes | None, note: bytes) -> LockState:
        if before.note != expected:
            raise Corrupt("the lock holds another checkpoint than this process published")
        return replace(before, note=note)

    def _check_held(self) -> None:
        self._mount.process.check()
        if self._turn.is_noticed:
            raise self._faults.failed(errno.ECONNRESET, "the connection that held the lock is gone")
        if not self._turn.is_believed:
            raise AssertionError("written without holding the lock")

    def close(self) -> None:
        self._turn.close()
