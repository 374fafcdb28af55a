"""Ownership moves in two signed steps (architecture G1): real nodes, a real hub, and races between them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from node.hub.folding import unpack_state
from node.store.complaint_keys import complaint_key
from sync_protocol.complaint import State
from sync_protocol.merkle import leaf_hash
from sync_protocol.values import AgencyId, ComplaintId, b64u_encode
from tests.edge.hub_lab import Lab, running_hub
from tests.edge.inbox_lab import DESK, Peer, peers, settle_down

CITY, REGENCY, PROVINCE = AgencyId("35.71"), AgencyId("35.06"), AgencyId("35")


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with running_hub(tmp_path) as running:
        yield running


@pytest.fixture
async def nodes(lab: Lab, tmp_path: Path) -> AsyncIterator[list[Peer]]:
    async with peers(lab, tmp_path, [CITY, REGENCY, PROVINCE, DESK]) as made:
        yield made


async def owner_at_hub(lab: Lab, complaint: str) -> str:
    await lab.hub.projector.catch_up()
    _, row = await lab.hub.projection.complaint(complaint_key(ComplaintId.parse(complaint)))
    assert row is not None
    return unpack_state(row.state).owner


async def test_an_accepted_complaint_is_the_new_owners_with_its_whole_history(lab: Lab, nodes: list[Peer]) -> None:
    city, regency, *_ = nodes
    complaint = await city.receive()
    await city.offer(complaint, REGENCY)
    await settle_down(nodes, lab)
    assert (await regency.state(complaint)).offer_to == REGENCY
    said = [one.content for one in await regency.history(complaint)]
    assert said[0] is not None
    assert b"Jalan berlubang." in said[0]

    await regency.accept(complaint)
    await settle_down(nodes, lab)
    for change, data in (("verified", {"class": "complaint_ordinary"}), ("assigned", {"unit": "dinas-pupr"})):
        await regency.change(change, complaint, **data)
    await settle_down(nodes, lab)
    for node in (city, regency):
        state = await node.state(complaint)
        assert (state.owner, state.state, state.unit) == (REGENCY, State.ASSIGNED, "dinas-pupr")
        assert await node.types(complaint) == ["received", "offered", "accepted", "verified", "assigned"]
    assert await owner_at_hub(lab, complaint) == REGENCY


async def test_a_declined_offer_goes_back_and_counts(lab: Lab, nodes: list[Peer]) -> None:
    city, regency, *_ = nodes
    complaint = await city.receive()
    await city.offer(complaint, REGENCY)
    await settle_down(nodes, lab)
    await regency.decline(complaint)
    await settle_down(nodes, lab)
    state = await city.state(complaint)
    assert (state.owner, state.offer_to, state.bounces) == (CITY, None, 1)
    await city.change("verified", complaint, **{"class": "complaint_ordinary"})
    await settle_down(nodes, lab)
    assert (await city.state(complaint)).state is State.VERIFIED


async def test_accepting_what_was_withdrawn_first_is_refused_and_told(lab: Lab, nodes: list[Peer]) -> None:
    city, regency, *_ = nodes
    complaint = await city.receive()
    await city.offer(complaint, REGENCY)
    await settle_down(nodes, lab)
    await city.withdraw(complaint)
    await regency.accept(complaint)
    await regency.change("verified", complaint, **{"class": "complaint_ordinary"})
    await city.push()
    await regency.push()
    await settle_down(nodes, lab)
    for node in (city, regency):
        assert (await node.state(complaint)).owner == CITY
    assert await regency.types(complaint) == ["received", "offered", "withdrawn", "(accepted)", "(verified)"]
    assert {one.verdict for one in await regency.store.refusals(9)} == {"no_offer", "not_owner"}
    assert await owner_at_hub(lab, complaint) == CITY


async def test_withdrawing_what_was_accepted_first_is_refused_and_told(lab: Lab, nodes: list[Peer]) -> None:
    city, regency, *_ = nodes
    complaint = await city.receive()
    await city.offer(complaint, REGENCY)
    await settle_down(nodes, lab)
    await city.withdraw(complaint)
    await city.change("amended", complaint, category="jalan")
    await regency.accept(complaint)
    await regency.push()
    await settle_down(nodes, lab)
    for node in (city, regency):
        assert (await node.state(complaint)).owner == REGENCY
    assert await city.types(complaint) == ["received", "offered", "accepted", "(withdrawn)", "(amended)"]


async def test_bounced_too_often_it_comes_to_the_desk_which_directs_it(lab: Lab, nodes: list[Peer]) -> None:
    city, regency, province, desk = nodes
    await desk.inbox.drain()  # the rules
    complaint = await city.receive()
    for turn in range(3):
        to = nodes[1 + turn % 2]
        await city.offer(complaint, to.agency)
        await settle_down(nodes, lab)
        await to.decline(complaint)
        await settle_down(nodes, lab)
    assert (await desk.state(complaint)).bounces == 3
    await desk.change("recalled", complaint, reason="bounced")
    await settle_down(nodes, lab)
    await desk.change("directed", complaint, to=str(REGENCY), reason="jurisdiction")
    await settle_down(nodes, lab)
    for node in (city, regency, desk):
        state = await node.state(complaint)
        assert (state.owner, state.bounces) == (REGENCY, 0), node.agency
    assert await province.state(complaint)


async def test_erased_words_go_from_every_holder(lab: Lab, nodes: list[Peer]) -> None:
    city, regency, *_ = nodes
    complaint = await city.receive()
    await city.offer(complaint, REGENCY)
    await settle_down(nodes, lab)
    await regency.accept(complaint)
    await settle_down(nodes, lab)
    said = (await regency.history(complaint))[0].content
    assert said is not None
    await regency.change("erased", complaint, ground="request", leaves=[b64u_encode(leaf_hash(said))])
    await settle_down(nodes, lab)
    for node in (city, regency):
        assert (await node.history(complaint))[0].content is None, node.agency
