"""Turns by flock: beyond the contract of all turns (test_lock_store.py), what waiting in the kernel must not leave."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

from node.hub.file_turn import FileTurn


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def waiting_threads() -> int:
    return sum(thread.name.startswith("turn ") for thread in threading.enumerate())


async def begin_to_wait(turn: FileTurn) -> asyncio.Task[None]:
    task = asyncio.create_task(turn.hold().__aenter__())
    await asyncio.sleep(0.05)
    return task


async def until_no_thread_waits() -> None:
    async with asyncio.timeout(5):
        while waiting_threads():  # noqa: ASYNC110 - threads of the kernel's pace
            await asyncio.sleep(0.005)


async def test_waiters_that_were_cancelled_leave_no_thread_and_no_open_file(tmp_path: Path) -> None:
    one, other = FileTurn(tmp_path / "x.lock"), FileTurn(tmp_path / "x.lock")
    files = open_files()
    async with one.hold():
        for _ in range(3):
            waiter = await begin_to_wait(other)
            waiter.cancel()
            await asyncio.gather(waiter, return_exceptions=True)
        assert waiting_threads()
    await until_no_thread_waits()
    await asyncio.sleep(0.02)
    assert open_files() == files
    async with asyncio.timeout(1), other.hold():
        pass
    one.close()
    other.close()


async def test_a_waiter_behind_one_that_was_cancelled_gets_its_turn(tmp_path: Path) -> None:
    turns = [FileTurn(tmp_path / "x.lock") for _ in range(3)]
    async with turns[0].hold():
        gone, stays = await begin_to_wait(turns[1]), await begin_to_wait(turns[2])
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        assert not stays.done()
    async with asyncio.timeout(5):
        await stays
    await until_no_thread_waits()
    for turn in turns:
        turn.close()


async def test_waiting_costs_no_processor_time(tmp_path: Path) -> None:
    one, other = FileTurn(tmp_path / "x.lock"), FileTurn(tmp_path / "x.lock")
    async with one.hold():
        waiter = await begin_to_wait(other)
        before = time.process_time()
        await asyncio.sleep(0.5)
        assert time.process_time() - before < 0.05
    async with asyncio.timeout(5):
        await waiter
    one.close()
    other.close()
