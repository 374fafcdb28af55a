"""When those who are turned away are asked to come back: whole seconds that grow with the queue and spread the herd.

Each caller draws a second between now and the moment at which the hub expects to be through with everybody that it
knows of: who waits, and who was asked to come back before. A second for which as many were asked as the hub takes in a
second is not drawn again. So returns come about as fast as they can be taken, however many were turned away at once.
"""

from __future__ import annotations

import math
from typing import Final

from node.hub.turns import Account
from node.ports import Randomness

LONGEST_S: Final = 60  # the work of a minute is known well enough; what takes longer is asked again
PACE_LEAST: Final = 100.0  # a second; of a hub that has not shown its pace: to ask once more is cheap, to idle is not
PACE_OVER_S: Final = 5.0  # the pace is that of the last seconds
ACCOUNTS_MAX: Final = 4_096  # more names than there are agencies; beyond it times are named and not remembered


class Comeback:
    """Names times. `now_s` is the monotonic clock's."""

    def __init__(self, randomness: Randomness) -> None:
        self._randomness = randomness
        self._due_s: dict[Account, int] = {}
        self._accounts: dict[int, set[Account]] = {}
        self._pace = 0.0
        self._paced_s = 0.0

    def served(self, now_s: float) -> None:
        """One more was worked off."""
        self._pace = self._decayed(now_s) + 1 / PACE_OVER_S
        self._paced_s = now_s

    def after_s(self, account: Account, waiting: int, now_s: float) -> int:
        """Seconds, 1 … LONGEST_S, for a caller that finds so many waiting. It takes the place of an earlier promise."""
        self._forget(account, now_s)
        pace = max(PACE_LEAST, self._decayed(now_s))
        horizon_s = min(LONGEST_S, math.ceil((waiting + len(self._due_s) + 1) / pace))
        begins_s = math.ceil(now_s)
        free = [s for s in range(1, horizon_s + 1) if len(self._accounts.get(begins_s + s, ())) < pace] or [horizon_s]
        after_s = free[math.floor(self._randomness.fraction() * len(free))]
        if len(self._due_s) < ACCOUNTS_MAX:
            self._due_s[account] = begins_s + after_s
            self._accounts.setdefault(begins_s + after_s, set()).add(account)
        return after_s

    def _decayed(self, now_s: float) -> float:
        return self._pace * math.exp(-(now_s - self._paced_s) / PACE_OVER_S)

    def _forget(self, account: Account, now_s: float) -> None:
        """What this one was promised, and all promises that are over: at most LONGEST_S seconds are looked at."""
        earlier = self._due_s.pop(account, None)
        if earlier is not None:
            self._accounts[earlier].discard(account)
        for due_s in [due_s for due_s in self._accounts if due_s <= now_s]:
            for over in self._accounts.pop(due_s):
                del self._due_s[over]
