"""Whether a kind of small work is quick enough for the event loop, from how long it has lately taken (ADR 0012)."""

from __future__ import annotations

from typing import Final

_WEIGHT: Final = 0.1  # of the newest piece of work in what they usually take


class Pace:
    """Of one kind of work on one disk. Unknown is quick: the first times tell."""

    def __init__(self, at_most_s: float) -> None:
        self._at_most_s = at_most_s
        self._usual_s = 0.0

    @property
    def is_quick(self) -> bool:
        """Whether waking a thread for it would take longer than it usually does."""
        return self._usual_s < self._at_most_s

    def note(self, took_s: float) -> None:
        """It was done, here or in a thread."""
        self._usual_s += (took_s - self._usual_s) * _WEIGHT
