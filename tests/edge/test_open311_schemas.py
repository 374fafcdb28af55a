"""Every document that the endpoint answers with is of its schema, and says the same in XML."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.edge.node_api import Answer
from tests.edge.open311_lab import REPORT, V2, Open311, open311, to_plain
from tests.edge.open311_schemas import SCHEMAS


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Open311]:
    async with open311(tmp_path) as running:
        yield running


def check(answer: Answer, name: str, status: int = 200) -> Any:
    """The body of an answer that is of the schema of that name."""
    assert answer.status == status, answer.raw
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    schema = SCHEMAS[name]
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(answer.body)
    return answer.body


def same(body: Any, plain: Any) -> bool:
    """Whether an element's content is what JSON says: lists lose their items' name, null and text their type."""
    if isinstance(body, list):
        inner = plain or []
        return len(body) == len(inner) and all(same(one, value) for one, (_, value) in zip(body, inner, strict=True))
    if isinstance(body, dict):
        names = [name for name, _ in plain]
        return names == list(body) and all(same(body[name], value) for name, value in plain)
    if isinstance(body, bool):
        return bool(plain == ("true" if body else "false"))
    if isinstance(body, int | float):
        return float(plain) == body
    return bool(plain == body)


async def make_some(lab: Open311) -> str:
    """Requests of every kind; one of their ids."""
    first = await lab.report(external_id="1")
    await lab.answered(first["service_request_id"])
    made = await lab.complaint(days_ago=3, category="jalan", said={"text": "x\r\n\u0008" + "é" * 5_000, "lat": "0"})
    await lab.change(made.complaint, "information_requested", "Nama?")
    closed = await lab.complaint()
    await lab.answered(closed.complaint)
    await lab.change(closed.complaint, "closed", by="system", reason="no-reply")
    archived = await lab.complaint(said={"title": "Hanya judul", "text": ""})
    await lab.change(archived.complaint, "archived", by="officer", reason="double")
    return str(first["service_request_id"])


async def test_every_document_is_of_its_schema_and_the_same_in_xml(lab: Open311) -> None:
    request_id = await make_some(lab)
    receipt = await lab.post({**REPORT, "service_code": "pungli", "attribute[KEADAAN]": ""})
    (told,) = check(receipt, "receipt")
    assert set(told) == {"token", "service_notice", "account_id"}
    resources = {
        "services": "services",
        "services/penerangan-jalan": "definition",
        "services/lainnya": "definition",
        "requests": "requests",
        f"requests/{request_id}": "requests",
        f"tokens/{told['token']}": "token",
        "servicerequestupdates": "updates",
    }
    for resource, name in resources.items():
        body = check(await lab.get(f"{resource}.json"), name)
        assert body
        xml = await lab.get(f"{resource}.xml")
        assert xml.headers["Content-Type"] == "text/xml; charset=utf-8"
        assert xml.raw.startswith(b'<?xml version="1.0" encoding="utf-8"?>\n')
        assert same(body, to_plain(xml.raw)[1]), resource
    discovery = check(await lab.call("GET", "/open311/discovery.json"), "discovery")
    assert same(discovery, to_plain((await lab.call("GET", "/open311/discovery.xml")).raw)[1])


async def test_a_receipt_and_a_reply_are_of_their_schemas(lab: Open311) -> None:
    (told,) = check(await lab.post(dict(REPORT) | {"external_id": "2"}), "receipt")
    assert set(told) == {"service_request_id", "service_notice", "account_id"}
    await lab.answered(told["service_request_id"])
    reply = {"service_request_id": told["service_request_id"], "description": "Masih padam."}
    answer = await lab.post(reply, "servicerequestupdates.json")
    assert answer.status == 200
    assert set(answer.body[0]) == {"update_id"}


async def test_roots_and_items_are_called_as_georeport_calls_them(lab: Open311) -> None:
    request_id = await make_some(lab)
    expected = {
        "services": ("services", "service"),
        "requests": ("service_requests", "request"),
        f"requests/{request_id}": ("service_requests", "request"),
        "servicerequestupdates": ("service_request_updates", "request_update"),
        "requests/unknown": ("errors", "error"),
    }
    for resource, (root, item) in expected.items():
        found, items = to_plain((await lab.get(f"{resource}.xml")).raw)
        assert (found, {name for name, _ in items}) == (root, {item})
    root, members = to_plain((await lab.get("services/penerangan-jalan.xml")).raw)
    assert (root, [name for name, _ in members]) == ("service_definition", ["service_code", "attributes"])
    assert {name for name, _ in members[1][1]} == {"attribute"}


ERRORS = [
    ("GET", "services/none.json", 404),
    ("GET", "requests/none.json", 404),
    ("GET", "tokens/none.json", 404),
    ("GET", "nothing.json", 404),
    ("GET", "tokens.json", 404),
    ("GET", "services.json?jurisdiction_id=nowhere", 404),
    ("GET", "services.json?jurisdiction_id=a&jurisdiction_id=b", 400),
    ("GET", "requests.json?status=done", 400),
    ("GET", "requests.json?start_date=yesterday", 400),
    ("GET", "requests.json?page=99999", 400),
    ("POST", "requests.json", 400),
    ("POST", "services.json", 400),
    ("PUT", "requests.json", 400),
    ("DELETE", "requests/x.json", 400),
    ("PATCH", "servicerequestupdates.json", 400),
]


@pytest.mark.parametrize(("method", "resource", "status"), ERRORS)
async def test_every_error_is_of_its_schema_with_the_status_of_the_specification(
    lab: Open311, method: str, resource: str, status: int
) -> None:
    answer = await lab.call(method, f"{V2}/{resource}")
    body = check(answer, "errors", status)
    assert {one["code"] for one in body} == {status}
    assert "problem+json" not in answer.headers["Content-Type"]


async def test_an_address_without_a_form_that_we_know_is_refused_in_xml(lab: Open311) -> None:
    for resource in ("services", "services.csv", "requests", "services.JSON", "requests/33.75:x.html", ".xml", ""):
        answer = await lab.get(resource)
        assert answer.status in (400, 404)
        assert answer.headers["Content-Type"] == "text/xml; charset=utf-8"
        assert to_plain(answer.raw)[0] == "errors"
