"""The pusher's loop: one step after the other, and waiting in between (protocol §10); the steps are push_steps.py's."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog

from node.local.push_steps import SHOW_AGAIN_EVERY_MS, PushSteps
from node.logs import words_of
from sync_protocol.errors import Corrupt, Refused
from sync_protocol.outbox import Halted, Idle, Step, Wait

# How long another process's change, or an operator's decision, may go unnoticed. A look costs a millisecond of
# processor time: once a second it was half of what 727 nodes on one machine used while a hub came back.
POLL_S: Final = 3.0
TROUBLE_S: Final = 15.0  # after an error of our own database or keys: it does not heal in a second

__all__ = ["SHOW_AGAIN_EVERY_MS", "Drained", "Pusher"]

log = structlog.get_logger("simpul.pusher")


@dataclass(frozen=True, slots=True)
class Drained:
    """How `drain` ended. `reached`: the hub answered at least once; `halted`: an operator is needed."""

    drained: bool
    halted: bool
    reached: bool


class Pusher(PushSteps):
    """One process's pusher. `wake` may be called by whoever recorded something.

    `is_failing`: the newest step of `run` ended with an error of our own database, disk or keys.
    """

    is_failing = False

    async def first_look(self, within_s: float) -> None:
        """Until `run` has taken its first step, which compares heads if the hub answers; no longer than that."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._looked.wait(), within_s)

    def wake(self) -> None:
        """Something was recorded: look now."""
        self.woken.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; a step that was begun is finished. No error ends it but cancellation."""
        stopping = asyncio.ensure_future(stop.wait())
        stopping.add_done_callback(self._ring)
        try:
            while not stop.is_set():
                pause_s = await self._step_and_rest_s()
                self._looked.set()
                if pause_s > 0 and not stop.is_set():
                    await self._pause(pause_s)
        finally:
            stopping.cancel()

    async def _step_and_rest_s(self) -> float:
        """How many seconds there is nothing to do after it."""
        try:
            step = await self.step()
            self.is_failing = False
            return self._pause_s(step)
        except (Corrupt, Refused) as error:
            log.warning("pusher.stopped", agency=self.agency, detail=str(error))
            await self._tell(error)
        except Exception as error:  # noqa: BLE001 - a full disk today must not mean a silent node tomorrow
            log.critical("pusher.error", agency=self.agency, error=words_of(error))
        self.is_failing = True
        return TROUBLE_S

    async def drain(self, timeout_s: float, *, until_drained: bool = True) -> Drained:
        """Works until nothing is left, an operator is needed, or time is up; does not wait for the schedule at first.

        Without `until_drained` it ends with the first thing that would have to be waited for.
        """
        deadline_s = self.clock.monotonic_s() + timeout_s
        self.session = self.session.saw_hub(self.clock.now_ms())
        while True:
            step = await self.step()
            reached = self.was_answered
            if isinstance(step, (Idle, Halted)):
                return Drained(isinstance(step, Idle), isinstance(step, Halted), reached)
            left_s = deadline_s - self.clock.monotonic_s()
            if left_s <= 0 or (isinstance(step, Wait) and not until_drained):
                return Drained(drained=False, halted=False, reached=reached)
            if isinstance(step, Wait):
                await self.clock.sleep(min(self._pause_s(step), left_s))

    async def _tell(self, error: Corrupt | Refused) -> None:
        """`node status` shows it, as far as the database can be written."""
        next_step = error.next_step if isinstance(error, Corrupt) else str(error.members.get("next", ""))
        with suppress(Exception):
            view = await self.store.outbox()
            await self.store.set_schedule(view.schedule, trouble=f"{error.detail}. {next_step}".strip())

    def _pause_s(self, step: Step) -> float:
        match step:
            case Wait(until_ms=until_ms):
                return min(max(until_ms - self.clock.now_ms(), 0) / 1000 + 0.001, POLL_S)
            case Idle() | Halted():
                return POLL_S
            case _:
                return 0.0

    async def _pause(self, seconds: float) -> None:
        """Until the time is up, something is recorded, or the process is to stop."""
        alarm = asyncio.ensure_future(self.clock.sleep(seconds))
        alarm.add_done_callback(self._ring)
        try:
            await self.woken.wait()
        finally:
            alarm.remove_done_callback(self._ring)  # or its cancelling would ring for the next pause
            alarm.cancel()
        self.woken.clear()

    def _ring(self, _: object) -> None:
        self.woken.set()
