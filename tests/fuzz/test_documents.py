"""Requests made from the OpenAPI documents of hub and node, to real servers: no 500, and answers as documented."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from node.hub.openapi import hub_document
from node.local.http_problems import LOCAL_PROBLEMS
from node.local.openapi import openapi_document
from sync_protocol.compression import compress_frames
from sync_protocol.problems import PROBLEM_PREFIX, PROBLEMS
from tests.edge.hub_lab import Agency, Answer, Lab, projected, running_hub
from tests.edge.hub_requests import auditor, signed
from tests.edge.node_api import Answer as NodeAnswer
from tests.edge.node_api import Api, serving
from tests.fuzz.from_document import Document, Request

HUB_ROUNDS = 25
NODE_ROUNDS = 60
AVAILABLE = {503}  # `busy`, `stale`: an answer, not a defect


def known_problem(problem: object, kinds: set[str], status: int) -> None:
    """One of the table of §7.3 (or of the intake's own), with the status that it has there."""
    assert isinstance(problem, dict)
    assert problem["type"].removeprefix(PROBLEM_PREFIX) in kinds, problem
    assert problem["status"] == status
    assert problem["next"]


async def send_to_hub(lab: Lab, agency: Agency, request: Request, chance: random.Random) -> Answer:
    """As a stranger, the agency or an auditor."""
    headers = {} if request.media_type is None else {"Content-Type": request.media_type}
    who = chance.choice(("stranger", "agency", "auditor", "auditor"))
    if who == "auditor":
        headers |= await auditor(lab, "bpk", with_content=chance.random() < 0.5)
    elif who == "agency":
        nonce = None if request.method == "GET" else f"{chance.getrandbits(128):032x}"
        options = {"method": request.method, "nonce": nonce, "body": request.body}
        headers |= signed(lab, agency.signer, request.target, **options)  # type: ignore[arg-type]
    return await lab.call(request.method, request.target, data=request.body, headers=headers)


@pytest.mark.slow
async def test_a_hub_answers_whatever_its_document_allows_as_documented(tmp_path: Path) -> None:
    chance = random.Random(20260103)
    document = Document(hub_document(), chance)
    seen: Counter[int] = Counter()
    async with running_hub(tmp_path) as lab:
        agency = await lab.enrol("33.75")
        await agency.push_new(3)
        await projected(lab)
        for _ in range(HUB_ROUNDS):
            for path, method, operation in document.operations():
                request = document.request(path, method, operation)
                answer = await send_to_hub(lab, agency, request, chance)
                seen[answer.status] += 1
                assert answer.status < 500 or answer.status in AVAILABLE, (request, answer.body)
                problem = document.check(operation, answer.status, answer.headers.get("Content-Type", ""), answer.body)
                if answer.status >= 400:
                    known_problem(problem, set(PROBLEMS), answer.status)
        change_set = agency.cut(1)
        body = b"".join(compress_frames(change_set.head, change_set.contents))
        assert (await agency.send(body, 2)).status == 201
    assert {200, 401, 404, 422} <= set(seen)


async def send_to_node(api: Api, request: Request, complaint: str, chance: random.Random) -> NodeAnswer:
    target = request.target
    if "{complaint}" in request.path and chance.random() < 0.8:
        target = request.path.replace("{complaint}", complaint)
    headers = {} if chance.random() < 0.95 else {"Authorization": ""}
    if request.media_type is not None and chance.random() < 0.3:
        headers["Idempotency-Key"] = chance.choice(("k1", "k2", "x" * 255))
    return await api.call(request.method, target, data=request.body, headers=headers)


@pytest.mark.slow
async def test_a_node_answers_whatever_its_document_allows_as_documented(tmp_path: Path) -> None:
    chance = random.Random(20260103)
    document = Document(openapi_document(), chance)
    seen: Counter[int] = Counter()
    async with serving(tmp_path) as api:
        for _ in range(NODE_ROUNDS):
            complaint = (await api.create())["complaint"]
            for path, method, operation in document.operations():
                request = document.request(path, method, operation)
                answer = await send_to_node(api, request, complaint, chance)
                seen[answer.status] += 1
                assert answer.status < 500 or answer.status in AVAILABLE, (request, answer.raw)
                problem = document.check(operation, answer.status, answer.headers.get("Content-Type", ""), answer.raw)
                if answer.status >= 400 and method != "HEAD":
                    known_problem(problem, set(LOCAL_PROBLEMS), answer.status)
    assert {200, 201, 401, 404, 409, 422} <= set(seen)
