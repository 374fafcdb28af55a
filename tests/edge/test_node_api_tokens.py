"""Who may ask: tokens shown once, hashed at rest, ended at once; what everybody may see."""

from __future__ import annotations

from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest
import pytest_asyncio

from node.local.tokens import check_channel_key, create_token, revoke_token
from node.system import SystemRandomness
from sync_protocol.errors import Refused
from tests.edge.node_api import COMPLAINT, Api, serving

GUARDED = (
    ("GET", "/v1/complaints"),
    ("POST", "/v1/complaints"),
    ("GET", "/v1/complaints/x"),
    ("POST", "/v1/complaints/x/changes"),
    ("GET", "/v1/status"),
)


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path) as api:
        yield api


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer " + "A" * 43,
        "Bearer " + "A" * 42,
        "Bearer " + "A" * 4_000,
        "Basic {token}",
        "{token}",
        "Bearer {token}A",
        "Bearer {token} {token}",
        "Bearer {token},Bearer {token}",
        "Bearer \u00e9",
    ],
)
async def test_without_a_living_token_nothing_is_answered_and_nothing_is_read(api: Api, authorization: str) -> None:
    for method, path in GUARDED:
        shown = {"Authorization": authorization.format(token=api.token)}
        answer = await api.call(method, path, headers=shown, data=b"x" if method == "POST" else None)
        assert (answer.status, answer.kind) == (401, "unauthorised")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


async def test_a_revoked_token_ends_at_once_and_the_others_live_on(api: Api) -> None:
    randomness = SystemRandomness()
    second = await create_token(api.store, api.clock, randomness, "loket-1")
    other = await create_token(api.store, api.clock, randomness, "bot")
    assert await revoke_token(api.store, api.clock, "loket-1") == 2
    assert await revoke_token(api.store, api.clock, "loket-1") == 0
    assert await revoke_token(api.store, api.clock, "nobody") == 0
    for token, status in ((api.token, 401), (second, 401), (other, 200)):
        assert (await api.get("/v1/complaints", Authorization=f"Bearer {token}")).status == status


async def test_a_token_is_32_random_bytes_and_only_its_hash_is_in_the_files(api: Api) -> None:
    assert len(api.token) == 43
    held = await api.store.token(sha256(api.token.encode()).digest())
    assert held is not None
    assert held.name == "loket-1"
    for file in api.file.parent.iterdir():
        assert api.token.encode() not in file.read_bytes()


async def test_a_token_of_a_channel_opens_that_channel_and_nothing_else(api: Api) -> None:
    randomness = SystemRandomness()
    channel = await create_token(api.store, api.clock, randomness, "open311/suara-warga")
    for method, path in GUARDED:
        answer = await api.call(method, path, headers={"Authorization": f"Bearer {channel}"})
        assert (answer.status, answer.kind) == (401, "unauthorised")
    assert await check_channel_key(api.store, "open311", channel) == "suara-warga"
    for name in ("open311", "other/open311", "desk/1"):
        ordinary = await create_token(api.store, api.clock, randomness, name)
        assert (await api.get("/v1/complaints", Authorization=f"Bearer {ordinary}")).status == 200
        with pytest.raises(Refused, match="not known for open311"):
            await check_channel_key(api.store, "open311", ordinary)
    await revoke_token(api.store, api.clock, "open311/suara-warga")
    with pytest.raises(Refused, match="revoked"):
        await check_channel_key(api.store, "open311", channel)


@pytest.mark.parametrize("name", ["open311/", "open311/ ", "Open311/warga", " open311/warga"])
async def test_a_channels_token_without_a_client_is_no_token_of_the_whole_intake(api: Api, name: str) -> None:
    with pytest.raises(Refused, match="open311/<client>"):
        await create_token(api.store, api.clock, SystemRandomness(), name)


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\nb", "a\x00"])
async def test_a_token_for_a_name_that_no_log_could_show_is_refused(api: Api, name: str) -> None:
    with pytest.raises(Refused, match="printable"):
        await create_token(api.store, api.clock, SystemRandomness(), name)


async def test_two_authorization_headers_are_none(api: Api) -> None:
    headers = [("Authorization", f"Bearer {api.token}"), ("Authorization", f"Bearer {api.token}")]
    async with api.session.get(api.url + "/v1/complaints", headers=headers) as response:
        assert response.status == 401


async def test_health_metrics_and_the_document_need_no_token_and_show_no_complaint(api: Api) -> None:
    made = await api.create()
    for path in ("/healthz", "/metrics", "/openapi.json"):
        answer = await api.get(path, Authorization="")
        assert answer.status in (200, 503)
        assert made["complaint"].encode() not in answer.raw
        assert api.token.encode() not in answer.raw


async def test_every_answer_forbids_guessing_framing_and_keeping(api: Api) -> None:
    answers = [
        await api.get("/v1/complaints"),
        await api.get("/nowhere"),
        await api.get("/healthz"),
        await api.post("/v1/complaints", COMPLAINT),
        await api.get("/v1/complaints", Authorization=""),
    ]
    for answer in answers:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert "Python" not in answer.headers["Server"]
        assert len(answer.headers["X-Request-Id"]) == 16
    assert len({answer.headers["X-Request-Id"] for answer in answers}) == len(answers)
