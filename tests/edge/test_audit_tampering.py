"""An export that somebody changed: the audit names what is wrong, with agency and sequence where there is one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sync_protocol.compression import compress_part, decode_body
from tests.edge.import_support import sp4n_row, write_csv
from tests.edge.program import told
from tests.edge.whole_way import SAMARINDA, HubDirectory, NodeDirectory, serving_hub

SMALL_SETS = {"SIMPUL_SET_CHANGES_MAX": "4"}


@dataclass
class Kept:
    """A hub with three sets of one agency, its export, and a checkpoint from before the last set."""

    place: Path
    hub: HubDirectory
    node: NodeDirectory
    export: Path
    early: bytes


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    place = tmp_path_factory.mktemp("tampering")
    with serving_hub(place) as hub:
        node = NodeDirectory(place / "node")
        node.enrol(hub)
        node.import_(write_csv(place / "a.csv", [sp4n_row(number) for number in range(1, 9)]))
        node.push(env=SMALL_SETS)
        early = hub.get("/checkpoint")
        node.import_(write_csv(place / "b.csv", [sp4n_row(number) for number in range(9, 13)]))
        node.push(env=SMALL_SETS)
        export = hub.export(place / "export")
        assert hub.audit(export)["change_sets"] == 3
        yield Kept(place, hub, node, export, early)


def second_set(export: Path) -> Path:
    return export / "sets" / SAMARINDA / "000000002.jsonl.zst"


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def the_only(folder: Path) -> Path:
    (found,) = (path for path in folder.rglob("*") if path.is_file())
    return found


def rewrite_set(export: Path, old: bytes, new: bytes) -> None:
    path = second_set(export)
    parts = decode_body(path.read_bytes(), "zstd")
    assert old in parts.head
    path.write_bytes(compress_part(parts.head.replace(old, new, 1)) + compress_part(parts.contents))


def change_line(export: Path) -> bytes:
    head = decode_body(second_set(export).read_bytes(), "zstd").head
    return head.splitlines(keepends=True)[2]


def swap_sets(export: Path) -> None:
    first = second_set(export).with_name("000000001.jsonl.zst")
    data = first.read_bytes()
    first.write_bytes(second_set(export).read_bytes())
    second_set(export).write_bytes(data)


def edit_claims(export: Path, **changed: Any) -> None:
    path = export / "hub.json"
    document = json.loads(path.read_text())
    totals = document["totals"] | changed.pop("totals", {})
    path.write_text(json.dumps(document | {"totals": totals} | changed))


Named = tuple[str, str | None, int | None]
OF_THE_SET = (SAMARINDA, 2)
TAMPERINGS: dict[str, tuple[Callable[[Path], object], set[Named]]] = {
    "a flipped byte of a set": (
        lambda export: flip(second_set(export), 60),
        {("malformed", *OF_THE_SET)},
    ),
    "another change line": (
        lambda export: rewrite_set(export, b'"channel":"web"', b'"channel":"sms"'),
        {("root-mismatch", *OF_THE_SET)},
    ),
    "a change line that is gone": (
        lambda export: rewrite_set(export, change_line(export), b""),
        {("malformed", *OF_THE_SET)},
    ),
    "two sets in each other's place": (swap_sets, {("root-mismatch", SAMARINDA, 1), ("root-mismatch", SAMARINDA, 2)}),
    "a set that is gone": (lambda export: second_set(export).unlink(), {("missing-set", *OF_THE_SET)}),
    "a flipped bit of a hash tile": (
        lambda export: flip(the_only(export / "tile" / "0"), 33),
        {("wrong-tile", None, None)},
    ),
    "false totals": (
        lambda export: edit_claims(export, totals={"applied/64.72//": 13}),
        {("totals-mismatch", None, None)},
    ),
    "a false state hash": (
        lambda export: edit_claims(export, state_hash="fold1:" + "0" * 64),
        {("state-hash-mismatch", None, None)},
    ),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_what_was_changed_in_an_export_is_named(name: str, kept: Kept, tmp_path: Path) -> None:
    change, expected = TAMPERINGS[name]
    copy = shutil.copytree(kept.export, tmp_path / "copy")
    change(copy)
    report = kept.hub.audit(copy, code=1)
    assert report["ok"] is False
    assert {(finding["kind"], finding["agency"], finding["seq"]) for finding in report["findings"]} == expected


@pytest.mark.parametrize("place", [2, 90, -3])
def test_a_flipped_bit_in_an_entry_never_audits(place: int, kept: Kept, tmp_path: Path) -> None:
    copy = shutil.copytree(kept.export, tmp_path / "copy")
    flip(the_only(copy / "tile" / "entries"), place)
    report = kept.hub.audit(copy, code=1)
    assert report["ok"] is False
    assert report["findings"]


def test_an_entry_bundle_that_cannot_be_taken_apart_is_said_so(kept: Kept, tmp_path: Path) -> None:
    copy = shutil.copytree(kept.export, tmp_path / "copy")
    flip(the_only(copy / "tile" / "entries"), 0)
    report = kept.hub.audit(copy, code=1)
    assert [finding["kind"] for finding in report["findings"]] == ["malformed"]
    assert "cannot be taken apart" in report["findings"][0]["detail"]
    assert report["complete"] is False


def test_the_checkpoint_of_another_hub_is_no_checkpoint_of_this_log(kept: Kept, tmp_path: Path) -> None:
    copy = shutil.copytree(kept.export, tmp_path / "copy")
    other = HubDirectory.make(tmp_path / "other")
    note = (other.export(tmp_path / "other-export") / "checkpoint").read_bytes()
    head, body = note.split(b"\n", 2)[:2], (copy / "checkpoint").read_bytes().split(b"\n", 2)[1]
    (copy / "checkpoint").write_bytes(note.replace(b"\n".join(head), head[0] + b"\n" + body, 1))
    kinds = [finding["kind"] for finding in kept.hub.audit(copy, code=1)["findings"]]
    assert kinds == ["bad-checkpoint"]


def test_an_older_checkpoint_put_back_is_found_by_whoever_kept_the_newer_one(kept: Kept, tmp_path: Path) -> None:
    copy = shutil.copytree(kept.export, tmp_path / "copy")
    (copy / "checkpoint").write_bytes(kept.early)
    for tile in (copy / "tile").rglob("*.p"):
        for whole in list(tile.iterdir()):
            shorten(whole, int(kept.early.split(b"\n")[1]))
    report = kept.hub.audit(copy, "--since", kept.export / "checkpoint", code=1)
    assert [finding["kind"] for finding in report["findings"]] == ["rolled-back"]


def shorten(tile: Path, width: int) -> None:
    """The partial tile as it was at that size: a forger would have it."""
    data = tile.read_bytes()
    if "entries" in tile.parts:
        end = 0
        for _ in range(width):
            end += 2 + int.from_bytes(data[end : end + 2], "big")
    else:
        end = 32 * width
    tile.unlink()
    (tile.parent / str(width)).write_bytes(data[:end])


def test_a_hub_that_shows_two_histories_is_convicted_by_a_kept_checkpoint(kept: Kept, tmp_path: Path) -> None:
    """The hub's directory copied: each copy signs another entry at the same place."""
    twin = HubDirectory(shutil.copytree(kept.hub.directory, tmp_path / "twin"), kept.hub.vkey)
    for hub in (kept.hub, twin):
        told("keys", "rotate", hub.directory, "--role", "registrar")
    shown = twin.export(tmp_path / "shown")
    assert twin.audit(shown)["ok"] is True
    other = kept.hub.export(tmp_path / "other")
    findings = kept.hub.audit(other, "--since", shown / "checkpoint", code=1)["findings"]
    assert [finding["kind"] for finding in findings] == ["split-view"]


def test_without_the_key_that_the_auditor_trusts_the_log_is_believed_and_said_so(kept: Kept) -> None:
    report = told("audit", kept.export)
    assert report["ok"] is True
    assert any("--vkey" in reason for reason in report["unproven"])
    foreign = HubDirectory.make(kept.place / "foreign")
    findings = told("audit", kept.export, "--vkey", foreign.vkey, code=1)["findings"]
    assert [finding["kind"] for finding in findings] == ["wrong-log-key"]
