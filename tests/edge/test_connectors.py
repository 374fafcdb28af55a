"""Another complaint system reports and is told (issue: Surga, LaporGub): signed both ways, once, in order, for ever."""

from __future__ import annotations

import asyncio
import json
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from node.beside import beside
from node.channels import mentions, sms
from node.channels.connector.settings import Connector, read_connectors
from node.channels.connector.signature import HEADER, sign, verify
from node.channels.connector.webhooks import PAUSE_FIRST_S, Webhooks
from node.channels.open311.node_intake import system_of
from node.config_data import config_file
from node.local.http import build_app
from node.local.importers import sp4n_words
from node.local.recording import Command, Minting
from node.local.service import LocalService
from node.ports import Clock
from node.store.local_records import ComplaintFilter
from node.store.local_store import SqlLocalStore
from node.system import SystemClock, SystemRandomness
from node.wiring.connectors import connecting
from sync_protocol.errors import Refused
from sync_protocol.values import AgencyId, format_timestamp
from tests.edge.node_api import MovableClock
from tests.store.local_samples import IDENTITY, SEEN

SECRET = b"s" * 32
REPORT = {"id": "SRG-2014-77", "received_at": "2014-03-02T02:40:00.000Z", "text": "Jalan berlubang.", "channel": "web"}


@dataclass
class Surga:
    """The other system, as a server that remembers what it was told; `answers` are given first."""

    told: list[dict[str, Any]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    clock: Clock = field(default_factory=SystemClock)

    async def hook(self, request: web.Request) -> web.Response:
        body = await request.read()
        verify(SECRET, request.headers.get(HEADER), body, self.clock.now_ms() // 1000)
        if self.answers and (status := self.answers.pop(0)) != 200:
            return web.Response(status=status)
        self.told.append(json.loads(body))
        return web.Response()


@dataclass
class Lab:
    url: str
    session: aiohttp.ClientSession
    store: SqlLocalStore
    service: LocalService
    clock: MovableClock
    surga: Surga
    connector: Connector

    async def post(self, path: str, body: Any, *, header: str | None = None, secret: bytes = SECRET) -> tuple[int, Any]:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        signed = sign(secret, raw, self.clock.now_ms() // 1000) if header is None else header
        names = {"Content-Type": "application/json"} | ({HEADER: signed} if signed else {})
        async with self.session.post(self.url + path, data=raw, headers=names) as response:
            return response.status, await response.json(content_type=None)

    async def report(self, **changed: Any) -> tuple[int, Any]:
        return await self.post("/v1/connectors/surga/reports", REPORT | changed)

    async def change(self, complaint: str, type_: str, said: str = "", **data: Any) -> None:
        await self.service.record(Command(type_, data, {"text": said} if said else {}, complaint=complaint))

    def webhooks(self) -> Webhooks:
        return Webhooks(self.store, self.store, [self.connector], AgencyId("33.75"), self.clock, self.session)


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with made(tmp_path) as lab:
        yield lab


@asynccontextmanager
async def made(place: Path) -> AsyncIterator[Lab]:
    surga, clock, randomness = Surga(), MovableClock(), SystemRandomness()
    hook = web.Application()
    hook.router.add_post("/simpul", surga.hook)
    table = write_table(place)
    store = await SqlLocalStore.create(place / "node.db")
    await store.enrol(IDENTITY, [], SEEN)
    try:
        async with (
            LocalService(store, Minting(AgencyId("33.75"), "PKL", clock, randomness)) as service,
            TestServer(hook) as server,
            aiohttp.ClientSession() as session,
        ):
            app = build_app(service, store, clock, randomness)
            async with connecting(app, service, store, table, clock), TestServer(app) as node:
                url = str(server.make_url("/simpul"))
                connector = Connector("surga", SECRET, url)
                yield Lab(str(node.make_url("")).rstrip("/"), session, store, service, clock, surga, connector)
    finally:
        await store.close()


def write_table(place: Path, **changed: str) -> Path:
    secret = place / "surga.secret"
    secret.write_bytes(SECRET + b"\n")
    secret.chmod(0o600)
    entry = {"system": "surga", "secret_file": "surga.secret"} | changed
    table = place / "connectors.toml"
    table.write_text("[[connector]]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in entry.items()))
    return table


async def test_a_report_keeps_its_number_and_its_date_and_is_recorded_once(lab: Lab) -> None:
    status, first = await lab.report()
    assert status == 201
    assert await lab.report() == (201, first)
    (held,) = await lab.store.complaints(ComplaintFilter(source_system="surga", source_id="SRG-2014-77"))
    assert held.state.received_at == REPORT["received_at"]
    assert str(held.id) == first["complaint"]
    status, problem = await lab.report(text="Jalan mulus.")
    assert (status, problem["type"].rsplit(":")[-1]) == (422, "idempotency-key-reused")
    assert len(await lab.store.complaints(ComplaintFilter())) == 1


async def test_an_old_report_comes_in_the_state_that_it_has_there(lab: Lab) -> None:
    status, made = await lab.report(state="closed", closed_by="officer", reason="solved")
    assert (status, made["type"], made["state"]) == (201, "imported", "closed")


async def test_what_is_not_signed_by_the_secret_is_refused_each_with_its_own_answer(lab: Lab) -> None:
    path, body = "/v1/connectors/surga/reports", json.dumps(REPORT).encode()
    now_s = lab.clock.now_ms() // 1000
    good = sign(SECRET, body, now_s)
    wrong = "wrong-signature"
    for header, kind in (
        ("", wrong),
        ("t=1", wrong),
        (good.replace("t=", "t=0"), wrong),
        (good[:-1] + ("0" if good[-1] != "0" else "1"), wrong),
        (sign(b"x" * 32, body, now_s), wrong),
        (sign(SECRET, body + b" ", now_s), wrong),
        (sign(SECRET, body, now_s - 301), "expired-signature"),
        (sign(SECRET, body, now_s + 301), "expired-signature"),
    ):
        status, problem = await lab.post(path, body, header=header)
        assert (status, problem["type"].rsplit(":")[-1]) == (401, kind), header
        assert problem["next"]
        assert (await lab.post("/v1/connectors/surga/replies", body, header=header))[0] == 401
    assert (await lab.post("/v1/connectors/other/reports", body, header=good))[0] == 404
    assert await lab.store.complaints(ComplaintFilter()) == []
    two = f"{good},v1={'0' * 64}"  # while the secret is being changed
    assert (await lab.post(path, body, header=two))[0] == 201
    for spaced in (good.replace(",", ", "), f" {good.replace(',', chr(9) + ' , ')} ", two.replace(",", " ,")):
        assert (await lab.post(path, body, header=spaced))[0] == 201
    for spaced in (
        good.replace("=", "= "),
        good.replace(",", " "),
        good + ",",
        good + ", x",
        good.replace(",", "," + " " * 500),
    ):
        assert (await lab.post(path, body, header=spaced))[0] == 401


async def test_a_replayed_message_changes_nothing_and_a_stale_one_is_told_so(lab: Lab) -> None:
    body = json.dumps(REPORT).encode()
    header = sign(SECRET, body, lab.clock.now_ms() // 1000)
    first = await lab.post("/v1/connectors/surga/reports", body, header=header)
    assert await lab.post("/v1/connectors/surga/reports", body, header=header) == first
    lab.clock.later_ms += 400_000
    status, problem = await lab.post("/v1/connectors/surga/reports", body, header=header)
    assert (status, problem["type"].rsplit(":")[-1]) == (401, "expired-signature")
    assert len(await lab.store.complaints(ComplaintFilter())) == 1


async def test_attack_a_signed_message_replayed_at_the_other_address_is_none_there(lab: Lab) -> None:
    """The signature is of the body alone; what a report says is no reply, and the other way round."""
    await lab.report()
    reply = {"id": "SRG-2014-77", "message": "m-1", "text": "Belum."}
    for path, body in (("replies", REPORT), ("reports", reply)):
        status, problem = await lab.post(f"/v1/connectors/surga/{path}", body)
        assert (status, problem["type"].rsplit(":")[-1]) == (422, "malformed"), path
    (held,) = await lab.store.complaints(ComplaintFilter())
    assert len(await lab.store.complaint_changes(held.no)) == 1


async def test_the_system_is_told_everything_in_order_also_when_it_was_away(lab: Lab) -> None:
    _, made = await lab.report()
    complaint = made["complaint"]
    await lab.change(complaint, "verified", **{"class": "complaint_ordinary"})
    await lab.change(complaint, "assigned", unit="dinas-pupr")
    await lab.change(complaint, "answered", said="Sudah diperbaiki.")
    await lab.change(complaint, "noted", said="Rahasia dapur.")
    lab.surga.answers = [500, 422]
    hooks = lab.webhooks()
    assert await hooks.tell(lab.connector) == 0
    assert await hooks.tell(lab.connector) == 0  # it is left alone for a while
    await asyncio.sleep(0)
    later = lab.webhooks()  # as after a restart
    assert await later.tell(lab.connector) == 5
    assert [one["type"] for one in lab.surga.told] == ["verified", "assigned", "answered", "noted"]
    assert [one.get("text") for one in lab.surga.told] == [None, None, "Sudah diperbaiki.", None]
    assert {one["id"] for one in lab.surga.told} == {"SRG-2014-77"}
    assert await later.tell(lab.connector) == 0
    assert PAUSE_FIRST_S > 0


async def test_other_complaints_are_not_told(lab: Lab) -> None:
    await lab.service.record(
        Command(
            "received", {"channel": "web", "visibility": "public", "received_at": REPORT["received_at"]}, {"text": "x"}
        )
    )
    assert await lab.webhooks().tell(lab.connector) == 0
    assert await lab.store.told_to("surga") == 1


async def test_a_reply_there_reaches_the_answer_here_once(lab: Lab) -> None:
    _, made = await lab.report()
    complaint = made["complaint"]
    reply = {"id": "SRG-2014-77", "message": "m-1", "text": "Belum."}
    status, problem = await lab.post("/v1/connectors/surga/replies", reply)
    assert (status, problem["verdict"]) == (409, "bad_transition")
    for type_, data in (("verified", {"class": "complaint_ordinary"}), ("assigned", {"unit": "pupr"})):
        await lab.change(complaint, type_, **data)
    await lab.change(complaint, "answered", said="Sudah.")
    status, done = await lab.post("/v1/connectors/surga/replies", reply)
    assert (status, done["state"]) == (201, "in_progress")
    assert await lab.post("/v1/connectors/surga/replies", reply) == (201, done)
    status, problem = await lab.post("/v1/connectors/surga/replies", reply | {"text": "Sudah."})
    assert (status, problem["type"].rsplit(":")[-1]) == (422, "idempotency-key-reused")
    (held,) = await lab.store.complaints(ComplaintFilter())
    assert len(await lab.store.complaint_changes(held.no)) == 5
    assert (await lab.post("/v1/connectors/surga/replies", reply | {"id": "SRG-1", "message": "m-2"}))[0] == 404


def test_a_table_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    assert read_connectors(write_table(tmp_path)) == [Connector("surga", SECRET, None)]
    for changed in (
        {"webhook_url": "http://surga.example/x"},
        {"webhook": "x"},
        {"secret_file": "none"},
        {"system": "A B"},
    ):
        with pytest.raises(Refused) as refused:
            read_connectors(write_table(tmp_path, **changed))
        assert refused.value.members["next"]
    table = write_table(tmp_path)
    (tmp_path / "surga.secret").chmod(0o644)
    with pytest.raises(Refused) as refused:
        read_connectors(table)
    assert refused.value.kind == "unsafe-key-file"


def test_attack_a_system_cannot_be_named_as_another_channel_names_its_complaints(tmp_path: Path) -> None:
    """Else it would be told what became of others' complaints, be taken for their reporter, and move their marks."""
    outreach = tomllib.loads(config_file("csv-map-outreach.toml").read_text(encoding="utf-8"))["source"]["system"]
    client = system_of("suara-warga")
    assert client is not None
    for name in (mentions.SYSTEM, mentions.MARK, sp4n_words.SYSTEM, sms.SYSTEM, outreach, client, "open311"):
        with pytest.raises(Refused, match=f"system: '{name}' is what complaints of another channel") as refused:
            read_connectors(write_table(tmp_path, system=name))
        assert refused.value.kind == "configuration"
    for name in ("xx", "x-surga", "sp4n-daerah", "open31", "lapor-gub"):
        assert read_connectors(write_table(tmp_path, system=name))[0].system == name


async def test_what_is_wrong_with_a_report_is_compared_with_the_paper_that_describes_it(lab: Lab) -> None:
    for path, body in (("reports", {"id": "SRG-1"}), ("replies", {"id": "SRG-1"}), ("reports", b"[]")):
        status, problem = await lab.post(f"/v1/connectors/surga/{path}", body)
        assert (status, problem["type"]) == (422, "urn:simpul:problem:malformed")
        assert "docs/channels-connectors.md" in problem["next"]
        assert "openapi" not in problem["next"]


@pytest.mark.parametrize(
    ("members", "where"),
    [
        ({"received_at": "2099-01-01T00:00:00.000Z"}, "received_at"),
        ({"received_at": "9999-12-31T23:59:59.999Z"}, "received_at"),
        ({"received_at": "9999-12-31T23:59:59.999Z", "state": "received"}, "received_at"),
        ({"state": "closed", "closed_at": "2014-03-02T02:39:59.999Z"}, "closed_at"),
        ({"state": "closed", "closed_at": "2099-01-01T00:00:00.000Z"}, "closed_at"),
    ],
)
async def test_attack_a_report_is_dated_out_of_the_figures_of_deadlines(
    lab: Lab, members: dict[str, str], where: str
) -> None:
    status, problem = await lab.report(**members)
    assert (status, problem["where"]) == (422, where)
    assert "UTC" in problem["next"]
    assert await lab.store.complaints(ComplaintFilter()) == []


async def test_a_report_may_be_an_hour_ahead_and_closed_in_the_moment_it_came_in(lab: Lab) -> None:
    soon = format_timestamp(lab.clock.now_ms() + 3_600_000)
    assert (await lab.report(received_at=soon))[0] == 201
    same = REPORT["received_at"]
    closed = {"state": "closed", "closed_by": "officer", "reason": "solved", "closed_at": same}
    assert (await lab.report(id="SRG-2", **closed))[0] == 201


async def test_attack_a_system_that_never_answers_keeps_no_other_system_waiting(lab: Lab) -> None:
    asked, heard = asyncio.Event(), asyncio.Event()

    async def never(_request: web.Request) -> web.Response:
        asked.set()
        await asyncio.Event().wait()
        return web.Response()

    async def hear(_request: web.Request) -> web.Response:
        await asked.wait()
        heard.set()
        return web.Response()

    hooks = web.Application()
    hooks.router.add_post("/surga", never)
    hooks.router.add_post("/laporgub", hear)
    for system in ("surga", "laporgub"):
        data = {"channel": "web", "visibility": "public", "received_at": REPORT["received_at"]}
        await lab.service.record(Command("received", data | {"source": {"system": system, "id": "1"}}, {"text": "x"}))
    async with TestServer(hooks) as server:
        table = [Connector(name, SECRET, str(server.make_url(f"/{name}"))) for name in ("surga", "laporgub")]
        async with (
            beside(Webhooks(lab.store, lab.store, table, AgencyId("33.75"), lab.clock, lab.session).run()),
            asyncio.timeout(10),
        ):
            await heard.wait()
