"""What a serving hub does by itself outlives a disk or a lock folder that is away for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from structlog.testing import capture_logs

from node.wiring.hub_parts import opened_hub
from tests.edge.hub_lab import Lab, LabClock, LabRandomness, options_for, running_hub

HOUR_MS = 3_600_000


class HurriedClock(LabClock):
    """Nobody waits long."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.01))


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110 - another task's work
            await asyncio.sleep(0.01)


def take_away(lab: Lab) -> Callable[[], object]:
    """Makes the lock's note unreadable, as a disk that went away; the way back is returned."""
    note, away = lab.hub.options.lock_folder / "checkpoint", lab.directory / "away"
    note.rename(away)
    note.mkdir()

    def bring_back() -> None:
        note.rmdir()
        away.rename(note)

    return bring_back


async def test_the_watch_goes_on_after_the_lock_folder_was_away(tmp_path: Path) -> None:
    async with running_hub(tmp_path, clock=HurriedClock()) as lab:
        agency = await lab.enrol("33.75")
        with capture_logs() as logs:
            bring_back = take_away(lab)
            await until(lambda: any(entry.get("step") == "_watch" for entry in logs))
            bring_back()
        size = lab.hub.log.size
        async with opened_hub(options_for(tmp_path), clock=lab.clock, randomness=LabRandomness(9)) as beside:
            await beside.revoke(agency.code)
        await until(lambda: lab.hub.log.size == size + 1)
        record = lab.hub.log.roster.agency("33.75")
        assert record is not None
        assert record.kid is None


async def test_ticks_go_on_after_the_lock_folder_was_away(tmp_path: Path) -> None:
    async with running_hub(tmp_path, clock=HurriedClock()) as lab:
        before = lab.hub.log.roster.tick_before(lab.hub.log.size)
        with capture_logs() as logs:
            bring_back = take_away(lab)
            lab.clock.at_ms += 2 * HOUR_MS
            await until(lambda: any(entry.get("step") == "_tick" for entry in logs))
            bring_back()
        await until(lambda: lab.hub.log.roster.tick_before(lab.hub.log.size) == lab.clock.at_ms)
        assert before is not None
        assert lab.hub.log.size == 4


async def test_a_lock_that_contradicts_the_database_is_noticed_though_nobody_pushes(tmp_path: Path) -> None:
    async with running_hub(tmp_path, clock=HurriedClock()) as lab:
        first = await lab.hub.store.checkpoint_of(1)
        assert first is not None
        await lab.enrol("33.75")
        (lab.hub.options.lock_folder / "checkpoint").write_bytes(first.note)
        await until(lambda: lab.hub.log.broken is not None)
        answer = await lab.call("GET", "/healthz")
        assert (answer.status, answer.kind) == (503, "busy")
