"""Open311 of a complaint that several agencies wrote to: told as the log has it, by the old owner and the new one."""

from __future__ import annotations

from typing import Any

from node.channels.open311.mapping import UPDATE_WORDS
from node.channels.open311.node_desk import NodeDesk
from node.channels.open311.queries import read_wanted
from node.channels.open311.services import Services
from node.config_data import config_file
from node.deadlines.tables import deadlines_of_tables
from node.wiring.open311 import name_of_agency, service_table
from sync_protocol.values import AgencyId
from tests.edge.hub_lab import Lab
from tests.edge.inbox_lab import Peer, settle_down
from tests.edge.test_tracking import make_unreadable

CITY, REGENCY = AgencyId("35.71"), AgencyId("35.06")
AGENCIES = (CITY, REGENCY)


def desk_of(node: Peer) -> NodeDesk:
    services = Services(service_table(config_file("open311.example.toml")), own=node.agency)
    return NodeDesk(node.service, services, name_of_agency, deadlines_of_tables())


async def shown(node: Peer, complaint: str) -> Any:
    return await desk_of(node).request(complaint, None)


async def updates(node: Peer, complaint: str) -> list[tuple[str, str | None]]:
    wanted = read_wanted([("service_request_id", complaint)], None, node.pusher.clock.now_ms())
    return [(one.type, one.text) for one in await desk_of(node).updates(wanted)]


async def accepted_by_regency(lab: Lab, nodes: list[Peer]) -> str:
    """Not pushed yet."""
    city, regency = nodes
    complaint = await city.receive()
    await city.offer(complaint, REGENCY)
    await settle_down(nodes, lab)
    await regency.accept(complaint)
    return complaint


async def answered_by_regency(lab: Lab, nodes: list[Peer]) -> str:
    regency = nodes[1]
    complaint = await accepted_by_regency(lab, nodes)
    await regency.change("verified", complaint, **{"class": "complaint_ordinary"})
    await regency.change("assigned", complaint, unit="dinas-pupr")
    await regency.change("answered", complaint, "Sudah kami perbaiki.")
    await settle_down(nodes, lab)
    return complaint


async def test_the_old_owner_tells_what_the_new_one_did_and_expects_nothing_after_its_answer(
    lab: Lab, nodes: list[Peer]
) -> None:
    city, _ = nodes
    complaint = await answered_by_regency(lab, nodes)
    assert [type_ for type_, _ in await updates(city, complaint)] == [
        "received", "accepted", "verified", "assigned", "answered",
    ]  # fmt: skip
    told = await shown(city, complaint)
    assert told["expected_datetime"] is None
    assert told["description"] == "Jalan berlubang."


async def test_the_new_owner_shows_the_words_that_came_with_the_complaint_and_its_own_answer(
    lab: Lab, nodes: list[Peer]
) -> None:
    _, regency = nodes
    complaint = await answered_by_regency(lab, nodes)
    assert (await shown(regency, complaint))["description"] == "Jalan berlubang."
    told = await updates(regency, complaint)
    assert told[0] == ("received", None)
    assert told[-1] == ("answered", "Sudah kami perbaiki.")


async def test_what_the_log_refused_is_no_update_and_shows_no_words(lab: Lab, nodes: list[Peer]) -> None:
    city, regency = nodes
    complaint = await accepted_by_regency(lab, nodes)
    await regency.push()
    await city.withdraw(complaint)
    await city.change("verified", complaint, **{"class": "complaint_ordinary"})
    await settle_down(nodes, lab)
    assert await city.types(complaint) == ["received", "offered", "accepted", "(withdrawn)", "(verified)"]
    assert [type_ for type_, _ in await updates(city, complaint)] == ["received", "accepted"]
    assert (await shown(city, complaint))["description"] is None


async def test_words_that_cannot_be_read_break_no_list(lab: Lab, nodes: list[Peer]) -> None:
    _, regency = nodes
    complaint = await answered_by_regency(lab, nodes)
    await make_unreadable(regency)
    assert (await updates(regency, complaint))[-1] == ("answered", None)
    assert "answered" in UPDATE_WORDS
