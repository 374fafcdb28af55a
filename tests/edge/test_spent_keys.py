"""A key that was to follow and that a copy of the node used already: found by the simulation (tests/sim)."""

from __future__ import annotations

import shutil
from pathlib import Path

from keys.key_directory import KeyDirectory
from node.local.enrolment import enrol_node
from sync_protocol.outbox import Halted, Idle
from sync_protocol.statement import Role
from tests.fakes.fake_hub import FakeHub
from tests.fakes.node_lab import AGENCY, running_node


async def test_a_pending_key_that_a_copy_used_is_given_up_and_the_node_goes_on(tmp_path: Path) -> None:
    hub = FakeHub.found()
    hub.knows_copies = True
    async with running_node(tmp_path / "node", hub):
        keys = KeyDirectory(tmp_path / "node" / "keys")
        spent = keys.prepare_next(Role.AGENCY, b"n" * 32)
    shutil.copytree(tmp_path / "node", tmp_path / "copy")
    async with running_node(tmp_path / "copy", hub, seed=2) as copy:
        assert isinstance(await copy.settle(), Idle)
        assert copy.keys.current().public_key == spent.public_key
    hub.revoke(AGENCY)
    async with running_node(tmp_path / "node", hub, seed=3) as node:
        assert isinstance(await node.settle(), Halted)
        world = (node.store, node.link, keys, node.clock, node.randomness)
        await enrol_node(*world, agency=AGENCY, vkey=hub.vkey, token="fresh")
        await node.received()
        assert isinstance(await node.settle(), Idle)
        assert keys.pending(Role.AGENCY) is None
        assert len(node.lines()) == 1
