"""Word among the processes of one hub (node/hub/ports.py Announcements): late, twice, or never."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from tests.sim.faults import Faults
from tests.sim.process import Process

LATE_S: Final = 3.0  # everybody looks by itself once a second; some word comes after that


class MemoryAnnouncements:
    """See Announcements. `all_` holds those of all processes that were started."""

    def __init__(self, all_: dict[MemoryAnnouncements, None], process: Process, faults: Faults) -> None:
        self._all = all_
        self._process = process
        self._faults = faults
        self._heard: list[Callable[[int], None]] = []

    def publish(self, size: int) -> None:
        self.hear(size)
        for other in self._all:
            if other is not self and not self._faults.happens(self._faults.rates.lost_word):
                for _ in range(1 + self._faults.happens(self._faults.rates.repeated)):
                    late_s = self._faults.random.random() * (0.0 if self._faults.is_calm else LATE_S)
                    asyncio.get_running_loop().call_later(late_s, other.hear, size)

    def hear(self, size: int) -> None:
        """Word has come."""
        if self._process.is_alive:
            for heard in self._heard:
                heard(size)

    def listen(self, heard: Callable[[int], None]) -> None:
        self._heard.append(heard)

    async def start(self) -> None:
        self._process.check()
        self._all[self] = None
        self._process.at_death(lambda: self._all.pop(self, None))

    async def close(self) -> None:
        self._all.pop(self, None)
        self._heard.clear()
