"""The hub's log holds what the log of the federation holds anyway, and nothing that anybody typed or said."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs

from node.store.hub_records import Grant
from node.store.projection_store import SqlProjectionStore
from tests.edge.hub_lab import Agency, Lab

NIK = "3375014507900001"
NAME = "siti-rahayu"
ADDRESSES = [
    ("GET", f"/{NIK}"),
    ("GET", f"/v1/agencies/{NIK}/head"),
    ("GET", f"/v1/agencies/{NAME}/keys"),
    ("GET", f"/v1/agencies/{NIK}/verdicts"),
    ("GET", f"/v1/agencies/33.75/change-sets/{NIK}"),
    ("GET", f"/v1/complaints/33.75:{NIK}"),
    ("GET", f"/v1/complaints/{NAME}"),
    ("GET", f"/v1/consistency?from={NIK}&to=1"),
    ("GET", f"/tile/{NIK}"),
    ("GET", "/v1/agencies/" + f"{NAME}-{NIK}" * 100 + "/head"),
    ("PUT", f"/v1/agencies/{NIK}/change-sets/1"),
    ("PUT", f"/v1/agencies/33.75/change-sets/{NIK}"),
    ("PUT", f"/v1/agencies/33.75/change-sets/1?from={NAME}"),
    ("POST", "/v1/statements"),
    ("POST", "/v1/enrolments"),
    ("POST", "/v1/recovery"),
    ("DELETE", f"/v1/agencies/{NIK}/head"),
]
BODIES = [
    f"{NAME} {NIK}".encode(),
    json.dumps({"statement": NIK}).encode(),
    json.dumps({NAME: NIK}).encode(),
    json.dumps({"agency": NIK, "key": NAME, "sealing": NAME, "proof": NIK, "token": NIK}).encode(),
    b'{"manifest":"' + f"{NIK}.{NAME}.x".encode() + b'"}\n',
]


@pytest.fixture
async def agency(lab: Lab) -> Agency:
    return await lab.enrol("33.75")


@pytest.fixture
def logs(caplog: pytest.LogCaptureFixture) -> Iterator[list[Any]]:
    """Everything that is logged, in whatever way; nothing of it may be anybody's."""
    caplog.set_level(logging.DEBUG)
    with capture_logs() as entries:
        yield entries
    shown = repr(entries) + caplog.text
    for word in (NIK, NAME, "Rahasia"):
        assert word not in shown, [entry for entry in entries if word in repr(entry)]


async def test_what_is_typed_into_addresses_and_bodies_is_not_logged(lab: Lab, agency: Agency, logs: list[Any]) -> None:
    for method, path in ADDRESSES:
        for body in BODIES if method != "GET" else [None]:
            answer = await lab.call(method, path, data=body, headers={"Signature": NIK, "Signature-Input": NAME})
            assert answer.status >= 400
    assert len(logs) >= len(ADDRESSES)
    assert {"kind", "method", "route"} <= {name for entry in logs for name in entry}


async def test_what_is_no_http_is_not_quoted(lab: Lab, logs: list[Any]) -> None:
    host, port = lab.url.removeprefix("http://").split(":")
    for line in (f"{NAME} /{NIK} HTTP/1.1\r\nX: {NIK}\r\n\r\n", f"GET /{NIK} {NIK}\r\n\r\n", f"{NIK}: {NAME}\r\n\r\n"):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(line.encode())
        assert b" 40" in await reader.readline()
        writer.close()
    assert logs


async def test_a_refused_set_is_logged_by_agency_and_seq(lab: Lab, agency: Agency, logs: list[Any]) -> None:
    assert (await agency.push(agency.cut(1, seq=7))).status == 409
    (entry,) = logs
    assert entry == {
        "event": "refused",
        "log_level": "info",
        "kind": "behind",
        "where": None,
        "method": "PUT",
        "route": "/v1/agencies/{agency}/change-sets/{seq}",
        "agency": "33.75",
        "seq": 7,
    }


async def test_a_defect_is_logged_with_its_place_and_without_its_words(
    lab: Lab, agency: Agency, logs: list[Any]
) -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:
            raise KeyError(f"Rahasia {NIK}")

    lab.hub.store, kept = Broken(), lab.hub.store
    try:
        answer = await lab.call("GET", "/tile/0/000.p/1")
    finally:
        lab.hub.store = kept
    assert answer.status == 500
    (entry,) = logs
    assert (entry["event"], entry["error"]) == ("failed", "KeyError")
    assert any("http_log.py" in place for place in entry["at"])


async def test_an_error_of_the_database_does_not_hold_what_was_to_be_stored(lab: Lab) -> None:
    await lab.hub.store.add_grant(Grant(b"h" * 32, "Rahasia", False, 1))
    with pytest.raises(DBAPIError) as error:
        await lab.hub.store.add_grant(Grant(b"h" * 32, "Rahasia", False, 1))
    assert "Rahasia" not in f"{error.value} {error.value!r}"


@pytest.mark.parametrize("table", ["complaint", "cursor"])
async def test_the_projectors_trouble_names_no_complaint(table: str, lab: Lab, agency: Agency, logs: list[Any]) -> None:
    assert isinstance(lab.hub.projection, SqlProjectionStore)
    async with lab.hub.projection.writer.begin() as connection:
        await connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO gone")
    line = agency.received(agency.complaint())
    await agency.push_new([line])
    async with asyncio.timeout(10):
        while lab.hub.projector.trouble is None:  # noqa: ASYNC110 - another task's work
            await asyncio.sleep(0.01)
    trouble = lab.hub.projector.trouble
    assert "no such table" in trouble
    assert "33.75:" not in trouble
    assert "SELECT" not in trouble
