"""What goes wrong, by the seed: each store write and each call is a step boundary, and asks here.

Faults stop when `calm` is set; a process that was killed before that is started again by the world.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from tests.sim.process import Killed, Process


@dataclass(frozen=True, slots=True)
class Rates:
    """Chances at each boundary, and what takes its time. A crash comes before a write or after it.

    `lost_turn`: of whoever holds a lock, that the lock's server gives it to the next one. `lost_word`: of an
    announcement among the hub's processes.
    """

    node_crash: float = 0.0
    hub_crash: float = 0.0
    lost_request: float = 0.0
    lost_reply: float = 0.0
    cut_body: float = 0.0
    repeated: float = 0.0
    stale_reply: float = 0.0
    delay_s: float = 0.2
    write_s: float = 0.0
    lost_turn: float = 0.0
    lost_word: float = 0.0


class Faults:
    """Of one world. `tell` keeps the trace."""

    def __init__(self, seed: str, rates: Rates, tell: Callable[[str], None]) -> None:
        self.random = random.Random(seed)
        self.rates = rates
        self.tell = tell
        self.is_calm = False
        self.full: dict[str, None] = {}  # names of machines whose disk is full
        self.failed_writes = 0

    def happens(self, chance: float) -> bool:
        """By the seed; never when all is calm."""
        return not self.is_calm and chance > 0 and self.random.random() < chance

    def write_s(self) -> float:
        """How long a disk takes."""
        most_s = 0.0 if self.is_calm else self.rates.write_s
        return self.random.random() * most_s if most_s else 0.0

    def crash_chance(self, process: Process) -> float:
        """At each boundary of that process."""
        return self.rates.hub_crash if process.name.startswith("hub") else self.rates.node_crash

    def before_write(self, process: Process, what: str) -> None:
        """Nothing was written yet: the process dies, or the disk is full."""
        if self.happens(self.crash_chance(process) / 2):
            self._kill(process, f"before {what}")
        if machine_of(process) in self.full:
            self.tell(f"{process.name} disk full: {what}")
            raise self.failed(errno.ENOSPC, "No space left on device")

    def failed(self, number: int, words: str) -> OSError:
        """What whoever writes hears of a disk or a database that is away; for now it is nobody's defect."""
        self.failed_writes += 1
        return OSError(number, words)

    def after_write(self, process: Process, what: str) -> None:
        """Everything was written, and the process may die before it hears."""
        if self.happens(self.crash_chance(process) / 2):
            self._kill(process, f"after {what}")

    def at_call(self, process: Process, what: str) -> None:
        """Before a call goes out, or after its answer came in."""
        if self.happens(self.crash_chance(process) / 2):
            self._kill(process, f"at {what}")

    def _kill(self, process: Process, why: str) -> NoReturn:
        self.tell(f"{process.name} dies {why}")
        process.kill()
        raise Killed(process.name)


def machine_of(process: Process) -> str:
    """The machine that a process runs on."""
    return process.name.partition("#")[0]
