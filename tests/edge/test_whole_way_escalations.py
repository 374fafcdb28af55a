"""Escalation the whole way, by the program's commands: the serving desk notices, shows proof, recalls and directs."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from node.local.recording import Command
from sync_protocol.values import AgencyId
from tests.edge.long_ago import recording_long_ago
from tests.edge.program import simpul, told, wait_for
from tests.edge.whole_way import HubDirectory, NodeDirectory, end

CITY, REGENCY, DESK = AgencyId("35.71"), AgencyId("35.06"), AgencyId("kementerian-panrb")


async def an_old_complaint(directory: Path) -> str:
    """Recorded by a clock of a month ago."""
    async with recording_long_ago(directory, CITY, "KDR", days=30) as (service, moment):
        data = {"channel": "web", "received_at": moment, "visibility": "public"}
        return (await service.record(Command("received", data, {"text": "Jalan berlubang."}))).recorded.complaint


def asked(url: str, token: str) -> Any:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


@pytest.mark.slow  # a hub, three nodes, and some fifteen commands
def test_the_desk_notices_proves_recalls_and_directs_what_is_overdue(tmp_path: Path) -> None:
    # Ticks each second, so that a city that says nothing for some seconds is silent by the log.
    hub = HubDirectory.make(tmp_path / "hub", SIMPUL_TICK_INTERVAL_S="1", SIMPUL_SILENCE_S="2")
    hub.serve()
    try:
        city, regency, desk = (NodeDirectory(tmp_path / code, code) for code in (CITY, REGENCY, DESK))
        for node in (city, regency, desk):
            node.enrol(hub)
        complaint = asyncio.run(an_old_complaint(city.directory))
        city.push()

        refused = told("node", "escalations", city.directory, code=2)
        assert refused["error"]["kind"] == "not-desk"
        assert "simpul node due" in refused["error"]["next"]

        token = told("node", "token", "create", desk.directory, "meja")["token"]
        serving = desk.serve()
        try:
            url = f"{serving.url}/v1/escalations"
            wait_for("the serving desk notices", lambda: asked(url, token)["count"] == 1)
            (item,) = asked(url, token)["items"]
            assert (item["complaint"], item["owner"], item["duty"]) == (complaint, CITY, "verify")
            with pytest.raises(HTTPError, match="422"):
                asked(f"{url}?state=open", token)
        finally:
            end(serving)

        def silent() -> bool:
            return bool(told("node", "escalations", desk.directory)["items"][0]["recall"] == "silent")

        wait_for("the city is silent", silent)
        document = told("node", "escalations", desk.directory, "--evidence", tmp_path / "bukti")
        (item,) = document["items"]
        (written,) = document["written"]
        assert (item["evidence"]["status"], written["verified"], document["reached"]) == ("verified", True, True)
        assert told("audit", "receipt", written["file"], "--vkey", hub.vkey)["complaint"] == complaint
        shown = simpul("node", "escalations", desk.directory).out
        assert "verified" in shown
        assert item["tracking"] in shown

        kept = Path(written["file"])
        kept.write_text(kept.read_text().replace('"origin"', '"0rigin"'))
        spoilt = told("node", "escalations", desk.directory, "--evidence", tmp_path / "bukti", code=1)
        assert spoilt["written"][0]["verified"] is False

        assert told("node", "direct", desk.directory, complaint, "--to", REGENCY, code=1)["error"]["next"]
        lost = told("node", "recall", desk.directory, "3571-0000-0000-0000-0", code=1)["error"]
        assert "simpul node escalations" in lost["next"]
        for wrong in (("--to", "Kediri"), ("--to", REGENCY, "--reason", "as I said"), ("--to", REGENCY, "--note", "")):
            assert told("node", "direct", desk.directory, complaint, *wrong, code=2)["error"]["next"]
        assert told("node", "recall", city.directory, complaint, code=2)["error"]["kind"] == "not-desk"
        assert told("node", "recall", desk.directory, item["tracking"])["state"] == "received"
        assert told("node", "direct", desk.directory, complaint, "--to", REGENCY)["type"] == "directed"
        desk.push()
        assert told("node", "escalations", desk.directory)["items"] == []
        assert told("node", "inbox", regency.directory)["told"] > 0
        end(hub.server)
        away = told("node", "escalations", desk.directory, code=3)
        assert (away["reached"], away["items"], away["trouble"] is None) == (False, [], False)
        waits = told("node", "recall", desk.directory, complaint, code=3)["error"]
        assert "nothing was recorded" in waits["detail"]
    finally:
        end(hub.server)
