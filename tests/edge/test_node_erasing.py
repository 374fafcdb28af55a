"""A local node forgets what an `erased` change names, everywhere it stood, and whatever happens in between (G8)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from node.local.cutting import Place, cut_set
from node.local.evidence import make_evidence
from node.local.recording import Command
from node.store.complaint_keys import complaint_key
from node.store.local_records import HeldChange, WrittenChange
from sync_protocol.change_set import ChangeSet, hidden_leaves, parse_change_set, verify_lines
from sync_protocol.compression import decompress_part
from sync_protocol.errors import Refused
from sync_protocol.merkle import leaf_hash
from sync_protocol.outbox import Idle
from sync_protocol.values import b64u_encode
from tests.edge.hub_lab import projected, running_hub
from tests.edge.test_node_with_hub import live_node
from tests.fakes.fake_hub import FakeHub
from tests.fakes.node_lab import AGENCY, Node, copy_of, running_node

LETTER = b"Lampu jalan padam."  # what `Node.received` says


@pytest.fixture
def hub() -> FakeHub:
    return FakeHub.found()


async def changes_of(node: Node, complaint: str) -> list[HeldChange]:
    held = await node.store.complaint(complaint_key(complaint))
    assert held is not None
    return await node.store.complaint_changes(held.no)


async def first_leaf(node: Node, complaint: str) -> str:
    content = (await changes_of(node, complaint))[0].content
    assert content is not None
    return b64u_encode(leaf_hash(content))


def erasure(complaint: str, *leaves: str) -> Command:
    data: Mapping[str, object] = {"ground": "court-order", "leaves": list(leaves)}
    return Command("erased", data, complaint=complaint)


async def own_copy(node: Node, seq: int) -> ChangeSet:
    held = await node.store.live_set(seq)
    assert held is not None
    head, contents = map(decompress_part, await node.store.set_frames(held.id))
    return parse_change_set(head, contents)


async def test_what_was_erased_is_gone_from_the_change_and_from_the_set_that_carried_it(
    tmp_path: Path, hub: FakeHub
) -> None:
    async with running_node(tmp_path / "a", hub) as node:
        complaint, other = (await node.received()).complaint, (await node.received()).complaint
        await node.work()
        await node.service.record(erasure(complaint, await first_leaf(node, complaint)))

        copy = await own_copy(node, 1)
        assert (await changes_of(node, complaint))[0].content is None
        assert (await changes_of(node, other))[0].content is not None
        assert verify_lines(copy).hidden_leaves == 1
        assert copy.contents.count(LETTER) == 1
        assert isinstance((await node.work())[-1], Idle)


async def test_what_is_erased_before_it_was_cut_never_reaches_the_hub(tmp_path: Path, hub: FakeHub) -> None:
    async with running_node(tmp_path / "a", hub) as node:
        complaint = (await node.received()).complaint
        leaf = await first_leaf(node, complaint)
        await node.service.record(erasure(complaint, leaf))
        assert (await changes_of(node, complaint))[0].content is not None  # its hash is not signed yet

        await node.work()

        assert (await changes_of(node, complaint))[0].content is None
        assert all(LETTER not in stored.change_set.contents for stored in hub.sets.values())
        assert hidden_leaves(await own_copy(node, 1)) == 1


async def test_a_mistyped_hash_is_refused_and_nothing_is_recorded(tmp_path: Path, hub: FakeHub) -> None:
    async with running_node(tmp_path / "a", hub) as node:
        complaint, other = (await node.received()).complaint, (await node.received()).complaint
        for leaf in (b64u_encode(bytes(32)), await first_leaf(node, other)):
            with pytest.raises(Refused, match="no content line of this complaint") as refused:
                await node.service.record(erasure(complaint, leaf))
            assert refused.value.where == "leaves"
        assert len(await changes_of(node, complaint)) == 1


async def test_a_process_that_dies_before_erasing_erases_when_it_starts_again(tmp_path: Path, hub: FakeHub) -> None:
    async with running_node(tmp_path / "a", hub) as node:
        complaint = (await node.received()).complaint
        await node.work()
        leaf = await first_leaf(node, complaint)
        await node.service._write([erasure(complaint, leaf)])  # committed; the process dies before it goes on
        assert (await changes_of(node, complaint))[0].content is not None
    async with running_node(tmp_path / "a", hub, seed=2) as node:
        assert (await changes_of(node, complaint))[0].content is None
        assert hidden_leaves(await own_copy(node, 1)) == 1


async def test_an_old_backup_does_not_bring_an_erased_letter_back(tmp_path: Path, hub: FakeHub) -> None:
    async with running_node(tmp_path / "a", hub) as node:
        complaint = (await node.received()).complaint
        await node.work()
    backup = copy_of(tmp_path / "a", tmp_path / "backup")
    async with running_node(tmp_path / "a", hub, seed=2) as node:
        await node.service.record(erasure(complaint, await first_leaf(node, complaint)))
        await node.work()
    async with running_node(backup, hub, seed=3) as node:
        assert (await changes_of(node, complaint))[0].content is not None

        await node.settle()

        changes = await changes_of(node, complaint)
        assert len(changes) == 2
        assert changes[0].content is None
        assert hidden_leaves(await own_copy(node, 1)) == 1


async def test_a_withdrawn_set_does_not_keep_the_letter_either(tmp_path: Path, hub: FakeHub) -> None:
    async with running_node(tmp_path / "a", hub) as node:
        complaint = (await node.received()).complaint
        epoch = (await node.store.outbox()).epoch
        place = Place(AGENCY, epoch, 1)
        assert await cut_set(node.store, node.keys.current(), place, node.clock.now_ms(), unsent=1)  # never sent
        async with node.store.transaction() as transaction:
            await transaction.withdraw_sets(1)
            await transaction.set_epoch(epoch + 1)
            held = await transaction.changes(0)  # as after an adoption: recorded again, under other numbers
            await transaction.forget_changes(0, [])
            await transaction.record([], [WrittenChange(key, change.line, change.content) for change, key in held])
        leaf = await first_leaf(node, complaint)
        await node.service.record(erasure(complaint, leaf))
        await node.settle()
        async with node.store.readers.connect() as connection:
            frames = (await connection.exec_driver_sql("SELECT contents FROM set_frames")).all()
        assert len(frames) >= 2
        assert all(LETTER not in decompress_part(row[0]) for row in frames)


async def test_hub_and_node_forget_together_and_the_rest_of_the_evidence_still_shows(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as lab, live_node(lab, tmp_path / "node") as node:
        first, second = await node.received(), await node.received()
        await node.drain()
        held = await node.store.complaint(complaint_key(first))
        assert held is not None
        content = (await node.store.complaint_changes(held.no))[0].content
        assert content is not None
        await node.service.record(erasure(first, b64u_encode(leaf_hash(content))))
        await node.drain()
        await projected(lab)

        stored = await lab.hub.store.find_sets([("33.75", 1)])
        assert [(one.hidden, one.erased) for one in stored.values()] == [(1, 1)]
        _, gone = await make_evidence(node.store, first, with_content=True)
        _, shown = await make_evidence(node.store, second, with_content=True)
        assert [change.content for change in gone.changes] == [None, None]
        assert [change.content["text"] for change in shown.changes if change.content] == ["Sampah menumpuk."]
