"""An export that somebody changed: the audit names what is wrong, with agency and sequence where there is one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from node.wiring import audit as wiring
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


def rewrite_document(path: Path, *gone: str, **changed: Any) -> None:
    document = json.loads(path.read_text()) | changed
    path.write_text(json.dumps({name: value for name, value in document.items() if name not in gone}))


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
    "a hub.json that says nothing": (
        lambda export: (export / "hub.json").write_text("{}"),
        {("wrong-description", None, None)},
    ),
}
MALFORMED: dict[str, dict[str, Any]] = {
    "totals that are a list": {"totals": ["x"]},
    "a total that is a word": {"totals": {"applied/64.72//": "12"}},
    "a total below nothing": {"totals": {"applied/64.72//": -1}},
    "a state hash that is a number": {"state_hash": 0},
    "no state hash": {"state_hash": None},
    "figures of a size that is a word": {"projected_to": "17"},
    "figures of the size true": {"projected_to": True},
    "figures of a size below nothing": {"projected_to": -1},
}
OTHER_LOG: dict[str, dict[str, Any]] = {
    "another origin": {"origin": "hub.other/log"},
    "another vkey": {"vkey": "hub.example/log+00000000+AdUYNZxyUKAb"},
    "a vkey that is a number": {"vkey": 7},
    "a larger log": {"size": 10_000},
    "a smaller log": {"size": 2},
    "no size": {"size": None},
}
DEADLINES: dict[str, Callable[[Path], object]] = {
    "nothing at all": lambda path: path.write_text("{}"),
    "no JSON": lambda path: path.write_text("["),
    "agencies that are a word": lambda path: rewrite_document(path, agencies="x"),
    "a size that is a word": lambda path: rewrite_document(path, as_of={"size": "x"}),
    "no tick": lambda path: rewrite_document(path, "tick"),
    "the hub's absences are a number": lambda path: rewrite_document(path, hub=1),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_what_was_changed_in_an_export_is_named(name: str, kept: Kept, tmp_path: Path) -> None:
    change, expected = TAMPERINGS[name]
    copy = shutil.copytree(kept.export, tmp_path / "copy")
    change(copy)
    report = kept.hub.audit(copy, code=1)
    assert report["ok"] is False
    assert {(finding["kind"], finding["agency"], finding["seq"]) for finding in report["findings"]} == expected


def kinds_of(report: Any) -> list[str]:
    assert report["ok"] is False
    return [finding["kind"] for finding in report["findings"]]


async def test_attack_figures_that_were_spoilt_do_not_count_as_figures_that_nobody_told(
    kept: Kept, tmp_path: Path
) -> None:
    copy = shutil.copytree(kept.export, tmp_path / "copy")
    for name, changed in MALFORMED.items():
        shutil.copy(kept.export / "hub.json", copy)
        rewrite_document(copy / "hub.json", **changed)
        assert kinds_of(await audited(copy, kept)) == ["malformed-figures"], name
    for figure in ("projected_to", "state_hash", "totals"):
        shutil.copy(kept.export / "hub.json", copy)
        rewrite_document(copy / "hub.json", figure)
        assert kinds_of(await audited(copy, kept)) == ["malformed-figures"], figure


async def test_figures_of_a_longer_log_than_the_one_beside_them_are_found(kept: Kept, tmp_path: Path) -> None:
    copy = shutil.copytree(kept.export, tmp_path / "copy")
    rewrite_document(copy / "hub.json", projected_to=10_000)
    assert kinds_of(await audited(copy, kept)) == ["figures-beyond-log"]


@pytest.mark.parametrize("name", OTHER_LOG)
async def test_an_export_that_says_it_is_another_log_is_found(name: str, kept: Kept, tmp_path: Path) -> None:
    copy = shutil.copytree(kept.export, tmp_path / "copy")
    rewrite_document(copy / "hub.json", **OTHER_LOG[name])
    assert kinds_of(await audited(copy, kept)) == ["wrong-description"]


async def test_an_export_without_any_figures_says_that_they_were_not_compared(kept: Kept, tmp_path: Path) -> None:
    copy = shutil.copytree(kept.export, tmp_path / "copy")
    rewrite_document(copy / "hub.json", "projected_to", "state_hash", "totals")
    report = await audited(copy, kept)
    assert report["ok"] is True
    assert any("did not hand any over" in reason for reason in report["unproven"])


async def test_attack_spoilt_figures_of_deadlines_are_found(kept: Kept, tmp_path: Path) -> None:
    copy = shutil.copytree(kept.export, tmp_path / "copy")
    for name, change in DEADLINES.items():
        shutil.copy(kept.export / "deadlines.json", copy)
        change(copy / "deadlines.json")
        assert kinds_of(await deadlines_audited(copy, kept)) == ["malformed-figures"], name
    shutil.copy(kept.export / "deadlines.json", copy)
    rewrite_document(copy / "deadlines.json", as_of={"size": 10_000})
    assert kinds_of(await deadlines_audited(copy, kept)) == ["figures-beyond-log"]
    (copy / "deadlines.json").unlink()
    assert (await deadlines_audited(copy, kept))["ok"] is True


async def audited(export: Path, kept: Kept) -> Any:
    return await wiring.audit(str(export), vkey=kept.hub.vkey, token=None, since=None)


async def deadlines_audited(export: Path, kept: Kept) -> Any:
    return await wiring.audit_deadlines(str(export), vkey=kept.hub.vkey, token=None, tables=None)


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
    rewrite_document(copy / "hub.json", size=int(kept.early.split(b"\n")[1]), projected_to=1)
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
