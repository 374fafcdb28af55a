"""Several systems, the same work, by turns: a round gives every one of them the same new changes, in another order.

The first round of each is its *fresh* one; the others are *warm*. What fails is noted with its reason and takes no
further part; the others go on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from statistics import median
from typing import Protocol

from tests.bench.load import Drawing, Work
from tests.bench.machine import leaf_hash_us, note

ROUND_LIMIT_S = 150.0  # a round takes seconds; what takes minutes is stuck, and the whole run has twenty
CONTEST_LIMIT_S = 800.0  # no round begins later: the other parts need the rest of the twenty minutes


@dataclass(frozen=True)
class Times:
    """Seconds from the start until everything was accepted durably, and until it was in the tables that people ask.

    None: that was not what this contestant does in this round.
    """

    accepted_s: float | None = None
    visible_s: float | None = None


class Absent(Exception):
    """What the contestant needs is not on this machine: no failure. The words say what is missing."""


class Contestant(Protocol):
    """One running system. `prepare` is off the clock; `run` takes its own time and checks that nothing is missing."""

    async def prepare(self, work: Work) -> None:
        """Whatever is to be there before the clock runs."""

    async def run(self) -> Times:
        """Move what was prepared. Raises whatever is wrong."""

    def cpu_s(self) -> float:
        """Processor seconds so far of everything that is not the load itself."""

    def facts(self) -> dict[str, float]:
        """What else is known after a round; `wire_bytes` (a change, between sender and receiver) always."""


@dataclass(frozen=True)
class Round:
    """One round as measured; rates in changes a second, None where it was not measured."""

    accepted_per_s: float | None
    visible_per_s: float | None
    cpu_us: float
    leaf_hash_us: float
    facts: dict[str, float]


@dataclass
class Lane:
    """A contestant's way through the run."""

    key: str
    opening: Callable[[], AbstractAsyncContextManager[Contestant]]
    rounds: list[Round] = field(default_factory=list)
    failure: str | None = None
    absent: str | None = None
    _contestant: Contestant | None = None
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    def fact(self, name: str, *, of_first: bool = False) -> float | None:
        """As it was after the last round, or the first; None if there was none."""
        return self.rounds[0 if of_first else -1].facts.get(name) if self.rounds else None

    @property
    def warm(self) -> list[Round]:
        """All rounds but the first."""
        return self.rounds[1:]

    async def open(self) -> None:
        """Start it. A failure is noted."""
        note(f"{self.key}: starting")
        try:
            async with asyncio.timeout(ROUND_LIMIT_S):
                self._contestant = await self._stack.enter_async_context(self.opening())
        except Absent as absent:
            self.absent = str(absent)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other contestants go on
            await self._fail(error)

    async def one_round(self, work: Work) -> None:
        """One round, if it still takes part. A failure is noted."""
        if self._contestant is None:
            return
        try:
            async with asyncio.timeout(ROUND_LIMIT_S):
                await self._contestant.prepare(work)
                speed, used = leaf_hash_us(), self._contestant.cpu_s()
                times = await self._contestant.run()
                used, facts = self._contestant.cpu_s() - used, self._contestant.facts()
        except Exception as error:  # noqa: BLE001 - whatever it is, the other contestants go on
            await self._fail(error)
            return
        self.rounds.append(
            Round(
                accepted_per_s=_rate(work.changes, times.accepted_s),
                visible_per_s=_rate(work.changes, times.visible_s),
                cpu_us=used / work.changes * 1e6,
                leaf_hash_us=speed,
                facts=facts,
            )
        )

    async def close(self) -> None:
        """Stop it; what goes wrong then is noted as well."""
        self._contestant = None
        try:
            await self._stack.aclose()
        except Exception as error:  # noqa: BLE001 - whatever it is, the other contestants are to be stopped as well
            self.failure = self.failure or reason(error)

    async def _fail(self, error: Exception) -> None:
        self.failure = reason(error)
        note(f"{self.key} FAILED: {self.failure}")
        await self.close()


def _rate(changes: int, seconds: float | None) -> float | None:
    return None if seconds is None else changes / seconds


def reason(error: Exception) -> str:
    """In a line or a few, with what a command that failed said."""
    said = getattr(error, "stderr", None)  # of a command that failed
    words = said.decode(errors="replace").strip() if isinstance(said, bytes) else str(error)
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


async def hold(lanes: Sequence[Lane], drawing: Drawing, *, rounds: int, limit_s: float = CONTEST_LIMIT_S) -> int:
    """One fresh round, then `rounds` warm ones, of every lane; each round begins with another lane.

    How many warm ones there were: fewer where `limit_s` was over before the next began.
    """
    opened = time.perf_counter()
    try:
        for lane in lanes:
            await lane.open()
        for number in range(rounds + 1):
            begun = time.perf_counter()
            if number and begun - opened > limit_s:
                return number - 1
            work = drawing.draw()
            for lane in [*lanes[number % len(lanes) :], *lanes[: number % len(lanes)]]:
                await lane.one_round(work)
            note(f"round {number} of {rounds}: {time.perf_counter() - begun:.0f} s")
        return rounds
    finally:
        for lane in lanes:
            await lane.close()


def middle(values: Sequence[float | None]) -> float | None:
    """The median of those that were measured; None where none was."""
    measured = [value for value in values if value is not None]
    return median(measured) if measured else None
