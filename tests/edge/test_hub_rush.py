"""In a rush a hub folds what it just appended from memory, shares commits, and gives receipts first (ADR 0012)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from node.hub import intake as intake_module
from node.hub.folding import SMALL_LEAVES, is_small
from node.hub.intake import SMALL_SET_LEAVES, SMALL_WIRE_BYTES
from node.hub.leader import GIVE_WAY_S, Leader
from node.hub.projector import Projector
from node.hub.recent import RecentLeaves
from node.store.hub_records import LogLeaf
from sync_protocol.compression import compress_frames, zstd
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


def leaf_of(lines: list[bytes], *, states_its_size: bool = True) -> LogLeaf:
    options: dict[int, int] = {zstd.CompressionParameter.content_size_flag: int(states_its_size)}
    frame = zstd.compress(b"\n".join([b'{"manifest":"x"}', *lines, b""]), options=options)
    return LogLeaf(0, b"entry", frame)


@pytest.mark.parametrize(
    ("leaves", "small"),
    [
        ([leaf_of([b"x" * 400])], True),
        ([leaf_of([b"x" * 400])] * SMALL_LEAVES, True),
        ([leaf_of([b"x" * 400])] * (SMALL_LEAVES + 1), False),
        ([leaf_of([b"x"] * 15_000)], False),  # 600 bytes, and hundreds of milliseconds
        ([leaf_of([b"x" * 2_000] * 20)], False),
        ([leaf_of([b"x" * 400], states_its_size=False)], False),
        ([LogLeaf(0, b"statement", None)], False),
        ([LogLeaf(0, b"entry", b"no frame")], False),
        ([], False),
    ],
)
def test_only_a_few_short_lines_are_folded_at_once(leaves: list[LogLeaf], small: bool) -> None:
    assert is_small(leaves) is small


async def test_many_short_lines_in_a_few_bytes_are_read_in_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[str] = set()
    async with running_hub(tmp_path, projector=False) as lab:
        agency = await lab.enrol("33.75")
        verify = intake_module.__dict__["verify_lines"]

        def watched(change_set: Any) -> Any:
            seen.add(threading.current_thread().name)
            return verify(change_set)

        monkeypatch.setitem(intake_module.__dict__, "verify_lines", watched)
        for lines in ([b"x"] * (SMALL_SET_LEAVES + 1), [b"x"] * 3):
            seen.clear()
            change_set = agency.cut(lines, [])
            assert len(b"".join(compress_frames(change_set.head, change_set.contents))) <= SMALL_WIRE_BYTES
            answer = await agency.push(change_set)
            assert answer.status == 201
            agency.took(change_set)
            assert (threading.main_thread().name in seen) is (len(lines) == 3)
