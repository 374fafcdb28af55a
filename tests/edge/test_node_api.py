"""Complaints over REST: taken in, worked on, listed and read again."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from sync_protocol.line import parse_change, parse_content
from tests.edge.node_api import COMPLAINT, Api, photograph, serving

WORDS = ("title", "text", "place", "occurred_at", "reporter")


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path) as api:
        yield api


async def test_a_complaint_is_recorded_with_codes_on_the_one_line_and_words_on_the_other(api: Api) -> None:
    answer = await api.post("/v1/complaints", COMPLAINT)
    assert answer.status == 201
    assert answer.headers["Location"] == f"/v1/complaints/{answer.body['complaint']}"
    assert answer.body["state"] == "received"
    assert answer.body["tracking"].startswith("PKL-")
    [(line, content)] = await api.stored_changes()
    change, said = parse_change(line), parse_content(content or b"")
    assert change.actor.role == "reporter"
    assert said["of"] == change.id[-12:]
    assert {name: said[name] for name in WORDS} == {name: COMPLAINT[name] for name in WORDS}
    for name in ("Sri", "0812", "Grogolan", "Lampu", "malam"):
        assert name.encode() not in line
    data = json.loads(line)["data"]
    assert {name: data[name] for name in ("channel", "visibility", "class", "category", "area")} == {
        name: COMPLAINT[name] for name in ("channel", "visibility", "class", "category", "area")
    }


async def test_a_complaint_is_read_with_its_whole_history_by_id_and_by_tracking_number(api: Api) -> None:
    made = await api.create()
    assert (await api.change(made["complaint"], "verified", **{"class": "complaint_oversight"})).status == 201
    assert (await api.change(made["complaint"], "assigned", unit="dinas-perhubungan", note="Mohon dicek")).status == 201
    by_id = await api.get(f"/v1/complaints/{made['complaint']}")
    typed = made["tracking"].lower().replace("-", "")
    assert (await api.get(f"/v1/complaints/{typed}")).body == by_id.body
    assert by_id.body["complaint"]["state"] == "assigned"
    assert by_id.body["complaint"]["unit"] == "dinas-perhubungan"
    received, verified, assigned = by_id.body["history"]
    assert [change["type"] for change in by_id.body["history"]] == ["received", "verified", "assigned"]
    assert {name: received["content"][name] for name in WORDS} == {name: COMPLAINT[name] for name in WORDS}
    assert verified["content"] is None
    assert verified["data"] == {"class": "complaint_oversight"}
    assert assigned["content"] == {"note": "Mohon dicek"}
    assert (assigned["seq"], assigned["index"]) == (None, None)


async def test_a_complaint_goes_its_whole_way_and_the_reporter_speaks_where_the_reporter_speaks(api: Api) -> None:
    complaint = (await api.create())["complaint"]
    steps: list[tuple[str, dict[str, object]]] = [
        ("identified", {"level": "phone", "sealed": "c2VhbGVk"}),
        ("information_requested", {"text": "Di sebelah mana?"}),
        ("information_supplied", {"text": "Di sebelah utara."}),
        ("amended", {"category": "jalan", "title": "Lampu padam"}),
        ("verified", {"class": "complaint_ordinary"}),
        ("assigned", {"unit": "dpu", "actor": {"role": "admin", "unit": "kominfo"}}),
        ("started", {}),
        ("held", {"reason": "waiting-for-parts", "note": "menunggu"}),
        ("resumed", {}),
        ("attached", {**photograph(api), "name": "lampu.jpg"}),
        ("answered", {"text": "Sudah diganti."}),
        ("replied", {"text": "Masih padam."}),
        ("noted", {"note": "dicek ulang"}),
        ("answered", {"text": "Sekarang menyala."}),
        ("closed", {"by": "reporter", "reason": "solved"}),
        ("rated", {"rating": 4, "text": "Terima kasih"}),
        ("reopened", {"reason": "again"}),
        ("offered", {"to": "35.71", "reason": "not-ours"}),
    ]
    for number, (change_type, members) in enumerate(steps, start=2):
        answer = await api.change(complaint, change_type, **members)
        assert answer.status == 201, answer.body
        assert answer.body["rev"] == number
    shown = (await api.get(f"/v1/complaints/{complaint}")).body
    assert shown["complaint"]["offered_to"] == "35.71"
    roles = {change["type"]: change["actor"]["role"] for change in shown["history"]}
    assert {name for name, role in roles.items() if role == "reporter"} == {
        "received", "information_supplied", "replied", "rated",
    }  # fmt: skip
    assert shown["history"][6]["actor"] == {"role": "admin", "unit": "kominfo"}
    erased = await api.change(complaint, "erased", ground="withdrawn-consent", leaves=["A" * 43])
    assert (erased.status, erased.body["verdict"]) == (409, "under_offer")


async def test_a_change_that_the_state_does_not_allow_is_refused_with_its_verdict_and_not_recorded(api: Api) -> None:
    complaint = (await api.create())["complaint"]
    answer = await api.change(complaint, "closed", by="officer", reason="solved")
    assert (answer.status, answer.kind) == (409, "change-refused")
    assert (answer.body["verdict"], answer.body["state"], answer.body["rev"]) == ("bad_transition", "received", 1)
    offer = await api.change(complaint, "accepted", offer="A" * 43)
    assert (offer.status, offer.body["verdict"]) == (409, "no_offer")
    assert "where=offered" in offer.body["next"]
    elsewhere = await api.change("35.71:01890000-0000-7000-8000-000000000000", "accepted", offer="A" * 43)
    assert (elsewhere.status, elsewhere.kind) == (404, "not-found")
    assert "where=offered" in elsewhere.body["next"]
    recall = await api.change(complaint, "recalled", reason="silent")
    assert (recall.status, recall.body["verdict"]) == (409, "not_desk")
    assert len(await api.stored_changes()) == 1


async def test_a_change_on_top_of_an_outdated_rev_is_refused(api: Api) -> None:
    complaint = (await api.create())["complaint"]
    assert (await api.change(complaint, "noted", note="satu", rev=1)).status == 201
    answer = await api.change(complaint, "noted", note="dua", rev=1)
    assert (answer.status, answer.body["verdict"], answer.body["rev"]) == (409, "wrong_rev", 2)
    assert (await api.change(complaint, "noted", note="dua", rev=2)).status == 201


async def test_a_complaint_that_is_not_here_is_not_found_by_reader_and_writer(api: Api) -> None:
    made = await api.create()
    for name in (
        "33.75:01890000-0000-7000-8000-000000000000",
        "PKL-0000-0000-0000-0",
        "33.75:x",
        made["tracking"][:-1],
    ):
        assert (await api.get(f"/v1/complaints/{name}")).kind == "not-found"
        answer = await api.change(name, "noted", note="x")
        assert (answer.status, answer.kind) == (404, "not-found")


async def test_pages_stay_as_they_were_while_complaints_come_in(api: Api) -> None:
    made = [(await api.create())["complaint"] for _ in range(7)]
    first = (await api.get("/v1/complaints?limit=3")).body
    await api.create()
    second = (await api.get(f"/v1/complaints?limit=3&after={first['next']}")).body
    await api.create()
    third = (await api.get(f"/v1/complaints?limit=3&after={second['next']}")).body
    seen = [one["complaint"] for page in (first, second, third) for one in page["items"]]
    assert seen == made[::-1]
    assert third["next"] is None


async def test_a_page_that_ends_exactly_at_the_last_complaint_has_no_next(api: Api) -> None:
    for _ in range(4):
        await api.create()
    first = (await api.get("/v1/complaints?limit=2")).body
    second = (await api.get(f"/v1/complaints?limit=2&after={first['next']}")).body
    assert (len(first["items"]), len(second["items"]), second["next"]) == (2, 2, None)


async def test_complaints_are_found_by_state_unit_source_and_tracking_number(api: Api) -> None:
    plain = await api.create()
    sourced = await api.create(source={"system": "sp4n", "id": "9100001"})
    await api.change(plain["complaint"], "verified", **{"class": "aspiration"})
    await api.change(plain["complaint"], "assigned", unit="dpu")

    async def found(query: str) -> list[str]:
        return [one["complaint"] for one in (await api.get(f"/v1/complaints?{query}")).body["items"]]

    assert await found("state=received") == [sourced["complaint"]]
    assert await found("state=received&state=assigned") == [sourced["complaint"], plain["complaint"]]
    assert await found("unit=dpu") == [plain["complaint"]]
    assert await found("source_system=sp4n&source_id=9100001") == [sourced["complaint"]]
    assert await found("source_system=surga&source_id=9100001") == []
    assert await found(f"tracking={plain['tracking'].lower()}") == [plain["complaint"]]


async def test_a_channel_that_sends_its_own_number_twice_gets_the_complaint_that_is_there(api: Api) -> None:
    source = {"system": "whatsapp-bot", "id": "msg:1"}
    first = await api.create(source=source)
    again = await api.post("/v1/complaints", dict(COMPLAINT) | {"source": source})
    assert (again.status, again.body["complaint"]) == (201, first["complaint"])
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len(await api.stored_changes()) == 1


async def test_a_list_says_which_of_its_parameters_is_wrong(api: Api) -> None:
    wrong = {
        "limit=0": "limit",
        "limit=201": "limit",
        "limit=1e2": "limit",
        "state=none": "state",
        "state=RECEIVED": "state",
        "after=!": "after",
        "after=AAAAAAAAAAB": "after",
        "tracking=PKL": "tracking",
        "unit=Dinas%20PU": "unit",
        "source_id=1": "source_id",
        "order=asc": "order",
        "limit=1&limit=2": "limit",
    }
    for query, member in wrong.items():
        answer = await api.get(f"/v1/complaints?{query}")
        assert (answer.status, answer.kind, answer.body["where"]) == (422, "malformed", member), query
