"""Backups of every age: whatever a node was doing when its copy was made, and whatever happened since (§10.3).

The hub in memory stops a test at a second manifest for one place; the database and the processes are real.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from node.local.recording import Command
from node.local.status import node_status
from node.store.complaint_keys import complaint_key
from node.store.local_records import ComplaintFilter, HeldChange, Outgoing
from sync_protocol.errors import Refused
from sync_protocol.halts import HaltReason
from sync_protocol.line import parse_change
from sync_protocol.merkle import leaf_hash
from sync_protocol.outbox import Claim, Cut, Halted, Idle
from sync_protocol.statement import Role
from sync_protocol.values import b64u_encode
from tests.fakes.fake_hub import FakeHub, Fault, FaultHook
from tests.fakes.node_lab import AGENCY, Node, StandingClock, copy_of, running_node


class Dies(BaseException):
    """The process is gone."""


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub.found()


@dataclass
class Life:
    """One node's directory over many processes, and copies of it as it was at some moments."""

    place: Path
    hub: FakeHub
    clock: StandingClock = field(default_factory=StandingClock)
    processes: int = 0
    complaints: list[str] = field(default_factory=list)

    def process(
        self, directory: Path | None = None, fault: FaultHook = lambda _: None
    ) -> AbstractAsyncContextManager[Node]:
        """A new process on the directory, some time later."""
        self.processes += 1
        self.clock.at_ms += 60_000
        where = directory or self.place / "node"
        return running_node(where, self.hub, clock=self.clock, seed=self.processes, fault=fault)

    def back_up(self, name: str) -> Path:
        return copy_of(self.place / "node", self.place / name)

    async def day(self) -> None:
        """A complaint comes in, another goes on, and all is pushed."""
        async with self.process() as node:
            self.complaints.append((await node.received()).complaint)
            await node.settle()
            await node.change(self.complaints[0], "noted")
            await node.settle()

    async def until_push(self, name: str, outcome: Fault | None) -> Path:
        """A copy of a node that cut a set of one complaint and one note; its push came to this, None: it died there."""

        def fault(call: str) -> Fault | None:
            if call == "push" and outcome is None:
                raise Dies
            return outcome if call == "push" else None

        async with self.process() as node:
            await node.settle()
            await self.record(node)
            node.link.fault = fault
            with suppress(Dies):
                await node.work()
        return self.back_up(name)

    async def record(self, node: Node) -> None:
        self.complaints.append((await node.received()).complaint)
        await node.change(self.complaints[0], "noted")


async def just_enrolled(life: Life) -> Path:
    async with life.process():
        pass
    backup = life.back_up("backup")
    await life.day()
    return backup


async def recorded(life: Life) -> Path:
    await life.day()
    async with life.process() as node:
        await life.record(node)
    return life.back_up("backup")


async def epoch_claimed(life: Life) -> Path:
    await life.day()
    async with life.process() as node:
        await life.record(node)
        while not isinstance(await node.pusher.step(), Claim):
            pass
    return life.back_up("backup")


async def cut_and_the_process_died(life: Life) -> Path:
    await life.day()
    return await life.until_push("backup", None)


async def cut_and_the_push_was_lost(life: Life) -> Path:
    await life.day()
    return await life.until_push("backup", Fault.REQUEST_LOST)


async def cut_and_only_the_receipt_was_lost(life: Life) -> Path:
    await life.day()
    return await life.until_push("backup", Fault.REPLY_LOST)


async def cut_between_two_attempts(life: Life) -> Path:
    await life.day()
    async with life.process() as node:
        await node.received()
        while not isinstance(await node.pusher.step(), Claim):
            pass
        await node.pusher.step()
        await node.store.set_schedule((await node.store.outbox()).schedule.postponed(life.clock.at_ms, 60), trouble="x")
        assert isinstance(await node.pusher.step(), Cut)
        assert (await node.store.outbox()).pending_epoch is not None
    return life.back_up("backup")


async def acknowledged(life: Life) -> Path:
    await life.day()
    async with life.process() as node:
        await life.record(node)
        await node.settle()
    return life.back_up("backup")


async def in_the_middle_of_a_refill(life: Life) -> Path:
    """Itself an old backup, of which one page had come back when it was copied."""
    await life.day()
    older = life.back_up("older")
    for _ in range(4):
        await life.day()
    calls = iter(range(100))

    def second_page_lost(call: str) -> Fault | None:
        return Fault.REQUEST_LOST if call == "fetch_sets" and next(calls) else None

    async with life.process(older, second_page_lost) as node:
        await node.received()
        await node.work()
        view = await node.store.outbox()
        assert 2 < view.acknowledged_seq < 9
    return copy_of(older, life.place / "backup")


Age = Callable[[Life], Awaitable[Path]]
AGES: list[Age] = [
    just_enrolled,
    recorded,
    epoch_claimed,
    cut_and_the_process_died,
    cut_and_the_push_was_lost,
    cut_and_only_the_receipt_was_lost,
    cut_between_two_attempts,
    acknowledged,
    in_the_middle_of_a_refill,
]


@pytest.mark.parametrize("days_since", [0, 1, 3])
@pytest.mark.parametrize("age", AGES, ids=lambda age: age.__name__)
async def test_a_backup_of_any_age_goes_on_by_itself(tmp_path: Path, hub: FakeHub, age: Age, days_since: int) -> None:
    life = Life(tmp_path, hub)
    backup = await age(life)
    for _ in range(days_since):
        await life.day()
    highest = hub.heads[AGENCY].epoch if AGENCY in hub.heads else 1
    async with life.process(backup) as restored:
        waiting = [change.line for change, _ in await unsent_of(restored)]
        fresh = (await restored.received()).complaint  # recorded before it has seen the hub
        assert isinstance(await restored.settle(), Idle)
        view = await restored.store.outbox()
        assert (view.halt, view.unsent, view.acknowledged_seq) == (None, 0, hub.heads[AGENCY].seq)
        assert view.epoch == hub.heads[AGENCY].epoch > highest or not days_since
        assert not await restored.store.is_behind()
        await check_same(restored)
        there = {parse_change(line).id for line in restored.lines()}
        aside = {one.change_id for one in await restored.store.set_aside()}
        assert {parse_change(line).id for line in waiting} <= there | aside
        assert fresh in {parse_change(line).complaint for line in restored.lines()}
    async with life.process(backup) as again:
        assert isinstance(await again.settle(), Idle)
        await again.received()
        assert isinstance(await again.settle(), Idle)
        await check_same(again)


async def unsent_of(node: Node) -> list[tuple[HeldChange, bytes]]:
    async with node.store.transaction() as transaction:
        return await transaction.changes((await transaction.chain_end()).last_no)


async def check_same(node: Node) -> None:
    """The node holds line for line what the hub holds, with its words, and each change once."""
    async with node.store.transaction() as transaction:
        held = [change for change, _ in await transaction.changes(0)]
    assert [change.line for change in held] == node.lines()
    assert all(change.content is not None for change in held)
    ids = [parse_change(line).id for line in node.lines()]
    assert len(ids) == len(set(ids))
    for seq in range(1, node.hub.heads[AGENCY].seq + 1):
        outgoing = await node.store.outgoing(seq)
        assert outgoing is not None
        assert outgoing.digest == node.hub.sets[AGENCY, seq].change_set.manifest.digest


async def test_a_backup_that_was_itself_restored_from_one_is_no_copy_that_pushes_in_turns(
    tmp_path: Path, hub: FakeHub
) -> None:
    """Restored twice within an hour, each time from the same archive: the disk died again."""
    life = Life(tmp_path, hub)
    await life.day()
    archive = life.back_up("archive")
    for number in range(3):
        again = copy_of(archive, tmp_path / f"again{number}")
        async with life.process(again) as restored:
            await restored.received()
            assert isinstance(await restored.settle(), Idle)
    assert len(restored.lines()) == 5


@pytest.mark.parametrize("steps_before", range(8))
async def test_a_push_of_the_lost_machine_that_the_hub_takes_only_now_stops_nobody(
    tmp_path: Path, hub: FakeHub, steps_before: int
) -> None:
    """It lay at the hub, or on the line, while the backup was being started, wherever that stands by then."""
    life = Life(tmp_path, hub)
    await life.day()
    backup = life.back_up("backup")
    async with life.process() as lost:
        await lost.settle()
        sent = await lost.received()
        late = await cut_but_not_pushed(lost)
    async with life.process(backup) as restored:
        kept = await restored.received()
        for _ in range(steps_before):
            await restored.pusher.step()
        with suppress(Refused):  # it came too late: a set of the restored node stands there
            hub.push(AGENCY, late.seq, late.frames)
        assert isinstance(await restored.settle(), Idle)
        later = await restored.received()
        assert isinstance(await restored.settle(), Idle)
        assert (await restored.store.outbox()).halt is None
        there = [parse_change(line).id for line in restored.lines()]
        assert {kept.change, later.change} <= set(there)
        assert (sent.change in there) == (hub.sets[AGENCY, late.seq].change_set.manifest.digest == late.digest)
        await check_same(restored)


async def cut_but_not_pushed(node: Node) -> Outgoing:
    """The bytes that were on their way when the machine was lost."""
    node.link.fault = lambda call: Fault.REQUEST_LOST if call == "push" else None
    await node.work()
    outgoing = await node.store.outgoing((await node.store.outbox()).signed_seq)
    assert outgoing is not None
    return outgoing


async def test_a_hub_that_is_away_when_the_backup_starts_is_waited_for_and_nothing_is_signed_meanwhile(
    tmp_path: Path, hub: FakeHub
) -> None:
    life = Life(tmp_path, hub)
    await life.day()
    backup = life.back_up("backup")
    await life.day()
    async with life.process(backup, lambda _: Fault.REQUEST_LOST) as restored:
        await restored.received()
        for _ in range(5):
            await restored.work()
            life.clock.at_ms += 16 * 60_000
        view = await restored.store.outbox()
        assert (view.signed_seq, view.unsent, view.halt) == (2, 1, None)
        restored.link.fault = lambda _: None
        assert isinstance(await restored.settle(), Idle)
        await check_same(restored)


async def test_a_key_that_was_followed_by_another_one_since_signed_the_old_sets_and_the_new_one_the_rest(
    tmp_path: Path, hub: FakeHub
) -> None:
    """Backups are without keys: those come from the key backup, which is made after each rotation."""
    life = Life(tmp_path, hub)
    await life.day()
    backup = life.back_up("backup")
    async with life.process() as node:
        node.keys._directory.prepare_next(Role.AGENCY, b"n" * 32)
        await node.settle()
        assert node.keys.pending() is None
    await life.day()
    await asyncio.to_thread(_replace_keys, backup, life.place / "node")
    async with life.process(backup) as restored:
        await restored.received()
        assert isinstance(await restored.settle(), Idle)
        await check_same(restored)
    kids = {stored.change_set.manifest.jws.kid for stored in hub.sets.values()}
    assert len(kids) == 2


def _replace_keys(backup: Path, newest: Path) -> None:
    for file in (backup / "keys").iterdir():
        file.unlink()
    for file in (newest / "keys").iterdir():
        (backup / "keys" / file.name).write_bytes(file.read_bytes())
        (backup / "keys" / file.name).chmod(0o600)


async def test_an_erasure_that_was_not_sent_yet_survives_a_refill(tmp_path: Path, hub: FakeHub) -> None:
    """Recorded and erased in the backup, neither of them sent: the refill records both anew, under other numbers."""
    life = Life(tmp_path, hub)
    await life.day()
    async with life.process() as node:
        complaint = (await node.received()).complaint
        held = await node.store.complaint(complaint_key(complaint))
        assert held is not None
        (change,) = await node.store.complaint_changes(held.no)
        assert change.content is not None
        leaf = b64u_encode(leaf_hash(change.content))
        await node.service.record(Command("erased", {"ground": "court-order", "leaves": [leaf]}, complaint=complaint))
        words = change.content
    backup = copy_of(tmp_path / "node", tmp_path / "backup")
    other = copy_of(tmp_path / "node", tmp_path / "other")  # the lost machine: what it sends, the backup does not know
    async with life.process(other) as node:
        async with node.store.transaction() as transaction:
            await transaction.forget_changes((await transaction.chain_end()).last_no, [complaint_key(complaint)])
        for _ in range(3):
            await node.received()
        await node.settle()
    async with life.process(backup) as restored:
        assert isinstance(await restored.settle(), Idle)
        held = await restored.store.complaint(complaint_key(complaint))
        assert held is not None
        first, _ = await restored.store.complaint_changes(held.no)
        assert first.content is None
    assert all(words not in stored.change_set.contents for stored in hub.sets.values())


async def test_what_is_no_longer_possible_is_named_with_its_reason_and_without_its_words(
    tmp_path: Path, hub: FakeHub
) -> None:
    life = Life(tmp_path, hub)
    await life.day()
    backup = life.back_up("backup")
    async with life.process() as node:
        await node.change(life.complaints[0], "archived", {"by": "officer", "reason": "duplicate"})
        await node.settle()
    async with life.process(backup) as restored:
        await restored.change(life.complaints[0], "verified", {"class": "aspiration"})
        await restored.settle()
        status = await node_status(restored.store, restored.clock)
    (line,) = status.aside
    assert (line.complaint, line.type, line.reason) == (life.complaints[0], "verified", "bad_transition")
    (trouble,) = [trouble for trouble in status.troubles if "set aside" in trouble]
    assert f"verified of {life.complaints[0]} (bad_transition)" in trouble
    assert "catatan" not in str(status)


async def test_a_key_that_the_hub_no_longer_takes_is_named_as_what_it_is(tmp_path: Path, hub: FakeHub) -> None:
    life = Life(tmp_path, hub)
    await life.day()
    backup = life.back_up("backup")
    hub.revoke(AGENCY)
    async with life.process(backup) as restored:
        kept = await restored.received()
        step = await restored.settle()
        assert isinstance(step, Halted)
        assert step.halt.reason is HaltReason.KEY_REFUSED
        assert "fresh token" in step.halt.next_step
        assert kept.complaint in [str(one.id) for one in await restored.store.complaints(ComplaintFilter())]
