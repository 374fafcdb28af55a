"""One process of a hub projects: the leader, until it ends (protocol §9, ADR 0010).

Leading is a turn that is held for as long as the process lives. The others stand in line for it, so that the next one
begins at once when the leader dies. Should a turn be lost without the leader noticing, two of them are still right:
each step is exactly once, because the cursor moves with it. They only cost more; so whoever finds that somebody else
moved the projection stands in line again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from node.hub.log import HubLog
from node.hub.ports import Turn
from node.hub.projector import Projector
from node.logs import words_of
from node.ports import Clock
from sync_protocol.errors import Corrupt, Refused

PAUSE_AFTER_FAILURE_S: Final = 2.0
ROUND_S: Final = 0.015  # at least, from one look at the log to the next
# Receipts first: while large sets wait to be taken in, folding stands still for so long at most, and then catches up.
GIVE_WAY_S: Final = 15.0
GIVE_WAY_LOOK_S: Final = 0.05

_logger = structlog.get_logger("simpul.hub.projector")


class Leader:
    """Runs the projector where its turn has come. Belongs to one event loop.

    `is_rushed`: whether this process has sets to take in that wait for a thread. `at_rest` is called with the size that
    was folded, in the process that leads, until it says that there was nothing to do.
    """

    def __init__(
        self,
        log: HubLog,
        projector: Projector,
        leading: Turn,
        clock: Clock,
        *,
        is_rushed: Callable[[], bool] = lambda: False,
        at_rest: Callable[[int], Awaitable[bool]] | None = None,
    ) -> None:
        self._log = log
        self._projector = projector
        self._leading = leading
        self._clock = clock
        self._is_rushed = is_rushed
        self._at_rest = at_rest
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.is_leading = False

    def start(self) -> None:
        """Stands in line, and follows the log once it leads."""
        self._task = asyncio.create_task(self._run(), name="hub-projector")

    async def stop(self) -> None:
        """Ends; a step under way is finished or undone as a whole."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._projector.drop_ahead()

    def wake(self) -> None:
        """The log grew, here or elsewhere."""
        self._wake.set()

    async def look(self) -> None:
        """How far the projection came, whoever leads; that nobody dropped it, or died while making it anew; and that
        lines which it waits for did not come in by another process. Called every second.
        """
        if await self._projector.look() or await self._projector.may_go_on():
            self.wake()

    async def rest(self) -> None:
        """What can wait: a piece of it, and more while nothing else is to be done. Called every second."""
        while self.is_leading and self._at_rest is not None:
            if not await self._at_rest(self._projector.cursor.size) or self._wake.is_set():
                return

    async def _run(self) -> None:
        while True:
            try:
                async with self._leading.hold():
                    _logger.info("projecting")
                    self.is_leading = True
                    await self._lead()
            except (Refused, Corrupt) as error:
                await self._rest_after(error, "stopped")
            except Exception as error:  # noqa: BLE001 - a full disk, a busy database: the cursor says where to go on
                await self._rest_after(error, "failed")
            finally:
                self.is_leading = False

    async def _lead(self) -> None:
        """Until somebody else moved the projection."""
        self._projector.was_overtaken = False
        while not self._projector.was_overtaken:
            self._wake.clear()
            await self._log.follow()
            begun_s = self._clock.monotonic_s()
            await self._give_way()
            while await self._projector.step_in_turn():
                await self._give_way(begun_s)
            self._projector.trouble = None
            await self._wake.wait()
            # What is alone is folded at once; in a rush many sets share the cost of a step.
            await self._clock.sleep(max(0.0, begun_s + ROUND_S - self._clock.monotonic_s()))

    async def _give_way(self, since_s: float | None = None) -> None:
        """While others hurry, until GIVE_WAY_S have gone by `since_s` (None: now). What is folded at night or alone
        never waits; in a rush the nodes have their receipts sooner, and the figures come right behind."""
        until_s = (self._clock.monotonic_s() if since_s is None else since_s) + GIVE_WAY_S
        while self._is_rushed() and self._clock.monotonic_s() < until_s:
            await self._clock.sleep(GIVE_WAY_LOOK_S)

    async def _rest_after(self, error: Exception, how: str) -> None:
        self._projector.begin_again(f"the projector {how}: {words_of(error)}")
        _logger.warning("projector " + how, error=words_of(error))
        await self._clock.sleep(PAUSE_AFTER_FAILURE_S)
