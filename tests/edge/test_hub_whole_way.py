"""The hub from enrolment to projection, over real HTTP and a real database."""

from __future__ import annotations

from pathlib import Path

from sync_protocol.checkpoint import open_checkpoint
from sync_protocol.merkle import verify_consistency
from sync_protocol.receipt import parse_receipt, verify_receipt
from sync_protocol.values import b64_decode
from tests.edge.hub_lab import ORIGIN, Lab, projected, running_hub


async def test_a_new_hub_has_a_genesis_rules_and_a_tick(lab: Lab) -> None:
    answer = await lab.call("GET", "/v1/hub")
    assert answer.status == 200
    assert answer.json["origin"] == ORIGIN
    assert answer.json["vkey"] == lab.vkey.format()
    assert answer.json["size"] == 3
    assert [statement.typ for statement in await lab.hub.store.statements()] == [
        "simpul-genesis",
        "simpul-rules",
        "simpul-tick",
    ]


async def test_a_pushed_set_gets_a_receipt_that_verifies(lab: Lab) -> None:
    agency = await lab.enrol("33.75")
    change_set = agency.cut(3)
    known = (await lab.checkpoint()).checkpoint
    answer = await agency.push(change_set, query=f"?from={known.size}")
    assert answer.status == 201
    body = answer.json
    receipt = parse_receipt(body["receipt"].encode())
    opened = verify_receipt(receipt, change_set.manifest.jws.text.encode(), [lab.vkey], ORIGIN)
    assert (body["index"], opened.checkpoint.size) == (4, 5)
    assert body["checkpoint"].encode() == opened.note
    assert body["consistency"]["from"] == known.size
    hashes = [b64_decode(text) for text in body["consistency"]["hashes"]]
    verify_consistency(known.size, known.root, opened.checkpoint.size, opened.checkpoint.root, hashes)
    assert (body["hidden"], body["erased"]) == (0, 0)


async def test_a_pushed_set_is_projected(lab: Lab) -> None:
    agency = await lab.enrol("33.75")
    await agency.push_new(5)
    await projected(lab)
    cursor, totals = await lab.hub.projection.totals()
    assert totals["applied/33.75//"] == 5
    assert totals["complaints/33.75/received/complaint_ordinary"] == 5
    before, after = await lab.hub.rebuild()
    assert before == after
    assert before.endswith(cursor.state_hash.hex())


async def test_the_chain_goes_on_after_a_restart(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as lab:
        agency = await lab.enrol("33.75")
        await agency.push_new(2)
        size, note = lab.hub.log.size, lab.hub.log.published.note
    async with running_hub(tmp_path, clock=lab.clock, seed=2) as again:
        assert (again.hub.log.size, again.hub.log.published.note) == (size, note)
        agency.lab = again
        await agency.push_new(1)
        opened = open_checkpoint((await again.call("GET", "/checkpoint")).body, [lab.vkey], ORIGIN)
        assert opened.checkpoint.size == size + 1
