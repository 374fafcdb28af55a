"""The contract of LockStore (node/hub/ports.py), run on every implementation."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from node.hub.lock import FileLockStore
from node.system import SystemClock
from sync_protocol.errors import Corrupt

Opener = Callable[[Path], FileLockStore]


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[FileLockStore]:
    store = FileLockStore(tmp_path / "lock", SystemClock())
    yield store
    store.close()


async def test_it_holds_nothing_before_the_first_note(lock: FileLockStore) -> None:
    assert await lock.read() is None


async def test_a_note_replaces_exactly_the_one_expected(lock: FileLockStore) -> None:
    async with lock.hold():
        await lock.swap(None, b"one")
        await lock.swap(b"one", b"two")
        with pytest.raises(Corrupt):
            await lock.swap(b"one", b"three")
        with pytest.raises(Corrupt):
            await lock.swap(None, b"three")
    assert await lock.read() == b"two"


async def test_a_note_survives_reopening(lock: FileLockStore, tmp_path: Path) -> None:
    async with lock.hold():
        await lock.swap(None, b"one")
    again = FileLockStore(tmp_path / "lock", SystemClock())
    assert await again.read() == b"one"
    again.close()


async def test_nobody_swaps_without_holding(lock: FileLockStore) -> None:
    with pytest.raises(AssertionError):
        await lock.swap(None, b"one")


async def test_a_proof_is_kept_apart_from_the_note_until_it_is_let_go(lock: FileLockStore, tmp_path: Path) -> None:
    assert await lock.proof() is None
    async with lock.hold():
        await lock.swap(None, b"one")
        await lock.keep_proof(b"shown")
        await lock.keep_proof(b"shown later")
    again = FileLockStore(tmp_path / "lock", SystemClock())
    assert (await again.read(), await again.proof()) == (b"one", b"shown later")
    async with again.hold():
        await again.keep_proof(None)
        await again.keep_proof(None)
    again.close()
    assert await lock.proof() is None
    with pytest.raises(AssertionError):
        await lock.keep_proof(b"not holding")


async def test_holders_take_turns_among_tasks_and_openings(lock: FileLockStore, tmp_path: Path) -> None:
    other = FileLockStore(tmp_path / "lock", SystemClock())
    inside = 0

    async def work(store: FileLockStore) -> None:
        nonlocal inside
        async with store.hold():
            inside += 1
            assert inside == 1
            await asyncio.sleep(0.002)
            inside -= 1

    await asyncio.gather(*(work(store) for _ in range(5) for store in (lock, other)))
    other.close()


async def test_a_busy_holder_lets_another_process_in(lock: FileLockStore, tmp_path: Path) -> None:
    other = FileLockStore(tmp_path / "lock", SystemClock())
    is_done = False

    async def busy() -> None:
        while not is_done:
            async with lock.hold():
                await asyncio.sleep(0.001)

    task = asyncio.create_task(busy())
    async with asyncio.timeout(5):
        for _ in range(5):
            async with other.hold():
                pass
    is_done = True
    await task
    other.close()


async def test_a_waiter_that_is_cancelled_leaves_the_lock_free(lock: FileLockStore) -> None:
    async with lock.hold():
        waiter = asyncio.create_task(lock.hold().__aenter__())
        await asyncio.sleep(0.02)
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
    async with asyncio.timeout(1), lock.hold():
        pass


async def test_a_process_that_dies_lets_go(lock: FileLockStore, tmp_path: Path) -> None:
    script = (
        "import fcntl, os, sys, time\n"
        "descriptor = os.open(sys.argv[1], os.O_RDWR)\n"
        "fcntl.flock(descriptor, fcntl.LOCK_EX)\n"
        "print('held', flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "lock" / "append.lock")]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"held\n"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1), lock.hold():
            pass
    process.kill()
    await process.wait()
    async with asyncio.timeout(5), lock.hold():
        await lock.swap(None, b"mine")


async def test_a_note_that_the_disk_takes_only_half_of_changes_nothing(lock: FileLockStore, tmp_path: Path) -> None:
    async with lock.hold():
        await lock.swap(None, b"old")
    script = (
        "import asyncio, pathlib, resource, sys\n"
        "from node.hub.lock import FileLockStore\n"
        "from node.system import SystemClock\n"
        "async def main():\n"
        "    store = FileLockStore(pathlib.Path(sys.argv[1]), SystemClock())\n"
        "    async with store.hold():\n"
        "        await store.swap(b'old', b'n' * 4096)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"  # a write beyond is cut short, the next one fails
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(tmp_path / "lock"), stderr=subprocess.PIPE
    )
    _, told = await process.communicate()
    assert process.returncode == 1
    assert b"File too large" in told
    assert await lock.read() == b"old"
