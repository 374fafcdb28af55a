"""What operators see of the intake: health, status, metrics, logs; and what a sick disk does."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from node.local.troubles import away_trouble
from sync_protocol.backoff import Schedule
from sync_protocol.errors import Corrupt
from sync_protocol.halts import Halt, HaltReason
from tests.edge.node_api import COMPLAINT, Api, serving

HOUR_MS = 3_600_000


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path) as api:
        yield api


async def test_a_node_without_a_receipt_is_stale_with_the_reason_and_nothing_else(api: Api) -> None:
    answer = await api.get("/healthz", Authorization="")
    assert (answer.status, answer.kind) == (503, "stale")
    assert answer.body["detail"] == "the hub has given no receipt yet"
    assert answer.body["last_receipt_age_s"] is None
    assert "33.75" not in answer.raw.decode()


async def test_health_is_the_age_of_the_newest_receipt(api: Api) -> None:
    await api.create()
    await api.acknowledge_everything()
    answer = await api.get("/healthz")
    assert answer.body["status"] == "fresh"
    assert 0 <= answer.body["last_receipt_age_s"] < 60
    api.clock.later_ms = 25 * HOUR_MS - 10_000
    assert (await api.get("/healthz")).status == 200
    api.clock.later_ms = 25 * HOUR_MS + 10_000
    answer = await api.get("/healthz")
    assert (answer.status, answer.kind) == (503, "stale")
    assert "older than 90000 seconds" in answer.body["detail"]
    assert 90_000 < answer.body["last_receipt_age_s"] < 90_100
    assert (await api.post("/v1/complaints", COMPLAINT)).status == 201


async def test_a_halted_node_is_stale_at_once_and_takes_in_complaints_all_the_same(api: Api) -> None:
    await api.acknowledge_everything()
    await api.store.halt(Halt(HaltReason.COPY_ALIVE, "seq 9 of epoch 2"), api.clock.now_ms())
    answer = await api.get("/healthz", Authorization="")
    assert (answer.status, answer.body["detail"]) == (503, "the pusher has halted")
    assert (await api.post("/v1/complaints", COMPLAINT)).status == 201
    status = (await api.get("/v1/status")).body
    assert status["pusher"] == "halted"
    assert "recover --take-over" in status["troubles"][0]


async def test_status_and_metrics_count_what_waits_and_a_receipt_shows_in_the_history(api: Api) -> None:
    made = await api.create()
    await api.create()
    status = (await api.get("/v1/status")).body
    assert (status["agency"], status["unsent"], status["last_receipt_age_s"]) == ("33.75", 2, None)
    await api.acknowledge_everything(index=7)
    await api.change(made["complaint"], "noted", note="x")
    status = (await api.get("/v1/status")).body
    assert (status["unsent"], status["unacknowledged"], status["acknowledged_seq"]) == (1, 0, 1)
    history = (await api.get(f"/v1/complaints/{made['complaint']}")).body["history"]
    assert [(change["seq"], change["index"]) for change in history] == [(1, 7), (None, None)]
    metrics = (await api.get("/metrics")).raw.decode()
    assert "simpul_node_unsent_changes 1.0" in metrics
    assert 'simpul_intake_recorded_total{type="received"} 2.0' in metrics
    route = 'method="POST",route="/v1/complaints/{complaint}/changes",status="201"'
    assert f"simpul_intake_requests_total{{{route}}} 1.0" in metrics
    assert made["complaint"] not in metrics


async def test_a_content_line_that_is_gone_reads_as_nothing_said(api: Api) -> None:
    made = await api.create()
    with sqlite3.connect(api.file) as database:
        database.execute("UPDATE change SET content = NULL")
    database.close()
    [change] = (await api.get(f"/v1/complaints/{made['complaint']}")).body["history"]
    assert change["content"] is None


async def test_a_full_disk_is_said_with_the_next_step_and_the_same_request_goes_through_later(api: Api) -> None:
    body = dict(COMPLAINT) | {"text": "x" * 19_000}
    [(pages,)] = await api.store.plain.fetch("PRAGMA page_count")
    await api.store.plain.fetch(f"PRAGMA max_page_count = {pages}")
    answer = await api.post("/v1/complaints", body, key="k")
    assert (answer.status, answer.kind) == (503, "disk-full")
    assert "Make room" in answer.body["next"]
    assert int(answer.headers["Retry-After"]) > 0
    assert await api.stored_changes() == []
    assert (await api.get("/v1/complaints")).status == 200
    await api.store.plain.fetch("PRAGMA max_page_count = 1000000")
    assert (await api.post("/v1/complaints", body, key="k")).status == 201
    assert len(await api.stored_changes()) == 1


async def test_health_tells_that_nothing_can_be_recorded_until_something_is_or_nobody_knows_any_more(api: Api) -> None:
    await api.create()
    await api.acknowledge_everything()
    api.faults.error, api.faults.only = OSError(28, "No space left on device"), "record"
    assert (await api.post("/v1/complaints", COMPLAINT)).status == 503
    api.faults.error = None
    answer = await api.get("/healthz", Authorization="")
    assert (answer.status, answer.kind) == (503, "storage")
    assert answer.body["detail"] == "what was to be recorded could not be written"
    assert answer.body["next"].startswith("Nothing new is recorded. Make room")
    assert isinstance(answer.body["last_receipt_age_s"], float)
    assert any("could not be written" in trouble for trouble in (await api.get("/v1/status")).body["troubles"])
    api.clock.later_ms = 16 * 60 * 1_000
    assert (await api.get("/healthz")).status == 200
    api.clock.later_ms = 0
    assert (await api.get("/healthz")).status == 503
    await api.create()
    assert (await api.get("/healthz")).status == 200
    assert (await api.get("/v1/status")).body["troubles"] == []


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (sqlite3.OperationalError("disk I/O error"), 503, "storage"),
        (sqlite3.DatabaseError("database disk image is malformed"), 503, "storage"),
        (
            OperationalError("INSERT 'Bu Sri'", {"text": "Bu Sri"}, sqlite3.OperationalError("attempt to write")),
            503,
            "storage",
        ),
        (OperationalError("INSERT", {}, sqlite3.OperationalError("database is locked")), 503, "busy"),
        (OSError(28, "No space left on device"), 503, "disk-full"),
        (PermissionError(13, "Permission denied", "node.db"), 503, "storage"),
        (Corrupt("set 3 is gone", next_step="Call somebody."), 503, "storage"),
        (TimeoutError(), 503, "slow"),
        (RuntimeError("Bu Sri"), 500, "internal"),
        (ValueError("Bu Sri"), 500, "internal"),
    ],
)
async def test_a_broken_store_is_a_problem_without_the_words_that_were_to_be_stored(
    api: Api, error: Exception, status: int, kind: str
) -> None:
    with capture_logs() as logs:
        api.faults.error = error
        answer = await api.post("/v1/complaints", COMPLAINT, key="k")
    assert (answer.status, answer.kind) == (status, kind)
    assert b"Sri" not in answer.raw
    assert "Sri" not in repr(logs)
    api.faults.error = None
    assert (await api.post("/v1/complaints", COMPLAINT, key="k")).status == 201


async def test_logs_hold_an_id_a_route_and_a_kind_and_nothing_that_anybody_said(api: Api) -> None:
    with capture_logs() as logs:
        made = await api.create()
        await api.change(made["complaint"], "answered", text="Rahasia Bu Sri")
        await api.post("/v1/complaints", {"3375014507900001": 1, "Bu Sri": 2})
        await api.post("/v1/complaints", dict(COMPLAINT) | {"category": "3375014507900001"})
        await api.get("/v1/complaints?tracking=3375014507900001&Sri=1")
        await api.get("/v1/complaints/Bu%20Sri%203375014507900001", Authorization="Bearer Sri")
        await api.call("GET", "/Bu%20Sri")
        reader, writer = await _raw(api, b"BuSri /3375014507900001 HTTP/1.1\r\nX: Sri\r\n\r\n")
        assert b" 400 " in await reader.readline()
        writer.close()
    assert len(logs) >= 7
    shown = json.dumps(logs)
    for word in ("Sri", "3375014507900001", "Rahasia", made["tracking"], api.token):
        assert word not in shown
    assert {"client", "event", "log_level", "method", "ms", "problem", "route", "status"} <= {
        name for entry in logs for name in entry
    }


async def test_the_server_lives_on_after_everything_that_is_not_http(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    for noise in (b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nA: " + b"x" * 20_000 + b"\r\n\r\n"):
        reader, writer = await _raw(api, noise)
        writer.write_eof()
        await reader.read()
        writer.close()
    assert caplog.text == ""
    assert (await api.get("/v1/complaints")).status == 200


async def _raw(api: Api, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(api.url).port)
    writer.write(data)
    return reader, writer


async def test_a_hub_that_refuses_what_waits_is_told_long_before_the_receipt_is_old(api: Api) -> None:
    await api.create()
    await api.acknowledge_everything()
    refusing = Schedule().attempting(api.clock.now_ms(), 0.5)
    api.clock.later_ms = 16 * 60 * 1_000
    for trouble in ("The hub refused: unknown-key: who are you?", away_trouble("no route")):
        await api.store.set_schedule(refusing, trouble=trouble)
        assert (await api.get("/healthz")).status == 200  # nothing waits
    await api.create()
    assert (await api.get("/healthz")).status == 200  # away is no refusal, and passes by itself
    await api.store.set_schedule(refusing, trouble="The hub refused: unknown-key: who are you?")
    answer = await api.get("/healthz", Authorization="")
    assert (answer.status, answer.kind) == (503, "stale")
    assert answer.body["detail"] == "what waits has been refused for more than 900 seconds"
    api.clock.later_ms = 14 * 60 * 1_000
    assert (await api.get("/healthz")).status == 200
