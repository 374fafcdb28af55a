"""The comparison itself: turns, ratios, and what becomes of those that fail or are not here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

from tests.bench.contest import Absent, Lane, Round, Times, hold
from tests.bench.load import Drawing, Work
from tests.bench.systems import PEER, System, ratios
from tests.bench.tables import Claim, systems_table

DRAWING = ("33.75", "35.71")


@dataclass
class Pretender:
    """A contestant that writes down what it was given; it fails in the round that it is told to."""

    name: str
    told: list[tuple[str, int]]
    fails_in: int | None = None
    rounds: int = 0
    works: list[Work] = field(default_factory=list)

    async def prepare(self, work: Work) -> None:
        self.works.append(work)

    async def run(self) -> Times:
        self.told.append((self.name, self.rounds))
        self.rounds += 1
        if self.fails_in == self.rounds - 1:
            raise RuntimeError("out of breath")
        return Times(accepted_s=2.0, visible_s=4.0)

    def cpu_s(self) -> float:
        return float(self.rounds)

    def facts(self) -> dict[str, float]:
        return {"wire_bytes": 100.0 + self.rounds}


def lane_of(pretender: Pretender, closed: list[str]) -> Lane:
    @asynccontextmanager
    async def opening() -> AsyncIterator[Pretender]:
        try:
            yield pretender
        finally:
            closed.append(pretender.name)

    return Lane(pretender.name, opening)


def system(key: str, accepted: list[float], visible: list[float]) -> System:
    lanes = [Lane(f"{key}, {what}", lambda: lane_of(Pretender(key, []), []).opening()) for what in ("off", "on")]
    for rate in (1.0, *accepted):
        lanes[0].rounds.append(Round(rate, None, 1.0, 1.0, {"wire_bytes": 50.0}))
    for rate in (1.0, *visible):
        lanes[1].rounds.append(Round(None, rate, 1.0, 1.0, {}))
    return System(key, key, "nothing", *lanes)


async def test_each_round_gives_everybody_the_same_new_changes_and_begins_with_another() -> None:
    told: list[tuple[str, int]] = []
    first, second = Pretender("first", told), Pretender("second", told)
    await hold([lane_of(first, []), lane_of(second, [])], Drawing(DRAWING, 1, 2), rounds=2)
    assert [name for name, _ in told] == ["first", "second", "second", "first", "first", "second"]
    assert first.works == second.works
    drawn = [pair for work in first.works for _, pairs in work.in_turn() for pair in pairs]
    assert len(drawn) == len(set(drawn)) == 3 * 2 * 2


async def test_what_fails_is_stopped_with_its_reason_and_the_others_go_on() -> None:
    told: list[tuple[str, int]] = []
    closed: list[str] = []
    weak, strong = lane_of(Pretender("weak", told, fails_in=1), closed), lane_of(Pretender("strong", told), closed)
    await hold([weak, strong], Drawing(DRAWING, 1, 1), rounds=3)
    assert weak.failure == "RuntimeError: out of breath"
    assert (len(weak.rounds), len(strong.warm)) == (1, 3)
    assert strong.failure is None
    assert closed == ["weak", "strong"]


async def test_what_is_not_on_this_machine_is_absent_and_no_failure() -> None:
    def opening() -> AbstractAsyncContextManager[Pretender]:
        raise Absent("no such server here")

    lane = Lane("missing", opening)
    await hold([lane], Drawing(DRAWING, 1, 1), rounds=1)
    assert (lane.absent, lane.failure, lane.rounds) == ("no such server here", None, [])


async def test_a_round_is_told_in_changes_a_second_and_processor_time_a_change() -> None:
    lane = lane_of(Pretender("only", []), [])
    await hold([lane], Drawing(DRAWING, 2, 5), rounds=0)
    [only] = lane.rounds
    assert (only.accepted_per_s, only.visible_per_s, only.cpu_us) == (10.0, 5.0, 50_000.0)
    assert lane.fact("wire_bytes") == 101.0


async def test_no_round_begins_after_the_time_there_is() -> None:
    lane = lane_of(Pretender("slow", []), [])
    assert await hold([lane], Drawing(DRAWING, 1, 1), rounds=5, limit_s=0.0) == 0
    assert len(lane.rounds) == 1


def test_ratios_are_those_of_the_medians_of_the_warm_rounds() -> None:
    ours, peer = (
        system("ours", [200.0, 300.0, 900.0], [50.0, 60.0, 70.0]),
        system(PEER, [100.0, 100.0, 100.0], [100.0] * 3),
    )
    found = ratios([ours, peer])
    assert set(found) == {"ours"}
    assert (found["ours"]["accepted_vs_pg_logical"], found["ours"]["visible_vs_pg_logical"]) == (3.0, 0.6)
    assert found["ours"]["accepted_within_one_round"] == [2.0, 9.0]


def test_a_peer_that_failed_leaves_no_ratio_and_the_table_says_why() -> None:
    ours, peer = system("ours", [200.0], [50.0]), system(PEER, [], [])
    peer.accepting.failure = "RuntimeError: no space"
    assert ratios([ours, peer])["ours"]["accepted_vs_pg_logical"] is None
    cells = [str(cell) for column in systems_table([ours, peer], ratios([ours, peer])).columns for cell in column.cells]
    assert any("FAILED: RuntimeError: no space" in cell for cell in cells)


def test_a_claim_that_was_not_measured_is_neither_kept_nor_broken() -> None:
    assert Claim("speed", "/s", 10.0, None).ratio is None
    assert Claim("memory", "MiB", 10.0, 20.0, at_least=False).ratio == 0.5
