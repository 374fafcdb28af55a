"""Old backups: a node refills itself from the hub, keeps its unsent work and never forks (protocol §10.3)."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.local.hub_session import HubSession
from node.local.recovery import recover_node, take_over_chain
from node.store.complaint_keys import complaint_key
from sync_protocol.halts import HaltReason
from sync_protocol.line import parse_change
from sync_protocol.outbox import Adopt, Halted, Idle
from tests.fakes.fake_hub import FakeHub, Fault, FaultHook
from tests.fakes.node_lab import AGENCY, Node, copy_of, running_node


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub.found()


async def history(node: Node, complaint: str) -> list[str]:
    """Types of its changes as this node stores them."""
    held = await node.store.complaint(complaint_key(complaint))
    assert held is not None
    return [parse_change(change.line).type for change in await node.store.complaint_changes(held.no)]


def lost_after(calls: int) -> FaultHook:
    """A link that breaks for good after so many calls."""
    count = iter(range(1_000))
    return lambda _: Fault.REQUEST_LOST if next(count) >= calls else None


async def test_an_old_backup_gets_its_sets_back_and_goes_on_in_a_higher_epoch(tmp_path: Path, hub: FakeHub) -> None:
    async with running_node(tmp_path / "a", hub) as node:
        complaint = (await node.received()).complaint
        await node.work()
    backup = copy_of(tmp_path / "a", tmp_path / "b")
    async with running_node(tmp_path / "a", hub, clock=node.clock, seed=2) as node:
        await node.change(complaint, "verified", {"class": "aspiration"})
        await node.work()
        later = (await node.received()).complaint
        await node.work()
        before = hub.heads[AGENCY].epoch
    async with running_node(backup, hub, clock=node.clock, seed=3) as restored:
        steps = await restored.work()
        assert Adopt in [type(step) for step in steps]
        assert await history(restored, complaint) == ["received", "verified"]
        assert await history(restored, later) == ["received"]
        await restored.change(complaint, "assigned", {"unit": "dinas-pu"})
        assert isinstance(await restored.settle(), Idle)
        assert (await restored.store.outbox()).epoch > before
        held = await restored.store.complaint_changes(1)
        assert [change.content is not None for change in held] == [True, True, True]
        assert [change.seq for change in held] == [1, 2, 4]
    assert hub.heads[AGENCY].epoch > before
    assert len(restored.lines()) == len(set(restored.lines())) == 4


async def test_unsent_work_of_a_backup_is_kept_rebased_or_set_aside(tmp_path: Path, hub: FakeHub) -> None:
    async with running_node(tmp_path / "a", hub) as node:
        first, second, third = [(await node.received()).complaint for _ in range(3)]
        await node.work()
        await node.change(first, "noted")
    backup = copy_of(tmp_path / "a", tmp_path / "b")
    async with running_node(tmp_path / "a", hub, clock=node.clock, seed=2) as node:
        await node.work()  # sends the note of the first complaint, which the backup holds unsent
        await node.change(second, "noted")
        await node.change(third, "archived", {"by": "officer", "reason": "duplicate"})
        await node.work()
    async with running_node(backup, hub, clock=node.clock, seed=3) as restored:
        await restored.change(second, "verified", {"class": "aspiration"})  # rev 2 is taken by the note
        await restored.change(third, "verified", {"class": "aspiration"})  # archived by now
        fresh = (await restored.received()).complaint
        assert isinstance(await restored.settle(), Idle)
        assert await history(restored, first) == ["received", "noted"]
        assert await history(restored, second) == ["received", "noted", "verified"]
        assert await history(restored, third) == ["received", "archived"]
        assert await history(restored, fresh) == ["received"]
        (aside,) = await restored.store.set_aside()
        assert (aside.complaint, aside.reason) == (third, "bad_transition")
        assert aside.content is not None
        held = await restored.store.complaint(complaint_key(second))
        assert held is not None
        assert held.state.rev == 3
    revs = [parse_change(line).rev for line in restored.lines() if parse_change(line).complaint == second]
    assert revs == [1, 2, 3]


async def test_a_set_signed_before_the_backup_and_accepted_after_it_is_acknowledged(
    tmp_path: Path, hub: FakeHub
) -> None:
    async with running_node(tmp_path / "a", hub) as node:
        await node.work()
        await node.received()
        node.link.fault = lambda call: Fault.REQUEST_LOST if call == "push" else None
        await node.work()
    backup = copy_of(tmp_path / "a", tmp_path / "b")
    async with running_node(tmp_path / "a", hub, clock=node.clock, seed=2) as node:
        await node.settle()
        await node.received()
        await node.settle()
    async with running_node(backup, hub, clock=node.clock, seed=3) as restored:
        assert isinstance(await restored.settle(), Idle)
        view = await restored.store.outbox()
        assert (view.acknowledged_seq, view.unsent) == (3, 0)
    assert len(restored.lines()) == 2


async def test_an_adoption_cut_off_anywhere_is_finished_by_the_next_process(tmp_path: Path, hub: FakeHub) -> None:
    async with running_node(tmp_path / "a", hub) as node:
        await node.work()
    backup = copy_of(tmp_path / "a", tmp_path / "b")
    async with running_node(tmp_path / "a", hub, clock=node.clock, seed=2) as node:
        for _ in range(20):  # more sets than one page
            await node.received()
            await node.work()
    for failing in range(60):
        fault = lost_after(failing * 2)
        async with running_node(backup, hub, clock=node.clock, seed=100 + failing, fault=fault) as restored:
            restored.clock.at_ms += 3_600_000
            done = isinstance((await restored.work())[-1], Idle)
        if done:
            break
    async with running_node(backup, hub, clock=node.clock, seed=3) as restored:
        await restored.received()
        assert isinstance(await restored.settle(), Idle)
        assert (await restored.store.outbox()).halt is None
    assert len(restored.lines()) == len(set(restored.lines())) == 21


async def test_content_that_the_hub_hides_is_kept_from_the_unsent_copy(tmp_path: Path, hub: FakeHub) -> None:
    async with running_node(tmp_path / "a", hub) as node:
        await node.work()
        complaint = (await node.received()).complaint
    backup = copy_of(tmp_path / "a", tmp_path / "b")
    hub.strips_contents = True
    async with running_node(tmp_path / "a", hub, clock=node.clock, seed=2) as node:
        node.link.fault = lambda call: None
        await node.pusher.step()
        await node.pusher.step()
        await node.pusher.step()
    async with running_node(backup, hub, clock=node.clock, seed=3) as restored:
        await restored.settle()
        held = await restored.store.complaint(complaint_key(complaint))
        assert held is not None
        (change,) = await restored.store.complaint_changes(held.no)
        assert change.content is not None
        assert b"Lampu jalan padam." in change.content


async def test_a_hub_that_hands_out_another_history_is_not_adopted(tmp_path: Path, hub: FakeHub) -> None:
    async with running_node(tmp_path / "a", hub) as node:
        await node.work()
    backup = copy_of(tmp_path / "a", tmp_path / "b")
    async with running_node(tmp_path / "a", hub, clock=node.clock, seed=2) as node:
        for _ in range(2):
            await node.received()
            await node.work()
    hub.sets[AGENCY, 2].change_set, hub.sets[AGENCY, 3].change_set = (
        hub.sets[AGENCY, 3].change_set,
        hub.sets[AGENCY, 2].change_set,
    )
    async with running_node(backup, hub, clock=node.clock, seed=3) as restored:
        step = await restored.settle()
        assert isinstance(step, Halted)
        assert step.halt.reason is HaltReason.HUB_CONTRADICTS
        assert (await restored.store.outbox()).signed_seq == 1


async def test_after_a_take_over_the_copy_that_stays_goes_on_and_the_other_one_halts(
    tmp_path: Path, hub: FakeHub
) -> None:
    async with running_node(tmp_path / "a", hub) as node:
        await node.work()
    clone = copy_of(tmp_path / "a", tmp_path / "b")
    async with (
        running_node(tmp_path / "a", hub, clock=node.clock, seed=2) as one,
        running_node(clone, hub, clock=node.clock, seed=3) as other,
    ):
        await one.work()
        await other.work()
        await one.received()
        await one.settle()
        kept = (await other.received()).complaint
        assert isinstance(await other.settle(), Halted)
    async with running_node(clone, hub, clock=node.clock, seed=4) as stays:
        session = HubSession(stays.store, stays.link, stays.keys, AGENCY)
        done = await recover_node(stays.store, stays.pusher, session, take_over=True, timeout_s=60)
        assert done.unsent == 0
        assert await history(stays, kept) == ["received"]
    async with running_node(tmp_path / "a", hub, clock=node.clock, seed=5) as gone:
        await gone.work()
    async with running_node(clone, hub, clock=node.clock, seed=6) as stays:
        assert isinstance(await stays.settle(), Idle)
    assert len(stays.lines()) == len(set(stays.lines())) == 2


async def test_a_take_over_beside_a_serving_process_lets_that_one_go_on(tmp_path: Path, hub: FakeHub) -> None:
    async with running_node(tmp_path / "a", hub) as node:
        await node.work()
    clone = copy_of(tmp_path / "a", tmp_path / "b")
    async with running_node(tmp_path / "a", hub, clock=node.clock, seed=2) as serving:
        await serving.work()
        async with running_node(clone, hub, clock=node.clock, seed=3) as other:
            for _ in range(3):
                await other.received()
                await other.settle()
        await serving.received()
        serving.clock.at_ms += 16 * 60_000
        assert isinstance(await serving.settle(), Halted)
        session = HubSession(serving.store, serving.link, serving.keys, AGENCY)
        await take_over_chain(serving.store, session)
        assert isinstance(await serving.settle(), Idle)
        assert (await serving.store.outbox()).halt is None
    assert len(serving.lines()) == len(set(serving.lines())) == 4


async def test_a_take_over_that_serve_sees_too_late_counts_as_well(tmp_path: Path, hub: FakeHub) -> None:
    """Halted and cleared between two looks of the serving process: the raised epoch says so."""
    async with running_node(tmp_path / "a", hub) as serving:
        await serving.received()
        await serving.settle()
        async with running_node(copy_of(tmp_path / "a", tmp_path / "b"), hub, clock=serving.clock, seed=3) as other:
            await other.received()
            await other.settle()
        session = HubSession(serving.store, serving.link, serving.keys, AGENCY)
        await take_over_chain(serving.store, session)
        await serving.received()
        assert isinstance(await serving.settle(), Idle)
        assert (await serving.store.outbox()).halt is None
    assert len(serving.lines()) == 3


async def test_copies_that_push_in_turns_from_timers_come_to_one_halt(tmp_path: Path, hub: FakeHub) -> None:
    async with running_node(tmp_path / "a", hub) as node:
        await node.work()
    copy_of(tmp_path / "a", tmp_path / "b")
    clock = node.clock
    ended: list[tuple[str, type]] = []
    for turn in range(6):
        for name in ("a", "b"):
            clock.at_ms += 60 * 60_000
            async with running_node(tmp_path / name, hub, clock=clock, seed=10 * turn + len(ended) + 2) as one:
                await one.received()
                ended.append((name, type(await one.settle())))
    assert dict(ended) in ({"a": Idle, "b": Halted}, {"a": Halted, "b": Idle})
    assert len(one.lines()) == len(set(one.lines()))
