"""The contracts of LockStore and Turn (node/hub/ports.py), run on every implementation."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from node.hub.file_turn import FileTurn
from node.hub.lock import FileLockStore
from node.hub.ports import LockStore, Turn
from node.store.hub_records import KeptErasure
from node.store.postgres_lock import APPENDING, LEADING, PROJECTING, PostgresLockStore, PostgresTurn
from sync_protocol.errors import Corrupt
from tests.postgres import driver_dsn
from tests.sim.disk import Disk, Mount
from tests.sim.memory_locks import LockState, MemoryLockStore, MemoryTurn
from tests.sim.process import Process

LockOpener = Callable[[], Awaitable[LockStore]]
TurnOpener = Callable[[int], Turn]
HOLDERS = {  # what another process does that holds the lock until it is killed
    "files": (
        "import fcntl, os, sys, time\n"
        "descriptor = os.open(sys.argv[1] + '/lock/append.lock', os.O_RDWR)\n"
        "fcntl.flock(descriptor, fcntl.LOCK_EX)\n"
        "print('held', flush=True)\n"
        "time.sleep(60)\n"
    ),
    "postgresql": (
        "import asyncio, sys\n"
        "from node.store.postgres_lock import PostgresLockStore\n"
        "async def main():\n"
        "    store = await PostgresLockStore.create_or_open(sys.argv[1])\n"
        "    async with store.hold():\n"
        "        print('held', flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    ),
}


@pytest.fixture(params=["files", "postgresql", "memory"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def where(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The folder or the database of this test."""
    return str(request.getfixturevalue("postgres_url") if kind == "postgresql" else tmp_path)


@pytest.fixture
def opener(kind: str, where: str) -> LockOpener:
    """Opens one and the same lock store, as another process would; the one in memory is the simulation's."""
    disk, place = Disk("lock", LockState()), asyncio.Lock()

    async def open_memory() -> LockStore:
        return MemoryLockStore(Mount(disk), place)

    async def open_files() -> LockStore:
        return FileLockStore(Path(where) / "lock")

    async def open_postgres() -> LockStore:
        return await PostgresLockStore.create_or_open(where)

    return {"files": open_files, "postgresql": open_postgres, "memory": open_memory}[kind]


@pytest.fixture
async def lock(opener: LockOpener) -> AsyncIterator[LockStore]:
    store = await opener()
    yield store
    store.close()


@pytest.fixture
async def other(opener: LockOpener) -> AsyncIterator[LockStore]:
    """The same lock store as a second process sees it."""
    store = await opener()
    yield store
    store.close()


@pytest.fixture
def turn_opener(kind: str, where: str) -> TurnOpener:
    if kind == "files":
        return lambda number: FileTurn(Path(where) / "lock" / f"{number}.lock")
    if kind == "memory":
        places: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        return lambda number: MemoryTurn(places[number], Process("test"))
    return lambda number: PostgresTurn(where, number)


async def test_it_holds_nothing_before_the_first_note(lock: LockStore) -> None:
    assert await lock.read() is None
    assert await lock.proof() is None


async def test_a_note_replaces_exactly_the_one_expected(lock: LockStore) -> None:
    async with lock.hold():
        await lock.swap(None, b"one")
        await lock.swap(b"one", b"two")
        with pytest.raises(Corrupt):
            await lock.swap(b"one", b"three")
        with pytest.raises(Corrupt):
            await lock.swap(None, b"three")
        assert await lock.read() == b"two"
    assert await lock.read() == b"two"


async def test_a_note_survives_reopening(lock: LockStore, opener: LockOpener) -> None:
    async with lock.hold():
        await lock.swap(None, b"one")
    again = await opener()
    assert await again.read() == b"one"
    again.close()


async def test_nobody_swaps_without_holding(lock: LockStore) -> None:
    with pytest.raises(AssertionError):
        await lock.swap(None, b"one")
    async with lock.hold():
        pass
    with pytest.raises(AssertionError):
        await lock.swap(None, b"one")


async def test_a_proof_is_kept_apart_from_the_note_until_it_is_let_go(lock: LockStore, other: LockStore) -> None:
    async with lock.hold():
        await lock.swap(None, b"one")
        await lock.keep_proof(b"shown")
        await lock.keep_proof(b"shown later")
    assert (await other.read(), await other.proof()) == (b"one", b"shown later")
    async with other.hold():
        await other.keep_proof(None)
        await other.keep_proof(None)
    assert await lock.proof() is None
    with pytest.raises(AssertionError):
        await lock.keep_proof(b"not holding")


async def test_statements_are_kept_by_place_and_a_later_one_counts(lock: LockStore, other: LockStore) -> None:
    assert (await lock.statements(), await lock.statements_kept_to()) == ({}, -1)
    async with lock.hold():
        await lock.keep_statements([(0, b"a.b.c"), (1, b"d.e.f")])
        await lock.keep_statements([(7, b"g.h.i")])
    async with other.hold():
        await other.keep_statements([(7, b"j.k.l")])
    assert await lock.statements() == {0: b"a.b.c", 1: b"d.e.f", 7: b"j.k.l"}
    assert await lock.statements_kept_to() == 7
    with pytest.raises(AssertionError):
        await lock.keep_statements([(8, b"m.n.o")])


async def test_erasures_are_kept_in_order_for_everybody_and_nothing_is_held_for_it(
    lock: LockStore, other: LockStore
) -> None:
    assert await lock.erasures() == []
    first, second = KeptErasure(7, (0, 3), frozenset({b"a" * 32, b"b" * 32})), KeptErasure(2, (), frozenset())
    await lock.keep_erasures([first])
    async with other.hold():
        await lock.keep_erasures([second, first])
    assert await other.erasures() == [first, second, first]


async def test_holders_take_turns_among_tasks_and_openings(lock: LockStore, other: LockStore) -> None:
    inside = 0

    async def work(store: LockStore) -> None:
        nonlocal inside
        async with store.hold():
            inside += 1
            assert inside == 1
            await asyncio.sleep(0.002)
            inside -= 1

    await asyncio.gather(*(work(store) for _ in range(5) for store in (lock, other)))


async def test_a_busy_holder_lets_another_process_in(lock: LockStore, other: LockStore) -> None:
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


async def test_the_note_can_be_read_while_somebody_holds(lock: LockStore, other: LockStore) -> None:
    async with lock.hold(), asyncio.timeout(5):
        await lock.swap(None, b"one")
        assert await asyncio.gather(*(store.read() for store in (lock, other, lock, other))) == [b"one"] * 4


async def test_a_waiter_that_is_cancelled_leaves_the_lock_free(lock: LockStore, other: LockStore) -> None:
    async with lock.hold():
        for store in (lock, other):
            waiter = asyncio.create_task(store.hold().__aenter__())
            await asyncio.sleep(0.05)
            waiter.cancel()
            await asyncio.gather(waiter, return_exceptions=True)
    for store in (other, lock):
        async with asyncio.timeout(5), store.hold():
            pass


async def test_a_holder_that_is_cancelled_lets_go(lock: LockStore, other: LockStore) -> None:
    async def hold_on() -> None:
        async with lock.hold():
            await asyncio.sleep(60)

    holder = asyncio.create_task(hold_on())
    await asyncio.sleep(0.1)
    holder.cancel()
    await asyncio.gather(holder, return_exceptions=True)
    async with asyncio.timeout(5), other.hold():
        await other.swap(None, b"mine")
    async with asyncio.timeout(5), lock.hold():
        await lock.swap(b"mine", b"again")


@pytest.mark.parametrize("kind", ["files", "postgresql"], indirect=True)
async def test_a_process_that_dies_lets_go_at_once(lock: LockStore, kind: str, where: str) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", HOLDERS[kind], where, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"held\n"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1), lock.hold():
            pass
    process.kill()
    await process.wait()
    async with asyncio.timeout(2), lock.hold():
        await lock.swap(None, b"mine")


async def test_a_turn_is_had_by_one_at_a_time_and_by_nobody_after_it_is_closed(turn_opener: TurnOpener) -> None:
    first, second, unrelated = turn_opener(LEADING), turn_opener(LEADING), turn_opener(PROJECTING)
    holding = first.hold()
    await holding.__aenter__()
    async with asyncio.timeout(5), unrelated.hold():
        pass
    waiter = asyncio.create_task(second.hold().__aenter__())
    await asyncio.sleep(0.1)
    assert not waiter.done()
    first.close()
    await asyncio.wait_for(waiter, 5)
    second.close()
    unrelated.close()


# What only one of the two can promise, or get wrong.


async def test_a_note_that_the_disk_takes_only_half_of_changes_nothing(tmp_path: Path) -> None:
    lock = FileLockStore(tmp_path / "lock")
    async with lock.hold():
        await lock.swap(None, b"old")
    script = (
        "import asyncio, pathlib, resource, sys\n"
        "from node.hub.lock import FileLockStore\n"
        "async def main():\n"
        "    store = FileLockStore(pathlib.Path(sys.argv[1]))\n"
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
    lock.close()


async def end_session_that_holds(url: str, number: int) -> None:
    """What a server does whose client's machine went away."""
    connection = await asyncpg.connect(driver_dsn(make_url(url)))
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = $1"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        number,
    )
    await connection.close()


async def test_a_holder_whose_session_ended_can_write_nothing_more(postgres_url: str) -> None:
    first = await PostgresLockStore.create_or_open(postgres_url)
    second = await PostgresLockStore.create_or_open(postgres_url)
    async with first.hold():
        await first.swap(None, b"one")
        await end_session_that_holds(postgres_url, APPENDING)
        async with asyncio.timeout(5), second.hold():
            await second.swap(b"one", b"two")
            with pytest.raises(Exception, match=r"(?i)connection|terminat"):
                await first.swap(b"two", b"stolen")
            with pytest.raises(Exception, match=r"(?i)connection|terminat"):
                await first.keep_proof(b"stolen")
    assert (await second.read(), await second.proof()) == (b"two", None)
    async with asyncio.timeout(5), first.hold():
        await first.swap(b"two", b"three")
    first.close()
    second.close()


async def test_whoever_waits_longer_than_the_server_says_waits_on(postgres_url: str) -> None:
    first, second = PostgresTurn(postgres_url, LEADING), PostgresTurn(postgres_url, LEADING, wait_s=1)
    async with first.hold():
        waiter = asyncio.create_task(second.hold().__aenter__())
        await asyncio.sleep(1.5)
        assert not waiter.done()
    await asyncio.wait_for(waiter, 5)
    first.close()
    second.close()


async def test_a_server_that_was_restarted_is_found_again(postgres_url: str) -> None:
    lock = await PostgresLockStore.create_or_open(postgres_url)
    async with lock.hold():
        await lock.swap(None, b"one")
    assert await lock.read() == b"one"
    connection = await asyncpg.connect(driver_dsn(make_url(postgres_url)))
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await connection.close()
    assert await lock.read() == b"one"
    async with lock.hold():
        await lock.swap(b"one", b"two")
    lock.close()
