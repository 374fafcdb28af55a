"""In a rush a hub folds what it just appended from memory, shares commits, and gives receipts first (ADR 0012)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from node.hub.leader import GIVE_WAY_S, Leader
from node.hub.projector import Projector
from node.hub.recent import RecentLeaves
from tests.edge.hub_lab import projected, running_hub
from tests.store.hub_samples import a_set, a_statement, commit_of


def test_leaves_that_were_just_appended_are_at_hand_in_order() -> None:
    recent = RecentLeaves()
    recent.add(commit_of(5, a_set(5, "33.75", 1), a_statement(6)))
    recent.add(commit_of(7, a_set(7, "35.71", 1)))
    found = recent.take(5, 8, 10_000)
    assert [(leaf.index, leaf.entry, leaf.changes_frame) for leaf in found] == [
        (5, b"manifest 5", b"changes 5"),
        (6, b"statement 6", None),
        (7, b"manifest 7", b"changes 7"),
    ]
    assert [leaf.index for leaf in recent.take(6, 7, 10_000)] == [6]
    assert recent.take(5, 8, 10_000) == []  # what lies before what was asked for last is let go of


def test_a_step_gets_as_many_bytes_as_it_asks_for_and_one_leaf_at_least() -> None:
    recent = RecentLeaves()
    recent.add(commit_of(0, *(a_set(index, "33.75", index + 1) for index in range(4))))
    assert [leaf.index for leaf in recent.take(0, 4, 1)] == [0]
    assert [leaf.index for leaf in recent.take(0, 4, 20)] == [0, 1]


def test_after_a_gap_that_another_process_appended_nothing_from_before_it_is_given() -> None:
    recent = RecentLeaves()
    recent.add(commit_of(0, a_set(0, "33.75", 1)))
    recent.add(commit_of(3, a_set(3, "33.75", 2)))
    assert recent.take(0, 4, 10_000) == []
    assert [leaf.index for leaf in recent.take(3, 4, 10_000)] == [3]


def test_what_is_at_hand_is_bounded_and_the_oldest_goes_first() -> None:
    recent = RecentLeaves(max_bytes=60)
    for index in range(10):
        recent.add(commit_of(index, a_set(index, "33.75", index + 1)))
    assert recent.take(0, 10, 10_000) == []
    assert [leaf.index for leaf in recent.take(7, 10, 10_000)] == [7, 8, 9]


class OneTurn:
    """Always ours."""

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        yield

    def close(self) -> None:
        """Nothing is held."""


class SteppingProjector:
    """Counts steps; there is always one more."""

    def __init__(self) -> None:
        self.steps = 0
        self.was_overtaken = False
        self.trouble: str | None = None

    async def step_in_turn(self) -> bool:
        self.steps += 1
        return self.steps < 3

    async def drop_ahead(self) -> None:
        """Nothing was opened."""


class LogAtRest:
    async def follow(self) -> bool:
        return False


class SleptClock:
    """Time passes by sleeping alone, and is counted."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def now_ms(self) -> int:
        return int(self.now_s * 1000)

    def monotonic_s(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        await asyncio.sleep(0)


async def led(is_rushed: Callable[[SleptClock], bool]) -> tuple[SteppingProjector, float]:
    """The projector after its three steps, and when they were done."""
    clock, projector = SleptClock(), SteppingProjector()
    leader = Leader(
        cast("Any", LogAtRest()), cast("Projector", projector), OneTurn(), clock, is_rushed=lambda: is_rushed(clock)
    )
    leader.start()
    async with asyncio.timeout(5):
        while projector.steps < 3:  # noqa: ASYNC110 - another task's work
            await asyncio.sleep(0)
    done_s = clock.now_s
    await leader.stop()
    return projector, done_s


async def test_folding_gives_way_while_sets_wait_for_a_thread() -> None:
    _, done_s = await led(lambda clock: clock.now_s < 2.0)
    assert 2.0 <= done_s < 2.5


async def test_folding_gives_way_no_longer_than_it_may_and_then_catches_up() -> None:
    _, done_s = await led(lambda _: True)
    assert GIVE_WAY_S <= done_s < GIVE_WAY_S + 0.5


async def test_nobody_waits_where_nobody_hurries() -> None:
    _, done_s = await led(lambda _: False)
    assert done_s == 0


async def test_single_sets_in_a_rush_share_commits_and_are_all_folded(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as lab:
        agencies = [await lab.enrol(f"33.{number}") for number in range(10, 30)]
        sets = [agency.cut(1) for agency in agencies]
        answers = await asyncio.gather(*(agency.push(one) for agency, one in zip(agencies, sets, strict=True)))
        assert {answer.status for answer in answers} == {201}
        assert len({answer.json["checkpoint"] for answer in answers}) < len(sets)
        await projected(lab)
        assert lab.hub.projector.cursor.size == lab.hub.log.size
