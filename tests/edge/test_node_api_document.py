"""The OpenAPI document and the running server say the same: every call, every answer, every problem."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest_asyncio
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from node.local.api_types import CHANGE_REQUESTS, TEXT_MAX
from node.local.escalation_book import EscalationBook
from node.local.http_problems import BODY_MAX_BYTES, LOCAL_PROBLEMS
from node.local.openapi import openapi_document
from sync_protocol.problems import PROBLEM_PREFIX
from tests.edge.node_api import COMPLAINT, Answer, Api, serving

DOCUMENT = openapi_document()
NOWHERE = "33.75:01890000-0000-7000-8000-000000000000"
Call = Callable[[Api, str, str], Awaitable[Answer]]


_desk = {"is": True}


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    _desk["is"] = True
    book = EscalationBook(tmp_path / "escalations", lambda: _desk["is"])
    async with serving(tmp_path, body_timeout_s=0.4, escalations=book) as api:
        yield api


def operations() -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            yield path, method.upper(), operation


def at_nowhere(path: str) -> str:
    names = {"complaint": NOWHERE, "number": NOWHERE, "upload": "0" * 32, "file": "A" * 43}
    return path.format(**names)


def validator(schema: Mapping[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def check_answer(operation: Mapping[str, Any], answer: Answer) -> None:
    """As documented: status, media type, headers and body."""
    documented = operation["responses"][str(answer.status)]
    [(media_type, content)] = documented["content"].items()
    assert answer.headers["Content-Type"].split("; charset")[0] == media_type.split("; charset")[0]
    value = answer.raw.decode() if answer.body is None else answer.body
    assert [error.message for error in validator(content["schema"]).iter_errors(value)] == []
    for name, header in documented.get("headers", {}).items():
        if name in answer.headers:
            validator(header["schema"]).validate(answer.headers[name])


async def _slow() -> AsyncIterator[bytes]:
    yield b"{"
    await asyncio.sleep(5)


async def _plain(api: Api, method: str, path: str) -> Answer:
    return await api.call(method, path)


def _sending(body: Any = None, **headers: str) -> Call:
    async def call(api: Api, method: str, path: str) -> Answer:
        if isinstance(body, Mapping):
            return await api.call(method, path, json=dict(body), headers=headers)
        return await api.call(method, path, data=body() if callable(body) else body, headers=headers)

    return call


def _failing(error: Exception, call: Call = _plain) -> Call:
    async def fail(api: Api, method: str, path: str) -> Answer:
        api.faults.error = error
        try:
            return await call(api, method, path)
        finally:
            api.faults.error = None

    return fail


async def _not_the_desk(api: Api, method: str, path: str) -> Answer:
    _desk["is"] = False
    try:
        return await api.call(method, path)
    finally:
        _desk["is"] = True


async def _nowhere(api: Api, method: str, path: str) -> Answer:
    elsewhere = "/".join([*path.split("/")[:3], NOWHERE, *path.split("/")[4:]])
    return await api.call(method, elsewhere, json={"type": "noted", "note": "x"} if method == "POST" else None)


FULL = sqlite3.OperationalError("database or disk is full")
GOOD_BODY = {
    "createComplaint": COMPLAINT,
    "changeComplaint": {"type": "verified", "class": "aspiration", "rev": 1},
}
#: status -> how to get it from an operation; `createComplaint` and the like have a good body of their own.
CAUSES: Mapping[int, Call] = {
    401: _sending(Authorization=""),
    403: _not_the_desk,
    404: _nowhere,
    408: _sending(_slow),
    409: _sending({"type": "resumed"}),
    413: _sending(b" " * (BODY_MAX_BYTES + 1)),
    415: _sending(b"{}", **{"Content-Type": "text/plain"}),
    500: _failing(RuntimeError("Bu Sri")),
    503: _failing(FULL),
}


async def test_the_document_is_valid_and_is_what_the_server_serves(api: Api) -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []
    answer = await api.get("/openapi.json", Authorization="")
    assert answer.body == json.loads(json.dumps(DOCUMENT))


async def test_every_documented_answer_of_every_call_is_given_as_documented(api: Api) -> None:
    names = set()
    for path, method, operation in operations():
        if operation.get("tags") == ["files"]:  # test_node_files.py
            continue
        names.add(operation["operationId"])
        made = await api.create()
        real = path.replace("{complaint}", made["complaint"]).replace("{number}", made["tracking"])
        for status in map(int, operation["responses"]):
            answer = await cause(api, method, real, operation["operationId"], status)
            assert answer.status == status, (method, path, status, answer.body)
            check_answer(operation, answer)
            if status >= 400:
                assert answer.kind in LOCAL_PROBLEMS
    assert len(names) == sum(1 for _, _, operation in operations() if operation.get("tags") != ["files"])


async def cause(api: Api, method: str, path: str, operation: str, status: int) -> Answer:
    if operation == "health" and status == 200:
        await api.acknowledge_everything()
    if status in (200, 201):
        good = GOOD_BODY.get(operation)
        return await api.call(method, path, json=dict(good) if good else None)
    if status == 422:
        wrong = "?limit=0" if method == "GET" else ""
        return await api.call(method, path + wrong, json={"type": "noted"} if method == "POST" else None)
    return await CAUSES[status](api, method, path)


async def test_the_server_knows_no_call_that_is_not_documented(api: Api) -> None:
    documented = {(method, path) for path, method, _ in operations()}
    for path in {path for _, path in documented}:
        real = at_nowhere(path)
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            answer = await api.call(method, real)
            assert (answer.status != 405) == ((method, path) in documented), (method, path)


async def test_who_needs_no_token_is_what_the_document_says(api: Api) -> None:
    for path, method, operation in operations():
        answer = await api.call(method, at_nowhere(path), headers={"Authorization": ""})
        assert (answer.status == 401) == (operation.get("security") != []), path


async def test_examples_of_the_document_are_what_its_schemas_allow_and_the_server_takes(api: Api) -> None:
    [create] = [one for _, _, one in operations() if one["operationId"] == "createComplaint"]
    [change] = [one for _, _, one in operations() if one["operationId"] == "changeComplaint"]
    new = create["requestBody"]["content"]["application/json"]
    validator(new["schema"]).validate(new["example"])
    made = (await api.post("/v1/complaints", new["example"])).body
    changes = change["requestBody"]["content"]["application/json"]
    for example in changes["examples"].values():
        validator(changes["schema"]).validate(example["value"])
        answer = await api.post(f"/v1/complaints/{made['complaint']}/changes", example["value"])
        assert answer.status == 201, answer.body


async def test_every_type_of_change_that_a_node_may_record_is_documented() -> None:
    mapping = DOCUMENT["components"]["schemas"]["ChangeRequest"]["discriminator"]["mapping"]
    assert set(mapping) == set(CHANGE_REQUESTS)
    assert len(mapping) == 24
    for reference in mapping.values():
        assert reference.removeprefix("#/components/schemas/") in DOCUMENT["components"]["schemas"]


async def test_what_the_schema_refuses_the_server_refuses(api: Api) -> None:
    schema = validator({"$ref": "#/components/schemas/NewComplaint"})
    for members in (
        {"category": "3375014507900001"},
        {"category": "Jalan"},
        {"category": "x" * 41},
        {"area": "33.7"},
        {"received_at": "2026-01-01"},
        {"source": {"system": "sp4n", "id": "3375014507900001"}},
        {"actor": {"role": "mayor"}},
        {"actor": {"role": "officer", "unit": "Dinas PU"}},
        {"text": ""},
        {"text": "x" * (TEXT_MAX + 1)},
        {"reporter": {"name": 1}},
        {"channel": "fax"},
        {"unknown": 1},
    ):
        body = dict(COMPLAINT) | members
        assert not schema.is_valid(body), members
        assert (await api.post("/v1/complaints", body)).status in (413, 422), members
    assert schema.is_valid(dict(COMPLAINT))


async def test_every_problem_type_of_the_document_is_one_that_the_server_can_give() -> None:
    kinds = DOCUMENT["components"]["schemas"]["ProblemBody"]["properties"]["type"]["enum"]
    assert kinds == sorted(PROBLEM_PREFIX + kind for kind in LOCAL_PROBLEMS)
