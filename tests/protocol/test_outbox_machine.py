"""The node of protocol §10 as a machine that is interrupted everywhere, restored and cut off."""

from __future__ import annotations

from copy import deepcopy

from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sync_protocol.backoff import MINUTE_MS
from sync_protocol.outbox import (
    ADOPTION_APART_MS,
    Idle,
    Push,
)
from tests.protocol.outbox_model import Disk, Fault, Node, World


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
        if then_raise:
            self.raise_epoch()

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
        self.node.disk.is_claimed = False

    @rule()
    def take_backup(self) -> None:
        self.backup = deepcopy(self.node.disk)

    @precondition(lambda self: self.backup is not None and not self.was_rolled_back)
    @rule()
    def restore_backup(self) -> None:
        """Also where a set is lost that was signed after the backup and never seen by the hub. Not twice in a week."""
        if self.backup is not None:
            self.world.now_ms += ADOPTION_APART_MS
            self.node = Node(self.world, deepcopy(self.backup))
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
        self.world.assert_one_manifest_for_each_place()

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
