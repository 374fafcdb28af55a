"""When hub and nodes were away, as of a size of the log: for the answers of the projection (docs/deadlines.md)."""

from __future__ import annotations

from node.deadlines.outages import Outages
from node.hub.log import HubLog
from node.hub.projection_ports import ProjectionStore


class Absences:
    """The hub's own are kept from one question to the next; ticks of a year are nine thousand."""

    def __init__(self, log: HubLog, projection: ProjectionStore) -> None:
        self._log = log
        self._projection = projection
        self._seen = Outages()
        self._whole: tuple[int, Outages] | None = None  # the answer for the size that was asked about last

    async def as_of(self, size: int) -> Outages:
        """Up to the newest tick before that size; for reading."""
        if self._whole is not None and self._whole[0] == size:
            return self._whole[1]
        ticks = self._log.roster.ticks_before(size)
        if len(ticks) < self._seen.ticks:  # the projection is folded again
            self._seen = Outages()
        for at_ms in ticks[self._seen.ticks :]:
            self._seen.tick(at_ms)
        seen = self._seen.copy()
        seen.add(await self._projection.gaps())
        # Not for the next question where the log is not followed so far yet, or the projection moved meanwhile.
        if self._log.size >= size and (await self._projection.cursor()).size == size:
            self._whole = size, seen
        return seen
