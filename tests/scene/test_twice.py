"""What delivers everything twice notices what is done twice."""

from __future__ import annotations

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.scene.twice import TwiceClient


@pytest.mark.parametrize(
    ("second", "headers", "words"),
    [
        ("2", {"Idempotency-Replayed": "true"}, "answered in two ways"),
        ("1", {}, "done twice"),
    ],
)
async def test_a_server_that_does_a_repeated_request_again_is_noticed(
    second: str, headers: dict[str, str], words: str
) -> None:
    answers = [web.Response(text="1"), web.Response(text=second, headers=headers)]

    async def answer(_request: web.Request) -> web.Response:
        return answers.pop(0)

    app = web.Application()
    app.router.add_post("/x", answer)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        client = TwiceClient(str(server.make_url("")).rstrip("/"), session)
        with pytest.raises(AssertionError, match=words):
            await client.ask("POST", "/x", {})
