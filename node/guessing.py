"""Who tries numbers is slowed down, and learns nothing: tracking numbers have 60 random bits (protocol §1.2).

Only misses count, by the caller's address (node/web/callers.py).
"""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address
from typing import Final

from node.ports import Clock
from sync_protocol.errors import Unavailable

MISSES_MAX: Final = (
    30  # of one address in WINDOW_S: a person who mistypes needs a few, an office behind one address more
)
WINDOW_S: Final = 600.0
ADDRESSES_MAX: Final = 10_000  # remembered; the oldest are forgotten
_IPV6_PREFIX_BITS: Final = 64  # what one subscriber has


class Guessing:
    """Belongs to one event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._misses: dict[str, tuple[float, int]] = {}

    def check(self, address: str | None) -> None:
        """Before anything is looked up. Raises Unavailable for an address that has guessed too often."""
        since_s, count = self._misses.get(_place_of(address), (0.0, 0))
        left_s = since_s + WINDOW_S - self._clock.monotonic_s()
        if count >= MISSES_MAX and left_s > 0:
            raise Unavailable("too many numbers that do not exist were tried from this address", retry_after_s=left_s)

    def miss(self, address: str | None) -> None:
        """A number that does not exist was asked for."""
        place, now_s = _place_of(address), self._clock.monotonic_s()
        since_s, count = self._misses.pop(place, (now_s, 0))
        if now_s - since_s > WINDOW_S:
            since_s, count = now_s, 0
        self._misses[place] = since_s, count + 1
        if len(self._misses) > ADDRESSES_MAX:
            self._misses.pop(next(iter(self._misses)))


def _place_of(address: str | None) -> str:
    """An IPv4 address, or the network that an IPv6 subscriber has."""
    try:
        parsed = ip_address(address or "")
    except ValueError:
        return "unknown"
    if isinstance(parsed, IPv4Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or int(parsed) >> (128 - _IPV6_PREFIX_BITS))
