"""Who may read what, and how they prove who they are (protocol §7.1)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sync_protocol.change_set import parse_change_set, verify_lines
from sync_protocol.compression import decode_body
from sync_protocol.values import format_timestamp
from tests.edge.hub_lab import Agency, Lab, running_hub
from tests.edge.hub_requests import auditor, read, signed


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with running_hub(tmp_path) as running:
        await running.enrol("33.75")
        yield running


@pytest.fixture
def agency(lab: Lab) -> Agency:
    return lab.agencies["33.75"]


async def test_an_auditor_sees_content_only_if_it_was_granted_and_that_is_recorded(lab: Lab, agency: Agency) -> None:
    change_set = agency.cut(3)
    await agency.push(change_set)
    path = "/v1/agencies/33.75/change-sets/1"
    hidden = await lab.call("GET", path, headers=await auditor(lab))
    parts = decode_body(hidden.body, "zstd")
    assert b"Jalan" not in parts.contents
    assert verify_lines(parse_change_set(parts.head, parts.contents)).hidden_leaves == 3
    assert await lab.hub.store.content_reads() == []
    shown = await lab.call("GET", path, headers=await auditor(lab, "ombudsman", with_content=True))
    assert decode_body(shown.body, "zstd").contents == change_set.contents
    assert [read[1:] for read in await lab.hub.store.content_reads()] == [("ombudsman", "33.75/1")]


async def test_a_grant_ends(lab: Lab) -> None:
    headers = await auditor(lab)
    assert (await lab.call("GET", "/v1/totals", headers=headers)).status == 200
    assert await lab.hub.end_grants("bpk") == 1
    answer = await lab.call("GET", "/v1/totals", headers=headers)
    assert (answer.status, answer.kind) == (401, "unauthorised")


async def test_tokens_are_not_in_the_database(lab: Lab) -> None:
    token = await lab.hub.grant("bpk")
    invitation = await lab.hub.invite(lab.agencies["33.75"].code)
    database = await asyncio.to_thread(_bytes_in, lab.hub.options.directory)
    assert token.encode() not in database
    assert invitation.encode() not in database


def _bytes_in(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.glob("*.db*"))


PRIVATE = [
    "/v1/agencies/33.75/head",
    "/v1/agencies/33.75/change-sets/1",
    "/v1/agencies/33.75/change-sets/1/receipt",
    "/v1/agencies/33.75/verdicts",
    "/v1/totals",
    "/v1/complaints/33.75:01890a5d-ac96-774b-bcce-b302099a8057",
]


@pytest.mark.parametrize("path", PRIVATE)
async def test_what_is_private_is_not_told_to_strangers(lab: Lab, path: str) -> None:
    answer = await lab.call("GET", path)
    assert (answer.status, answer.kind) == (401, "unauthorised")
    guessed = await lab.call("GET", path, headers={"Authorization": "Bearer guess"})
    assert guessed.status == 401


@pytest.mark.parametrize("path", PRIVATE[:4])
async def test_an_agency_does_not_read_anothers(lab: Lab, path: str) -> None:
    other = await lab.enrol("35.71")
    answer = await read(lab, other.signer, path)
    assert (answer.status, answer.kind) == (403, "wrong-agency")


HEAD = "/v1/agencies/33.75/head"


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "http://elsewhere.example" + HEAD},
        {"method": "POST"},
        {"tag": "other"},
        {"tag": None},
        {"lifetime_s": 61},
        {"covered": ("@method",)},
        {"covered": ("@target-uri",)},
    ],
    ids=["other-url", "other-method", "other-tag", "no-tag", "long-lived", "no-uri", "no-method"],
)
async def test_a_signature_that_says_something_else_is_refused(lab: Lab, agency: Agency, wrong: dict[str, Any]) -> None:
    answer = await read(lab, agency.signer, HEAD, **wrong)
    assert (answer.status, answer.kind) == (401, "unauthorised")
    assert "time" not in answer.json


@pytest.mark.parametrize("age_s", [122, 3_600, -62, -86_400], ids=["old", "hour-old", "early", "of-tomorrow"])
async def test_a_clock_that_is_off_is_told_the_hubs_time(lab: Lab, agency: Agency, age_s: int) -> None:
    answer = await read(lab, agency.signer, HEAD, age_s=age_s)
    assert (answer.status, answer.kind) == (401, "unauthorised")
    assert "clock" in answer.json["detail"]
    assert answer.json["time"] == format_timestamp(lab.clock.at_ms)


@pytest.mark.parametrize("age_s", [118, 59, -59])
async def test_clocks_may_differ_by_a_minute(lab: Lab, agency: Agency, age_s: int) -> None:
    assert (await read(lab, agency.signer, HEAD, age_s=age_s)).status == 200


async def test_signatures_by_unknown_revoked_and_forging_keys_are_refused(lab: Lab, agency: Agency) -> None:
    assert (await read(lab, lab.new_key(), HEAD)).kind == "unknown-key"
    headers = signed(lab, agency.signer, HEAD)
    forged = {**headers, "Signature": signed(lab, lab.new_key(), HEAD)["Signature"]}
    assert (await lab.call("GET", HEAD, headers=forged)).kind == "unauthorised"
    await lab.hub.revoke(agency.code)
    assert (await read(lab, agency.signer, HEAD)).kind == "revoked-key"


async def test_behind_a_proxy_the_public_address_is_what_is_signed(tmp_path: Path) -> None:
    async with running_hub(tmp_path, public_url="https://hub.example/simpul") as lab:
        agency = await lab.enrol("33.75")
        answer = await read(lab, agency.signer, HEAD, url="https://hub.example/simpul" + HEAD)
        assert answer.status == 200
        assert (await read(lab, agency.signer, HEAD)).kind == "unauthorised"


async def test_a_request_that_changes_something_works_once(lab: Lab, agency: Agency) -> None:
    note = (await lab.call("GET", "/checkpoint")).body.decode()
    body = msgspec.json.encode(
        {
            "agency": "33.75",
            "checkpoint": note,
            "receipts": [],
            "statements": [],
            "seqs": {"from": 1, "to": 3},
        }
    )
    path = "/v1/recovery"
    headers = signed(lab, agency.signer, path, method="POST", nonce="n" * 22, body=body)
    first = await lab.call("POST", path, data=body, headers=headers)
    assert (first.status, first.json) == (200, {"size": 4, "wanted": None})
    assert (await lab.call("POST", path, data=body, headers=headers)).kind == "unauthorised"
    without = signed(lab, agency.signer, path, method="POST", body=body)
    assert (await lab.call("POST", path, data=body, headers=without)).kind == "unauthorised"
    other = signed(lab, agency.signer, path, method="POST", nonce="m" * 22, body=body)
    assert (await lab.call("POST", path, data=body + b" ", headers=other)).kind == "unauthorised"
    undigested = signed(lab, agency.signer, path, method="POST", nonce="o" * 22)
    assert (await lab.call("POST", path, data=body, headers=undigested)).kind == "unauthorised"
