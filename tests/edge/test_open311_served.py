"""The whole way of a report: a served node takes it in over Open311 and pushes it, and the served hub shows it."""

from __future__ import annotations

import json
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from node.config_data import config_file
from tests.edge.open311_lab import PERSONAL, REPORT
from tests.edge.program import told
from tests.edge.whole_way import ANSWER_S, NodeDirectory, end, serving_hub


def fetch(url: str, fields: dict[str, str] | None = None) -> Any:
    """The JSON of a good answer; a POST where there are fields."""
    data = None if fields is None else urllib.parse.urlencode(fields).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data), timeout=ANSWER_S) as answer:
        return json.load(answer)


@pytest.mark.slow  # six processes of the program
def test_a_report_to_a_node_is_a_fact_at_the_hub_and_no_word_of_it(tmp_path: Path) -> None:
    table = {"SIMPUL_OPEN311_SERVICES": str(config_file("open311.example.toml"))}
    with serving_hub(tmp_path, **table) as hub:
        node = NodeDirectory(tmp_path / "node", "33.75")
        node.enrol(hub)
        key = told("node", "token", "create", node.directory, "open311/suara-warga")["token"]
        server = node.serve(table)
        try:
            (receipt,) = fetch(f"{server.url}/open311/v2/requests.json", {**REPORT, "api_key": key})
            request_id = receipt["service_request_id"]
            until = time.monotonic() + ANSWER_S
            while not (shown := fetch(f"{hub.url}/open311/v2/requests.json")) and time.monotonic() < until:
                time.sleep(0.1)
        finally:
            end(server)
        assert [one["service_request_id"] for one in shown] == [request_id]
        assert (shown[0]["service_code"], shown[0]["description"], shown[0]["lat"]) == ("penerangan-jalan", None, None)
        raw = hub.get(f"/open311/v2/requests/{request_id}.xml")
        for word in (*PERSONAL, "Grogolan", "padam tiga"):
            assert word.encode() not in raw
