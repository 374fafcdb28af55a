"""From an export of the old system to a verified audit, with the program alone (issue 2, done when 2).

One hub serves the module; every agency's complaints come from a file that the test writes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from node.config_data import config_file
from tests.edge.import_support import COLUMNS_26, sp4n_row, write_csv, write_xlsx
from tests.edge.program import simpul, told
from tests.edge.whole_way import HubDirectory, NodeDirectory, serving_hub

STATES = {
    "Ditutup oleh Sistem": "closed",
    "Diarsipkan oleh Admin": "archived",
    "Menunggu Kelengkapan Informasi": "awaiting_information",
}
STATUSES = [status for number, status in enumerate(STATES, 1) for _ in range(number * 7)]
EXPECTED = Counter(STATES[status] for status in STATUSES)
ROWS = [sp4n_row(number, status=status) for number, status in enumerate(STATUSES, 1)]


@dataclass
class Federation:
    """A hub that serves, a node whose file has gone the whole way, and that file."""

    place: Path
    hub: HubDirectory
    node: NodeDirectory
    first_checkpoint: Path
    complaint: str


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    place = tmp_path_factory.mktemp("whole-way")
    with serving_hub(place) as hub:
        node = NodeDirectory(place / "node")
        node.enrol(hub)
        kept = place / "kept.checkpoint"
        kept.write_bytes(hub.get("/checkpoint"))
        report = node.import_(write_csv(place / "a.csv", ROWS))
        assert (report["read"], report["imported"], report["already_there"], report["refused"]) == (42, 42, 0, [])
        assert node.push()["unsent"] == 0
        yield Federation(place, hub, node, kept, complaint_of(place, hub))


def complaint_of(place: Path, hub: HubDirectory) -> str:
    """The id of the first complaint that went out, read by anybody from an export."""
    from backports import zstd

    export = hub.export(place / "first-export")
    frames = (export / "sets" / "64.72" / "000000001.jsonl.zst").read_bytes()
    line = zstd.decompress(frames).split(b"\n")[1]
    return str(json.loads(line)["complaint"])


def check_audit(report: Any) -> None:
    assert report["ok"] is True
    assert report["findings"] == []
    assert report["by_state"] == EXPECTED
    assert (report["complaints"], report["changes"], report["refused"]) == (42, 42, 0)


def test_totals_by_state_of_the_audit_are_the_files_own(federation: Federation) -> None:
    export = federation.hub.export(federation.place / "export")
    report = federation.hub.audit(export)
    check_audit(report)
    assert report["complete"]
    assert report["state_hash"] == json.loads((export / "hub.json").read_text())["state_hash"]


def test_the_audit_of_deadlines_comes_to_the_hubs_own_figures_on_an_export_and_live(federation: Federation) -> None:
    hub = federation.hub
    export = hub.export(federation.place / "export-of-deadlines")
    token = hub.grant("deadlines")
    for target in ((export,), (hub.url, "--token", token)):
        report = hub.audit("deadlines", *target)
        assert (report["ok"], report["findings"], report["complete"]) == (True, [], True)
        assert not [one for one in report["unproven"] if "figures" in one]
        assert report["agencies"]["64.72"]["duties"].keys() == {"verify", "first_answer", "settle", "close"}
    tables = federation.place / "other-tables"
    tables.mkdir()
    for name in ("deadlines.toml", "calendar.toml"):
        (tables / name).write_bytes(config_file(name).read_bytes() + b"\n")
    refused = hub.audit("deadlines", export, "--tables", tables, code=1)
    assert "deadlines.toml" in str(refused)
    for without in ((), ("--token", "")):
        error = hub.audit("deadlines", hub.url, *without, code=2)["error"]
        assert (error["kind"], "--token" in error["next"]) == ("configuration", True)


def test_the_same_rows_again_as_csv_or_as_xlsx_add_nothing(federation: Federation, tmp_path: Path) -> None:
    size = federation.hub.size
    more = [row | {"Rating": "5"} for row in ROWS]
    for file in (write_csv(tmp_path / "b.csv", ROWS), write_xlsx(tmp_path / "b.xlsx", more, columns=COLUMNS_26)):
        report = federation.node.import_(file)
        assert (report["imported"], report["already_there"], report["refused"]) == (0, 42, [])
    assert federation.node.push()["unsent"] == 0
    assert federation.hub.size == size


def test_an_xlsx_goes_the_whole_way_for_another_agency(tmp_path: Path) -> None:
    with serving_hub(tmp_path) as hub:
        node = NodeDirectory(tmp_path / "node", "33.75")
        node.enrol(hub)
        rows = [*ROWS, sp4n_row(900, status="Sedang Dipikirkan")]
        file = write_xlsx(tmp_path / "a.xlsx", rows, columns=COLUMNS_26)
        report = node.import_(file, code=1)
        assert (report["read"], report["imported"]) == (43, 42)
        assert [row["line"] for row in report["refused"]] == [47]
        assert "Sedang Dipikirkan" in report["refused"][0]["reason"]
        node.push()
        check_audit(hub.audit(hub.export(tmp_path / "export")))


def test_the_live_hub_is_audited_with_a_token_whole_and_without_one_in_its_public_part(federation: Federation) -> None:
    hub = federation.hub
    token = hub.grant("with-token")
    check_audit(hub.audit(hub.url, "--token", token))
    public = hub.audit(hub.url)
    assert public["ok"] is True
    assert public["change_sets"] == 1
    assert public["by_state"] == {}
    assert public["state_hash"] is None
    assert any("not handed over" in reason for reason in public["unproven"])
    told("hub", "grant", hub.directory, "auditor", "with-token", "--revoke")
    refused = told("audit", hub.url, "--token", token, code=2)
    assert refused["error"]["kind"] == "unauthorised"


def test_a_kept_checkpoint_is_continued_by_the_log_and_a_foreign_one_is_not(federation: Federation) -> None:
    hub = federation.hub
    assert hub.audit(hub.url, "--since", federation.first_checkpoint)["findings"] == []
    foreign = HubDirectory.make(federation.place / "other")
    other = foreign.export(federation.place / "other-export") / "checkpoint"
    findings = hub.audit(hub.url, "--since", other, code=1)["findings"]
    assert [finding["kind"] for finding in findings] == ["bad-checkpoint"]


def test_a_receipt_verifies_offline_and_says_what_was_said_and_an_excerpt_hides_it(
    federation: Federation, tmp_path: Path
) -> None:
    for command, said in (("receipt", True), ("excerpt", False)):
        out = tmp_path / f"{command}.json"
        told("node", command, federation.node.directory, federation.complaint, out)
        report = told("audit", "receipt", out, "--vkey", federation.hub.vkey)
        assert (report["ok"], report["findings"], report["complaint"]) == (True, [], federation.complaint)
        assert [change["type"] for change in report["changes"]] == ["imported"]
        assert ("Jalan berlubang" in out.read_text()) is said
        again = simpul("node", command, federation.node.directory, federation.complaint, out, "--json", code=2)
        assert again.document["error"]["kind"] == "configuration"


def tampered_receipts(text: str) -> Iterator[str]:
    """The file with one thing changed that matters."""
    for old, new in (("Jalan berlubang", "Jalan berlobang"), ("closed", "archived"), ("imported", "received")):
        assert old in text
        yield text.replace(old, new, 1)
    document = json.loads(text)
    first = document["sets"][0]
    yield json.dumps(document | {"statements": document["statements"][:-1]})
    yield json.dumps(document | {"sets": [first | {"receipt": document["statements"][0]["receipt"]}]})
    yield json.dumps(document | {"sets": []})
    last = "1" if document["complaint"].endswith("0") else "0"
    yield json.dumps(document | {"complaint": document["complaint"][:-1] + last})


def test_a_receipt_that_was_tampered_with_or_is_held_against_another_key_fails(
    federation: Federation, tmp_path: Path
) -> None:
    good = tmp_path / "good.json"
    told("node", "receipt", federation.node.directory, federation.complaint, good)
    bad = tmp_path / "bad.json"
    for number, text in enumerate(tampered_receipts(good.read_text())):
        bad.write_text(text)
        report = told("audit", "receipt", bad, "--vkey", federation.hub.vkey, code=1)
        assert report["ok"] is False, number
        assert report["findings"][0]["kind"]
    foreign = HubDirectory.make(tmp_path / "other")
    report = told("audit", "receipt", good, "--vkey", foreign.vkey, code=1)
    assert report["findings"][0]["kind"]


def test_a_rebuilt_projection_has_the_same_state_hash(federation: Federation) -> None:
    document = told("hub", "rebuild", federation.hub.directory)
    assert document["before"] == document["after"]
    assert document["after"].startswith("fold1:")


def test_an_export_with_content_is_asked_for_and_recorded_and_one_without_shows_nothing(
    federation: Federation, tmp_path: Path
) -> None:
    import sqlite3

    from backports import zstd

    words = b"berbahaya saat hujan"
    shown, hidden = federation.hub.export(tmp_path / "with", "--with-content"), federation.hub.export(tmp_path / "no")
    for export, expected in ((shown, True), (hidden, False)):
        data = (export / "sets" / "64.72" / "000000001.jsonl.zst").read_bytes()
        first = zstd.ZstdDecompressor()
        first.decompress(data)
        assert (words in zstd.decompress(first.unused_data)) is expected
        assert federation.hub.audit(export)["ok"] is True
    database = sqlite3.connect(federation.hub.directory / "hub.db")
    recorded = database.execute("SELECT * FROM content_read").fetchall()
    database.close()
    assert [str(tmp_path / "with") in map(str, row) for row in recorded] == [True]
