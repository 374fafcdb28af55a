"""An event loop on which time is a number: it stands while something runs, and leaps when nothing does.

One thread, no sockets, no real waiting. Threads that the program asks for are run at once, and their result is
delivered a turn of the loop later, as a real one would be.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")
TURNS_MAX: Final = 100_000  # of the loop at one moment; the most that a world of 25 nodes does at once is a hundredth


class Stuck(AssertionError):
    """Everybody waits for somebody, and nothing will ever happen; or something happens for ever, and time stands."""


class _Leaps:
    """In the place of a selector: there is nothing to select from but the future."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._turns = 0

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise Stuck("nothing is scheduled, and the simulation has not ended")
        self._turns += 1
        if timeout > 0:
            self._turns = 0
            self._loop.leap(timeout)
        elif self._turns > TURNS_MAX:
            tasks = [task for task in asyncio.all_tasks(self._loop) if not task.done()]
            raise Stuck(f"time stands still at {self._loop.time()}: {tasks}")
        return []


class VirtualLoop(asyncio.BaseEventLoop):
    """See the module. Made for one simulation."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual_s = 0.0
        self._selector = _Leaps(self)

    def time(self) -> float:
        return self._virtual_s

    def leap(self, seconds: float) -> None:
        """Time goes on by that much at once, as in a machine that was suspended: whatever is due by then comes late."""
        self._virtual_s += seconds

    def run_in_executor(self, executor: object, func: Callable[..., T], *args: object) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()
        try:
            result = func(*args)
        except Exception as error:  # noqa: BLE001 - handed to whoever waits
            self.call_soon(_fail, future, error)
        else:
            self.call_soon(_settle, future, result)
        return future

    def _process_events(self, event_list: object) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody sleeps who would have to be woken."""


def _settle(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


def run_virtually(main: Callable[[VirtualLoop], Coroutine[Any, Any, T]], task_factory: Any = None) -> T:
    """What `main` returns, from a fresh loop; everything that still runs afterwards is cancelled."""
    loop = VirtualLoop()
    context = contextvars.copy_context()
    try:
        if task_factory is not None:
            loop.set_task_factory(task_factory)
        return context.run(functools.partial(loop.run_until_complete, main(loop)))
    finally:
        try:
            _cancel_all(loop)
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()


def _cancel_all(loop: VirtualLoop) -> None:
    async def outlast(left: set[asyncio.Task[Any]]) -> None:
        while left:
            for task in left:
                task.cancel()
            _, left = await asyncio.wait(left, timeout=1)

    left = asyncio.all_tasks(loop)
    if left:
        loop.run_until_complete(outlast(left))
        for task in left:
            if not task.cancelled():
                task.exception()
