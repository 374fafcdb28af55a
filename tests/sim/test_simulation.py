"""A short run of the simulation, and what it promises of itself. `make sim` is the long one."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim.chance import SimClock, Wall
from tests.sim.disk import Disk, Mount
from tests.sim.local_state import LocalState
from tests.sim.memory_local import MemoryLocalStore
from tests.sim.memory_locks import LockState, MemoryLockStore
from tests.sim.process import Killed, Process, make_task
from tests.sim.virtual_time import Stuck, VirtualLoop, run_virtually
from tests.sim.world import run_seed
from tests.store.local_samples import IDENTITY, SEEN, record

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("first", range(1, 31, 5))
def test_nothing_is_lost_forked_or_doubled_on_some_bad_days_and_each_is_a_world_of_its_own(first: int) -> None:
    digests = set()
    for seed in range(first, first + 5):
        outcome = run_seed(seed)
        assert outcome.violations == [], f"python -m tests.sim --seed {seed} --trace"
        digests.add(outcome.digest)
    assert len(digests) == 5


def test_a_seed_is_the_same_world_again_whatever_the_order_of_sets_in_memory() -> None:
    other = "1" if os.environ.get("PYTHONHASHSEED") == "0" else "0"
    code = "from tests.sim.world import run_seed; print(run_seed(7).digest)"
    env = {**os.environ, "PYTHONHASHSEED": other}
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == run_seed(7).digest


def test_time_stands_while_something_runs_and_leaps_when_nothing_does() -> None:
    async def main(loop: VirtualLoop) -> list[float]:
        seen = [loop.time()]
        await asyncio.sleep(86_400)
        seen.append(loop.time())
        assert await asyncio.to_thread(sum, [1, 2]) == 3
        seen.append(loop.time())
        return seen

    assert run_virtually(main) == [0, 86_400, 86_400]


def test_a_world_in_which_everybody_waits_for_ever_is_told() -> None:
    async def main(loop: VirtualLoop) -> None:
        await loop.create_future()

    with pytest.raises(Stuck):
        run_virtually(main)


def test_a_process_that_is_killed_writes_nothing_more_and_its_directory_is_as_it_was() -> None:
    async def main(_: VirtualLoop) -> None:
        disk, process = Disk("node", LocalState()), Process("node")
        store = MemoryLocalStore(Mount(disk, process))
        await store.enrol(IDENTITY, [], SEEN)

        async def half() -> None:
            async with store.transaction() as transaction:
                await transaction.set_epoch(9)
                await SimClock(process, Wall()).sleep(5)

        writing = process.spawn(half())
        await asyncio.sleep(1)
        process.kill()
        await process.gone()
        assert writing.cancelled()
        with pytest.raises(Killed):
            await store.outbox()
        again = MemoryLocalStore(Mount(disk, Process("node")))
        assert (await again.outbox()).epoch == 1
        await record(again, 1)

    run_virtually(main, make_task)


def test_a_process_that_dies_lets_go_of_the_append_lock() -> None:
    async def main(_: VirtualLoop) -> None:
        disk, place, process = Disk("lock", LockState()), asyncio.Lock(), Process("hub")
        dead, living = (MemoryLockStore(Mount(disk, one), place) for one in (process, Process("hub")))

        async def hold_on() -> None:
            async with dead.hold():
                await asyncio.sleep(60)

        process.spawn(hold_on())
        await asyncio.sleep(1)
        process.kill()
        async with asyncio.timeout(1), living.hold():
            await living.swap(None, b"mine")
        assert (await living.read()) == b"mine"

    run_virtually(main, make_task)
