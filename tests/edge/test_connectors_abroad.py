"""A complaint that another system reported here and that lives elsewhere by now: the system still hears of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from node.channels.connector.settings import Connector
from node.channels.connector.signature import HEADER, sign
from node.channels.connector.webhooks import Webhooks
from node.local.http import build_app
from node.store.local_base import fetch
from node.store.local_records import ComplaintFilter
from node.wiring.connectors import connecting
from sync_protocol.errors import Refused
from sync_protocol.line import parse_change
from sync_protocol.values import AgencyId
from tests.edge.hub_lab import Lab, LabRandomness
from tests.edge.inbox_lab import Peer, settle_down
from tests.edge.test_connectors import REPORT, SECRET, Surga, write_table
from tests.edge.test_tracking import make_unreadable

CITY, REGENCY = AgencyId("35.71"), AgencyId("35.06")
AGENCIES = (CITY, REGENCY)
SOURCE = {"system": "surga", "id": "SRG-77"}


@dataclass
class Line:
    """From a node to the other system."""

    lab: Lab
    surga: Surga
    session: aiohttp.ClientSession
    connector: Connector

    async def tell(self, node: Peer, told: Any = None) -> int:
        """As after a restart of the node."""
        clock: Any = self.lab.clock
        hooks = Webhooks(node.store, told or node.store, [self.connector], node.agency, clock, self.session)
        return await hooks.tell(self.connector)

    @property
    def types(self) -> list[str]:
        return [one["type"] for one in self.surga.told]


@pytest.fixture
async def line(lab: Lab) -> AsyncIterator[Line]:
    clock: Any = lab.clock
    surga, hook = Surga(clock=clock), web.Application()
    hook.router.add_post("/simpul", surga.hook)
    async with TestServer(hook) as server, aiohttp.ClientSession() as session:
        yield Line(lab, surga, session, Connector("surga", SECRET, str(server.make_url("/simpul"))))


async def answer(node: Peer, complaint: str) -> None:
    await node.change("verified", complaint, **{"class": "complaint_ordinary"})
    await node.change("assigned", complaint, unit="dinas-pupr")
    await node.change("answered", complaint, said="Sudah kami perbaiki.")


async def handed_over(lab: Lab, nodes: list[Peer]) -> str:
    city, regency = nodes
    complaint = await city.receive(source=SOURCE)
    await city.offer(complaint, REGENCY)
    await settle_down(nodes, lab)
    await regency.accept(complaint)
    await settle_down(nodes, lab)
    return complaint


async def test_what_the_next_agency_does_is_told_by_the_node_that_the_report_came_to(
    lab: Lab, nodes: list[Peer], line: Line
) -> None:
    city, regency = nodes
    complaint = await handed_over(lab, nodes)
    assert await line.tell(city) == 3
    await answer(regency, complaint)
    await settle_down(nodes, lab)
    assert await line.tell(city) == 3
    assert line.types == ["received", "offered", "accepted", "verified", "assigned", "answered"]
    assert [one["agency"] for one in line.surga.told] == [CITY] * 2 + [REGENCY] * 4
    last = line.surga.told[-1]
    tracking = (await city.state(complaint)).tracking
    assert (last["id"], last["complaint"], last["tracking"]) == ("SRG-77", complaint, tracking)
    assert (last["owner"], last["state"], last.get("text")) == (REGENCY, "answered", None)
    assert await line.tell(city) == 0


async def test_a_node_does_not_tell_of_what_came_in_at_another_nodes_system_of_that_name(
    lab: Lab, nodes: list[Peer], line: Line
) -> None:
    _, regency = nodes
    await answer(regency, await handed_over(lab, nodes))
    assert await line.tell(regency) == 0
    assert line.surga.told == []


async def test_a_complaint_that_comes_back_is_told_in_the_order_of_the_log_however_often_the_system_is_away(
    lab: Lab, nodes: list[Peer], line: Line
) -> None:
    city, regency = nodes
    complaint = await handed_over(lab, nodes)
    await answer(regency, complaint)
    await regency.offer(complaint, CITY)
    await settle_down(nodes, lab)
    await city.accept(complaint)
    await settle_down(nodes, lab)
    await answer(city, complaint)
    for _ in range(20):  # one is heard, the next one is not
        line.surga.answers = [200, 503]
        await line.tell(city)
    history = [parse_change(one.line).id for one in await city.history(complaint)]
    assert [one["change"] for one in line.surga.told] == history
    assert (line.types[-1], line.surga.told[-1]["text"]) == ("answered", "Sudah kami perbaiki.")


@dataclass
class DyingStore:
    """The node dies when the system has answered and that is not written down yet."""

    true: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.true, name)

    async def note_told(self, system: str, change_id: str) -> None:
        raise OSError("killed")


async def test_a_crash_behind_the_answer_tells_one_change_again_under_its_one_key(
    lab: Lab, nodes: list[Peer], line: Line
) -> None:
    city, _ = nodes
    await handed_over(lab, nodes)
    with pytest.raises(OSError, match="killed"):
        await line.tell(city, DyingStore(city.store))
    assert await line.tell(city) == 3
    assert line.types == ["received", "received", "offered", "accepted"]
    assert line.surga.told[0] == line.surga.told[1]


async def test_what_is_refused_for_good_is_passed_over_and_keeps_nothing_behind_it_waiting(
    lab: Lab, nodes: list[Peer], line: Line
) -> None:
    await handed_over(lab, nodes)
    line.surga.answers = [200, 410]
    await line.tell(nodes[0])
    assert line.types == ["received", "accepted"]
    assert await line.tell(nodes[0]) == 0


async def test_a_node_of_before_tells_what_others_did_meanwhile_and_nothing_of_its_own_again(
    lab: Lab, nodes: list[Peer], line: Line
) -> None:
    """It kept the number of the last change of its own that was told, and no ids."""
    city, regency = nodes
    await answer(regency, await handed_over(lab, nodes))
    await settle_down(nodes, lab)
    await city.store.move_told("surga", 2)
    assert await line.tell(city) == 4
    assert line.types == ["accepted", "verified", "assigned", "answered"]


async def test_nothing_is_told_again_after_an_adoption_numbered_the_changes_anew(
    lab: Lab, nodes: list[Peer], line: Line
) -> None:
    city, _ = nodes
    await handed_over(lab, nodes)
    assert await line.tell(city) == 3
    async with city.store.writing() as connection:
        await fetch(connection, "UPDATE change SET no = no + 1000")
        await fetch(connection, "DELETE FROM connector")
    assert await line.tell(city) == 0


async def test_words_that_cannot_be_read_keep_no_change_from_being_told(nodes: list[Peer], line: Line) -> None:
    city, _ = nodes
    complaint = await city.receive(source=SOURCE)
    await answer(city, complaint)
    await make_unreadable(city)
    assert await line.tell(city) == 4
    assert (line.types[-1], line.surga.told[-1].get("text")) == ("answered", None)


async def test_what_the_log_refused_of_ours_is_not_told(lab: Lab, nodes: list[Peer], line: Line) -> None:
    """The offer is accepted first; what was withdrawn meanwhile never was."""
    city, regency = nodes
    complaint = await city.receive(source=SOURCE)
    await city.offer(complaint, REGENCY)
    await settle_down(nodes, lab)
    await regency.accept(complaint)
    await regency.push()
    await city.withdraw(complaint)
    await settle_down(nodes, lab)
    assert await city.types(complaint) == ["received", "offered", "accepted", "(withdrawn)"]
    assert await line.tell(city) == 3
    assert line.types == ["received", "offered", "accepted"]


async def test_an_old_backup_tells_nothing_before_it_knows_what_was_erased_since(
    lab: Lab, nodes: list[Peer], line: Line
) -> None:
    city, _ = nodes
    await handed_over(lab, nodes)
    await city.store.set_behind(is_behind=True)
    assert await line.tell(city) == 0
    await city.store.set_behind(is_behind=False)
    assert await line.tell(city) == 3


@pytest.mark.parametrize("members", [{}, {"state": "closed", "closed_by": "officer", "reason": "solved"}])
async def test_attack_a_report_is_recorded_though_another_agency_claims_its_number(
    lab: Lab, nodes: list[Peer], line: Line, tmp_path: Path, members: dict[str, str]
) -> None:
    """Also of a complaint that is over there: its words would be lost."""
    city, regency = nodes
    claimed = await regency.receive(source=SOURCE)
    await regency.offer(claimed, CITY)
    await settle_down(nodes, lab)
    report = REPORT | {"id": "SRG-77"} | members
    for is_repeat in (False, True):
        status, told, headers = await post(city, line, tmp_path, "reports", report)
        assert (status, "Idempotency-Replayed" in headers) == (201, is_repeat), told
        assert told["complaint"].startswith(f"{CITY}:")


async def post(
    node: Peer, line: Line, place: Path, what: str, members: dict[str, str]
) -> tuple[int, Any, Mapping[str, str]]:
    """A signed message of the other system to the served node."""
    clock: Any = line.lab.clock
    app = build_app(node.service, node.store, clock, LabRandomness(9))
    async with connecting(app, node.service, node.store, write_table(place), clock), TestServer(app) as server:
        body = json.dumps(members).encode()
        headers = {"Content-Type": "application/json", HEADER: sign(SECRET, body, clock.now_ms() // 1000)}
        url = server.make_url(f"/v1/connectors/surga/{what}")
        async with line.session.post(url, data=body, headers=headers) as response:
            return response.status, await response.json(content_type=None), response.headers


@pytest.mark.parametrize("is_first", [False, True])
async def test_attack_a_number_that_another_agency_claims_takes_no_reply_away_from_its_own_complaint(
    lab: Lab, nodes: list[Peer], line: Line, tmp_path: Path, is_first: bool
) -> None:
    city, regency = nodes
    own = [] if is_first else [await city.receive(source=SOURCE)]
    await regency.offer(await regency.receive(source=SOURCE), CITY)
    await settle_down(nodes, lab)
    (complaint,) = own or [await city.receive(source=SOURCE)]
    await answer(city, complaint)
    assert len(await city.store.complaints(ComplaintFilter(source_system="surga", source_id="SRG-77"))) == 2
    reply = {"id": "SRG-77", "message": "M-1", "text": "Belum."}
    status, told, _ = await post(city, line, tmp_path, "replies", reply)
    assert (status, told.get("complaint"), told["type"]) == (201, complaint, "replied")


async def test_a_reply_to_another_agencys_answer_is_refused_with_the_reason(lab: Lab, nodes: list[Peer]) -> None:
    city, regency = nodes
    complaint = await handed_over(lab, nodes)
    await answer(regency, complaint)
    await settle_down(nodes, lab)
    with pytest.raises(Refused) as refused:
        await city.change("replied", complaint, said="Belum.")
    assert refused.value.members["verdict"] == "not_owner"
