"""What the intake does with bodies, headers and addresses that mean it harm: refused by name, nothing stored."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from node.local.http_problems import BODY_MAX_BYTES
from tests.edge.node_api import COMPLAINT, Api, serving

NIK = "3375014507900001"


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path, body_timeout_s=0.4) as api:
        yield api
        assert await api.stored_changes() == []


@pytest.mark.parametrize(
    ("members", "where"),
    [
        ({"category": NIK}, "category"),
        ({"category": "nik-" + NIK}, "category"),
        ({"category": "081234567890"}, "category"),
        ({"category": "Jalan rusak di depan rumah Bu Sri"}, "category"),
        ({"source": {"system": "sp4n", "id": NIK}}, "source.id"),
        ({"source": {"system": NIK, "id": "1"}}, "source.system"),
        ({"area": NIK}, "area"),
        ({"area": "33.75.01.1001 RT 3"}, "area"),
        ({"actor": {"role": "officer", "unit": NIK}}, "actor.unit"),
        ({"actor": {"role": NIK}}, "actor.role"),
        ({"channel": NIK}, "channel"),
        ({"class": "Bu Sri"}, "class"),
        ({"received_at": "kemarin"}, "received_at"),
        ({"received_at": "2026-02-30T00:00:00.000Z"}, "received_at"),
        ({"received_at": "2099-01-01T00:00:00.000Z"}, "received_at"),
        ({"received_at": "9999-12-31T23:59:59.999Z"}, "received_at"),
    ],
)
async def test_personal_data_squeezed_into_a_code_is_refused_by_the_members_name(
    api: Api, members: dict[str, Any], where: str
) -> None:
    answer = await api.post("/v1/complaints", dict(COMPLAINT) | members)
    assert (answer.status, answer.kind) == (422, "malformed")
    assert answer.body["where"] == where
    assert NIK.encode() not in answer.raw


@pytest.mark.parametrize(
    ("members", "where"),
    [
        ({"nama": "x"}, "nama"),
        ({"salt": "A" * 22}, "salt"),
        ({"of": "x"}, "of"),
        ({"tracking": "PKL-0000-0000-0000-0"}, "tracking"),
        ({"state": "closed"}, "state"),
        ({"actor": {"role": "officer", "name": "x"}}, "actor.name"),
        ({"source": {"system": "sp4n"}}, "source.id"),
        ({"x" * 5_000: 1}, "x" * 64 + "…"),
        ({"text": 5}, "text"),
        ({"text": ""}, "text"),
        ({"text": None}, "text"),
        ({"reporter": {"name": ["x"]}}, "reporter[...]"),
    ],
)
async def test_a_member_that_is_foreign_missing_or_of_another_type_is_named(
    api: Api, members: dict[str, Any], where: str
) -> None:
    answer = await api.post("/v1/complaints", dict(COMPLAINT) | members)
    assert (answer.status, answer.kind, answer.body["where"]) == (422, "malformed", where)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x",
        b"[]",
        b'"text"',
        b"null",
        b'{"channel":"web","text":"a","text":"b"}',
        b'{"channel":"web","text":"a","actor":{"role":"officer","role":"admin"}}',
        b'{"channel":"web","text":NaN}',
        b'{"channel":"web","text":"a","rev":1e3}',
        b'{"channel":"web","text":"a","rev":Infinity}',
        b'{"channel":"web","text":"a","rev":123456789012345678901234567890}',
        b'{"channel":"web","text":"\\ud800"}',
        b'{"channel":"web","text":"a","\\udfff":1}',
        b'{"channel":"web","text":"\xff"}',
        b'{"channel":"web","text":"a\nb"}',
        b'\xef\xbb\xbf{"channel":"web","text":"a"}',
        b'{"channel":"web","text":"a"',
        b'{"channel":"web","text":"a"} {}',
        b'{"channel":"web","text":' + b"[" * 60_000 + b"]" * 60_000 + b"}",
        b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
    ],
)
async def test_json_with_more_than_one_meaning_or_none_is_refused(api: Api, body: bytes) -> None:
    answer = await api.post("/v1/complaints", body)
    assert (answer.status, answer.kind) == (422, "malformed")


@pytest.mark.parametrize(
    "members",
    [
        {"text": "x" * 33 * 1024},
        {"text": "é" * 16_380},
        {"text": "x" * 20_000, "place": "y" * 15_000},
        {"title": "x" * 501},
    ],
)
async def test_words_over_the_limit_of_a_content_line_are_refused_with_the_limit(
    api: Api, members: dict[str, Any]
) -> None:
    answer = await api.post("/v1/complaints", dict(COMPLAINT) | members)
    assert (answer.status, answer.kind) == (413, "too-large")
    assert answer.body["limit"] in (500, 20_000, 32_768)


async def test_a_body_over_the_limit_is_refused_by_its_announced_and_by_its_real_length(api: Api) -> None:
    announced = await api.post("/v1/complaints", b" " * (BODY_MAX_BYTES + 1))
    assert (announced.status, announced.kind, announced.body["limit"]) == (413, "too-large", BODY_MAX_BYTES)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b" " * (BODY_MAX_BYTES // 2)

    real = await api.call("POST", "/v1/complaints", data=chunks())
    assert (real.status, real.body["limit"]) == (413, BODY_MAX_BYTES)


async def test_a_compressed_body_is_refused_before_anything_is_decompressed(api: Api) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    answer = await api.post("/v1/complaints", bomb, **{"Content-Encoding": "gzip"})
    assert (answer.status, answer.kind, answer.body["where"]) == (415, "unsupported-encoding", "Content-Encoding")


@pytest.mark.parametrize(
    "media_type",
    ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", "multipart/form-data"],
)
async def test_a_body_of_another_type_is_refused(api: Api, media_type: str) -> None:
    answer = await api.post("/v1/complaints", json.dumps(COMPLAINT).encode(), **{"Content-Type": media_type})
    assert (answer.status, answer.kind) == (415, "unsupported-media-type")
    assert answer.body["next"] == "Send Content-Type: application/json."


async def test_a_body_that_trickles_in_is_given_up_and_its_connection_closed(api: Api) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(api.url).port)
    head = f"POST /v1/complaints HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.token}\r\n"
    writer.write((head + "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{").encode())
    answer = await asyncio.wait_for(reader.readuntil(b"}"), 10)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"urn:simpul:problem:timeout" in answer
    writer.close()


async def test_a_body_that_breaks_off_leaves_nothing_behind_and_the_server_alive(api: Api) -> None:
    for _ in range(5):
        _, writer = await asyncio.open_connection("127.0.0.1", urlsplit(api.url).port)
        head = f"POST /v1/complaints HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.token}\r\n"
        writer.write((head + 'Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"channel":"web"').encode())
        await writer.drain()
        writer.transport.abort()
    assert (await api.get("/v1/complaints")).status == 200


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, "type"),
        ({"type": "received"}, "type"),
        ({"type": "imported", "state": "closed"}, "type"),
        ({"type": NIK}, "type"),
        ({"type": ["noted"]}, "type"),
        ({"type": "assigned"}, "unit"),
        ({"type": "assigned", "unit": NIK}, "unit"),
        ({"type": "assigned", "unit": "dpu", "text": "x"}, "text"),
        ({"type": "verified", "class": "x"}, "class"),
        ({"type": "verified", "class_": "aspiration"}, "class_"),
        ({"type": "closed", "by": "officer", "reason": "Sudah selesai, Bu Sri"}, "reason"),
        ({"type": "rated", "rating": 6}, "rating"),
        ({"type": "rated", "rating": True}, "rating"),
        ({"type": "answered"}, "text"),
        ({"type": "noted", "note": "x", "rev": 0}, "rev"),
        ({"type": "noted", "note": "x", "rev": "1"}, "rev"),
        ({"type": "attached", "bytes": 1, "media_type": "image/" + NIK, "file": "A" * 43}, "media_type"),
        ({"type": "attached", "bytes": 1, "media_type": "image/png", "file": "A" * 42}, "file"),
        ({"type": "erased", "ground": "consent", "leaves": []}, "leaves"),
        ({"type": "offered", "to": "Kota Kediri", "reason": "x"}, "to"),
    ],
)
async def test_a_change_with_a_wrong_member_is_refused_by_that_members_name(
    tmp_path: Path, body: dict[str, Any], where: str
) -> None:
    async with serving(tmp_path) as api:
        made = await api.create()
        answer = await api.post(f"/v1/complaints/{made['complaint']}/changes", body)
        assert (answer.status, answer.kind, answer.body["where"]) == (422, "malformed", where)
        assert NIK.encode() not in answer.raw
        assert len(await api.stored_changes()) == 1


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/complaints/", "/v1/complaints/a/b", "/v1/complaints/a/changes/b", "/%00", "/..%2f"]
)
async def test_an_address_that_is_none_is_not_found(api: Api, path: str) -> None:
    answer = await api.get(path)
    assert (answer.status, answer.kind) == (404, "not-found")


async def test_another_method_is_refused_with_those_that_are_possible(api: Api) -> None:
    for method, path, allowed in (
        ("DELETE", "/v1/complaints", "GET, HEAD, POST"),
        ("PUT", "/v1/complaints/x", "GET, HEAD"),
        ("GET", "/v1/complaints/x/changes", "POST"),
        ("POST", "/healthz", "GET, HEAD"),
        ("PATCH", "/v1/status", "GET, HEAD"),
    ):
        answer = await api.call(method, path)
        assert (answer.status, answer.kind, answer.headers["Allow"]) == (405, "method-not-allowed", allowed)


@pytest.mark.parametrize(
    "name", ["%00", "33.75%3A..%2F..%2Fetc", "x" * 4_000, "%F0%9F%92%A3", "';DROP%20TABLE%20complaint;--"]
)
async def test_a_name_of_a_complaint_that_is_none_is_not_found(api: Api, name: str) -> None:
    assert (await api.get(f"/v1/complaints/{name}")).kind == "not-found"
