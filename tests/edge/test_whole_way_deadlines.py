"""Deadlines the whole way: what a node's commands say, its closing by itself while it serves, and the hub's audit."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from node.local.recording import Command
from sync_protocol.values import AgencyId
from tests.edge.long_ago import recording_long_ago
from tests.edge.program import told, wait_for
from tests.edge.whole_way import NodeDirectory, end, serving_hub

AGENCY = AgencyId("33.75")


async def an_old_answer(directory: Path) -> str:
    """Recorded by a clock of a month ago."""
    async with recording_long_ago(directory, AGENCY, "PKL", days=40) as (service, moment):
        data = {"channel": "web", "received_at": moment, "visibility": "public"}
        complaint = (await service.record(Command("received", data=data))).recorded.complaint
        for change_type, more in (
            ("verified", {"class": "complaint_ordinary"}),
            ("assigned", {"unit": "dpu"}),
            ("answered", {}),
        ):
            await service.record(Command(change_type, data=more, complaint=complaint))
    return complaint


@pytest.mark.slow  # a hub, a node, and ten commands
def test_a_node_says_what_is_due_and_closes_what_is_over_unless_that_is_off(tmp_path: Path) -> None:
    with serving_hub(tmp_path) as hub:
        node = NodeDirectory(tmp_path / "node", str(AGENCY))
        node.enrol(hub)
        first, second = [asyncio.run(an_old_answer(node.directory)) for _ in range(2)]
        document = told("node", "due", node.directory, "--limit", "1")
        assert [one["complaint"] for one in document["overdue"]] == [first]
        assert (document["overdue"][0]["duty"], document["soon"], document["more_overdue"]) == ("close", [], True)

        off = told("node", "sweep", node.directory, env={"SIMPUL_CLOSE_BY_ITSELF": "false"})
        assert off == {"closed": 0, "closes": False}
        assert told("node", "sweep", node.directory) == {"closed": 2, "closes": True}
        third = asyncio.run(an_old_answer(node.directory))
        serving = node.serve()
        try:
            wait_for("the server closes it", lambda: told("node", "due", node.directory)["overdue"] == [])
        finally:
            end(serving)
        node.push()
        report = hub.audit("deadlines", hub.export(tmp_path / "export"))
        assert report["findings"] == []
        duties = report["agencies"][str(AGENCY)]["duties"]
        assert (duties["close"]["late"], duties["first_answer"]["in_time"]) == (3, 3), (first, second, third)
