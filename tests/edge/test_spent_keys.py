"""A key that was to follow and that a copy of the node used already: found by the simulation (tests/sim)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from keys.ceremony import rotate_agency
from keys.key_directory import KeyDirectory
from keys.signer import Ed25519Signer
from node.local.enrolment import enrol_node
from node.local.hub_session import HubSession
from sync_protocol.errors import Refused
from sync_protocol.outbox import Halted, Idle
from sync_protocol.statement import HeadRef, Role
from sync_protocol.wire import HeadAnswer
from tests.fakes.fake_hub import FakeHub, FakeLink
from tests.fakes.node_lab import AGENCY, Node, running_node


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


class LateRotation(FakeLink):
    """Our rotation was long on its way: it arrives between the look at the statements and the question for the head.

    As a hub does, it answers nobody whose key does not speak.
    """

    def __init__(self, node: Node, late: str) -> None:
        super().__init__(node.hub, AGENCY)
        self._node = node
        self._late = [late] if late else []

    async def head(self) -> HeadAnswer:
        while self._late:
            self.hub.add_statement(self._late.pop())
        record = self.hub.roster.agency(AGENCY)
        assert record is not None
        if record.kid != self._node.keys.current().kid:
            raise Refused("revoked-key", "this key stopped speaking")
        return await super().head()


async def test_a_rotation_that_arrives_while_a_node_asks_for_its_head_halts_nobody(tmp_path: Path) -> None:
    hub = FakeHub.found()
    async with running_node(tmp_path / "node", hub) as node:
        await node.settle()
        new = KeyDirectory(tmp_path / "node" / "keys").prepare_next(Role.AGENCY, b"n" * 32)
        assert isinstance(new, Ed25519Signer)
        record, end = hub.roster.agency(AGENCY), await node.store.chain_end()
        assert record is not None
        rotation = rotate_agency(
            node.keys.current(),
            new,
            log=hub.roster.genesis_digest,
            agency=AGENCY,
            prev=record.last_statement,
            head=HeadRef(end.seq, end.digest),
            at_ms=node.clock.now_ms(),
        )
        session = HubSession(node.store, LateRotation(node, rotation.text), node.keys, AGENCY)
        assert (await session.head()).seq == end.seq
        assert node.keys.current().kid == new.kid
        assert isinstance(await node.settle(), Idle)


async def test_a_key_that_was_ended_is_told_so_although_another_was_to_follow(tmp_path: Path) -> None:
    hub = FakeHub.found()
    async with running_node(tmp_path / "node", hub) as node:
        await node.settle()
        KeyDirectory(tmp_path / "node" / "keys").prepare_next(Role.AGENCY, b"n" * 32)
        before = node.keys.current().kid
        hub.revoke(AGENCY)
        session = HubSession(node.store, LateRotation(node, ""), node.keys, AGENCY)
        with pytest.raises(Refused, match="revoked-key"):
            await session.head()
        assert node.keys.current().kid == before
