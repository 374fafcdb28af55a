"""The pusher: nothing lost, nothing twice, nothing signed twice, whatever happens to the link (protocol §10)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NoReturn

import pytest

from keys.key_directory import KeyDirectory
from keys.signer import Ed25519Signer
from node.local.cutting import TARGET_BYTES, fitting
from node.local.pusher import SHOW_AGAIN_EVERY_MS
from node.local.recording import Command
from node.local.status import node_status
from sync_protocol.backoff import DAY_MS
from sync_protocol.change_set import MANIFEST_LINE_MAX_BYTES
from sync_protocol.halts import HaltReason
from sync_protocol.outbox import CheckHead, Claim, Cut, Halted, Heartbeat, Idle, Wait
from sync_protocol.statement import Role
from sync_protocol.values import format_timestamp
from tests.fakes.fake_hub import FakeHub, Fault
from tests.fakes.node_lab import AGENCY, copy_of, running_node


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub.found()


async def test_a_process_compares_heads_before_it_signs_anything(tmp_path: Path, hub: FakeHub) -> None:
    async with running_node(tmp_path / "a", hub) as node:
        await node.received()
        steps = await node.work()
    assert [type(step) for step in steps] == [CheckHead, Claim, CheckHead, Cut, Idle]


async def test_a_recorded_change_reaches_the_log_with_its_content_and_a_receipt(tmp_path: Path, hub: FakeHub) -> None:
    async with running_node(tmp_path / "a", hub) as node:
        complaint = (await node.received()).complaint
        await node.work()
        await node.change(complaint, "verified", {"class": "aspiration"})
        await node.work()
        status = await node_status(node.store, node.clock)
        held = await node.store.live_set(2)
        assert held is not None
        assert await node.store.set_receipt(held.id) is not None
    assert len(node.lines()) == 2
    assert b"Lampu jalan padam." in hub.sets[AGENCY, 1].change_set.contents
    assert (status.unsent, status.unacknowledged, status.pusher, status.last_receipt_age_s) == (0, 0, "idle", 0)


@pytest.mark.parametrize("lost", list(Fault))
@pytest.mark.parametrize("every", [1, 2, 3])
async def test_lost_requests_and_replies_lose_nothing_and_double_nothing(
    tmp_path: Path, hub: FakeHub, lost: Fault, every: int
) -> None:
    count = iter(range(10_000))

    def fault(_call: str) -> Fault | None:
        number = next(count)
        return lost if number < 12 and number % every == 0 else None

    async with running_node(tmp_path / "a", hub, fault=fault, target_changes=3) as node:
        expected = [(await node.received()).change for _ in range(10)]
        assert isinstance(await node.settle(), Idle)
        assert (await node.store.outbox()).unsent == 0
    assert [line.split(b'"id":"')[1][:36].decode() for line in node.lines()] == expected
    assert hub.size == 3 + 4


async def test_many_long_letters_go_out_in_sets_that_a_slow_line_can_carry(tmp_path: Path, hub: FakeHub) -> None:
    async with running_node(tmp_path / "a", hub) as node:
        for _ in range(100):
            data = {"channel": "web", "visibility": "public", "received_at": format_timestamp(node.clock.now_ms())}
            await node.service.record(Command("received", data, {"text": "x" * 30_000}, role="reporter"))
        await node.work()
    sizes = [len(stored.change_set.head) + len(stored.change_set.contents) for stored in hub.sets.values()]
    assert len(sizes) == 2
    assert all(size < TARGET_BYTES + MANIFEST_LINE_MAX_BYTES for size in sizes)
    assert sum(size > TARGET_BYTES - 64 * 1024 for size in sizes) == 1
    assert len(node.lines()) == 100


def test_a_set_takes_one_change_at_least() -> None:
    long = (1, b"line", b"x" * (TARGET_BYTES + 1))
    assert fitting([long, long]) == 1
    assert fitting([(1, b"line", None), long]) == 1
    assert fitting([]) == 0


async def test_a_process_that_dies_after_any_step_is_continued_by_the_next(tmp_path: Path, hub: FakeHub) -> None:
    done = False
    async with running_node(tmp_path / "a", hub, target_changes=2) as node:
        for _ in range(5):
            await node.received()
    clock = node.clock
    for life in range(40):
        async with running_node(tmp_path / "a", hub, clock=clock, target_changes=2) as node:
            for _ in range(2 + life % 6):
                done = isinstance(await node.pusher.step(), Idle)
        if done:
            break
    assert done
    assert len(node.lines()) == len(set(node.lines())) == 5


class Died(BaseException):
    """A process ends here, with whatever its database holds."""


@pytest.mark.parametrize("reached_the_hub", [False, True])
async def test_a_process_that_dies_between_cut_and_receipt_is_continued_by_the_next(
    tmp_path: Path, hub: FakeHub, reached_the_hub: bool
) -> None:
    async with running_node(tmp_path / "a", hub) as node:
        await node.received()
        real = node.link.push

        async def dying(seq: int, body: bytes, from_size: int) -> NoReturn:
            if reached_the_hub:
                await real(seq, body, from_size)
            raise Died

        node.link.push = dying  # type: ignore[method-assign]
        with pytest.raises(Died):
            await node.work()
        signed = (await node.store.outgoing(1)) or pytest.fail("the cut is not stored")
    async with running_node(tmp_path / "a", hub, clock=node.clock, seed=2) as again:
        steps = [type(step) for step in await again.work()]
        assert isinstance(await again.settle(), Idle)
        held = await again.store.live_set(1)
    assert Cut not in steps[: steps.index(Wait)]
    assert held is not None
    assert (held.digest, len(again.lines())) == (signed.digest, 1)


async def test_an_attempt_is_recorded_before_it_is_made(tmp_path: Path, hub: FakeHub) -> None:
    seen: list[int] = []

    async with running_node(tmp_path / "a", hub) as node:
        original = node.link.push

        async def push(seq: int, body: bytes, from_size: int) -> object:
            held = await node.store.live_set(seq)
            assert held is not None
            seen.append(held.attempts)
            seen.append((await node.store.outbox()).schedule.failures)
            return await original(seq, body, from_size)

        node.link.push = push  # type: ignore[method-assign, assignment]
        await node.received()
        await node.work()
    assert seen == [1, 1]


async def test_an_outage_is_waited_out_on_a_schedule_that_survives_a_restart(tmp_path: Path, hub: FakeHub) -> None:
    async with running_node(tmp_path / "a", hub, fault=lambda _: Fault.REQUEST_LOST) as node:
        await node.received()
        step = (await node.work())[-1]
        assert isinstance(step, Wait)
        status = await node_status(node.store, node.clock)
    assert status.pusher == "waiting"
    assert status.next_attempt_at is not None
    assert "Nothing is lost" in status.troubles[0]
    async with running_node(tmp_path / "a", hub, clock=node.clock) as again:
        waiting = (await again.work())[-1]
        assert isinstance(waiting, Wait)
        assert waiting.until_ms == step.until_ms
        again.clock.at_ms = step.until_ms
        assert isinstance((await again.work())[-1], Idle)


async def test_after_a_silence_of_fifteen_minutes_heads_are_compared_again(tmp_path: Path, hub: FakeHub) -> None:
    async with running_node(tmp_path / "a", hub) as node:
        await node.received()
        await node.work()
        node.clock.at_ms += 16 * 60_000
        await node.received()
        assert [type(step) for step in await node.work()] == [CheckHead, Cut, Idle]


async def test_an_idle_node_signs_a_heartbeat_every_day(tmp_path: Path, hub: FakeHub) -> None:
    async with running_node(tmp_path / "a", hub) as node:
        assert Heartbeat in [type(step) for step in await node.work()]
        node.clock.at_ms += DAY_MS
        assert Heartbeat in [type(step) for step in await node.work()]
    assert {stored.change_set.manifest.manifest.size for stored in hub.sets.values()} == {0}
    assert len(hub.sets) == 2


async def test_two_processes_on_one_directory_sign_each_place_once(tmp_path: Path, hub: FakeHub) -> None:
    async with (
        running_node(tmp_path / "a", hub, seed=1, target_changes=2) as one,
        running_node(tmp_path / "a", hub, clock=one.clock, seed=2, target_changes=2) as two,
    ):
        for _ in range(20):
            await one.received()
            await two.received()
        await asyncio.gather(one.work(200), two.work(200))
        await one.settle()
        await two.settle()
        assert (await one.store.outbox()).halt is None
    assert len(one.lines()) == len(set(one.lines())) == 40


async def test_processes_of_one_directory_share_the_epoch_that_the_first_of_them_claimed(
    tmp_path: Path, hub: FakeHub
) -> None:
    async with running_node(tmp_path / "a", hub) as serving:
        await serving.received()
        await serving.settle()
        claimed = (await serving.store.outbox()).epoch
        async with running_node(tmp_path / "a", hub, clock=serving.clock, seed=2) as pushing:
            await pushing.received()
            assert Claim not in [type(step) for step in await pushing.work()]
        await serving.received()
        assert isinstance(await serving.settle(), Idle)
        assert (await serving.store.outbox()).epoch == claimed
    async with running_node(tmp_path / "a", hub, clock=serving.clock, seed=3) as later:
        await later.received()
        await later.settle()
        assert (await later.store.outbox()).epoch > claimed
    assert len(hub.sets) == 4


async def test_a_directory_that_could_not_note_its_coming_into_use_tries_again(tmp_path: Path, hub: FakeHub) -> None:
    async with running_node(tmp_path / "a", hub) as node:
        await node.work()
    async with running_node(tmp_path / "a", hub, clock=node.clock, seed=2) as node:
        before = (await node.store.outbox()).epoch
        real = node.pusher.lease.join

        def fails() -> bool:
            real()
            raise OSError("no space left on device")

        node.pusher.lease.join = fails  # type: ignore[method-assign]
        with pytest.raises(OSError, match="no space"):
            await node.pusher.step()
        node.pusher.lease.join = real  # type: ignore[method-assign]
        await node.received()
        await node.settle()
        assert (await node.store.outbox()).epoch > before


async def test_a_clone_of_a_running_node_is_no_fork_and_the_older_life_halts(tmp_path: Path, hub: FakeHub) -> None:
    """The fake hub stops the test at a second manifest for one place."""
    async with running_node(tmp_path / "a", hub) as original:
        await original.received()
        await original.settle()
        clone = copy_of(tmp_path / "a", tmp_path / "b")
        async with running_node(clone, hub, clock=original.clock, seed=4) as copied:
            await copied.received()
            assert isinstance(await copied.settle(), Idle)
            await original.received()
            step = await original.settle()
            assert isinstance(step, Halted)
            assert step.halt.reason is HaltReason.COPY_ALIVE
            await copied.received()
            assert isinstance(await copied.settle(), Idle)


async def test_of_two_copies_alive_one_halts_for_good_and_says_why(tmp_path: Path, hub: FakeHub) -> None:
    async with running_node(tmp_path / "a", hub) as first:
        await first.received()
        await first.work()
    clone = copy_of(tmp_path / "a", tmp_path / "b")
    async with (
        running_node(tmp_path / "a", hub, seed=3) as original,
        running_node(clone, hub, clock=original.clock, seed=4) as copied,
    ):
        await original.work()
        await copied.work()
        await original.received()
        await original.settle()
        await copied.received()
        step = await copied.settle()
        assert isinstance(step, Halted)
        status = await node_status(copied.store, copied.clock)
        assert status.pusher == "halted"
        assert "--take-over" in status.troubles[0]
        await original.received()
        assert isinstance(await original.settle(), Idle)
    async with running_node(clone, hub, clock=original.clock, seed=5) as restarted:
        before = len(hub.calls)
        assert isinstance((await restarted.work())[-1], Halted)
        assert len(hub.calls) == before


async def test_a_halted_node_keeps_taking_complaints_in(tmp_path: Path, hub: FakeHub) -> None:
    async with running_node(tmp_path / "a", hub) as node:
        await node.work()
        hub.revoke(AGENCY)
        await node.received()
        step = await node.settle()
        assert isinstance(step, Halted)
        assert step.halt.reason is HaltReason.KEY_REFUSED
        await node.received()
        assert (await node_status(node.store, node.clock)).unacknowledged == 1
        assert (await node.store.outbox()).unsent == 1


async def test_content_stripped_on_the_way_is_shown_again(tmp_path: Path, hub: FakeHub) -> None:
    hub.strips_contents = True
    async with running_node(tmp_path / "a", hub) as node:
        await node.received()
        await node.work()
        node.clock.at_ms += SHOW_AGAIN_EVERY_MS
        await node.work()
        held = await node.store.live_set(1)
        assert held is not None
        assert held.hidden == 0
    assert b"Lampu jalan padam." in hub.sets[AGENCY, 1].change_set.contents


async def test_what_is_recorded_while_lines_are_shown_again_goes_out_with_the_next_step(
    tmp_path: Path, hub: FakeHub
) -> None:
    hub.strips_contents = True
    async with running_node(tmp_path / "a", hub) as node:
        await node.received()
        await node.work()
        node.clock.at_ms += SHOW_AGAIN_EVERY_MS
        assert isinstance(await node.pusher.step(), Idle)  # which shows them again
        await node.received()
        assert isinstance(await node.pusher.step(), Cut)


async def test_a_receipt_that_proves_nothing_is_not_stored_and_twice_is_a_halt(tmp_path: Path, hub: FakeHub) -> None:
    async with running_node(tmp_path / "a", hub) as node:
        await node.work()
        real = hub.receipt
        hub.receipt = lambda index: real(index - 1)  # type: ignore[method-assign]
        await node.received()
        assert isinstance((await node.work())[-1], Wait)
        assert (await node.store.outbox()).acknowledged_seq == 1
        step = await node.settle()
        assert isinstance(step, Halted)
        assert step.halt.reason is HaltReason.HUB_CONTRADICTS


async def test_a_hub_that_rewrote_its_log_is_not_believed(tmp_path: Path, hub: FakeHub) -> None:
    async with running_node(tmp_path / "a", hub) as node:
        await node.received()
        await node.work()
        other = FakeHub.found()
        other.enrol("35.71", Ed25519Signer.from_seed(b"x" * 32).public_key)
        other.enrol(AGENCY, node.keys.current().public_key, hub.sealing_of(AGENCY))
        node.link.hub = other
        node.clock.at_ms += 16 * 60_000
        await node.received()
        step = await node.settle()
        assert isinstance(step, Halted)
        assert step.halt.reason is HaltReason.HUB_CONTRADICTS


async def test_a_hub_that_lost_receipted_sets_is_refilled_with_the_same_bytes(tmp_path: Path, hub: FakeHub) -> None:
    async with running_node(tmp_path / "a", hub) as node:
        for _ in range(3):
            await node.received()
            await node.work()
        digest = hub.sets[AGENCY, 3].change_set.manifest.digest
        hub.lose_sets_after(1, AGENCY)
        hub.is_recovering = True
        node.clock.at_ms += 16 * 60_000
        await node.received()
        assert isinstance((await node.work())[-1], Wait)
        assert hub.recoveries[0].seqs.from_seq == 2
        hub.is_recovering = False
        assert isinstance(await node.settle(), Idle)
    assert hub.sets[AGENCY, 3].change_set.manifest.digest == digest
    assert len(node.lines()) == 4


@pytest.mark.parametrize("lost", [None, *Fault])
async def test_a_rotation_lets_out_what_the_old_key_signed_and_survives_a_lost_reply(
    tmp_path: Path, hub: FakeHub, lost: Fault | None
) -> None:
    faults = iter([lost])
    async with running_node(tmp_path / "a", hub) as node:
        await node.received()
        await node.work()
        old = node.keys.current().kid
        await node.received()
        assert isinstance(await node.pusher.step(), Cut)
        await node.received()
        new = KeyDirectory(tmp_path / "a" / "keys").prepare_next(Role.AGENCY, b"n" * 32)
        node.link.fault = lambda call: next(faults, None) if call == "submit_statement" else None
        assert isinstance(await node.settle(), Idle)
        assert node.keys.current().public_key == new.public_key
    kids = [hub.sets[AGENCY, seq].change_set.manifest.jws.kid for seq in (1, 2, 3)]
    assert kids == [old, old, node.keys.current().kid]


async def test_draining_tells_a_hub_that_is_away_from_one_that_answers(tmp_path: Path, hub: FakeHub) -> None:
    async with running_node(tmp_path / "a", hub, fault=lambda _: Fault.REQUEST_LOST) as node:
        await node.received()
        drained = await node.pusher.drain(30)
        assert (drained.drained, drained.halted, drained.reached) == (False, False, False)
        node.link.fault = lambda _: None
        drained = await node.pusher.drain(30)
        assert (drained.drained, drained.halted, drained.reached) == (True, False, True)


async def test_the_loop_pushes_what_is_recorded_while_it_runs_and_stops_when_told(tmp_path: Path, hub: FakeHub) -> None:
    stop = asyncio.Event()
    async with running_node(tmp_path / "a", hub) as node:
        running = asyncio.create_task(node.pusher.run(stop))
        await node.received()
        async with asyncio.timeout(20):
            while not node.lines():  # noqa: ASYNC110 - another task's work
                await asyncio.sleep(0.01)
        stop.set()
        await asyncio.wait_for(running, 20)


async def test_a_key_file_that_others_can_read_stops_the_pusher_and_status_says_so(
    tmp_path: Path, hub: FakeHub
) -> None:
    stop = asyncio.Event()
    async with running_node(tmp_path / "a", hub) as node:
        await node.work()
        (tmp_path / "a" / "keys" / "agency.pem").chmod(0o644)
        await node.received()
        running = asyncio.create_task(node.pusher.run(stop))
        async with asyncio.timeout(20):
            while not (await node_status(node.store, node.clock)).troubles:  # noqa: ASYNC110 - another task's work
                await asyncio.sleep(0.01)
        stop.set()
        await asyncio.wait_for(running, 20)
        (trouble,) = (await node_status(node.store, node.clock)).troubles
    assert "agency.pem" in trouble
    assert node.lines() == []
