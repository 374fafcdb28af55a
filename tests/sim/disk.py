"""What survives a crash: the committed state of one store, and transactions on it.

A transaction works on a copy and puts it in the place of the committed state: so all of it happens or nothing, a crash
loses what was not put, and a backup is a reference to a state that nobody changes any more.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Generic, Protocol, Self, TypeVar

from tests.sim.faults import Faults, Rates
from tests.sim.process import Process


class State(Protocol):
    """Containers of values that are never changed in place."""

    def copy(self) -> Self:
        """With containers of its own."""
        ...


S = TypeVar("S", bound=State)


class Disk(Generic[S]):
    """One store's files. `on_commit` is told (what, before, after) of every commit, at its moment."""

    def __init__(self, name: str, state: S, on_commit: Callable[[str, S, S], None] = lambda *_: None) -> None:
        self.name = name
        self.state = state
        self.on_commit = on_commit
        self.turn = asyncio.Lock()
        self.life = 0

    def put_back(self, state: S) -> None:
        """An earlier state stands there now. Whoever was writing has lost its connection."""
        self.state = state
        self.life += 1

    def put(self, what: str, state: S) -> None:
        """Commits."""
        before, self.state = self.state, state
        self.on_commit(what, before, state)

    def power_cut(self) -> None:
        """The process that wrote here died. What was put stays."""


class Mount(Generic[S]):
    """A disk as one process uses it: with the faults that happen to it."""

    def __init__(self, disk: Disk[S], process: Process | None = None, faults: Faults | None = None) -> None:
        self.disk = disk
        self.process = process or Process("test")
        self._faults = faults or Faults("", Rates(), lambda _: None)

    async def read(self) -> S:
        """The newest commit; others get a turn first."""
        self.process.check()
        await asyncio.sleep(0)
        self.process.check()
        return self.disk.state

    async def wait(self) -> None:
        """As long as a write takes."""
        await self.process.runs()
        await asyncio.sleep(self._faults.write_s())
        self.process.check()

    @asynccontextmanager
    async def writing(self, what: str) -> AsyncIterator[S]:
        """A copy to change; put at the end unless something is raised. It takes as long as the disk does."""
        await self.process.runs()
        async with self.disk.turn:
            life = self.disk.life
            await asyncio.sleep(self._faults.write_s())
            self.process.check()
            if self.disk.life != life:
                raise self._faults.failed(errno.ECONNRESET, "the database went away")
            draft = self.disk.state.copy()
            yield draft
            self.commit(what, draft)

    def commit(self, what: str, draft: S) -> None:
        """With whatever happens right before and right after it."""
        what = f"{self.disk.name}.{what}"
        self.process.check()
        self._faults.before_write(self.process, what)
        self.disk.put(what, draft)
        self._faults.tell(f"{self.process.name} wrote {what}")
        self._faults.after_write(self.process, what)
