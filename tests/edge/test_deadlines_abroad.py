"""What is due on a complaint follows it from agency to agency: at every node that it concerns, from the log's order."""

from __future__ import annotations

from typing import Final

from node.deadlines.clocks import due_words
from node.deadlines.slot import NOTHING_DUE
from node.deadlines.tables import deadlines_of_tables
from node.local.measuring import measure
from node.local.tracking import tracked_of
from sync_protocol.values import AgencyId
from tests.edge.hub_lab import Lab
from tests.edge.inbox_lab import DESK, Peer, settle_down

CITY, REGENCY = AgencyId("35.71"), AgencyId("35.06")
AGENCIES = (CITY, REGENCY, DESK)
DAY_MS: Final = 86_400_000
NOTHING: Final = (None, None)


async def due(node: Peer, complaint: str) -> tuple[str | None, str | None]:
    """Day and duty, as measured anew."""
    await measure(node.store, deadlines_of_tables(), str(node.agency))
    held = await node.held(complaint)
    at, duty, _ = due_words(NOTHING_DUE if held.slot is None else held.slot, 0)
    tracked = await tracked_of(node.store, held, str(node.agency), 0)
    assert (tracked.due_at, tracked.duty) == (at, duty)
    return at and at[:10], duty


async def test_a_declined_complaint_is_due_at_its_owner_from_when_it_came(lab: Lab, nodes: list[Peer]) -> None:
    city, regency, _ = nodes  # Monday 2 February 2026
    complaint = await city.receive()
    assert await due(city, complaint) == ("2026-02-05", "verify")
    await city.offer(complaint, REGENCY)
    await settle_down(nodes, lab)
    assert await due(regency, complaint) == NOTHING  # it is not theirs
    lab.clock.at_ms += DAY_MS
    await regency.decline(complaint)
    await settle_down(nodes, lab)
    assert await due(city, complaint) == ("2026-02-09", "first_answer")
    await city.change("verified", complaint, **{"class": "information_request"})
    assert await due(city, complaint) == ("2026-02-09", "first_answer")


async def test_an_accepted_complaint_is_due_at_its_new_owner_from_then_and_no_more_at_the_old_one(
    lab: Lab, nodes: list[Peer]
) -> None:
    city, regency, _ = nodes
    complaint = await city.receive()
    await city.offer(complaint, REGENCY)
    await settle_down(nodes, lab)
    lab.clock.at_ms += DAY_MS
    await regency.accept(complaint)
    await settle_down(nodes, lab)
    assert await due(regency, complaint) == ("2026-02-06", "verify")
    assert await due(city, complaint) == NOTHING


async def test_what_the_desk_directs_is_due_where_it_comes_without_anything_recorded_there(
    lab: Lab, nodes: list[Peer]
) -> None:
    city, regency, desk = nodes
    await desk.inbox.drain()  # the rules
    complaint = await desk.receive()
    await desk.change("directed", complaint, to=str(REGENCY), reason="jurisdiction")
    await settle_down(nodes, lab)
    assert await due(regency, complaint) == ("2026-02-05", "verify")
    assert await due(desk, complaint) == NOTHING
    assert city.agency == CITY
