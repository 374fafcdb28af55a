"""Mentions on X come in once, by their own number, against a double of the API with recorded answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from node.channels.mentions import MARK, Account, Mentions, source_id
from node.local.recording import Minting
from node.local.service import LocalService
from node.store.local_records import ComplaintFilter
from node.store.local_store import SqlLocalStore
from node.system import SystemClock, SystemRandomness
from sync_protocol.errors import Refused, Unavailable
from sync_protocol.values import AgencyId
from tests.store.local_samples import IDENTITY, SEEN

FIRST = 1_796_000_000_000_000_000


@dataclass
class Double:
    """The API as it was recorded: newest first, pages by token, `since_id` left out."""

    posts: list[dict[str, Any]] = field(default_factory=list)
    messages: list[tuple[str, str]] = field(default_factory=list)
    status: int = 200
    dm_status: int = 201
    page: int = 2
    piece_bytes: int = 0  # the answer comes in pieces of so many, one after the other

    def write(self, number: int, text: str) -> None:
        post = {"id": str(FIRST + number), "text": text, "author_id": str(40 + number)}
        self.posts.insert(0, post | {"created_at": "2026-02-03T04:05:06.000Z", "edit_history_tweet_ids": []})

    async def mentions(self, request: web.Request) -> web.StreamResponse:
        assert request.headers["Authorization"] == "Bearer secret"
        since, start = int(request.query.get("since_id", "0")), int(request.query.get("pagination_token", "0"))
        found = [post for post in self.posts if not str(post["id"]).isdigit() or int(post["id"]) > since]
        meta: dict[str, Any] = {"result_count": len(found[start : start + self.page])}
        if start + self.page < len(found):
            meta["next_token"] = str(start + self.page)
        body = {"data": found[start : start + self.page], "meta": meta} if found else {"meta": {"result_count": 0}}
        if not self.piece_bytes:
            return web.json_response(body, status=self.status)
        response = web.StreamResponse(status=self.status)
        await response.prepare(request)
        raw = json.dumps(body).encode()
        for start in range(0, len(raw), self.piece_bytes):
            await response.write(raw[start : start + self.piece_bytes])
            await asyncio.sleep(0.01)
        return response

    async def message(self, request: web.Request) -> web.Response:
        if self.dm_status == 201:
            self.messages.append((request.match_info["id"], (await request.json())["text"]))
        return web.json_response({}, status=self.dm_status)


@dataclass
class Lab:
    double: Double
    store: SqlLocalStore
    service: LocalService
    mentions: Mentions

    async def numbers(self) -> list[str]:
        held = await self.store.complaints(ComplaintFilter())
        return sorted(one.state.source.id for one in held if one.state.source)


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    double, clock = Double(), SystemClock()
    app = web.Application()
    app.router.add_get("/2/users/{id}/mentions", double.mentions)
    app.router.add_post("/2/dm_conversations/with/{id}/messages", double.message)
    store = await SqlLocalStore.create(tmp_path / "node.db")
    await store.enrol(IDENTITY, [], SEEN)
    async with (
        LocalService(store, Minting(AgencyId("33.75"), "PKL", clock, SystemRandomness())) as service,
        TestServer(app) as server,
        aiohttp.ClientSession() as session,
    ):
        account = Account(str(server.make_url("")).rstrip("/"), "1708", "secret")
        yield Lab(double, store, service, Mentions(service, store, account, clock, session))
    await store.close()


async def test_each_mention_is_one_complaint_and_its_writer_is_told_the_number(lab: Lab) -> None:
    for number in range(5):
        lab.double.write(number, f"@lapor1708 lampu jalan {number} padam")
    assert await lab.mentions.look() == 5
    assert await lab.mentions.look() == 0
    lab.double.write(9, "@lapor1708 masih padam")
    assert await lab.mentions.look() == 1
    assert await lab.numbers() == [source_id(str(FIRST + number)) for number in (0, 1, 2, 3, 4, 9)]
    held = await lab.store.complaints(ComplaintFilter())
    told = {text.rpartition(" ")[2] for _, text in lab.double.messages}
    assert told == {one.state.tracking for one in held}
    assert [who for who, _ in lab.double.messages] == ["40", "41", "42", "43", "44", "49"]


async def test_a_page_that_comes_in_pieces_is_read_to_its_end(lab: Lab) -> None:
    lab.double.page, lab.double.piece_bytes = 100, 1_024
    for number in range(60):
        lab.double.write(number, f"@lapor1708 lampu jalan {number} padam " + "sejak kemarin " * 9)
    assert await lab.mentions.look() == 60
    assert len(await lab.numbers()) == 50  # a page of the list


async def test_all_are_recorded_though_nobody_can_be_told(lab: Lab) -> None:
    lab.double.dm_status = 429
    for number in range(3):
        lab.double.write(number, "@lapor1708 lampu padam")
    with pytest.raises(Unavailable):
        await lab.mentions.look()
    assert len(await lab.numbers()) == 3
    lab.double.dm_status = 201
    assert await lab.mentions.look() == 3
    assert (len(await lab.numbers()), len(lab.double.messages)) == (3, 3)


async def test_an_old_backup_that_is_not_up_to_date_takes_nothing_in(lab: Lab) -> None:
    lab.double.write(1, "@lapor1708 jalan rusak")
    await lab.store.set_behind(is_behind=True)
    assert await lab.mentions.look() == 0
    await lab.store.set_behind(is_behind=False)
    assert await lab.mentions.look() == 1


async def test_a_mention_that_comes_again_is_known_by_its_number(lab: Lab) -> None:
    lab.double.write(1, "@lapor1708 jalan rusak")
    await lab.mentions.look()
    async with lab.store.writing() as connection:
        for table in ("connector", "answer"):  # as after an old backup, brought up to date from the hub
            await connection.exec_driver_sql(f"DELETE FROM {table}")
    await lab.mentions.look()
    assert len(await lab.numbers()) == 1
    assert len({text for _, text in lab.double.messages}) == 1
    assert await lab.store.told_to(MARK) == FIRST + 1


async def test_a_mention_whose_words_were_changed_is_not_recorded_again_and_holds_up_nothing(lab: Lab) -> None:
    lab.double.write(1, "@lapor1708 jalan rusak")
    await lab.mentions.look()
    async with lab.store.writing() as connection:
        await connection.exec_driver_sql("DELETE FROM connector")  # it is shown again
    lab.double.posts[0]["text"] = "@lapor1708 jalan mulus"
    lab.double.write(2, "@lapor1708 lampu padam")
    assert await lab.mentions.look() == 2
    assert await lab.numbers() == [source_id(str(FIRST + number)) for number in (1, 2)]
    first = (await lab.store.complaints(ComplaintFilter()))[-1]
    (change,) = await lab.store.complaint_changes(first.no)
    assert change.content is not None
    assert b"jalan rusak" in change.content


async def test_the_api_away_or_full_loses_nothing(lab: Lab) -> None:
    lab.double.write(1, "@lapor1708 jalan rusak")
    for status in (429, 500, 503):
        lab.double.status = status
        with pytest.raises(Unavailable):
            await lab.mentions.look()
    lab.double.status = 401
    with pytest.raises(Refused):
        await lab.mentions.look()
    lab.double.status, lab.double.dm_status = 200, 503
    with pytest.raises(Unavailable):
        await lab.mentions.look()
    assert await lab.store.told_to(MARK) == 0  # its writer was not told yet
    lab.double.dm_status = 403  # takes no messages
    assert await lab.mentions.look() == 1
    assert len(await lab.numbers()) == 1


async def test_what_cannot_be_recorded_does_not_hold_up_the_next(lab: Lab) -> None:
    lab.double.write(1, "x" * 40_000)
    lab.double.write(2, "@lapor1708 jalan rusak")
    assert await lab.mentions.look() == 2
    assert await lab.numbers() == [source_id(str(FIRST + 2))]


@pytest.mark.parametrize("post", [{"id": "1;x"}, {"id": "9" * 30}, {"id": 5}, {"text": None}, {"author_id": {}}])
async def test_answers_that_are_none_are_not_taken_in(lab: Lab, post: dict[str, Any]) -> None:
    lab.double.write(1, "@lapor1708 jalan rusak")
    lab.double.posts[0] |= post
    with pytest.raises(Unavailable):
        await lab.mentions.look()
    assert await lab.numbers() == []
