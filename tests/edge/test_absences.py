"""What is kept of when the hub was away, from one question to the next."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from node.hub.absences import Absences
from node.hub.log import HubLog
from node.hub.projection_ports import ProjectionStore
from node.store.projection_records import Cursor

HOUR_MS = 3_600_000


@dataclass
class Log:
    """A log of ticks alone, as far as this process follows it; its own roster."""

    ticks: list[int] = field(default_factory=lambda: [0, HOUR_MS])

    @property
    def size(self) -> int:
        return len(self.ticks)

    @property
    def roster(self) -> Log:
        return self

    def ticks_before(self, size: int) -> list[int]:
        return self.ticks[:size]


@dataclass
class Projection:
    """Folded so far by whoever projects."""

    size: int = 2

    async def cursor(self) -> Cursor:
        return Cursor(self.size)

    async def gaps(self) -> list[tuple[str, int, int]]:
        return []


async def test_an_answer_from_a_log_that_is_not_followed_so_far_yet_is_not_kept() -> None:
    """Another process folded the tick that shows an absence before this one heard of it."""
    log, projection = Log(), Projection()
    absences = Absences(cast("HubLog", log), cast("ProjectionStore", projection))
    projection.size = 3
    assert (await absences.as_of(3)).newest_ms == HOUR_MS
    log.ticks.append(6 * HOUR_MS)
    found = await absences.as_of(3)
    assert found.newest_ms == 6 * HOUR_MS
    assert len(found.hub) == 1
    assert await absences.as_of(3) is found


async def test_an_answer_while_the_projection_is_emptied_is_not_kept() -> None:
    projection = Projection()
    absences = Absences(cast("HubLog", Log()), cast("ProjectionStore", projection))
    projection.size = 0
    first = await absences.as_of(2)
    projection.size = 2
    assert await absences.as_of(2) is not first
