"""A hub that dies while it takes its log back: at the next start it goes on, and has signed nothing (§6.3, §10.6)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from node.hub.lock import FileLockStore
from node.hub.log import checkpoint_in
from node.store.hub_records import Commit, RecoveredLeaf
from node.store.hub_store import SqlHubStore
from tests.edge.hub_lab import Lab
from tests.edge.refill_lab import AGENCIES, Disaster, audited, checkpoints_of, roots_of, state_of
from tests.edge.test_hub_crashes import PowerCut


@dataclass
class Fuse:
    """Burns when the process comes to a step; from then on the process is gone."""

    step: str
    is_burnt: bool = False

    def reach(self, step: str) -> None:
        self.is_burnt = self.is_burnt or step == self.step
        if self.is_burnt:
            raise PowerCut


class FusedStore(SqlHubStore):
    fuse = Fuse("")
    appends = 0

    async def append(self, commit: Commit) -> None:
        self.appends += 1
        self.fuse.reach(f"before append {self.appends}")
        await super().append(commit)
        self.fuse.reach(f"after append {self.appends}")

    async def recovered_leaves(self, start: int, end: int) -> list[RecoveredLeaf]:
        self.fuse.reach("before the first append")
        return await super().recovered_leaves(start, end)

    async def forget_recovered(self) -> None:
        self.fuse.reach("before letting go")
        await super().forget_recovered()


class FusedLock(FileLockStore):
    fuse = Fuse("")

    async def swap(self, expected: bytes | None, note: bytes) -> None:
        self.fuse.reach("before swap")
        await super().swap(expected, note)
        self.fuse.reach("after swap")


STEPS = [
    "before the first append",
    *(f"{when} append {number}" for number in (1, 2, 3) for when in ("before", "after")),
    "before letting go",
]


async def die_at(lab: Lab, disaster: Disaster, step: str) -> None:
    """Everything is gathered, and the hub dies at one step of taking it back."""
    assert isinstance(lab.hub.store, SqlHubStore)
    fuse = Fuse(step)
    store = FusedStore(lab.hub.store.writer, lab.hub.store.readers)
    lock = FusedLock(lab.hub.options.lock_folder)
    store.fuse = lock.fuse = fuse
    lab.hub.log.store, lab.hub.log.lock = store, lock
    lab.hub.restoring.commit_leaves = 2
    async with disaster.nodes(lab, *AGENCIES[:2]) as nodes:
        await disaster.knock(*nodes)
    with suppress(PowerCut):
        await lab.hub.restoring.look(now=True)
    assert fuse.is_burnt
    lock.close()


async def two_days(disaster: Disaster) -> tuple[dict[int, bytes], dict[int, bytes], str]:
    """A backup after the first: roots, signed notes and state after the second."""
    async with disaster.hub() as lab:
        await disaster.live_a_day(1, *AGENCIES[:2], lab=lab)
    disaster.back_up()
    async with disaster.hub() as lab:
        await disaster.live_a_day(3, *AGENCIES[:2], lab=lab)
        return await roots_of(lab), await checkpoints_of(lab), await state_of(lab)


async def check_goes_on(disaster: Disaster, known: tuple[dict[int, bytes], dict[int, bytes], str]) -> None:
    """Nothing new was signed; what is left is taken back; then the hub signs again."""
    roots, signed, state = known
    async with disaster.hub() as lab:
        there = await checkpoints_of(lab)
        assert {size: signed.get(size) for size in there} == there
        if lab.hub.log.recovering is not None:
            assert await lab.hub.restoring.look(now=True)
        assert await roots_of(lab) == roots
        assert await state_of(lab) == state
        locked = await lab.hub.lock.read()
        assert locked is not None
        assert checkpoint_in(locked).size == len(roots)
        await audited(lab, disaster.place / "export")
        await lab.hub.appender.append_statement(lab.hub.statements.tick)
        assert lab.hub.log.size == len(roots) + 1


@pytest.mark.parametrize("step", STEPS)
async def test_a_crash_while_the_log_is_taken_back_is_gone_on_from(tmp_path: Path, step: str) -> None:
    disaster = Disaster(tmp_path)
    known = await two_days(disaster)
    disaster.restore("hub.db")
    async with disaster.hub() as lab:
        await die_at(lab, disaster, step)
    await check_goes_on(disaster, known)


@pytest.mark.parametrize("step", ["before swap", "after swap", "after append 1"])
async def test_a_crash_around_the_lock_s_own_catching_up_is_gone_on_from(tmp_path: Path, step: str) -> None:
    """The lock folder is from the backup as well: it is brought to what was signed before the log is."""
    disaster = Disaster(tmp_path)
    known = await two_days(disaster)
    disaster.restore("hub.db", "lock")
    async with disaster.hub() as lab:
        await die_at(lab, disaster, step)
    await check_goes_on(disaster, known)
