"""What a node keeps of the hub's statements: those alone that are proved to stand in the log that it has seen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from node.local.hub_evidence import Contradiction
from node.local.hub_session import HubSession
from sync_protocol.limits import INTEGER_MAX
from sync_protocol.statement import Tick, sign_statement
from sync_protocol.wire import StatementLine
from tests.fakes.fake_hub import AT_MS, FakeHub
from tests.fakes.node_lab import AGENCY, Node, running_node

Lines = list[StatementLine]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    """It lacks the newest statement about itself."""
    hub = FakeHub.found()
    async with running_node(tmp_path / "a", hub) as node:
        hub.revoke(AGENCY)
        yield node


def session_of(node: Node, change: Callable[[Lines], Lines]) -> HubSession:
    """With a hub that changes its answer to `GET …/statements` so."""
    lines = node.hub.lines_for(AGENCY)
    node.hub.lines_for = lambda code: change(lines)  # type: ignore[method-assign]
    return HubSession(node.store, node.link, node.keys, AGENCY)


async def test_a_statement_that_is_met_later_is_kept_with_its_receipt(node: Node) -> None:
    roster = await session_of(node, lambda lines: lines).refresh()
    record = roster.agency(AGENCY)
    assert record is not None
    assert record.kid is None
    held = await node.store.statements()
    assert [one.index for one in held] == [0, 1, 2, 3]
    assert all(one.receipt for one in held)


CHANGES: dict[str, Callable[[Lines], Lines]] = {
    "no receipt": lambda lines: [*lines[:-1], msgspec.structs.replace(lines[-1], receipt=None)],
    "another statement's receipt": lambda lines: [
        *lines[:-1],
        msgspec.structs.replace(lines[-1], receipt=lines[0].receipt),
    ],
    "no place": lambda lines: [*lines[:-1], msgspec.structs.replace(lines[-1], index=-1)],
    "another place": lambda lines: [*lines[:-1], msgspec.structs.replace(lines[-1], index=9)],
}


@pytest.mark.parametrize("name", CHANGES)
async def test_a_statement_that_is_not_proved_to_be_in_the_log_is_not_kept(name: str, node: Node) -> None:
    """Signed well, and perhaps for another log's eyes only: a roster of it would be nobody else's."""
    before = await node.store.statements()
    with pytest.raises(Contradiction) as caught:
        await session_of(node, CHANGES[name]).refresh()
    assert caught.value.refused.kind == ("malformed" if name == "no place" else "bad-proof")
    assert await node.store.statements() == before


async def test_attack_a_hub_cannot_make_a_node_raise_its_epoch_to_the_last_number(tmp_path: Path) -> None:
    """Of a head without a manifest nobody signed anything: it stands at epoch 1, whatever the hub says."""
    async with running_node(tmp_path / "b", FakeHub.found()) as node:
        answer = await node.link.head()
        evidence = await HubSession(node.store, node.link, node.keys, AGENCY).evidence()
        assert answer.manifest is None
        for lie in ({"epoch": INTEGER_MAX}, {"epoch": -1}, {"seq": 1}):
            with pytest.raises(Contradiction):
                await evidence.head(msgspec.structs.replace(answer, **lie), AGENCY, await node.store.seen(), set())
        head, _ = await evidence.head(answer, AGENCY, await node.store.seen(), set())
        assert (head.epoch, head.seq) == (1, 0)


async def test_a_statement_out_of_another_history_of_the_log_is_not_kept(node: Node) -> None:
    """The hub signs two logs: the proof of growth from what the node has seen convicts it."""
    other = FakeHub(node.hub.registrar, node.hub.log_key)
    tick = sign_statement(Tick(AT_MS, node.hub.roster.genesis_digest), node.hub.registrar)
    for entry in [node.hub.entries[0], tick.text.encode(), *node.hub.entries[2:]]:
        other.add_statement(entry.decode())
    before = await node.store.statements()
    lines = other.lines_for(AGENCY)
    with pytest.raises(Contradiction) as caught:
        await session_of(node, lambda _lines: lines).refresh()
    assert caught.value.refused.kind == "bad-proof"
    assert await node.store.statements() == before
