"""The real clock and the real randomness: what wiring hands to every service outside a simulation (node/ports.py)."""

from __future__ import annotations

import asyncio
import secrets
import time


class SystemClock:
    """The machine's clock; implements `node.ports.Clock`."""

    def now_ms(self) -> int:
        """Milliseconds since 1970, UTC. May jump when the machine's clock is set."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Let others run for that long."""
        await asyncio.sleep(seconds)


class SystemRandomness:
    """The kernel's randomness; implements `node.ports.Randomness`."""

    def bytes(self, count: int) -> bytes:
        """`count` unpredictable bytes."""
        return secrets.token_bytes(count)

    def fraction(self) -> float:
        """A number in [0, 1) with 53 random bits."""
        return secrets.randbits(53) / (1 << 53)
