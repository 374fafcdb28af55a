"""The rules of admission by themselves: turns, shares, and times to come back that spread a herd (§7.4, ADR 0011)."""

from __future__ import annotations

import asyncio
import heapq
import random
import statistics
import threading
from contextlib import AsyncExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.hub.admission import FIRST_BYTES, Admission, AdmissionLimits, TurnedAway
from node.hub.comeback import LONGEST_S, Comeback
from node.hub.turns import Caller, FairThreads, Turns
from sync_protocol.backoff import spread_s
from sync_protocol.limits import WIRE_MAX_BYTES
from tests.edge.hub_lab import LabClock, LabRandomness

MIB = 1024 * 1024


def agency(name: str) -> Caller:
    return Caller(name, "192.0.2.1", is_proven=True)


def stranger(name: str, address: str = "198.51.100.1") -> Caller:
    return Caller(name, address)


def admission(**limits: int) -> Admission:
    return Admission(AdmissionLimits(**limits), LabClock(), LabRandomness(1))


async def is_kept_waiting(gate: Admission, caller: Caller, length: int) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05), gate.enter(caller, length):
            pass


def test_agencies_take_turns_whoever_shouted_more() -> None:
    turns: Turns[str] = Turns()
    for number in range(5):
        turns.add(agency("flood").account, f"flood {number}")
    turns.add(agency("a").account, "a")
    turns.add(agency("b").account, "b")
    assert [turns.take() for _ in range(7)] == ["flood 0", "a", "b", "flood 1", "flood 2", "flood 3", "flood 4"]
    assert (turns.take(), len(turns)) == (None, 0)


def test_all_strangers_together_have_one_turn_whatever_they_call_themselves() -> None:
    turns: Turns[str] = Turns()
    for number in range(700):
        turns.add(stranger(f"name {number}").account, "stranger")
    for _ in range(3):
        turns.add(agency("a").account, "a")
    assert [turns.take() for _ in range(6)] == ["stranger", "a"] * 3


@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=60))
def test_nobody_is_served_twice_while_another_waits_that_came_before(names: list[str]) -> None:
    turns: Turns[tuple[str, int]] = Turns()
    for place, name in enumerate(names):
        turns.add(agency(name).account, (name, place))
    left = list(enumerate(names))
    last: dict[str, int] = {}
    for served in range(len(names)):
        taken = turns.take()
        assert taken is not None
        name, place = taken
        assert place == min(number for number, other in left if other == name)
        left.remove((place, name))
        assert all(last.get(other, -1) >= last.get(name, -1) for _, other in left)
        last[name] = served
    assert not left


async def test_in_company_an_agency_has_one_place_and_alone_it_has_many() -> None:
    gate = admission(requests_max=32)
    async with AsyncExitStack() as stays:
        for _ in range(3):
            await stays.enter_async_context(gate.enter(agency("a"), 10))
        await stays.enter_async_context(gate.enter(agency("b"), 10))
        for name in "ab":
            await is_kept_waiting(gate, agency(name), 10)
    assert (gate.requests, gate.waiting, gate.bytes) == (0, 0, 0)


async def test_strangers_never_have_more_than_half_of_places_and_bytes() -> None:
    gate = admission(requests_max=8, bytes_max=64 * MIB)
    async with AsyncExitStack() as stays:
        for number in range(4):
            await stays.enter_async_context(gate.enter(stranger(f"{number}"), 10))
        await is_kept_waiting(gate, stranger("4"), 10)
        for number in range(4):
            await stays.enter_async_context(gate.enter(agency(f"{number}"), 10))
    gate = admission(requests_max=1_000, bytes_max=64 * MIB)
    async with AsyncExitStack() as stays:
        for number in range(8):
            await stays.enter_async_context(gate.enter(stranger(f"{number}"), WIRE_MAX_BYTES))
        assert gate.bytes == 64 * MIB // 8
        await is_kept_waiting(gate, stranger("8"), WIRE_MAX_BYTES)
        await stays.enter_async_context(gate.enter(agency("a"), WIRE_MAX_BYTES))


async def test_the_bytes_of_all_bodies_stay_under_the_bound_and_every_long_one_gets_its_room() -> None:
    gate = admission(requests_max=1_000, bytes_max=64 * MIB)
    most, done = 0, 0

    async def send(name: str) -> None:
        nonlocal most, done
        async with gate.enter(agency(name), WIRE_MAX_BYTES) as stay:
            await gate.grow(stay, agency(name), WIRE_MAX_BYTES)
            most = max(most, gate.bytes)
            await asyncio.sleep(0.001)
        done += 1

    async with asyncio.timeout(20):
        await asyncio.gather(*(send(f"{number}") for number in range(100)))
    assert done == 100
    assert 2 * WIRE_MAX_BYTES < most <= 64 * MIB
    assert gate.bytes == 0


async def test_who_is_cut_off_while_waiting_leaves_nothing_behind() -> None:
    gate = admission(requests_max=2)
    async with AsyncExitStack() as stays:
        for name in "ab":
            await stays.enter_async_context(gate.enter(agency(name), 10))

        async def wait(name: str) -> None:
            async with gate.enter(agency(name), FIRST_BYTES):
                pass

        tasks = [asyncio.create_task(wait(f"{number}")) for number in range(50)]
        await asyncio.sleep(0.05)
        assert gate.waiting == 50
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert gate.waiting == 0
    assert (gate.requests, gate.bytes) == (0, 0)


async def test_what_lies_in_buffers_unasked_is_counted_while_it_waits() -> None:
    gate = admission(requests_max=2, bytes_max=64 * MIB)
    async with AsyncExitStack() as stays:
        for name in "ab":
            await stays.enter_async_context(gate.enter(agency(name), 10))

        async def wait(name: str) -> None:
            async with gate.enter(agency(name), WIRE_MAX_BYTES, lambda: 256 * 1024):
                pass

        tasks = [asyncio.create_task(wait(f"{number}")) for number in range(100)]
        done, waiting = await asyncio.wait(tasks, timeout=0.2)
        assert len(waiting) == 64  # a quarter of the bytes
        assert all(isinstance(task.exception(), TurnedAway) for task in done)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_full_line_turns_strangers_away_before_agencies() -> None:
    gate = admission(requests_max=2, waiting_max=8)
    async with AsyncExitStack() as stays:
        for name in "ab":
            await stays.enter_async_context(gate.enter(agency(name), 10))

        async def wait(caller: Caller) -> None:
            async with gate.enter(caller, 10):
                pass

        strangers = [asyncio.create_task(wait(stranger(f"{number}"))) for number in range(20)]
        await asyncio.sleep(0.05)
        agencies = [asyncio.create_task(wait(agency(f"{number}"))) for number in range(4)]
        await asyncio.sleep(0.05)
        assert sum(task.done() for task in strangers) == 16
        assert not any(task.done() for task in agencies)
        for task in strangers + agencies:
            task.cancel()
        await asyncio.gather(*strangers, *agencies, return_exceptions=True)


async def test_with_others_there_one_agency_never_has_all_threads() -> None:
    threads = FairThreads(2, "test")
    gate, order = threading.Event(), list[str]()
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(20):
        await threads.run(agency("b"), order.append, "b before")
        slow = [asyncio.ensure_future(threads.run(agency("a"), gate.wait)) for _ in range(5)]
        await asyncio.sleep(0.05)
        await threads.run(agency("b"), order.append, "b beside")
        loop.call_later(0.05, gate.set)
        await asyncio.gather(*slow)
    assert order == ["b before", "b beside"]
    threads.close()


async def test_what_work_raises_comes_to_the_one_who_asked() -> None:
    threads = FairThreads(1, "test")
    with pytest.raises(ZeroDivisionError):
        await threads.run(agency("a"), divmod, 1, 0)
    assert await threads.run(agency("a"), divmod, 7, 2) == (3, 1)
    threads.close()


@given(st.integers(0, 2**32), st.integers(0, 5_000))
def test_times_to_come_back_are_whole_seconds_within_a_minute(seed: int, waiting: int) -> None:
    comeback = Comeback(LabRandomness(seed))
    for number in range(20):
        assert 1 <= comeback.after_s(("", str(number)), waiting, 1_000.0) <= LONGEST_S


def test_times_to_come_back_grow_with_the_queue() -> None:
    def mean(waiting: int) -> float:
        comeback = Comeback(LabRandomness(7))
        return statistics.mean(comeback.after_s(("", "same"), waiting, 1_000.0) for _ in range(500))

    assert mean(0) == 1
    assert mean(50) < mean(200) < mean(800)


def test_a_caller_that_asks_again_and_again_makes_nobody_elses_time_longer() -> None:
    comeback = Comeback(LabRandomness(7))
    for _ in range(10_000):
        comeback.after_s(("flood", ""), 0, 1_000.0)
    assert comeback.after_s(("other", ""), 0, 1_000.0) == 1


@pytest.mark.parametrize("seed", range(5))
def test_a_herd_of_727_comes_back_spread_over_the_time_that_the_hub_needs(seed: int) -> None:
    """A hub that takes 60 sets a second and lets 64 wait; all come in one moment and do as they are told."""
    pace, line_max = 60, 64
    comeback, jitter = Comeback(LabRandomness(seed)), random.Random(seed)
    calls = [(0.0, number) for number in range(727)]
    line: list[int] = []
    tries, done, arrivals = [0] * 727, dict[int, float](), dict[int, int]()
    now = 0.0
    while len(done) < 727:
        now += 1 / pace
        while calls and calls[0][0] <= now:
            at_s, number = heapq.heappop(calls)
            tries[number] += 1
            arrivals[int(at_s)] = arrivals.get(int(at_s), 0) + 1
            if len(line) < line_max:
                line.append(number)
            else:
                wish_s = comeback.after_s((f"{number}", ""), len(line), now)
                heapq.heappush(calls, (now + spread_s(wish_s, jitter.random()), number))
        if line:
            done[line.pop(0)] = now
            comeback.served(now)
    assert now < 2 * 727 / pace
    assert max(done.values()) <= 3 * statistics.median(done.values())
    assert max(count for second, count in arrivals.items() if second) <= 2 * pace
    assert sum(tries) <= 3 * 727
