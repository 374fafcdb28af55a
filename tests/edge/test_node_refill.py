"""What a node shows a hub that lost something (protocol §10.6)."""

from __future__ import annotations

from pathlib import Path

from node.local.hub_refill import refill_hub
from sync_protocol.manifest import parse_manifest
from sync_protocol.receipt import parse_receipt, verify_receipt
from tests.fakes.fake_hub import FakeHub
from tests.fakes.node_lab import AGENCY, running_node


async def test_a_hub_is_shown_all_that_it_gave_receipts_for_in_pages(tmp_path: Path) -> None:
    hub = FakeHub.found()
    async with running_node(tmp_path / "a", hub) as node:
        for _ in range(5):
            await node.received()
            await node.work()
        await refill_hub(node.store, node.link, AGENCY, 2, 5, at_once=3)
        first, second = hub.recoveries
        assert [len(page.sets or ()) for page in (first, second)] == [3, 1]
        assert [len(page.statements) > 0 for page in (first, second)] == [True, False]
        for line, seq in zip([*(first.sets or ()), *(second.sets or ())], range(2, 6), strict=True):
            manifest = parse_manifest(line.manifest)
            assert manifest.manifest.seq == seq
            entry = line.manifest.encode("ascii")
            verify_receipt(parse_receipt(line.receipt.encode()), entry, hub.roster.vkeys, hub.roster.origin)
        await refill_hub(node.store, node.link, AGENCY, 6, 5)
        assert hub.recoveries[-1].sets == []
        assert hub.recoveries[-1].checkpoint == (await node.store.seen()).note.decode()
