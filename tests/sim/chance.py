"""Clock and randomness of one process (node/ports.py), from the simulation's time and the seed."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import Final

from tests.sim.process import Process

START_MS: Final = 1_770_000_000_000


@dataclass
class Wall:
    """A machine's wall clock: how far it is off, in milliseconds."""

    off_ms: int = 0


class SimClock:
    """See Clock."""

    def __init__(self, process: Process, wall: Wall) -> None:
        self._process = process
        self._wall = wall

    def now_ms(self) -> int:
        return START_MS + int(asyncio.get_running_loop().time() * 1000) + self._wall.off_ms

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        self._process.check()
        await asyncio.sleep(seconds)
        self._process.check()


class SeededRandomness:
    """See Randomness."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)

    def bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)

    def fraction(self) -> float:
        return self._random.random()
