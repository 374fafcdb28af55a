"""Repeated requests: recorded once, answered alike, for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from node.local.tokens import create_token
from node.system import SystemRandomness
from tests.edge.node_api import COMPLAINT, Answer, Api, serving


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path) as api:
        yield api


async def test_a_hundred_equal_requests_at_once_are_one_complaint_and_one_answer(api: Api) -> None:
    answers = await asyncio.gather(*(api.post("/v1/complaints", COMPLAINT, key="satu") for _ in range(100)))
    assert {(answer.status, answer.raw, answer.headers["Location"]) for answer in answers} == {
        (201, answers[0].raw, answers[0].headers["Location"])
    }
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    assert len(await api.stored_changes()) == 1


async def test_a_hundred_equal_changes_at_once_are_one_change(api: Api) -> None:
    made = await api.create()
    path, body = f"/v1/complaints/{made['complaint']}/changes", {"type": "noted", "note": "sekali"}
    answers = await asyncio.gather(*(api.post(path, body, key="catatan") for _ in range(100)))
    assert {(answer.status, answer.raw) for answer in answers} == {(201, answers[0].raw)}
    assert len(await api.stored_changes()) == 2


async def test_a_repeat_after_a_restart_gets_the_first_answer(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        first = await api.post("/v1/complaints", COMPLAINT, key="k")
    async with serving(tmp_path) as api:
        again = await api.post("/v1/complaints", COMPLAINT, key="k")
        assert (again.status, again.raw) == (first.status, first.raw)
        assert len(await api.stored_changes()) == 1


async def test_the_first_answer_is_repeated_although_the_complaint_has_gone_on(api: Api) -> None:
    first = await api.post("/v1/complaints", COMPLAINT, key="k")
    await api.change(first.body["complaint"], "noted", note="x")
    assert (await api.post("/v1/complaints", COMPLAINT, key="k")).raw == first.raw
    path = f"/v1/complaints/{first.body['complaint']}/changes"
    assigned = await api.post(path, {"type": "verified", "class": "aspiration", "rev": 2}, key="v")
    again = await api.post(path, {"type": "verified", "class": "aspiration", "rev": 2}, key="v")
    assert (again.status, again.raw) == (201, assigned.raw)


async def test_the_same_json_in_another_spelling_is_the_same_request(api: Api) -> None:
    first = await api.post("/v1/complaints", b'{"channel":"web","text":"Jalan \\u0072usak"}', key="k")
    again = await api.post("/v1/complaints", b'{ "text" : "Jalan rusak",\n"channel":"web" }', key="k")
    assert (again.status, again.raw) == (201, first.raw)


@pytest.mark.parametrize("other", [{"text": "lain"}, {"title": "lain"}, {"category": "lain"}])
async def test_a_key_that_was_used_for_another_complaint_is_refused(api: Api, other: dict[str, str]) -> None:
    await api.post("/v1/complaints", COMPLAINT, key="k")
    answer = await api.post("/v1/complaints", dict(COMPLAINT) | other, key="k")
    assert (answer.status, answer.kind) == (422, "idempotency-key-reused")
    assert len(await api.stored_changes()) == 1


async def test_a_race_of_two_requests_for_one_key_has_one_winner(api: Api) -> None:
    bodies = [dict(COMPLAINT) | {"text": f"laporan {number % 2}"} for number in range(40)]
    answers = await asyncio.gather(*(api.post("/v1/complaints", body, key="rebutan") for body in bodies))
    assert sorted({answer.status for answer in answers}) == [201, 422]
    assert sum(answer.status == 201 for answer in answers) == 20
    assert len(await api.stored_changes()) == 1


async def test_a_key_of_one_call_is_refused_at_another_call_and_for_another_complaint(api: Api) -> None:
    one, two = await api.create(), await api.create()
    body = {"type": "noted", "note": "x"}
    await api.post(f"/v1/complaints/{one['complaint']}/changes", body, key="k")
    elsewhere = await api.post(f"/v1/complaints/{two['complaint']}/changes", body, key="k")
    assert elsewhere.kind == "idempotency-key-reused"
    assert (await api.post("/v1/complaints", COMPLAINT, key="k")).kind == "idempotency-key-reused"


async def test_a_complaint_named_by_its_tracking_number_is_the_same_request_as_by_its_id(api: Api) -> None:
    made = await api.create()
    body = {"type": "noted", "note": "x"}
    first = await api.post(f"/v1/complaints/{made['complaint']}/changes", body, key="k")
    again = await api.post(f"/v1/complaints/{made['tracking']}/changes", body, key="k")
    assert (again.status, again.raw) == (201, first.raw)


async def test_keys_of_two_clients_do_not_meet_and_a_new_token_of_one_client_may_repeat(api: Api) -> None:
    async def with_token_of(name: str) -> Answer:
        token = await create_token(api.store, api.clock, SystemRandomness(), name)
        return await api.post("/v1/complaints", COMPLAINT, key="k", Authorization=f"Bearer {token}")

    first = await api.post("/v1/complaints", COMPLAINT, key="k")
    assert (await with_token_of("loket-1")).raw == first.raw
    assert (await with_token_of("loket-2")).raw != first.raw


async def test_what_was_refused_is_not_remembered(api: Api) -> None:
    made = await api.create()
    path, body = f"/v1/complaints/{made['complaint']}/changes", {"type": "started"}
    assert (await api.post(path, body, key="mulai")).status == 409
    await api.change(made["complaint"], "verified", **{"class": "aspiration"})
    await api.change(made["complaint"], "assigned", unit="dpu")
    assert (await api.post(path, body, key="mulai")).status == 201


async def test_without_a_key_every_request_is_one_of_its_own(api: Api) -> None:
    first, second = await api.create(), await api.create()
    assert first["complaint"] != second["complaint"]


@pytest.mark.parametrize("key", ["", "x" * 256, "b\u00e9"])
async def test_a_key_that_is_none_is_refused_by_name(api: Api, key: str) -> None:
    async with api.session.post(
        api.url + "/v1/complaints",
        json=dict(COMPLAINT),
        headers={"Authorization": f"Bearer {api.token}", "Idempotency-Key": key},
    ) as response:
        body = await response.json(content_type=None)
        assert (response.status, body["where"]) == (422, "Idempotency-Key")
    assert await api.stored_changes() == []
