"""Copies of one node alive (protocol §10.2, §10.3): one halts for good, and never two manifests for one place."""

from __future__ import annotations

from contextlib import suppress
from copy import deepcopy

import pytest
from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sync_protocol.backoff import MINUTE_MS
from sync_protocol.errors import Refused
from sync_protocol.halts import HaltReason
from sync_protocol.outbox import SILENCE_MAX_MS, Halted, Idle
from tests.protocol.outbox_model import Disk, Fault, Node, World


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
    assert not world.hub.forks
    world.assert_one_manifest_for_each_place()


def test_two_copies_that_are_started_at_one_moment_and_sign_at_one_moment_do_not_fork() -> None:
    world = World()
    node = Node(world, Disk(unsent=[1]))
    node.settle()
    node.die()
    nodes = [node, node.clone()]
    for turn in range(30):
        for each in nodes:
            each.disk.unsent.append(1000 + turn)
        for _ in range(6):
            for each in nodes:
                each.run()
    assert len([each for each in nodes if each.disk.halt is not None]) == 1
    assert not world.hub.forks
    world.assert_one_manifest_for_each_place()


def test_a_copy_made_while_the_original_signs_and_pushes_does_not_fork() -> None:
    """Whatever the original was about to do when it was copied."""
    for steps in range(12):
        world = World()
        node = Node(world, Disk(unsent=list(range(9))))
        for _ in range(steps):
            node.run()
        copy = node.clone()
        copy.disk.unsent.append(100)
        for each in [copy, node, copy, node]:
            each.disk.unsent.append(101)
            each.settle()
        assert not world.hub.forks
        world.assert_one_manifest_for_each_place()
        assert len([each for each in (node, copy) if each.disk.halt is not None]) == 1


def test_copies_that_push_in_turns_from_timers_come_to_one_halt() -> None:
    world = World()
    node = Node(world, Disk(unsent=[1]))
    node.settle()
    nodes = [node, node.clone()]
    for turn in range(8):
        for each in nodes:
            each.die()
            each.disk.unsent.append(10 + turn)
            each.settle()
            world.now_ms += 60 * MINUTE_MS
    assert len([each for each in nodes if each.disk.halt is not None]) == 1
    assert not world.hub.forks


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


@pytest.mark.parametrize("moment", range(12))
@pytest.mark.parametrize("lost_before", [0, 2])
def test_what_an_earlier_life_had_on_its_way_may_arrive_at_any_moment(moment: int, lost_before: int) -> None:
    """The machine is gone and its last push is not: whoever was put in its place goes on all the same."""
    world = World()
    node = Node(world, Disk(unsent=[1]))
    node.settle()
    backup = deepcopy(node.disk)
    for change in range(10, 10 + lost_before):
        node.disk.unsent.append(change)
        node.settle()
    node.disk.unsent.append(2)
    while node.disk.pending is None:
        node.run()
    world.now_ms += 1
    restored = Node(world, backup)
    restored.disk.unsent.append(3)
    for _ in range(moment):
        restored.run()
    with suppress(Refused):  # it came too late: a later epoch stands there
        world.hub.put(node.disk.pending)
    restored.disk.unsent.append(4)
    assert isinstance(restored.settle(), Idle)
    arrived = [change for each in world.hub.sets for change in each.changes]
    assert sorted(set(arrived) - {2}) == [1, 3, 4, *range(10, 10 + lost_before)]
    assert len(arrived) == len(set(arrived))
    assert not world.hub.forks
    world.assert_one_manifest_for_each_place()


def test_what_was_signed_after_a_copy_began_is_alive_although_its_epoch_is_the_lower_one() -> None:
    world = World()
    node = Node(world, Disk(unsent=[1]))
    node.settle()
    copy = node.clone()
    copy.run()
    world.now_ms += 1
    node.disk.unsent.append(2)
    node.settle()
    copy.disk.unsent.append(3)
    step = copy.settle()
    assert isinstance(step, Halted)
    assert step.halt.reason is HaltReason.COPY_ALIVE


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
    world.assert_one_manifest_for_each_place()
    assert len(world.signings) == 4
    assert [change for each in world.hub.sets for change in each.changes] == [1, 2, 4]


class Copies(RuleBasedStateMachine):
    """Two copies of one node, interrupted everywhere and started again; a third is cloned off one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        node = Node(self.world)
        node.settle()
        self.copies = [node, node.clone()]
        self.recorded = 0

    @rule(which=some.integers(0, 2), count=some.integers(1, 3))
    def record(self, which: int, count: int) -> None:
        self._copy(which).disk.unsent += range(self.recorded, self.recorded + count)
        self.recorded += count

    @rule(which=some.integers(0, 2), faults=some.lists(some.sampled_from(Fault), min_size=1, max_size=6))
    def run(self, which: int, faults: list[Fault]) -> None:
        for fault in faults:
            self._copy(which).run(fault)

    @rule(which=some.integers(0, 2))
    def settle(self, which: int) -> None:
        self._copy(which).settle()

    @rule(which=some.integers(0, 2))
    def clone(self, which: int) -> None:
        if len(self.copies) < 3:
            self.copies.append(self._copy(which).clone())

    @rule(which=some.integers(0, 2))
    def take_over(self, which: int) -> None:
        if self._copy(which).disk.halt is not None:
            self._copy(which).take_over()

    @rule(minutes=some.sampled_from([1, 14, 15, 1440, 20_000]))
    def wait(self, minutes: int) -> None:
        self.world.now_ms += minutes * MINUTE_MS

    @invariant()
    def one_manifest_for_one_place(self) -> None:
        self.world.assert_one_manifest_for_each_place()
        assert not self.world.hub.forks

    @invariant()
    def nothing_is_there_twice(self) -> None:
        arrived = [change for each in self.world.hub.sets for change in each.changes]
        assert len(arrived) == len(set(arrived))

    def teardown(self) -> None:
        """Of copies that go on side by side, one at most is not halted in the end."""
        for _ in range(3):
            for copy in self.copies:
                copy.disk.unsent.append(self.recorded)
                self.recorded += 1
                copy.settle()
        assert len([copy for copy in self.copies if copy.disk.halt is None]) <= 1

    def _copy(self, which: int) -> Node:
        return self.copies[which % len(self.copies)]


TestCopies = Copies.TestCase
TestCopies.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
