"""Attacks of docs/threat-model.md that no other file performs, each against a real hub or node with real bytes."""

from __future__ import annotations

import asyncio
import http.client
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from node.audit.command import run_audit
from node.audit.source import DirectorySource, set_path
from node.hub.export import export_log
from sync_protocol.change_set import build_change_set, draft_change_set
from sync_protocol.compression import compress_part, decompress_part
from sync_protocol.errors import Refused
from sync_protocol.jws import sign_jws
from sync_protocol.statement import Role
from sync_protocol.values import AgencyId, format_tracking
from tests.edge.hub_lab import Agency, Lab, projected, running_hub
from tests.edge.hub_requests import auditor, signed
from tests.edge.node_api import serving
from tests.edge.test_hub_attacks import with_manifest

CODE = "33.75"
DAY_MS = 24 * 3600 * 1000
Named = tuple[str, str | None, int | None]


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with running_hub(tmp_path) as running:
        await running.enrol(CODE)
        yield running


@pytest.fixture
def agency(lab: Lab) -> Agency:
    return lab.agencies[CODE]


async def audited(lab: Lab, out: Path) -> set[Named]:
    """What the audit of everything that the database holds now finds, with the key that the auditor trusts."""
    published = lab.hub.log.published
    description = msgspec.to_builtins(lab.hub.description())
    await export_log(
        lab.hub.store,
        size=published.size,
        note=published.note,
        description=description,
        out=out,
        with_content=True,
    )
    report = await run_audit(DirectorySource(out), trusted=lab.vkey)
    return {(finding["kind"], finding["agency"], finding["seq"]) for finding in report["findings"]}


def edited(database: Path, work: Callable[[sqlite3.Connection], object]) -> None:
    """By somebody with the file and any program for SQLite."""
    connection = sqlite3.connect(database, timeout=10)
    try:
        with connection:
            work(connection)
    finally:
        connection.close()


def reword(table: str, old: bytes, new: bytes) -> Callable[[sqlite3.Connection], object]:
    """A frame of the second set written anew with other words in it."""

    def work(connection: sqlite3.Connection) -> None:
        (frame,) = connection.execute(f"SELECT frame FROM {table} WHERE idx = 5").fetchone()
        part = decompress_part(frame)
        assert old in part
        frame = compress_part(part.replace(old, new, 1))
        connection.execute(f"UPDATE {table} SET frame = ? WHERE idx = 5", (frame,))

    return work


def exchange(connection: sqlite3.Connection) -> None:
    """The lines of two sets stand in each other's place."""
    frames = dict(connection.execute("SELECT idx, frame FROM set_changes WHERE idx IN (4, 5)"))
    for index, other in ((4, 5), (5, 4)):
        connection.execute("UPDATE set_changes SET frame = ? WHERE idx = ?", (frames[other], index))


def other_entry(connection: sqlite3.Connection) -> None:
    """One letter of a signed manifest in the log."""
    (entry,) = connection.execute("SELECT entry FROM log_entry WHERE idx = 5").fetchone()
    place = len(entry) - 20
    changed = entry[:place] + (b"A" if entry[place : place + 1] != b"A" else b"B") + entry[place + 1 :]
    connection.execute("UPDATE log_entry SET entry = ? WHERE idx = 5", (changed,))


def other_tile(connection: sqlite3.Connection) -> None:
    """One hash of the published tree."""
    place, hashes = connection.execute("SELECT place, hashes FROM hash_tile").fetchone()
    connection.execute("UPDATE hash_tile SET hashes = ? WHERE place = ?", (bytes(32) + hashes[32:], place))


EDITS: dict[str, tuple[Callable[[sqlite3.Connection], object], set[Named]]] = {
    "what an agency did": (reword("set_changes", b'"sms"', b'"web"'), {("root-mismatch", CODE, 2)}),
    "what a citizen said": (reword("set_contents", b"Jalan", b"Jalen"), {("root-mismatch", CODE, 2)}),
    "a set deleted": (
        lambda connection: connection.execute("DELETE FROM change_set WHERE idx = 5"),
        {("missing-set", CODE, 2)},
    ),
    "two sets exchanged": (exchange, {("root-mismatch", CODE, 1), ("root-mismatch", CODE, 2)}),
    "a manifest in the log": (other_entry, {("bad-signature", CODE, 2), ("root-mismatch", None, None)}),
    "a hash tile": (other_tile, {("wrong-tile", None, None)}),
}


@pytest.mark.parametrize("name", EDITS)
async def test_attack_rows_of_the_hubs_database_are_changed_and_the_audit_names_them(
    name: str, lab: Lab, agency: Agency, tmp_path: Path
) -> None:
    for _ in range(3):
        await agency.push_new(2)
    assert await audited(lab, tmp_path / "before") == set()
    work, expected = EDITS[name]
    await asyncio.to_thread(edited, lab.hub.options.directory / "hub.db", work)
    found = await audited(lab, tmp_path / "after")
    assert expected <= found
    others: set[tuple[str | None, int | None]] = (
        {(CODE, 3)} if name == "a manifest in the log" else set()
    )  # the next set had seen the true log
    assert {(agency, seq) for _, agency, seq in found} <= {(CODE, 1), (CODE, 2), (None, None)} | others


async def test_attack_evidence_of_a_fork_is_deleted_from_the_database_and_the_log_still_has_it(
    lab: Lab, agency: Agency, tmp_path: Path
) -> None:
    first, second = agency.cut(1), agency.cut(2)
    assert (await agency.push(first)).status == 201
    assert (await agency.push(second)).kind == "forked"
    await asyncio.to_thread(edited, lab.hub.options.directory / "hub.db", lambda c: c.execute("DELETE FROM fork"))
    assert await lab.hub.store.forks() == []
    assert ("fork", CODE, 1) in await audited(lab, tmp_path / "out")


async def test_attack_a_stolen_invitation_enrols_the_thief_once_and_everybody_sees_it(lab: Lab) -> None:
    """What it achieves at worst: the agency's first key is the thief's, until the desk revokes it."""
    code = AgencyId("35.71")
    token = await lab.hub.invite(code)
    thief, rightful = Agency(lab, code, lab.new_key()), Agency(lab, code, lab.new_key())
    await thief.enrol(token)
    answer = await lab.call("POST", "/v1/enrolments", data=rightful.request(token))
    assert (answer.status, answer.kind) == (403, "bad-token")
    keys = (await lab.call("GET", f"/v1/agencies/{code}/keys")).json["keys"]
    assert [key["kid"] for key in keys] == [thief.signer.kid]
    await lab.hub.revoke(code)
    assert (await thief.push(thief.cut(1))).kind == "revoked-key"
    await rightful.enrol(await lab.hub.invite(code))
    await rightful.push_new(1)


@pytest.mark.parametrize("role", [Role.REGISTRAR, Role.LOG])
async def test_attack_a_key_of_the_hub_speaks_for_no_agency(lab: Lab, agency: Agency, role: Role) -> None:
    answer = await agency.push(agency.cut(1, signer=lab.hub.speaking(role)))
    assert (answer.status, answer.kind) in {(403, "wrong-agency"), (403, "unknown-key")}
    assert lab.hub.log.size == 4


async def test_attack_what_was_signed_for_one_purpose_is_nothing_for_another(lab: Lab, agency: Agency) -> None:
    """A manifest as a statement, a manifest's words under the typ of a proof, and a proof as a statement."""
    change_set = agency.cut(1)
    as_proof = sign_jws("simpul-enrolment-proof", change_set.manifest.jws.payload, agency.signer).text
    answer = await agency.send(with_manifest(change_set, as_proof), 1)
    assert (answer.status, answer.kind) == (422, "malformed")
    for text in (change_set.manifest.jws.text, as_proof):
        answer = await lab.call("POST", "/v1/statements", data=msgspec.json.encode({"statement": text}))
        assert 400 <= answer.status < 500, answer.body
    assert lab.hub.log.size == 4


async def test_attack_back_dated_changes_are_taken_in_and_flagged_in_the_figures(lab: Lab, agency: Agency) -> None:
    now_ms = lab.clock.at_ms
    for moved_ms in (-3 * DAY_MS, 0, 3 * DAY_MS):
        lab.clock.at_ms = now_ms + moved_ms
        lines = [agency.received(agency.complaint())]
        lab.clock.at_ms = now_ms
        await agency.push_new(lines)
    await projected(lab)
    _, totals = await lab.hub.projection.totals()
    assert totals["applied/33.75//"] == 3
    assert (totals["stale/33.75//"], totals["ahead/33.75//"]) == (1, 1)


async def test_attack_a_set_of_one_agency_is_put_into_the_chain_of_another(lab: Lab, agency: Agency) -> None:
    """Its own words under its own key, but the name and the place of somebody else."""
    other = await lab.enrol("35.71")
    stolen = agency.cut(1)
    size = lab.hub.log.size
    for forged in (
        build_change_set(draft_change_set([], []), agency.signer, **_place(other)),
        other.cut([agency.received(agency.complaint())], signer=agency.signer),
    ):
        answer = await other.push(forged)
        assert (answer.status, answer.kind) == (403, "wrong-agency")
    answer = await other.send(stolen.text, 1, encoding=None)
    assert (answer.status, answer.kind) == (403, "wrong-agency")
    assert lab.hub.log.size == size
    await other.push_new([agency.received(agency.complaint())])
    await projected(lab)
    _, totals = await lab.hub.projection.totals()
    assert totals["refused/35.71/foreign_id/"] == 1


def _place(agency: Agency) -> dict[str, Any]:
    manifest = agency.cut(1).manifest.manifest
    names = ("agency", "epoch", "seq", "prev", "at", "seen_size", "seen_root", "seen_sig")
    return {name: getattr(manifest, name) for name in names}


def raw_get(url: str, target: str) -> int:
    """A target that a polite client would tidy up first."""
    hub = urlsplit(url)
    connection = http.client.HTTPConnection(str(hub.hostname), hub.port, timeout=20)
    try:
        connection.putrequest("GET", target, skip_host=False)
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize(
    "target",
    [
        "/tile/../../hub.db",
        "/tile/%2e%2e/%2e%2e/hub.db",
        "/tile/entries/..%2f..%2fhub.db",
        "/tile/0/000/../../../keys/log.pem",
        "/v1/agencies/..%2f..%2fkeys/keys",
        "/v1/agencies/33.75%00/keys",
        "/v1/complaints/..%2fhub.db",
        "//etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
    ],
)
async def test_attack_a_path_that_climbs_reaches_no_file_of_the_hub(lab: Lab, target: str) -> None:
    assert await asyncio.to_thread(raw_get, lab.url, target) in {400, 401, 404, 422}


@pytest.mark.parametrize("name", ["..", ".", "../33.75", "33.75/..", "/etc", "a\x00b", "a\\b", "-a", "a..b", "\u2024"])
def test_attack_a_name_that_climbs_is_no_agency_so_no_file_of_an_export_is_outside(name: str) -> None:
    with pytest.raises(Refused):
        AgencyId.parse(name)
    assert set_path("33.75", 7) == "sets/33.75/000000007.jsonl.zst"


async def test_attack_the_body_of_a_signed_call_is_taken_away(lab: Lab, agency: Agency) -> None:
    """The signature covers a digest: of no bytes it is another one, whether the field still says so or not."""
    for number, body in enumerate((b"", b"{}", b"null")):
        headers = signed(lab, agency.signer, "/v1/recovery", method="POST", nonce=f"n{number}", body=b'{"a":1}')
        answer = await lab.call("POST", "/v1/recovery", data=body, headers=headers)
        assert (answer.status, answer.kind) == (401, "unauthorised")
        without = {name: value for name, value in headers.items() if name.lower() != "content-digest"}
        assert (await lab.call("POST", "/v1/recovery", data=body, headers=without)).status == 401


async def test_attack_guessed_tracking_numbers_are_told_nothing(tmp_path: Path) -> None:
    """Sixty random bits, no order, and not even a yes or no to whoever has no token."""
    async with serving(tmp_path) as api:
        made = await api.create()
        prefix, bits = made["tracking"].split("-")[0], 2**59 + 1
        wrong = [format_tracking(prefix, bits + step) for step in range(20)]
        answers = [await api.get(f"/v1/complaints/{number}") for number in wrong]
        assert {(answer.status, answer.kind, answer.body["detail"]) for answer in answers} == {
            (404, "not-found", answers[0].body["detail"])
        }
        for number in (made["tracking"], wrong[0]):
            answer = await api.get(f"/v1/complaints/{number}", Authorization="")
            assert (answer.status, answer.kind) == (401, "unauthorised")
        others = [(await api.create())["tracking"] for _ in range(20)]
        assert len({number.split("-")[1] for number in others}) == 20


async def test_attack_lines_smuggled_into_names_are_no_lines_of_the_log(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    """Line feeds and escape sequences in every place that a stranger can write to."""
    forged = "%0a%1b[31mcritical%20agency=33.75%20forged"
    headers = {"User-Agent": "x forged", "Simpul-Pass": "forged", "Authorization": "Bearer forged"}
    for path in (
        f"/v1/agencies/{forged}/head",
        f"/tile/{forged}",
        f"/v1/complaints/{forged}",
        f"/v1/totals?by={forged}",
    ):
        answer = await lab.call("GET", path, headers=headers)
        assert 400 <= answer.status < 500
    body = msgspec.json.encode({"statement": "\n\x1b[31mforged"})
    assert (await lab.call("POST", "/v1/statements", data=body)).status == 422
    said = capsys.readouterr()
    assert "forged" not in said.out + said.err
    assert "\x1b[31mc" not in said.out + said.err


async def test_attack_an_auditor_without_a_grant_for_content_sees_none_in_any_encoding(
    lab: Lab, agency: Agency
) -> None:
    await agency.push_new(2)
    token = await auditor(lab)
    for encoding in ("zstd", "gzip", "identity", "br", "*", ""):
        headers = {**token, "Accept-Encoding": encoding}
        answer = await lab.call("GET", f"/v1/agencies/{CODE}/change-sets/1", headers=headers)
        assert answer.status == 200
        shown = answer.body
        if answer.headers.get("Content-Encoding") == "zstd":
            shown = b"".join(decompress_part(frame) for frame in _frames(answer.body))
        assert b"Jalan" not in shown
        assert b'{"hidden":"' in shown


def _frames(body: bytes) -> list[bytes]:
    magic = b"\x28\xb5\x2f\xfd"
    return [magic + part for part in body.split(magic)[1:]]


async def test_attack_a_statement_is_dated_by_the_log_and_not_by_its_signer(lab: Lab, agency: Agency) -> None:
    """A revocation dated a year ago ends the key where it stands in the log: what was accepted before stays."""
    change_set = agency.cut(1)
    assert (await agency.push(change_set)).status == 201
    agency.took(change_set)
    lab.clock.at_ms -= 365 * DAY_MS
    await lab.hub.revoke(agency.code)
    lab.clock.at_ms += 365 * DAY_MS
    await projected(lab)
    _, totals = await lab.hub.projection.totals()
    assert totals["applied/33.75//"] == 1
    assert (await agency.push(agency.cut(1))).kind == "revoked-key"
