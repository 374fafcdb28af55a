"""Processes that can be killed: a process is its tasks, and what it holds open; a store outlives it.

Every port of the simulation asks `check()` first, so that what is dead has no effect any more, whatever its `finally`
and `except` say. A killed process's tasks are cancelled in the order of their birth.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")
REAP_S: Final = 0.01
REAPED_MAX: Final = 50  # a task that outlives so many cancellations is a defect

_CURRENT: Final[contextvars.ContextVar[Process | None]] = contextvars.ContextVar("process", default=None)


class Killed(BaseException):
    """The process is dead: no code of it goes on from here."""


class Process:
    """One run of a program on a machine."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_alive = True
        self._stopped_until_s = 0.0
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._at_death: list[Callable[[], None]] = []
        self._at_crash: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return f"<process {self.name}>"

    def check(self) -> None:
        """Raises Killed once it is dead."""
        if not self.is_alive:
            raise Killed(self.name)

    def stop_for(self, seconds: float) -> None:
        """As a machine that is suspended: it writes nothing, and does not know how long."""
        self._stopped_until_s = asyncio.get_running_loop().time() + seconds

    async def runs(self) -> None:
        """Once it is not stopped any more. Others get a turn first. Raises Killed."""
        self.check()
        await asyncio.sleep(self._stopped_until_s - asyncio.get_running_loop().time())
        self.check()

    def at_death(self, let_go: Callable[[], None]) -> None:
        """What the kernel does for whoever ends."""
        self._at_death.append(let_go)

    def at_crash(self, cut: Callable[[], None]) -> None:
        """What else happens if it does not end by itself."""
        self._at_crash.append(cut)

    def spawn(self, work: Coroutine[Any, Any, T], name: str | None = None) -> asyncio.Task[T]:
        """A task of this process; so is every task that it makes."""
        context = contextvars.copy_context()
        context.run(_CURRENT.set, self)
        return asyncio.get_running_loop().create_task(work, name=name, context=context)

    def own(self, task: asyncio.Task[Any]) -> None:
        """Counts a task among those that die with it."""
        self._tasks[task] = None
        task.add_done_callback(self._ended)

    def kill(self) -> None:
        """At this moment; the caller, if it is one of its tasks, raises Killed."""
        if self.is_alive:
            self.end()
            for cut in self._at_crash:
                cut()

    def end(self) -> None:
        """It is through, and its last task ends now."""
        if not self.is_alive:
            return
        self.is_alive = False
        self._reap(REAPED_MAX)
        for let_go in self._at_death:
            let_go()

    def _reap(self, rounds: int) -> None:
        """Cancels what is left, again and again: what waits for others of it in a `finally` waits in vain."""
        current = asyncio.current_task()
        left = [task for task in self._tasks if task is not current]
        for task in left:
            task.cancel()
        if left and rounds:
            asyncio.get_running_loop().call_later(REAP_S, self._reap, rounds - 1)

    async def gone(self) -> None:
        """Until nothing of it is left on the loop."""
        for _ in range(2 * REAPED_MAX):
            if all(task is asyncio.current_task() for task in self._tasks):
                return
            await asyncio.sleep(REAP_S)
        raise AssertionError(f"{self.name} does not die: {list(self._tasks)}")

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        if not self.is_alive and not task.cancelled():
            task.exception()  # how a dead task ended is nobody's business


def make_task(
    loop: asyncio.AbstractEventLoop, coro: Any, *, context: contextvars.Context | None = None, **options: Any
) -> asyncio.Task[Any]:
    """The loop's task factory: a task belongs to the process in whose context it is made."""
    task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, context=context, **options)
    process = _CURRENT.get() if context is None else context.get(_CURRENT)
    if process is not None:
        process.own(task)
        if not process.is_alive:
            task.cancel()
    return task


def look_at(task: asyncio.Task[Any]) -> None:
    """A done-callback for tasks whose caller may have given up waiting."""
    if not task.cancelled():
        task.exception()
