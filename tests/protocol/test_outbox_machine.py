"""The node of protocol §10 as a machine that is interrupted everywhere, copied, restored and cut off."""

from __future__ import annotations

from copy import deepcopy

import pytest
from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sync_protocol.backoff import MINUTE_MS
from sync_protocol.halts import HaltReason
from sync_protocol.outbox import (
    SILENCE_MAX_MS,
    Halted,
    Idle,
    Push,
)
from tests.protocol.outbox_model import Disk, Fault, Node, World

# --- copies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_of_two_copies_alive_one_halts_for_good_and_the_other_goes_on(seed: int) -> None:
    world = World()
    node = Node(world, Disk(unsent=[1, 2]))
    node.settle()
    copy = node.clone()
    nodes = [node, copy]
    for turn in range(60):
        mover = nodes[(seed >> turn % 3) & 1] if turn < 6 else nodes[turn % 2]
        mover.disk.unsent.append(1000 + turn)
        mover.settle() if turn % 4 else mover.run()
        world.now_ms += MINUTE_MS
    halted = [each for each in nodes if each.disk.halt is not None]
    assert len(halted) == 1
    (going,) = [each for each in nodes if each.disk.halt is None]
    assert isinstance(going.settle(), Idle)
    halted[0].die()
    assert isinstance(halted[0].settle(), Halted)


def test_a_copy_that_slept_while_the_other_worked_halts_instead_of_adopting() -> None:
    world = World()
    node = Node(world, Disk(unsent=[1]))
    node.settle()
    copy = node.clone()
    copy.settle()
    node.disk.unsent += [2]
    node.settle()
    world.now_ms += SILENCE_MAX_MS
    copy.disk.unsent += [3]
    step = copy.settle()
    assert isinstance(step, Halted)
    assert step.halt.reason is HaltReason.COPY_ALIVE
    assert copy.disk.unsent == [3]


def test_after_a_take_over_the_unsent_work_of_the_halted_copy_is_not_lost() -> None:
    world = World()
    node = Node(world, Disk(unsent=[1]))
    node.settle()
    copy = node.clone()
    copy.run()
    node.disk.unsent += [2]
    node.settle()
    copy.disk.unsent += [3]
    assert isinstance(copy.settle(), Halted)
    copy.take_over()
    assert isinstance(copy.settle(), Idle)
    assert [change for each in world.hub.sets for change in each.changes] == [1, 2, 3]


def test_what_a_lost_life_signed_is_never_signed_again() -> None:
    """A set was signed and died with the disk; the backup is older still: the new epoch keeps the two apart."""
    world = World()
    node = Node(world, Disk(unsent=[1]))
    node.settle()
    backup = deepcopy(node.disk)
    node.disk.unsent += [2]
    node.settle()
    node.disk.unsent += [3]
    node.run()
    restored = Node(world, backup)
    restored.disk.unsent += [4]
    restored.settle()
    places = [(signed.epoch, signed.seq) for signed in world.signings]
    assert len(places) == len(set(places)) == 4
    assert [change for each in world.hub.sets for change in each.changes] == [1, 2, 4]


# --- the machine -----------------------------------------------------------------------------------------------------


class OneNode(RuleBasedStateMachine):
    """One node and one hub; processes die, messages get lost, backups are restored, the hub loses its newest sets."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.node = Node(self.world)
        self.recorded = 0
        self.backup: Disk | None = None
        self.was_restored = False
        self.was_rolled_back = False

    @rule(count=some.integers(1, 5))
    def record(self, count: int) -> None:
        self.node.disk.unsent += range(self.recorded, self.recorded + count)
        self.recorded += count

    @rule(faults=some.lists(some.sampled_from(Fault), min_size=1, max_size=6))
    def run(self, faults: list[Fault]) -> None:
        for fault in faults:
            self.node.run(fault)

    @rule(then_raise=some.booleans())
    def lose_a_receipt(self, then_raise: bool) -> None:
        """The likeliest accident of all: the hub took the set, and the link broke before its answer."""
        self.record(1)
        for _ in range(10):
            fault = Fault.REPLY_LOST if self.node.disk.pending else Fault.NONE
            if isinstance(self.node.run(fault), Push):
                break
        self.node.disk.epoch += then_raise

    @rule()
    def settle(self) -> None:
        if self.world.is_link_up:
            self.node.settle()

    @rule()
    def die(self) -> None:
        self.node.die()

    @rule(minutes=some.sampled_from([0, 1, 14, 15, 60, 1440]))
    def wait(self, minutes: int) -> None:
        self.world.now_ms += minutes * MINUTE_MS

    @rule()
    def toggle_link(self) -> None:
        self.world.is_link_up = not self.world.is_link_up

    @rule()
    def raise_epoch(self) -> None:
        """As a recovery does, at any time."""
        self.node.disk.epoch += 1

    @rule()
    def take_backup(self) -> None:
        self.backup = deepcopy(self.node.disk)

    @precondition(lambda self: self.backup is not None and not self.was_rolled_back)
    @rule()
    def restore_backup(self) -> None:
        """Unless a set that was signed and never seen by the hub is lost with nothing to tell the backup of it.

        Where the hub is ahead of the backup the epoch is raised, and what was lost does no harm.
        """
        backup, hub = self.backup, self.world.hub
        if backup is None:
            return
        lost = [
            signed
            for signed in self.world.signings
            if signed not in hub.sets and (signed.epoch, signed.seq) > (backup.epoch, len(backup.sets))
        ]
        will_adopt = hub.head().seq > len(backup.sets)
        if not lost or (will_adopt and max(signed.epoch for signed in lost) <= max(hub.head().epoch, backup.epoch)):
            self.node = Node(self.world, deepcopy(backup))
            self.was_restored = True

    @precondition(lambda self: not self.was_restored)
    @rule(count=some.integers(1, 3))
    def hub_loses_sets(self, count: int) -> None:
        """Never a set that its node has no receipt for: the hub answers before it may lose, and a replica has it."""
        if len(self.world.hub.sets) > self.node.disk.acknowledged:
            return
        del self.world.hub.sets[-count:]
        self.was_rolled_back = True
        self.node.session = self.node.session.doubted()

    @invariant()
    def one_manifest_for_one_place(self) -> None:
        places = [(signed.epoch, signed.seq) for signed in self.world.signings]
        assert len(places) == len(set(places))

    @invariant()
    def no_evidence_of_a_fork_exists(self) -> None:
        assert not self.world.hub.forks

    @invariant()
    def a_lonely_node_never_halts(self) -> None:
        assert self.node.disk.halt is None

    @invariant()
    def nothing_is_there_twice(self) -> None:
        arrived = [change for each in self.world.hub.sets for change in each.changes]
        assert len(arrived) == len(set(arrived))

    def teardown(self) -> None:
        """Whatever happened: once the link heals, everything arrives, once."""
        self.world.is_link_up = True
        assert isinstance(self.node.settle(), Idle)
        arrived = [change for each in self.world.hub.sets for change in each.changes]
        assert len(arrived) == len(set(arrived))
        if not self.was_restored:
            assert sorted(arrived) == list(range(self.recorded))


TestOneNode = OneNode.TestCase
TestOneNode.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
