"""Open311 on a local node: reported, found, tracked and replied to, over a real server and a real database."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from node.channels.open311.moments import format_moment
from node.channels.open311.node_intake import NodeIntake
from node.local.tokens import create_token
from node.store.local_base import fetch
from node.system import SystemClock, SystemRandomness
from node.wiring.open311 import service_table
from sync_protocol.errors import Refused, Unavailable
from sync_protocol.line import parse_change, parse_content
from sync_protocol.values import parse_tracking
from tests.edge.node_api import serving
from tests.edge.open311_lab import EXAMPLE, PERSONAL, REPORT, V2, Open311, open311, to_plain


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Open311]:
    async with open311(tmp_path) as running:
        yield running


async def test_a_report_is_a_complaint_with_codes_on_the_one_line_and_words_on_the_other(lab: Open311) -> None:
    told = await lab.report()
    [(line, content)] = await lab.api.stored_changes()
    change, said = parse_change(line), parse_content(content or b"")
    assert told["service_request_id"] == change.complaint
    data = json.loads(line)["data"]
    assert (change.actor.role, data["channel"], data["category"], data["class"], data["visibility"]) == (
        "reporter", "open311", "penerangan-jalan", "complaint_ordinary", "anonymous",
    )  # fmt: skip
    assert said["text"] == REPORT["description"]
    assert (said["lat"], said["long"], said["place"]) == ("-6.8886", "109.6753", REPORT["address_string"])
    assert said["reporter"]["first_name"] == "Sri"
    assert said["attributes"] == {"KEADAAN": "padam"}
    for word in (*PERSONAL, "Grogolan", "6.8886", "109.6753"):
        assert word.encode() not in line


async def test_a_report_is_read_again_with_its_words_and_place_and_without_its_person(lab: Open311) -> None:
    told = await lab.report()
    answer = await lab.get(f"requests/{told['service_request_id']}.json")
    assert answer.status == 200
    (shown,) = answer.body
    assert shown["description"] == REPORT["description"]
    assert (shown["lat"], shown["long"], shown["address"]) == (-6.8886, 109.6753, REPORT["address_string"])
    assert (shown["status"], shown["service_code"]) == ("open", "penerangan-jalan")
    assert shown["agency_responsible"] == "Kota Pekalongan"
    assert shown["expected_datetime"] > shown["requested_datetime"]
    for resource in ("requests.json", "requests.xml", "servicerequestupdates.json", "servicerequestupdates.xml"):
        raw = (await lab.get(resource)).raw
        for word in PERSONAL:
            assert word.encode() not in raw


async def test_the_tracking_number_is_told_to_the_reporter_and_stands_in_no_list(lab: Open311) -> None:
    told = await lab.report()
    tracking = parse_tracking(told["service_notice"].rsplit(" ", 1)[1])
    (token,) = (await lab.get(f"tokens/{tracking}.json")).body
    assert token == {"service_request_id": told["service_request_id"], "token": tracking}
    assert (await lab.get(f"requests/{tracking.lower()}.json")).body[0]["service_request_id"] == told[
        "service_request_id"
    ]
    for resource in ("requests.xml", "requests.json", "servicerequestupdates.xml", f"requests/{tracking}.xml"):
        assert tracking.encode() not in (await lab.get(resource)).raw
    assert (await lab.get(f"tokens/{told['service_request_id']}.json")).status == 404


async def test_a_batch_service_answers_with_a_token_and_what_is_confidential_is_in_no_list(lab: Open311) -> None:
    fields = {"service_code": "pungli", "address_string": "Kantor kelurahan", "description": "Diminta uang rahasia."}
    (told,) = (await lab.post(fields)).body
    assert "service_request_id" not in told
    (token,) = (await lab.get(f"tokens/{told['token']}.json")).body
    request_id = token["service_request_id"]
    for form in ("json", "xml"):
        for resource in (
            f"requests.{form}",
            f"requests.{form}?service_request_id={request_id}",
            f"requests.{form}?service_request_id={told['token']}",
            f"requests.{form}?service_code=pungli",
            f"servicerequestupdates.{form}",
            f"servicerequestupdates.{form}?service_request_id={request_id}",
        ):
            raw = (await lab.get(resource)).raw
            assert request_id.encode() not in raw
            assert b"rahasia" not in raw
        one = await lab.get(f"requests/{request_id}.{form}")
        assert one.status == 200
        assert b"rahasia" not in one.raw
        assert b"kelurahan" not in one.raw
    (shown,) = (await lab.get(f"requests/{request_id}.json")).body
    assert (shown["status"], shown["description"], shown["address"]) == ("open", None, None)


@pytest.mark.parametrize("visibility", ["confidential", "anonymous-confidential"])
async def test_what_other_channels_took_in_as_confidential_never_shows_a_word(lab: Open311, visibility: str) -> None:
    said = {"text": "RAHASIA", "place": "RAHASIA", "lat": "1.5", "long": "2.5", "title": "RAHASIA"}
    made = await lab.complaint(visibility=visibility, said=said)
    await lab.answered(made.complaint, "RAHASIA juga")
    for resource in ("requests.json", "servicerequestupdates.json"):
        assert (await lab.get(resource)).body == []
    one = await lab.get(f"requests/{made.complaint}.json")
    assert b"RAHASIA" not in one.raw
    assert (one.body[0]["lat"], one.body[0]["long"]) == (None, None)


async def test_words_are_shown_when_an_officer_has_looked_at_them(tmp_path: Path) -> None:
    async with open311(tmp_path, EXAMPLE) as lab:
        waiting, taken, spam = [(await lab.report())["service_request_id"] for _ in range(3)]
        await lab.change(waiting, "information_requested", "Di mana?")
        await lab.change(taken, "verified", **{"class": "complaint_ordinary"})
        await lab.change(spam, "archived", by="officer", reason="spam")
        shown = {one["service_request_id"]: one for one in (await lab.get("requests.json")).body}
        assert shown[taken]["description"] == REPORT["description"]
        for request_id in (waiting, spam):
            one = shown[request_id]
            assert (one["description"], one["address"], one["lat"], one["long"]) == (None, None, None, None)
            assert one["status_notes"]


async def test_a_blackbox_service_answers_with_neither_id_nor_token(tmp_path: Path) -> None:
    table = 'changed = 2026-01-01\n[[service]]\ncode = "kotak"\nname = "Kotak"\ntype = "blackbox"\n'
    async with open311(tmp_path, table) as lab:
        (told,) = (await lab.post({"service_code": "kotak", "address_string": "Di sini"})).body
        assert set(told) == {"service_notice", "account_id"}


async def test_statuses_follow_the_life_of_a_complaint(lab: Open311) -> None:
    made = await lab.complaint(category="jalan")

    async def shown() -> tuple[str, str]:
        (one,) = (await lab.get(f"requests/{made.complaint}.json")).body
        return one["status"], one["status_notes"]

    assert (await shown())[0] == "open"
    await lab.answered(made.complaint)
    assert (await shown())[0] == "open"
    assert "Answered" in (await shown())[1]
    await lab.change(made.complaint, "closed", by="officer", reason="solved")
    assert (await shown())[0] == "closed"
    (one,) = (await lab.get("requests.json", status="closed")).body
    assert one["updated_datetime"] >= one["requested_datetime"]
    assert one["expected_datetime"] is None
    assert (await lab.get("requests.json", status="open")).body == []
    await lab.change(made.complaint, "reopened", reason="again")
    assert (await shown())[0] == "open"


async def test_updates_tell_what_happened_and_the_agencys_answer_but_no_notes(lab: Open311) -> None:
    made = await lab.complaint()
    await lab.change(made.complaint, "noted", "Catatan dalam: pelapor cerewet.")
    await lab.answered(made.complaint, "Sudah ditambal.")
    await lab.change(made.complaint, "closed", "catatan petugas", by="officer", reason="solved")
    found = (await lab.get("servicerequestupdates.json")).body
    assert [one["status"] for one in found] == ["open", "open", "open", "open", "closed"]
    assert {one["service_request_id"] for one in found} == {made.complaint}
    assert "Sudah ditambal." in [one["description"] for one in found]
    raw = (await lab.get("servicerequestupdates.xml")).raw
    assert b"cerewet" not in raw
    assert b"catatan petugas" not in raw
    root, items = to_plain(raw)
    assert (root, {name for name, _ in items}) == ("service_request_updates", {"request_update"})
    assert [dict(one)["update_id"] for _, one in items] == [one["update_id"] for one in found]


async def test_updates_of_a_time_are_those_that_happened_in_it(lab: Open311) -> None:
    made = await lab.complaint()
    lab.clock.later_ms = 40 * 86_400_000
    await lab.change(made.complaint, "verified", **{"class": "aspiration"})
    newest = (await lab.get("servicerequestupdates.json")).body[-1]
    later = await lab.get("servicerequestupdates.json", start_date=newest["updated_datetime"])
    assert [one["update_id"] for one in later.body] == [newest["update_id"]]
    (first,) = (await lab.get("servicerequestupdates.json", end_date=_day_before(newest["updated_datetime"]))).body
    assert first["update_id"] == made.change


def _day_before(moment: str) -> str:
    return (datetime.fromisoformat(moment) - timedelta(days=1)).isoformat()


async def test_an_answer_is_replied_to_by_the_client_that_reported_and_by_whoever_has_the_number(lab: Open311) -> None:
    own = await lab.report(external_id="17")
    await lab.answered(own["service_request_id"])  # reports and updates may be numbered each for itself
    reply = {"service_request_id": own["service_request_id"], "description": "Masih padam.", "update_id": "17"}
    answer = await lab.post(reply, "servicerequestupdates.json")
    assert answer.status == 200
    again = await lab.post(reply, "servicerequestupdates.json")
    assert again.body == answer.body
    assert again.headers["Idempotency-Replayed"] == "true"
    updates = (await lab.get("servicerequestupdates.json")).body
    (told,) = [one for one in updates if one["update_id"] == answer.body[0]["update_id"]]
    assert told["description"] == "Masih padam."
    foreign = await lab.complaint()
    await lab.answered(foreign.complaint)
    stranger = {"service_request_id": foreign.complaint, "description": "Belum beres.", "status": "closed"}
    assert (await lab.post(stranger, "servicerequestupdates.json")).status == 403
    for wrong in (foreign.complaint, own["service_notice"].rsplit(" ", 1)[1], "PKL-0000-0000-0000-0"):
        assert (await lab.post({**stranger, "token": wrong}, "servicerequestupdates.json")).status == 403
    assert (await lab.post({**stranger, "token": foreign.tracking}, "servicerequestupdates.json")).status == 200
    (shown,) = (await lab.get(f"requests/{foreign.complaint}.json")).body
    assert shown["status"] == "open"


async def test_a_reply_to_what_was_not_answered_is_refused_and_nothing_is_recorded(lab: Open311) -> None:
    own = await lab.report(external_id="tiket-1")
    reply = {"service_request_id": own["service_request_id"], "description": "Kapan?"}
    answer = await lab.post(reply, "servicerequestupdates.xml")
    assert answer.status == 400
    assert to_plain(answer.raw)[0] == "errors"
    unknown = {**reply, "service_request_id": "33.75:01890000-0000-7000-8000-000000000000"}
    assert (await lab.post(unknown, "servicerequestupdates.json")).status == 404
    assert len(await lab.api.stored_changes()) == 1


@pytest.mark.parametrize("by", ["header", "external_id"])
async def test_an_equal_report_is_recorded_once_however_often_it_comes(lab: Open311, by: str) -> None:
    fields = dict(REPORT) | ({"external_id": "tiket-9"} if by == "external_id" else {})
    headers = {"Idempotency_Key": "kunci-9"} if by == "header" else {}
    first = await lab.post(fields, **headers)
    lab.clock.later_ms += 400 * 86_400_000
    backwards = dict(reversed(list(fields.items())))
    second = await lab.post(backwards, **headers)
    assert (first.status, second.status, second.body) == (200, 200, first.body)
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"
    assert len(await lab.api.stored_changes()) == 1
    other = await lab.post({**fields, "description": "Lain."}, **headers)
    assert other.status == 400
    assert len(await lab.api.stored_changes()) == 1


async def test_a_clients_own_number_is_searchable_and_does_not_meet_that_of_another_client(tmp_path: Path) -> None:
    async with open311(tmp_path) as lab:
        first = await lab.report(external_id="1")
        other = await create_token(lab.api.store, SystemClock(), SystemRandomness(), "open311/lain")
        second = await lab.report(external_id="1", api_key=other)
        assert first["service_request_id"] != second["service_request_id"]
        found = (await lab.api.get("/v1/complaints?source_system=open311-suara-warga&source_id=1")).body["items"]
        assert [one["complaint"] for one in found] == [first["service_request_id"]]
        await lab.answered(second["service_request_id"])
        reply = {"service_request_id": second["service_request_id"], "description": "Saya bukan dia."}
        assert (await lab.post(reply, "servicerequestupdates.json")).status == 403


@pytest.mark.parametrize("number", ["Sri Wahyuni", "3375012345678901", "a" * 100, "081234567890 lagi"])
async def test_a_clients_number_that_may_be_a_persons_stays_off_the_change_line(lab: Open311, number: str) -> None:
    await lab.report(external_id=number)
    [(line, _)] = await lab.api.stored_changes()
    assert "source" not in json.loads(line)["data"]


async def test_a_report_for_another_agency_is_recorded_and_offered_to_it_once(lab: Open311) -> None:
    fields = {**REPORT, "service_code": "jalan-rusak-kediri", "external_id": "k-1"}
    del fields["attribute[KEADAAN]"]
    for _ in range(3):
        assert (await lab.post(fields)).status == 200
    lines = [json.loads(line) for line, _ in await lab.api.stored_changes()]
    assert [line["type"] for line in lines] == ["received", "offered"]
    assert lines[1]["data"] == {"reason": "named_by_reporter", "to": "35.71"}
    assert lines[1]["actor"]["role"] == "system"


@pytest.mark.parametrize("meanwhile", ["nothing", "archived"])
async def test_an_offer_that_a_crash_prevented_is_made_by_the_repeat_unless_an_officer_was_faster(
    lab: Open311, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    async def crash(_self: NodeIntake, _complaint: str, _target: str) -> None:
        raise Unavailable("stopping", retry_after_s=1)

    fields = {"service_code": "jalan-rusak-kediri", "address_string": "Jl. Dhoho", "external_id": "k-2"}
    with monkeypatch.context() as crashing:
        crashing.setattr(NodeIntake, "_offer", crash)
        assert (await lab.post(fields)).status == 503
    [(line, _)] = await lab.api.stored_changes()
    if meanwhile == "archived":
        await lab.change(json.loads(line)["complaint"], "archived", by="officer", reason="double")
    for _ in range(2):
        answer = await lab.post(fields)
        assert (answer.status, answer.body[0]["service_request_id"]) == (200, json.loads(line)["complaint"])
    types = [json.loads(line)["type"] for line, _ in await lab.api.stored_changes()]
    assert types == ["received", "offered" if meanwhile == "nothing" else "archived"]


async def test_jurisdictions_choose_services_and_requests_and_an_unknown_one_is_not_found(lab: Open311) -> None:
    await lab.report()
    codes = [one["service_code"] for one in (await lab.get("services.json", jurisdiction_id="35.71")).body]
    assert "jalan-rusak-kediri" in codes
    own = [one["service_code"] for one in (await lab.get("services.json", jurisdiction_id="33.75")).body]
    assert "jalan-rusak-kediri" not in own
    assert len((await lab.get("requests.json", jurisdiction_id="33.75")).body) == 1
    assert (await lab.get("requests.json", jurisdiction_id="35.71")).body == []
    assert (await lab.get("requests.json", jurisdiction_id="")).status == 200
    for resource in (
        "services.xml",
        "services/jalan-rusak.xml",
        "requests.xml",
        "tokens/x.xml",
        "servicerequestupdates.xml",
    ):
        answer = await lab.get(resource, jurisdiction_id="nowhere.gov")
        assert answer.status == 404
        (error,) = to_plain(answer.raw)[1]
        assert dict(error[1])["code"] == "404"
        assert "jurisdiction_id" in dict(error[1])["description"]
    assert (await lab.post({**REPORT, "jurisdiction_id": "nowhere.gov"})).status == 404


async def test_an_endpoint_of_several_jurisdictions_may_ask_that_one_is_named(tmp_path: Path) -> None:
    table = (
        'changed = 2026-01-01\njurisdiction_required = true\njurisdictions = ["35.71"]\n'
        '[[service]]\ncode = "umum"\nname = "Umum"\n'
    )
    async with open311(tmp_path, table) as lab:
        for resource in ("services.json", "services/umum.json", "requests.json"):
            answer = await lab.get(resource)
            assert (answer.status, answer.body[0]["code"]) == (400, 400)
        fields = {"service_code": "umum", "address_string": "Di sini"}
        assert (await lab.post(fields)).status == 400
        assert (await lab.post({**fields, "jurisdiction_id": "35.71"})).status == 200
        lines = [json.loads(line) for line, _ in await lab.api.stored_changes()]
        assert (lines[1]["type"], lines[1]["data"]["to"]) == ("offered", "35.71")


async def test_requests_are_found_by_ids_codes_status_and_dates_and_ids_override(lab: Open311) -> None:
    lamp = (await lab.report())["service_request_id"]
    road = (await lab.complaint(days_ago=10, category="jalan")).complaint
    other = (await lab.complaint(days_ago=20, category="tidak-dikenal")).complaint
    old = (await lab.complaint(days_ago=100, category="jalan")).complaint

    async def ids(**query: str) -> list[str]:
        return [one["service_request_id"] for one in (await lab.get("requests.json", **query)).body]

    assert await ids() == [other, road, lamp]
    assert await ids(service_code="jalan-rusak") == [road]
    assert await ids(service_code="jalan-rusak,lainnya") == [other, road]
    both = await lab.call("GET", f"{V2}/requests.json?service_code=jalan-rusak&service_code=penerangan-jalan")
    assert [one["service_request_id"] for one in both.body] == [road, lamp]
    assert await ids(service_code="tidak-ada") == []
    assert await ids(status="open") == [other, road, lamp]
    assert await ids(status="closed") == []
    assert await ids(status="open,closed") == [other, road, lamp]
    now = lab.clock.now_ms()
    assert await ids(start_date=_at(now, -15), end_date=_at(now, -5)) == [road]
    assert await ids(start_date=_at(now, -105)) == [old, other]
    assert await ids(end_date=_at(now, -15)) == [old, other]
    assert set(await ids(service_request_id=f"{old},{lamp}", status="closed", start_date=_at(now, -1))) == {old, lamp}
    assert await ids(service_request_id="unbekannt,33.75:01890000-0000-7000-8000-000000000000") == []


def _at(now_ms: int, days: int) -> str:
    return format_moment(now_ms + days * 86_400_000)


async def test_pages_show_every_request_once(lab: Open311) -> None:
    made = []
    for number in range(11):
        visibility = "confidential" if number % 4 == 3 else "public"
        one = await lab.complaint(visibility=visibility)
        made += [one.complaint] if visibility == "public" else []
    seen: list[str] = []
    for page in range(1, 5):
        answer = await lab.get("requests.json", page=str(page), page_size="3")
        seen += [one["service_request_id"] for one in answer.body]
    assert seen == made[::-1]


async def test_a_service_says_what_it_asks_and_the_answers_are_looked_at(lab: Open311) -> None:
    definition = (await lab.get("services/penerangan-jalan.json")).body
    assert [one["code"] for one in definition["attributes"]] == ["TIANG", "KEADAAN"]
    assert [one["order"] for one in definition["attributes"]] == [1, 2]
    assert definition["attributes"][1]["values"][0] == {"key": "padam", "name": "Padam"}
    assert (await lab.get("services/tidak-ada.json")).status == 404
    missing = {name: value for name, value in REPORT.items() if not name.startswith("attribute")}
    for wrong in ({}, {"attribute[KEADAAN]": "meledak"}, {"attribute[KEADAAN]": "padam", "attribute[LAIN]": "x"}):
        assert (await lab.post({**missing, **wrong})).status == 400
    assert (await lab.post({**missing, "attribute[KEADAAN]": "redup", "attribute[TIANG]": "P-17"})).status == 200


async def test_everything_that_is_wrong_with_a_report_is_told_at_once(lab: Open311) -> None:
    answer = await lab.post({"service_code": "penerangan-jalan", "lat": "1"}, "requests.xml")
    assert answer.status == 400
    assert answer.headers["Content-Type"] == "text/xml; charset=utf-8"
    root, errors = to_plain(answer.raw)
    assert root == "errors"
    assert [name for name, _ in errors] == ["error", "error"]
    assert {dict(one)["code"] for _, one in errors} == {"400"}


async def test_a_key_is_needed_to_post_and_the_one_of_officers_is_none(lab: Open311) -> None:
    for key in ("", "x", "A" * 43, lab.api.token):
        answer = await lab.post({**REPORT, "api_key": key})
        assert (answer.status, answer.body[0]["code"]) == (403, 403)
    assert (await lab.post({**REPORT, "api_key": ""}, f"requests.json?api_key={lab.key}")).status == 200
    assert (await lab.api.get("/v1/complaints", Authorization=f"Bearer {lab.key}")).kind == "unauthorised"
    await lab.api.store.end_tokens("open311/suara-warga", 1)
    assert (await lab.post(REPORT)).status == 403


async def test_discovery_names_the_endpoint_its_formats_and_where_keys_are(lab: Open311) -> None:
    answer = await lab.call("GET", "/open311/discovery.json")
    (endpoint,) = answer.body["endpoints"]
    assert endpoint["url"] == f"{lab.api.url}{V2}"
    assert endpoint["formats"] == ["text/xml", "application/json"]
    assert (endpoint["type"], endpoint["changeset"]) == ("test", "2026-11-30T00:00:00Z")
    root, members = to_plain((await lab.call("GET", "/open311/discovery.xml")).raw)
    assert root == "discovery"
    assert dict(members)["key_service"] == answer.body["key_service"]


async def test_what_was_erased_is_shown_no_more(lab: Open311) -> None:
    told = await lab.report()
    request_id = told["service_request_id"]
    detail = (await lab.api.get(f"/v1/complaints/{request_id}")).body
    erased = {"ground": "withdrawn-consent", "leaves": [detail["history"][0]["leaf"]]}
    assert (await lab.api.change(request_id, "erased", **erased)).status == 201
    (shown,) = (await lab.get(f"requests/{request_id}.json")).body
    assert (shown["description"], shown["address"], shown["lat"], shown["long"]) == (None, None, None, None)


@pytest.mark.parametrize(
    ("data", "word"),
    [(None, "cannot be read"), (b"\xff\xfe", "cannot be read"), (b"#" * 262_145, "over"), (b"x", "value")],
)
def test_a_table_that_cannot_be_used_is_said_before_anything_is_served(
    tmp_path: Path, data: bytes | None, word: str
) -> None:
    file = tmp_path / "open311.toml"
    if data is not None:
        file.write_bytes(data)
    with pytest.raises(Refused) as caught:
        service_table(file)
    assert caught.value.kind == "configuration"
    assert word in caught.value.detail
    assert caught.value.members["next"]


async def test_without_its_setting_there_is_no_endpoint(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        assert (await api.get(f"{V2}/services.xml")).kind == "not-found"


async def test_words_that_cannot_be_read_hide_nothing_else(lab: Open311) -> None:
    """As what was said came back from the log, where another program of the agency had written it."""
    first, second = [(await lab.complaint()).complaint for _ in range(2)]
    await lab.answered(first)
    await lab.answered(second)
    async with lab.api.store.writing() as connection:
        await fetch(connection, "UPDATE change SET content = ? WHERE instr(line, ?)", (b'{"text":"x"}', first.encode()))
    requests, updates = await lab.get("requests.json"), await lab.get("servicerequestupdates.json")
    assert (requests.status, updates.status) == (200, 200)
    said = {one["service_request_id"]: one["description"] for one in requests.body}
    assert said == {first: None, second: "Jalan berlubang."}
    words = {(one["service_request_id"], one["description"]) for one in updates.body}
    assert ((first, "Sudah diperbaiki.") in words, (second, "Sudah diperbaiki.") in words) == (False, True)
    assert {one for one, _ in words} == {first, second}
    detail = await lab.api.call("GET", f"/v1/complaints/{first}")
    assert (detail.status, {one["content"] for one in detail.body["history"]}) == (200, {None})
    assert (await lab.api.call("GET", f"/v1/complaints/{first}/suggestions")).status == 200
