"""The hub's inbox (protocol §7.6): who may read it, how long it waits, what it tells, and that it tells it again."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from node.hub import http_inbox
from node.store.projection_records import InboxRow
from sync_protocol.errors import Corrupt, Refused, Unavailable
from sync_protocol.evidence import EvidenceFile
from sync_protocol.values import AgencyId
from sync_protocol.wire import INBOX_MAX_BYTES, InboxPage, parse_body
from tests.edge.hub_lab import Lab
from tests.edge.inbox_lab import Peer, settle_down

CITY, REGENCY, PROVINCE = AgencyId("35.71"), AgencyId("35.06"), AgencyId("35")
AGENCIES = (CITY, REGENCY, PROVINCE)


async def kept(lab: Lab, agency: AgencyId) -> None:
    """Once its request waits at the hub."""
    async with asyncio.timeout(20):
        while agency not in lab.hub.inbox._waiting:  # noqa: ASYNC110 - the hub's own handler
            await asyncio.sleep(0.01)


async def told(lab: Lab, node: Peer, after: str = "") -> InboxPage:
    await lab.hub.projector.catch_up()
    return await node.link.inbox(after, 0)


async def test_an_inbox_is_its_agencys_alone(lab: Lab, nodes: list[Peer]) -> None:
    path = f"/v1/agencies/{CITY}/inbox"
    assert (await lab.call("GET", path)).status == 401
    token = await lab.hub.grant("budi", with_content=True)
    answer = await lab.call("GET", path, headers={"Authorization": f"Bearer {token}"})
    assert (answer.status, answer.kind) == (401, "unauthorised")
    other = nodes[1].link
    other._agency = str(CITY)
    with pytest.raises(Refused) as refused:
        await other.inbox("", 0)
    assert refused.value.kind == "wrong-agency"


async def test_ill_formed_places_and_waits_are_refused(nodes: list[Peer]) -> None:
    city, *_ = nodes
    for after in ("x", "1", "1.2.3", "01.0", "1.-1", "-1.0", "1.20000", "9" * 30 + ".0"):
        with pytest.raises(Refused) as refused:
            await city.link.inbox(after, 0)
        assert refused.value.kind == "malformed", after
    with pytest.raises(Refused):
        await city.link.inbox("", 301)


async def test_the_same_is_told_again_and_after_the_projection_was_made_anew(lab: Lab, nodes: list[Peer]) -> None:
    city, regency, _ = nodes
    complaint = await city.receive()
    await city.offer(complaint, REGENCY)
    await settle_down(nodes, lab)
    await regency.accept(complaint)
    await settle_down(nodes, lab)
    before = [await told(lab, node) for node in nodes]
    assert [[item.note for item in page.items] for page in before] == [["change"], ["history"], []]
    assert await told(lab, city, before[0].next) == before[0].__class__(
        items=[], next=before[0].next, judged_to=before[0].judged_to
    )
    await lab.hub.rebuild()
    assert [await told(lab, node) for node in nodes] == before


async def test_who_waits_is_answered_as_soon_as_something_is_told(lab: Lab, nodes: list[Peer]) -> None:
    city, regency, _ = nodes
    complaint = await city.receive()
    await city.offer(complaint, REGENCY)
    waiting = asyncio.create_task(regency.link.inbox("", 20))
    await kept(lab, REGENCY)
    await city.push()
    page = await asyncio.wait_for(waiting, 10)
    assert [item.complaint for item in page.items] == [complaint]


async def test_who_waits_for_long_is_kept_at_the_line_and_answered_behind_it(
    lab: Lab, nodes: list[Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_inbox, "SILENT_S", 0.02)
    city, regency, _ = nodes
    complaint = await city.receive()
    await city.offer(complaint, REGENCY)
    path = regency.link._path("inbox?wait=60")
    waiting = asyncio.create_task(regency.link._get(path, signed=True, max_bytes=INBOX_MAX_BYTES))
    await kept(lab, REGENCY)
    await asyncio.sleep(0.3)
    await city.push()
    body = (await asyncio.wait_for(waiting, 10)).body
    assert body.startswith(b"  ")
    assert [item.complaint for item in parse_body(body, InboxPage).items] == [complaint]


async def test_an_answer_that_fails_behind_its_beginning_is_broken_off_and_asked_for_again(
    lab: Lab, nodes: list[Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_inbox, "SILENT_S", 0.02)
    city, regency, _ = nodes
    complaint = await city.receive()
    await city.offer(complaint, REGENCY)
    true, failures = lab.hub.inbox.evidence, [Unavailable("busy", retry_after_s=1), Corrupt("a defect")]

    async def failing(agency: AgencyId, row: InboxRow) -> EvidenceFile:
        if failures:
            raise failures.pop()
        return await true(agency, row)

    monkeypatch.setattr(lab.hub.inbox, "evidence", failing)
    waiting = asyncio.create_task(regency.link.inbox("", 60))
    await kept(lab, REGENCY)
    await asyncio.sleep(0.3)
    await city.push()
    page = await asyncio.wait_for(waiting, 20)
    assert not failures
    assert [item.complaint for item in page.items] == [complaint]


async def test_a_hub_that_ends_answers_at_once_who_is_kept_at_the_line(
    lab: Lab, nodes: list[Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_inbox, "SILENT_S", 0.2)
    waiting = asyncio.create_task(nodes[0].link.inbox("", 300))
    await kept(lab, CITY)
    await asyncio.sleep(0.5)
    monkeypatch.setattr(http_inbox, "SILENT_S", 300.0)
    await asyncio.sleep(0.3)
    lab.hub.inbox.close()
    assert (await asyncio.wait_for(waiting, 5)).items == []


async def test_who_hangs_up_while_waiting_leaves_nothing_behind_and_is_no_failure_of_the_hub(
    lab: Lab, nodes: list[Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_inbox, "SILENT_S", 0.02)
    path = nodes[0].link._path("inbox?wait=300")
    with capture_logs() as logs:
        waiting = asyncio.create_task(nodes[0].link._get(path, signed=True, max_bytes=INBOX_MAX_BYTES))
        await kept(lab, CITY)
        await asyncio.sleep(0.2)  # so that the answer has begun
        waiting.cancel()
        async with asyncio.timeout(10):
            while lab.hub.inbox._waiting:  # noqa: ASYNC110 - the hub's own handler finds out
                await asyncio.sleep(0.02)
    assert [line for line in logs if line["log_level"] in ("error", "critical")] == []
    answered = [line for line in (await lab.call("GET", "/metrics")).body.decode().splitlines() if "inbox" in line]
    assert [line for line in answered if 'status="500"' in line] == []


async def test_a_node_whose_line_breaks_while_it_waits_is_no_failure_of_the_hubs(
    lab: Lab, nodes: list[Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_inbox, "SILENT_S", 0.02)
    path = nodes[0].link._path("inbox?wait=300")
    gone = 'simpul_hub_requests_total{route="GET /v1/agencies/{agency}/inbox",status="499"} 1.0'
    with capture_logs() as logs:
        waiting = asyncio.create_task(nodes[0].link._get(path, signed=True, max_bytes=INBOX_MAX_BYTES))
        await kept(lab, CITY)
        await asyncio.sleep(0.1)
        waiting.cancel()
        async with asyncio.timeout(10):
            while gone not in (await lab.call("GET", "/metrics")).body.decode():  # noqa: ASYNC110 - the hub's own handler
                await asyncio.sleep(0.02)
    assert [entry for entry in logs if entry["log_level"] in ("warning", "error", "critical")] == []


async def test_a_lost_connection_that_is_not_the_callers_is_still_a_failure_of_the_hubs(
    lab: Lab, nodes: list[Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(_agency: AgencyId, _after: int, _wait_s: float) -> InboxPage:
        raise ConnectionResetError("the database's")

    monkeypatch.setattr(lab.hub.inbox, "read", failing)
    with capture_logs() as logs, pytest.raises(Unavailable):
        await nodes[0].link.inbox("", 0)
    assert {entry["event"] for entry in logs if entry["log_level"] == "critical"} == {"failed"}


async def test_a_fifth_who_waits_for_one_agency_sends_the_first_home(lab: Lab, nodes: list[Peer]) -> None:
    city, *_ = nodes
    first = asyncio.create_task(city.link.inbox("", 25))
    await kept(lab, CITY)
    rest = [asyncio.create_task(city.link.inbox("", 25)) for _ in range(4)]
    assert (await asyncio.wait_for(first, 10)).items == []
    lab.hub.inbox.close()
    assert [page.items for page in await asyncio.wait_for(asyncio.gather(*rest), 10)] == [[]] * 4


async def test_words_are_shown_to_who_owns_or_is_offered_it_now(lab: Lab, nodes: list[Peer]) -> None:
    city, regency, province = nodes
    complaint = await city.receive()
    await city.offer(complaint, REGENCY)
    await city.push()
    assert "Jalan berlubang." in str((await told(lab, regency)).items[0].evidence)
    await regency.inbox.drain()
    await city.withdraw(complaint)
    await city.push()
    page = await told(lab, regency)
    assert [item.note for item in page.items] == ["history", "change"]
    assert "Jalan berlubang." not in str(page)
    with pytest.raises(Refused) as refused:
        await province.link.evidence(complaint)
    assert refused.value.kind == "not-found"
    assert "Jalan berlubang." in str(await city.link.evidence(complaint))
