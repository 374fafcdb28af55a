"""What people ask of the projection, over HTTP on both databases: lists, figures, who is silent (protocol §7.5)."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from node.deadlines.slot import SLOT_MAX
from node.hub.complaint_lists import format_after, parse_after
from node.store.complaint_place import NUMBER_MAX
from node.store.migration import migrate
from node.store.sqlite import open_writer, sqlite_url
from sync_protocol.errors import Refused
from sync_protocol.ledger import format_state_hash
from sync_protocol.merkle import leaf_hash
from sync_protocol.values import format_timestamp, parse_timestamp
from tests.edge.hub_lab import Agency, Answer, Lab, projected, running_hub
from tests.edge.hub_requests import auditor, read

DAY_MS = 24 * 3_600_000
MONDAY_MS = parse_timestamp("2026-02-02T02:00:00.000Z")  # nine o'clock in Pekalongan
LIST = "/v1/agencies/33.75/complaints"


@pytest.fixture(params=["sqlite", "postgresql"])
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Where the projection is."""
    return {} if request.param == "sqlite" else {"projection_url": str(request.getfixturevalue("postgres_url"))}


@pytest.fixture
async def lab(options: dict[str, Any], tmp_path: Path) -> AsyncIterator[Lab]:
    async with running_hub(tmp_path, **options) as running:
        running.clock.at_ms = max(running.clock.at_ms, MONDAY_MS)
        await running.enrol("33.75")
        yield running


@pytest.fixture
def agency(lab: Lab) -> Agency:
    return lab.agencies["33.75"]


async def ask(lab: Lab, path: str) -> Any:
    """As an auditor, once everything is projected; the JSON of a good answer."""
    await projected(lab)
    answer = await lab.call("GET", path, headers=await auditor(lab))
    assert answer.status == 200, answer.body
    return answer.json


async def receive(agency: Agency, days_ago: int) -> str:
    """One complaint that arrived so many days ago."""
    now_ms = agency.lab.clock.at_ms
    complaint = agency.complaint()
    agency.lab.clock.at_ms = now_ms - days_ago * DAY_MS
    line = agency.received(complaint)
    agency.lab.clock.at_ms = now_ms
    await agency.push_new([line])
    return complaint


async def test_what_is_overdue_longest_comes_first(lab: Lab, agency: Agency) -> None:
    fresh, old, older = [await receive(agency, days) for days in (0, 7, 14)]
    page = await ask(lab, LIST)
    assert [line["complaint"] for line in page["complaints"]] == [older, old, fresh]
    assert [line["overdue"] for line in page["complaints"]] == [True, True, False]
    assert [line["duty"] for line in page["complaints"]] == ["verify"] * 3
    assert page["next"] is None


async def test_an_answer_says_what_it_is_made_from(lab: Lab, agency: Agency) -> None:
    await receive(agency, 0)
    page = await ask(lab, LIST)
    cursor = await lab.hub.projection.cursor()
    told = {"size": lab.hub.log.size, "state_hash": format_state_hash(cursor.state_hash), "age_s": 0}
    assert page["as_of"] == {**told, "time": format_timestamp(lab.clock.at_ms)}
    assert (await ask(lab, "/v1/totals"))["as_of"] == page["as_of"]
    assert (await ask(lab, "/v1/silent"))["as_of"] == page["as_of"]


async def test_states_are_told_apart_and_each_change_moves_a_complaint(lab: Lab, agency: Agency) -> None:
    complaint = await receive(agency, 0)
    await agency.push_new([agency.change(complaint, "verified", {"class": "complaint_oversight"}, rev=2)])
    assert (await ask(lab, LIST + "?state=received"))["complaints"] == []
    (line,) = (await ask(lab, LIST + "?state=verified"))["complaints"]
    assert (line["complaint"], line["class"], line["duty"], line["rev"]) == (
        complaint, "complaint_oversight", "first_answer", 2,
    )  # fmt: skip
    await agency.push_new([agency.change(complaint, "assigned", {"unit": "pu"}, rev=3)])
    await agency.push_new([agency.change(complaint, "answered", rev=4)])
    await agency.push_new([agency.change(complaint, "closed", {"by": "system", "reason": "no_reply"}, rev=5)])
    assert (await ask(lab, LIST))["complaints"] == []
    (line,) = (await ask(lab, LIST + "?state=closed"))["complaints"]
    assert (line["unit"], line["due_at"], line["duty"], line["overdue"]) == ("pu", None, None, False)
    assert len((await ask(lab, LIST + "?state=all"))["complaints"]) == 1


async def test_what_is_not_due_comes_after_what_is_and_by_age(lab: Lab, agency: Agency) -> None:
    due = await receive(agency, 1)
    waiting = []
    for days in (3, 9, 6):
        waiting.append(await receive(agency, days))
        await agency.push_new([agency.change(waiting[-1], "information_requested", rev=2)])
    page = await ask(lab, LIST)
    assert [line["complaint"] for line in page["complaints"]] == [due, waiting[1], waiting[2], waiting[0]]


@pytest.mark.parametrize("state", ["open", "received", "all"])
async def test_pages_show_every_complaint_once_and_in_order(lab: Lab, agency: Agency, state: str) -> None:
    whole = [await receive(agency, days) for days in (5, 5, 5, 12, 0, 5, 1)]
    if state != "received":
        for complaint in whole[:3]:
            await agency.push_new([agency.change(complaint, "information_requested", rev=2)])
    everything = (await ask(lab, f"{LIST}?state={state}"))["complaints"]
    assert {line["complaint"] for line in everything} == set(whole)
    for limit in (1, 2, 3, 7):
        found, after = [], ""
        while True:
            page = await ask(lab, f"{LIST}?state={state}&limit={limit}{after}")
            found += page["complaints"]
            if page["next"] is None:
                break
            assert len(page["complaints"]) == limit
            after = f"&after={page['next']}"
        assert found == everything


async def test_a_handed_over_complaint_leaves_one_list_and_enters_the_other(lab: Lab, agency: Agency) -> None:
    other = await lab.enrol("35.71")
    complaint = await receive(agency, 0)
    offer = agency.change(complaint, "offered", {"reason": "jurisdiction", "to": "35.71"}, rev=2)
    await agency.push_new([offer])
    (line,) = (await ask(lab, LIST))["complaints"]
    assert (line["offer_to"], line["duty"]) == ("35.71", "first_answer")
    leaf = base64.urlsafe_b64encode(leaf_hash(offer)).rstrip(b"=").decode()
    lab.clock.at_ms += 3 * DAY_MS
    await other.push_new([other.change(complaint, "accepted", {"offer": leaf}, rev=3)])
    assert (await ask(lab, LIST + "?state=all"))["complaints"] == []
    (line,) = (await ask(lab, "/v1/agencies/35.71/complaints"))["complaints"]
    assert (line["complaint"], line["state"], line["duty"]) == (complaint, "received", "verify")
    assert parse_timestamp(line["due_at"]) > lab.clock.at_ms


async def test_the_list_survives_a_rebuild_and_so_does_a_page_half_read(lab: Lab, agency: Agency) -> None:
    for days in (4, 3, 2, 1):
        await receive(agency, days)
    first = await ask(lab, LIST + "?limit=2")
    rest = await ask(lab, f"{LIST}?limit=2&after={first['next']}")
    before, after = await lab.hub.rebuild()
    assert before == after
    assert await ask(lab, LIST + "?limit=2") == first
    assert await ask(lab, f"{LIST}?limit=2&after={first['next']}") == rest


async def test_a_projection_of_an_earlier_version_is_folded_again_by_itself(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as lab:
        for days in (1, 2):
            await receive(await lab.enrol(f"33.7{days}"), days)
        await projected(lab)
        before, file = await lab.hub.projection.cursor(), lab.hub.options.projection_file
    assert file is not None
    for left in file.parent.glob(file.name + "*"):
        left.unlink()
    older = open_writer(sqlite_url(file), durability="FULL")
    await migrate(older, "projection", "0001")
    async with older.begin() as connection:
        words = "INSERT INTO cursor (id, size, state_hash, updated_at_ms) VALUES (1, 99, x'00', 9)"
        await connection.execute(text(words))
    await older.dispose()
    async with running_hub(tmp_path) as lab:
        await projected(lab)
        after = await lab.hub.projection.cursor()
        assert (after.size, after.state_hash) == (before.size, before.state_hash)
        assert await lab.hub.projection.open_complaints() == {"33.71": 1, "33.72": 1}


async def test_an_agency_reads_its_own_list_and_nobody_elses(lab: Lab, agency: Agency) -> None:
    other = await lab.enrol("35.71")
    await receive(agency, 0)
    await projected(lab)
    assert (await read(lab, agency.signer, LIST)).status == 200
    foreign = await read(lab, other.signer, LIST)
    assert (foreign.status, foreign.kind) == (403, "wrong-agency")
    for path in (LIST, "/v1/totals?by=state", "/v1/silent"):
        stranger = await lab.call("GET", path)
        assert (stranger.status, stranger.kind) == (401, "unauthorised")
    unknown = await lab.call("GET", "/v1/agencies/13.71/complaints", headers=await auditor(lab))
    assert (unknown.status, unknown.kind) == (404, "not-found")


HOSTILE = [
    f"{LIST}?state=closed&state=open",
    f"{LIST}?state=CLOSED",
    f"{LIST}?state=none",
    f"{LIST}?state=",
    f"{LIST}?limit=0",
    f"{LIST}?limit=201",
    f"{LIST}?limit=-1",
    f"{LIST}?limit=1e2",
    f"{LIST}?limit=%D9%A1",
    f"{LIST}?limit=5&limit=6",
    f"{LIST}?after=",
    f"{LIST}?after=x",
    f"{LIST}?after={'A' * 18}",
    f"{LIST}?after={'A' * 100_0}",
    f"{LIST}?after=AQAAAAAAAAAAAAAAA%3D",
    f"{LIST}?after=%27%20OR%201%3D1--AAAA",
    f"{LIST}?after=%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00",
    f"{LIST}?after=" + base64.urlsafe_b64encode(b"\x01" + b"\xff" * 12).decode().rstrip("="),
    f"{LIST}?after=" + base64.urlsafe_b64encode(b"\x02" + bytes(12)).decode().rstrip("="),
    "/v1/agencies/UPPER/complaints",
    "/v1/totals?agency=33.75%27",
    "/v1/totals?agency=33.75&agency=33.75",
    "/v1/totals?figure=everything",
    "/v1/totals?state=open",
    "/v1/totals?class=Aspirasi",
    "/v1/totals?figure=closed&state=closed",
    "/v1/totals?by=",
    "/v1/totals?by=state,state",
    "/v1/totals?by=unit",
    "/v1/totals?after=A",
    "/v1/totals?limit=101",
    "/v1/totals?by=agency&after=33.75&after=33.75",
    "/v1/silent?longer_than_s=-1",
    "/v1/silent?longer_than_s=1.5",
    "/v1/silent?longer_than_s=99999999999999999",
]


async def test_hostile_questions_are_problems_of_the_one_who_asks(lab: Lab, agency: Agency) -> None:
    await receive(agency, 0)
    await projected(lab)
    headers = await auditor(lab)
    wrong: dict[str, Answer] = {}
    for path in HOSTILE:
        answer = await lab.call("GET", path, headers=headers)
        if (answer.status, answer.headers["Content-Type"]) != (422, "application/problem+json"):
            wrong[path] = answer
    assert wrong == {}


def test_the_word_for_the_next_page_has_one_spelling() -> None:
    for slot, number in ((0, 0), (SLOT_MAX, NUMBER_MAX), (12_345, 1 << 40)):
        text = format_after(slot, number)
        assert parse_after(text) == (slot, number)
        for other in (text + "A", text[:-1], text[:-1] + "=", "B" + text[1:], text[:-1] + " "):
            with pytest.raises(Refused, match="after"):
                parse_after(other)


async def test_figures_are_chosen_and_added_up(lab: Lab, agency: Agency) -> None:
    other = await lab.enrol("35.71")
    for one in (agency, agency, other):
        complaint = await receive(one, 0)
    await other.push_new([other.change(complaint, "verified", {"class": "aspiration"}, rev=2)])
    everything = (await ask(lab, "/v1/totals"))["totals"]
    assert everything["complaints/33.75/received/complaint_ordinary"] == 2
    assert (await ask(lab, "/v1/totals?figure=applied"))["totals"] == {"applied/33.75//": 2, "applied/35.71//": 2}
    own = (await ask(lab, "/v1/totals?agency=35.71"))["totals"]
    assert own == {name: count for name, count in everything.items() if "/35.71/" in name}
    by_state = (await ask(lab, "/v1/totals?by=state"))["totals"]
    assert by_state == {"complaints/*/received/*": 2, "complaints/*/verified/*": 1}
    by_two = (await ask(lab, "/v1/totals?by=agency,class&state=verified"))["totals"]
    assert by_two == {"complaints/35.71/*/aspiration": 1}
    assert (await ask(lab, "/v1/totals?class=complaint_ordinary&by=agency"))["totals"] == {"complaints/33.75/*/*": 2}
    assert (await ask(lab, "/v1/totals?agency=13.71"))["totals"] == {}
    own_by_state = (await ask(lab, "/v1/totals?agency=35.71&by=state"))["totals"]
    assert own_by_state == {"complaints/35.71/verified/*": 1}


async def test_figures_of_many_agencies_come_page_by_page(lab: Lab, agency: Agency) -> None:
    for code in ("35.71", "13.71", "64.72"):
        await receive(await lab.enrol(code), 0)
    await receive(agency, 0)
    whole = await ask(lab, "/v1/totals")
    assert whole["next"] is None
    for limit in (1, 2, 3, 100):
        found: dict[str, int] = {}
        after, pages = "", 0
        while True:
            page = await ask(lab, f"/v1/totals?limit={limit}{after}")
            found |= page["totals"]
            pages += 1
            if page["next"] is None:
                break
            after = f"&after={page['next']}"
        assert (found, pages) == (whole["totals"], -(-4 // limit))
    by_agency = await ask(lab, "/v1/totals?by=agency&limit=2&after=33.75")
    assert (by_agency["totals"], by_agency["next"]) == ({"complaints/35.71/*/*": 1, "complaints/64.72/*/*": 1}, None)
    assert (await ask(lab, "/v1/totals?by=agency&after=99"))["totals"] == {}


async def test_sums_that_stand_ready_are_those_of_the_figures(lab: Lab, agency: Agency) -> None:
    other = await lab.enrol("35.71")
    for one, class_ in ((agency, "aspiration"), (other, "complaint_oversight"), (other, "aspiration")):
        complaint = await receive(one, 0)
        await one.push_new([one.change(complaint, "verified", {"class": class_}, rev=2)])
    await other.push_new([other.change(complaint, "archived", {"by": "officer", "reason": "double"}, rev=3)])
    figures = (await ask(lab, "/v1/totals?figure=complaints"))["totals"]
    sums: dict[str, int] = {}
    for name, count in figures.items():
        _, _, state, class_ = name.split("/")
        sums[f"complaints/*/{state}/{class_}"] = sums.get(f"complaints/*/{state}/{class_}", 0) + count
    assert (await ask(lab, "/v1/totals?by=state,class"))["totals"] == sums
    assert await lab.hub.projection.open_complaints() == {"33.75": 1, "35.71": 1}


async def test_who_is_silent_is_told_by_ticks_and_with_what_lies_there(lab: Lab, agency: Agency) -> None:
    await lab.enrol("35.71")
    await receive(agency, 0)
    assert (await ask(lab, "/v1/silent"))["agencies"] == []
    for _ in range(2):
        lab.clock.at_ms += 10 * DAY_MS
        await lab.hub.appender.append_statement(lab.hub.statements.tick)
    other = lab.agencies["35.71"]
    await other.push_new([])
    lab.clock.at_ms += DAY_MS
    await lab.hub.appender.append_statement(lab.hub.statements.tick)
    answer = await ask(lab, "/v1/silent")
    (silent,) = answer["agencies"]
    assert (silent["agency"], silent["open"]) == ("33.75", 1)
    assert silent["silent_s"] == (parse_timestamp(answer["tick"]) - parse_timestamp(silent["heard_at"])) // 1000
    assert silent["silent_s"] > 14 * 86_400
    both = (await ask(lab, "/v1/silent?longer_than_s=3600"))["agencies"]
    assert [line["agency"] for line in both] == ["33.75", "35.71"]
