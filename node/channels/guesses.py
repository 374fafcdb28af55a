"""How many tracking numbers that do not exist one telephone may ask for, before nothing is answered for a while.

Sixty random bits cannot be guessed; this keeps those who try from costing much. As node/guessing.py does for addresses,
but what is asked again counts once: a gateway repeats its requests. In memory: after a restart everybody begins anew.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from node.ports import Clock

MISSES_MAX: Final = 10  # of one asker within the window: who copies a number from paper needs two or three
WINDOW_S: Final = 3_600.0
ASKERS_MAX: Final = 10_000  # remembered; the one whose last miss is longest ago is forgotten first


class GuessLimit:
    """Counts misses by asker (a telephone number). Who has not missed lately is never stopped."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._missed: OrderedDict[str, dict[str, float]] = OrderedDict()  # asker -> what was missed, and when

    def allows(self, asker: str, wanted: str) -> bool:
        """Whether this asker may ask for this; what was asked before, as in a repeated request, is no new guess."""
        since = self._clock.monotonic_s() - WINDOW_S
        missed = self._missed.get(asker, {})
        return wanted in missed or sum(at_s >= since for at_s in missed.values()) < MISSES_MAX

    def miss(self, asker: str, wanted: str) -> None:
        """What this asker wanted does not exist."""
        now_s = self._clock.monotonic_s()
        missed = self._missed.pop(asker, {})
        kept = {earlier: at_s for earlier, at_s in missed.items() if at_s >= now_s - WINDOW_S}
        self._missed[asker] = {wanted: now_s} | kept
        if len(self._missed) > ASKERS_MAX:
            self._missed.popitem(last=False)
