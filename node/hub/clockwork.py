"""What a serving hub does by itself: the hourly tick (protocol §5.5), seeing what other processes appended, and taking
its log back when it was lost and gathered (restoring.py).

Nothing that happens to a disk or a database for a while ends it: it says so, and goes on later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from node.hub.appender import Appender
from node.hub.inbox import Inbox
from node.hub.leader import Leader
from node.hub.log import HubLog
from node.hub.restoring import Restoring
from node.hub.statements import Statements
from node.logs import words_of
from node.ports import Clock

WATCH_S: Final = 1.0  # how soon this process sees what another one appended
PAUSE_AFTER_FAILURE_S: Final = 60.0

_logger = structlog.get_logger("simpul.hub")


class Clockwork:
    """Belongs to one event loop."""

    def __init__(
        self,
        log: HubLog,
        appender: Appender,
        statements: Statements,
        *,
        clock: Clock,
        tick_interval_s: float,
        leader: Leader,
        restoring: Restoring,
        inbox: Inbox,
    ) -> None:
        self._log = log
        self._appender = appender
        self._statements = statements
        self._clock = clock
        self._tick_interval_s = tick_interval_s
        self._leader = leader
        self._restoring = restoring
        self._inbox = inbox
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Runs until it is stopped."""
        self._tasks = [
            asyncio.create_task(self._forever(self._tick), name="hub-ticks"),
            asyncio.create_task(self._forever(self._watch), name="hub-watch"),
        ]

    async def stop(self) -> None:
        """Ends; what was handed to the appender goes on there."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _forever(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
            except Exception as error:  # noqa: BLE001 - a full disk, a lock folder away: it comes back or is told
                _logger.warning("clockwork failed", step=step.__name__, error=words_of(error))
                await self._clock.sleep(PAUSE_AFTER_FAILURE_S)

    async def _tick(self) -> None:
        """Waits until the next one is due, or appends it."""
        due_s = self._statements.tick_due_s(self._tick_interval_s)
        if not self._log.is_signing:
            await self._clock.sleep(WATCH_S)
        elif due_s > 0:
            await self._clock.sleep(min(due_s, self._tick_interval_s))
        else:  # in each of several processes at the same moment: the first one under the append lock appends it
            await self._appender.append_statement(lambda: self._statements.tick_if_due(self._tick_interval_s))

    async def _watch(self) -> None:
        """Sees what another process appended, though nobody submits anything here, and though word of it got lost."""
        await self._clock.sleep(WATCH_S)
        if await self._restoring.look() or await self._log.follow():
            self._leader.wake()
        await self._leader.look()
        await self._inbox.look()
        await self._leader.rest()
