"""Ownership moves in two signed steps (architecture G1): real nodes, a real hub, and races between them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from node.hub.folding import unpack_state
from node.local.evidence import make_evidence
from node.store.complaint_keys import complaint_key
from sync_protocol.complaint import State
from sync_protocol.errors import Refused
from sync_protocol.merkle import leaf_hash
from sync_protocol.values import AgencyId, ComplaintId, b64u_encode
from tests.edge.hub_lab import Lab
from tests.edge.inbox_lab import DESK, Peer, peer, peers, settle_down
from tests.edge.transfer_races import agencies, run_races

CITY, REGENCY, PROVINCE = AgencyId("35.71"), AgencyId("35.06"), AgencyId("35")
AGENCIES = (CITY, REGENCY, PROVINCE, DESK)


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


async def bounced(nodes: list[Peer], lab: Lab) -> str:
    """A complaint of the first node that was declined so often that the desk, the last one, may recall it."""
    city, regency, province, desk = nodes
    await desk.inbox.drain()  # the rules
    complaint = await city.receive()
    for to in (regency, province, regency):
        await city.offer(complaint, to.agency)
        await settle_down(nodes, lab)
        await to.decline(complaint)
        await settle_down(nodes, lab)
    return complaint


async def test_bounced_too_often_it_comes_to_the_desk_which_directs_it(lab: Lab, nodes: list[Peer]) -> None:
    city, regency, province, desk = nodes
    complaint = await bounced(nodes, lab)
    assert (await desk.state(complaint)).bounces == 3
    await desk.change("recalled", complaint, reason="bounced")
    await settle_down(nodes, lab)
    await desk.change("directed", complaint, to=str(REGENCY), reason="jurisdiction")
    await settle_down(nodes, lab)
    for node in (city, regency, desk):
        state = await node.state(complaint)
        assert (state.owner, state.bounces) == (REGENCY, 0), node.agency
    assert await province.state(complaint)


@pytest.mark.parametrize("is_desk_first", [True, False])
async def test_of_a_recall_and_an_acceptance_at_once_the_first_in_the_log_holds_and_the_other_is_told(
    lab: Lab, nodes: list[Peer], *, is_desk_first: bool
) -> None:
    city, regency, province, desk = nodes
    complaint = await bounced(nodes, lab)
    await city.offer(complaint, REGENCY)
    await settle_down(nodes, lab)
    await desk.inbox.fetch(ComplaintId.parse(complaint))
    await desk.change("recalled", complaint, reason="bounced")
    await desk.change("directed", complaint, to=str(PROVINCE), reason="jurisdiction")
    await regency.accept(complaint)
    winner, loser = (desk, regency) if is_desk_first else (regency, desk)
    await winner.push()
    await loser.push()
    await settle_down(nodes, lab)
    owner = PROVINCE if is_desk_first else REGENCY
    assert await owner_at_hub(lab, complaint) == owner
    for node in (city, winner, province if is_desk_first else regency):
        assert (await node.state(complaint)).owner == owner, node.agency
    refused = [one.verdict for one in await loser.store.refusals(9)]
    assert sorted(refused) == (["no_offer"] if is_desk_first else ["not_owner", "wrong_rev"])
    assert await winner.store.refusals(9) == []


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


@pytest.mark.slow
async def test_whatever_races_one_agency_owns_a_complaint_at_every_place_and_all_see_the_same(
    lab: Lab, tmp_path: Path
) -> None:
    async with peers(lab, tmp_path, agencies(5)) as made:
        desk, *others = made
        declined = [await bounced([*others[:3], desk], lab)]
        outcome = await run_races(lab, made, 80, seed=2, at_once=20, declined=declined)
    assert outcome.is_clean, outcome
    assert outcome.moves["accepted"] > 5
    assert outcome.moves["recalled"] + outcome.refused["wrong_rev"] > 0, "the desk had no part in it"
    assert outcome.refused["no_offer"] > 2


async def test_what_cannot_be_is_refused_at_once_each_with_its_own_answer(lab: Lab, nodes: list[Peer]) -> None:
    city, regency, _, desk = nodes
    complaint = await city.receive()
    await city.sync()
    asked = (
        ("unknown_agency", "offered", {"reason": "x", "to": "99.99"}),
        ("bad_target", "offered", {"reason": "x", "to": str(CITY)}),
        ("no_offer", "accepted", {"offer": "A" * 43}),
        ("not_desk", "recalled", {"reason": "x"}),
        ("not_desk", "directed", {"reason": "x", "to": str(REGENCY)}),
    )
    for verdict, change, data in asked:
        with pytest.raises(Refused) as refused:
            await city.change(change, complaint, **data)
        assert refused.value.members["verdict"] == verdict
    await city.offer(complaint, REGENCY)
    await settle_down(nodes, lab)
    stale = await regency.offer_of(complaint)
    await city.withdraw(complaint)
    await city.offer(complaint, REGENCY)
    await settle_down(nodes, lab)
    with pytest.raises(Refused) as refused:
        await regency.change("accepted", complaint, offer=stale)
    assert refused.value.members["verdict"] == "no_offer"
    assert desk.agency == DESK


async def test_the_oldest_backup_of_a_node_has_others_complaints_back(lab: Lab, tmp_path: Path) -> None:
    async with peer(lab, REGENCY, tmp_path / "old", seed=9):
        pass
    shutil.copytree(tmp_path / "old", tmp_path / "new")  # nothing but the enrolment
    async with peers(lab, tmp_path, [CITY]) as (city,):
        async with peer(lab, REGENCY, tmp_path / "old", seed=9) as regency:
            complaint = await city.receive()
            await city.offer(complaint, REGENCY)
            await settle_down([city, regency], lab)
            await regency.accept(complaint)
            await regency.change("verified", complaint, **{"class": "complaint_ordinary"})
            await settle_down([city, regency], lab)
            before = await regency.state(complaint)
            types = await regency.types(complaint)
        async with peer(lab, REGENCY, tmp_path / "new", seed=10) as restored:
            await settle_down([city, restored], lab)
            assert await restored.state(complaint) == before
            assert await restored.types(complaint) == types
            await restored.change("assigned", complaint, unit="dinas-pupr")
            await settle_down([city, restored], lab)
            assert (await city.state(complaint)).unit == "dinas-pupr"


async def test_a_citizen_takes_home_the_whole_way_of_a_complaint(lab: Lab, nodes: list[Peer]) -> None:
    city, regency, *_ = nodes
    complaint = await city.receive()
    await city.offer(complaint, REGENCY)
    await settle_down(nodes, lab)
    await regency.accept(complaint)
    await settle_down(nodes, lab)
    for with_content, said in ((True, "Jalan berlubang."), (False, None)):
        _, evidence = await make_evidence(regency.store, complaint, with_content=with_content)
        assert [one.change.type for one in evidence.changes] == ["received", "offered", "accepted"]
        content = evidence.changes[0].content
        assert (content and content["text"]) == said
