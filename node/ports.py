"""Ports that every service of the node takes from wiring, so that a simulator can hold them all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

Progress: TypeAlias = Callable[[int, int], None]
"""Called now and then with (done, in all); says what it counts where it is taken."""


def no_progress(_done: int, _total: int) -> None:
    """For callers that show none."""


class Clock(Protocol):
    """The only source of time. Wall time may jump; durations are measured on `monotonic_s`."""

    def now_ms(self) -> int:
        """Milliseconds since 1970, UTC."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never go back, from an arbitrary start."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let others run for that long."""
        ...


class Randomness(Protocol):
    """The only source of randomness; unpredictable in production, seeded in a simulation."""

    def bytes(self, count: int) -> bytes:
        """`count` fresh random bytes."""
        ...

    def fraction(self) -> float:
        """A number in [0, 1), for jitter."""
        ...
