"""Reporters are told by SMS that they were answered: by the node that has their number, once at least, not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from node.channels import sms_answers
from node.channels.sms_answers import TELL_WITHIN_MS, Gateway, SmsAnswers
from node.channels.sms_reply import SMS_LONG_CHARACTERS, SMS_MAX_CHARACTERS
from node.config_data import config_file
from node.directory import load_directory
from node.local.recording import Command
from node.settings import NodeSettings
from node.settings_file import make_settings
from node.store.local_base import fetch
from node.wiring.sms import telling_reporters
from sync_protocol.errors import Refused, Unavailable
from sync_protocol.merkle import leaf_hash
from sync_protocol.values import AgencyId, b64u_encode, format_timestamp
from tests.edge.hub_lab import Lab
from tests.edge.inbox_lab import DESK, Peer, settle_down
from tests.edge.kannel import PASSWORD, kannel, needed
from tests.edge.program import wait_for
from tests.edge.test_tracking import make_unreadable

CITY = AgencyId("35.71")
AGENCIES = (DESK, CITY)
NUMBER = "+6281234567890"


@dataclass
class SmsBox:
    """sendsms as Kannel's smsbox answers it; `answers` are given first."""

    url: str = ""
    sent: list[dict[str, str]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        if self.answers and (status := self.answers.pop(0)) != 202:
            return web.Response(status=status)
        self.sent.append(dict(request.query))
        return web.Response(status=202, text="0: Accepted for delivery")

    @property
    def texts(self) -> list[str]:
        return [one["text"] for one in self.sent]


@pytest.fixture
async def smsbox() -> AsyncIterator[SmsBox]:
    box = SmsBox()
    app = web.Application()
    app.router.add_get("/cgi-bin/sendsms", box.take)
    async with TestServer(app) as server:
        box.url = str(server.make_url("/cgi-bin/sendsms"))
        yield box


@asynccontextmanager
async def telling(desk: Peer, box: SmsBox, told: Any = None) -> AsyncIterator[SmsAnswers]:
    gateway = Gateway(box.url, "simpul", "geheim", "1708")
    async with aiohttp.ClientSession() as session:
        store = desk.store
        yield SmsAnswers(store, told or store, gateway, desk.agency, load_directory(), desk.pusher.clock, session)


async def reported(desk: Peer, *, phone: object = NUMBER, **data: str) -> str:
    at = format_timestamp(desk.pusher.clock.now_ms())
    facts = {"channel": "sms", "visibility": "anonymous", "received_at": at} | data
    said = {"text": "Jalan rusak.", "reporter": {"phone": phone}}
    return (await desk.service.record(Command("received", facts, said, role="reporter"))).recorded.complaint


async def answer(node: Peer, complaint: str, words: str) -> None:
    await node.change("verified", complaint, **{"class": "complaint_ordinary"})
    await node.change("assigned", complaint, unit="dinas-pupr")
    await node.change("answered", complaint, words)


async def test_the_desk_tells_of_another_agencys_answer_whose_words_it_does_not_hold(
    lab: Lab, nodes: list[Peer], smsbox: SmsBox
) -> None:
    desk, city = nodes
    complaint = await reported(desk)
    await desk.offer(complaint, CITY)
    await settle_down(nodes, lab)
    await city.accept(complaint)
    await answer(city, complaint, "Sudah kami perbaiki.")
    async with telling(desk, smsbox) as answers:
        assert await answers.look() == 0
        await settle_down(nodes, lab)
        assert await answers.look() == 1
        tracking = (await desk.state(complaint)).tracking
        (sms,) = smsbox.sent
        assert (sms["to"], sms["from"], sms["username"], sms["password"]) == (NUMBER, "1708", "simpul", "geheim")
        assert sms["text"] == f"Laporan {tracking} sudah dijawab oleh Kota Kediri. Cek: STATUS (spasi) nomor laporan."
        assert await answers.look() == 0


async def test_what_was_told_is_not_told_again_after_an_adoption_numbered_the_changes_anew(
    nodes: list[Peer], smsbox: SmsBox
) -> None:
    desk, _ = nodes
    complaint = await reported(desk)
    await desk.change("information_requested", complaint, "Di kilometer berapa?")
    async with telling(desk, smsbox) as answers:
        assert await answers.look() == 1
        assert smsbox.texts[0].endswith("meminta kelengkapan informasi: Di kilometer berapa?")
        async with desk.store.writing() as connection:
            await fetch(connection, "UPDATE change SET no = no + 1000")
            await fetch(connection, "DELETE FROM connector")
        assert await answers.look() == 0
        await desk.change("information_supplied", complaint)
        await answer(desk, complaint, "Sudah kami perbaiki. " * 40)
        assert await answers.look() == 1
    assert SMS_MAX_CHARACTERS < len(smsbox.texts[1]) <= SMS_LONG_CHARACTERS
    assert smsbox.texts[1].endswith("..")


async def test_a_gateway_that_is_away_or_refuses_the_password_is_asked_again_in_order(
    nodes: list[Peer], smsbox: SmsBox
) -> None:
    desk, _ = nodes
    for words in ("Satu.", "Dua."):
        await answer(desk, await reported(desk), words)
    smsbox.answers = [503, 403]
    async with telling(desk, smsbox) as answers:
        for _ in range(2):
            with pytest.raises(Unavailable):
                await answers.look()
        assert await answers.look() == 2
    assert [text.rpartition(" ")[2] for text in smsbox.texts] == ["Satu.", "Dua."]


async def test_a_number_that_smsbox_refuses_for_ever_keeps_nobody_else_waiting(
    nodes: list[Peer], smsbox: SmsBox
) -> None:
    desk, _ = nodes
    for words in ("Satu.", "Dua."):
        await answer(desk, await reported(desk), words)
    smsbox.answers = [400]
    async with telling(desk, smsbox) as answers:
        assert await answers.look() == 1
        assert await answers.look() == 0
    assert smsbox.texts[0].endswith("Dua.")


@dataclass
class DyingStore:
    """The node dies when the SMS is out and that is not written down yet."""

    true: Any
    is_dead: bool = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.true, name)

    async def note_told_by_sms(self, change_id: str, at_ms: int) -> None:
        self.is_dead = True
        raise OSError("killed")


async def test_a_crash_behind_an_sms_sends_it_once_more_and_a_crash_before_loses_none(
    nodes: list[Peer], smsbox: SmsBox
) -> None:
    desk, _ = nodes
    await answer(desk, await reported(desk), "Sudah.")
    async with telling(desk, smsbox, DyingStore(desk.store)) as dying:
        with pytest.raises(OSError, match="killed"):
            await dying.look()
    async with telling(desk, smsbox) as answers:
        assert await answers.look() == 1
        assert await answers.look() == 0
    assert len(set(smsbox.texts)) == 1
    assert len(smsbox.sent) == 2


async def test_nobody_is_told_whose_number_is_gone_or_none_or_who_did_not_write_by_sms(
    lab: Lab, nodes: list[Peer], smsbox: SmsBox
) -> None:
    desk, _ = nodes
    erased = await reported(desk)
    said = (await desk.history(erased))[0].content
    assert said is not None
    await desk.change("erased", erased, ground="request", leaves=[b64u_encode(leaf_hash(said))])
    await settle_down(nodes, lab)
    others = [await reported(desk, phone=phone) for phone in ("1708", "TELKOMSEL", 5, {"x": 1}, None)]
    for complaint in (erased, await reported(desk, channel="web"), *others):
        await answer(desk, complaint, "Sudah.")
    async with telling(desk, smsbox) as answers:
        assert await answers.look() == 0


async def test_words_of_a_confidential_complaint_are_in_no_sms(nodes: list[Peer], smsbox: SmsBox) -> None:
    desk, _ = nodes
    await answer(desk, await reported(desk, visibility="anonymous-confidential"), "Pelaku sudah ditahan.")
    async with telling(desk, smsbox) as answers:
        assert await answers.look() == 1
    assert "ditahan" not in smsbox.texts[0]


async def test_words_that_cannot_be_read_keep_no_sms_waiting(nodes: list[Peer], smsbox: SmsBox) -> None:
    desk, _ = nodes
    await answer(desk, await reported(desk), "Satu.")
    await make_unreadable(desk)
    await answer(desk, await reported(desk), "Dua.")
    async with telling(desk, smsbox) as answers:
        assert await answers.look() == 2
    assert [text.partition(": ")[2] for text in smsbox.texts] == ["STATUS (spasi) nomor laporan.", "Dua."]


async def test_old_news_is_not_told_nor_is_anybody_rung_up_without_end(
    nodes: list[Peer], smsbox: SmsBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, _ = nodes
    complaint = await reported(desk)
    before_ms = desk.pusher.clock.now_ms() - TELL_WITHIN_MS - 1
    await desk.change("verified", complaint, **{"class": "complaint_ordinary"})
    await desk.change("assigned", complaint, unit="dinas-pupr")
    await desk.service.record(Command("answered", complaint=complaint, at_ms=before_ms))
    monkeypatch.setattr(sms_answers, "SMS_MAX", 3)
    async with telling(desk, smsbox) as answers:
        assert await answers.look() == 0
        for turn in range(5):
            await desk.change("replied", complaint)
            await desk.change("answered", complaint, f"Jawaban {turn}")
        assert await answers.look() == 3


def settings_for(place: Path, **changed: object) -> NodeSettings:
    vkey = next(line for line in config_file("node.example.toml").read_text().splitlines() if line.startswith("vkey"))
    example = {"hub_url": "https://hub.example", "directory": place, "agency": str(DESK), "vkey": vkey.split('"')[1]}
    return make_settings(NodeSettings, example | changed)


@pytest.mark.parametrize(
    ("url", "password"),
    [("http://10.0.0.9:13013/cgi-bin/sendsms", "p"), ("http://127.0.0.1:13013/x", None), ("127.0.0.1", "p")],
)
def test_an_address_in_the_clear_or_without_a_password_is_refused(
    tmp_path: Path, url: str, password: str | None
) -> None:
    settings_for(tmp_path, sms_send_url="http://127.0.0.1:13013/cgi-bin/sendsms", sms_send_password_file="p")
    with pytest.raises(Refused, match="sms_send_url"):
        settings_for(tmp_path, sms_send_url=url, sms_send_password_file=password)


async def test_an_answer_goes_through_kannel_to_the_telephone(nodes: list[Peer], tmp_path: Path) -> None:
    needed()
    desk, _ = nodes
    await answer(desk, await reported(desk), "Sudah diperbaiki & dicat 100%.")
    secret = tmp_path / "smsbox.password"
    secret.write_text(PASSWORD)
    secret.chmod(0o600)
    with kannel(tmp_path / "kannel", "http://127.0.0.1:1") as gateway:
        phone = gateway.send(["text INFO"], messages=1, interval_s=0.01)  # and goes on receiving
        url = f"http://127.0.0.1:{gateway.sendsms_port}/cgi-bin/sendsms"
        settings = settings_for(tmp_path, sms_send_url=url, sms_send_password_file=secret)
        async with telling_reporters(desk.store, settings, desk.pusher.clock):

            def arrived() -> bool:
                return "dicat 100%" in gateway.says.read_text(errors="replace")

            await asyncio.to_thread(wait_for, "the SMS", arrived, 30.0, 0.05)
        phone.terminate()
        assert NUMBER in gateway.says.read_text(errors="replace")
        logs = "".join(file.read_text(errors="replace") for file in gateway.place.glob("*box.log"))
        assert NUMBER[1:] not in logs
        assert "dicat" not in logs
