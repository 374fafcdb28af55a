"""A client's number for a report is that client's at that node: no other complaint is ever taken for it."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest

from node.channels.open311.node_intake import CHANNEL, NodeIntake
from node.channels.open311.reports import Reply, Report
from node.channels.open311.services import Service
from node.local.recording import Command, RequestKey
from node.store.local_records import ComplaintFilter, HeldComplaint
from sync_protocol.errors import Refused
from sync_protocol.line import parse_content
from sync_protocol.values import AgencyId
from tests.edge.hub_lab import Lab
from tests.edge.inbox_lab import DESK, Peer, settle_down

CITY, REGENCY = AgencyId("35.71"), AgencyId("35.06")
AGENCIES = (CITY, REGENCY, DESK)
CLIENT = "qlue"
SERVICE = Service(code="jalan", name="Jalan", visibility="public")


def report(text: str, number: str | None) -> Report:
    return Report(SERVICE, None, {"title": "Laporan", "text": text}, number, sha256(text.encode()).digest())


async def texts_of(node: Peer) -> list[str]:
    """Of all complaints that began at this node."""
    held = await node.store.complaints(ComplaintFilter(limit=20))
    own = [one for one in held if one.state.minted_by == node.agency]
    texts = []
    for one in sorted(own, key=lambda held: held.no):
        (change, *_) = await node.history(str(one.id))
        texts.append(str(parse_content(change.content or b"")["text"]))
    return texts


async def offered_by_city(lab: Lab, nodes: list[Peer]) -> HeldComplaint:
    """A report that the city's client of that name numbered 17, and the city offers to the regency."""
    city = nodes[0]
    await NodeIntake(city.service).report(CLIENT, report("Jalan kota rusak", "17"), None)
    (theirs,) = await city.store.complaints(ComplaintFilter())
    await city.offer(str(theirs.id), REGENCY)
    await settle_down(nodes, lab)
    return theirs


async def test_a_complaint_that_another_agency_offers_is_no_repeat_whatever_number_it_claims(
    lab: Lab, nodes: list[Peer]
) -> None:
    """Its reporter's words would be lost, and the other reporter's tracking number told to a stranger."""
    regency = nodes[1]
    theirs = await offered_by_city(lab, nodes)
    intake = NodeIntake(regency.service)
    taken = await intake.report(CLIENT, report("Lampu padam", "17"), None)
    assert not taken.is_repeat
    assert theirs.state.tracking not in str(taken.document)
    assert (await intake.report(CLIENT, report("Lampu padam", "17"), None)).is_repeat
    assert await texts_of(regency) == ["Lampu padam"]


async def test_attack_a_client_named_as_another_agencys_replies_to_nothing_of_that_one(
    lab: Lab, nodes: list[Peer]
) -> None:
    regency = nodes[1]
    theirs = await offered_by_city(lab, nodes)
    await regency.accept(str(theirs.id))
    await regency.change("verified", str(theirs.id), **{"class": "complaint_ordinary"})
    await regency.change("assigned", str(theirs.id), unit="dinas-pupr")
    await regency.change("answered", str(theirs.id), "Sudah.")
    held, intake = await regency.held(str(theirs.id)), NodeIntake(regency.service)
    said = Reply(str(held.id), None, "Belum.", None, sha256(b"Belum.").digest())
    with pytest.raises(Refused) as refused:
        await intake.reply(CLIENT, said, held, None)
    assert (refused.value.kind, refused.value.where) == ("unauthorised", "token")
    assert not (await intake.reply(CLIENT, replace(said, token=held.state.tracking), held, None)).is_repeat


async def test_a_reply_to_what_is_another_agencys_by_now_is_told_where_to_go(lab: Lab, nodes: list[Peer]) -> None:
    """It has an answer that waits for a reply: elsewhere."""
    city, regency, _ = nodes
    intake = NodeIntake(city.service)
    await intake.report(CLIENT, report("Jalan kota rusak", "17"), None)
    (ours,) = await city.store.complaints(ComplaintFilter())
    await city.offer(str(ours.id), REGENCY)
    await settle_down(nodes, lab)
    await regency.accept(str(ours.id))
    await settle_down(nodes, lab)
    held = await city.held(str(ours.id))
    said = Reply(str(held.id), None, "Belum.", None, sha256(b"Belum.").digest())
    with pytest.raises(Refused, match=r"is with agency 35\.06 by now") as refused:
        await intake.reply(CLIENT, said, held, None)
    assert refused.value.kind == "malformed"


async def test_two_keys_are_two_reports_though_the_client_numbers_them_alike(lab: Lab, nodes: list[Peer]) -> None:
    city, *_ = nodes
    intake = NodeIntake(city.service)
    for key in ("key-1", "key-2"):
        for is_repeat in (False, True):
            assert (await intake.report(CLIENT, report(f"Laporan {key}", "17"), key)).is_repeat is is_repeat
    assert await texts_of(city) == ["Laporan key-1", "Laporan key-2"]


async def test_a_key_of_the_first_program_is_still_known(lab: Lab, nodes: list[Peer]) -> None:
    """Clients repeat across an update as they do at any other time."""
    city, *_ = nodes
    said = report("Sampah menumpuk", None)
    asked = sha256(f"{CHANNEL}\n{CLIENT}\nkey-1".encode()).digest()
    request = RequestKey(asked, sha256(b"report\n" + said.digest).digest())
    data = {"channel": CHANNEL, "visibility": "public", "received_at": "2026-02-02T02:40:00.000Z"}
    await city.service.record(Command("received", data, said.content, role="reporter", request=request))
    assert (await NodeIntake(city.service).report(CLIENT, said, "key-1")).is_repeat


@pytest.mark.parametrize("key", ["report 17", "reply x 17", "key 17"])
async def test_a_key_that_spells_like_a_number_is_apart_from_it(lab: Lab, nodes: list[Peer], key: str) -> None:
    city, *_ = nodes
    intake = NodeIntake(city.service)
    assert not (await intake.report(CLIENT, report("Satu", "17"), None)).is_repeat
    assert not (await intake.report(CLIENT, report("Dua", None), key)).is_repeat
