"""A limit passes somewhere: the desk has it, with evidence that it verified itself (docs/deadlines.md)."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer
from jsonschema import Draft202012Validator

from node.cli.desk import findings_of, is_doubted
from node.config_data import config_file
from node.deadlines.tables import deadlines_of_tables
from node.link.errors import Unreachable
from node.local import escalation_watch
from node.local.abroad import Abroad
from node.local.escalation_book import EscalationBook
from node.local.http import build_app
from node.local.http_escalations import ESCALATIONS_ROUTE
from node.local.openapi import openapi_document
from node.local.tokens import create_token
from node.wiring import desk as wiring
from node.wiring.audit import audit_receipt
from sync_protocol.errors import Corrupt, Refused, Unavailable
from sync_protocol.problems import Busy, Recovering
from sync_protocol.values import AgencyId
from sync_protocol.wire import StatementLine
from tests.edge.escalation_lab import AlteredLink, Bundle, Desk, Page, desk_at, pass_days, with_lines, with_members
from tests.edge.hub_lab import Lab, LabClock, LabRandomness, projected
from tests.edge.inbox_lab import DESK, Peer, settle_down

CITY, REGENCY = AgencyId("35.71"), AgencyId("35.06")
AGENCIES = (CITY, REGENCY, DESK)
SAID = "Jalan berlubang."
_DOCUMENT = openapi_document()
SCHEMA = Draft202012Validator(
    {**_DOCUMENT["components"]["schemas"]["EscalationPage"], "components": _DOCUMENT["components"]}
)


@pytest.fixture
async def desk(lab: Lab, nodes: list[Peer]) -> Desk:
    """One complaint at the city, of which nothing was heard for so long that it is overdue; the city still speaks."""
    await pass_days(lab, 0)
    await nodes[0].receive()
    await nodes[0].push()
    await pass_days(lab, 5)
    return await desk_at(nodes[2])


async def ask_for(desk: Desk, complaint: str, change_type: str, **data: Any) -> None:
    """As the API and the command do."""
    inbox = desk.node.inbox
    await Abroad(inbox, inbox._federation, desk.node.link, desk.link).prepare({"type": change_type, **data}, complaint)
    await desk.node.change(change_type, complaint, **data)


async def test_a_limit_that_passes_comes_to_the_desk_which_recalls_and_directs_it(
    lab: Lab, nodes: list[Peer], desk: Desk
) -> None:
    city, regency, node = nodes
    (one,) = await desk.looked()
    assert (one.owner, one.duty, one.due_at, one.state) == (CITY, "verify", "2026-02-05T17:00:00.000Z", "received")
    assert (one.evidence.status, one.evidence.rev, one.bounces, one.finding) == ("verified", 1, 0, None)
    assert one.tracking == (await city.state(one.complaint)).tracking
    assert one.recall is None, "the city was heard of five days ago"
    with pytest.raises(Refused, match="heard of not long ago"):
        await ask_for(desk, one.complaint, "recalled", reason="overdue")

    assert one.evidence.file is not None
    bundle = desk.book.folder / one.evidence.file
    report = await audit_receipt(bundle, vkey=lab.vkey.format())
    assert (report["ok"], report["complaint"], report["log"]["size"]) == (True, one.complaint, one.evidence.log_size)

    await pass_days(lab, 15)
    (later,) = await desk.looked()
    assert (later.recall, later.noticed_at) == ("silent", one.noticed_at)
    await ask_for(desk, one.complaint, "recalled", reason="overdue")
    await ask_for(desk, one.complaint, "directed", to=str(REGENCY), reason="jurisdiction")
    await node.push()  # before the city speaks again: then it would be silent no more, and the log would refuse
    await settle_down(nodes, lab)
    assert await desk.looked() == []
    assert desk.files() == set(), "nothing is kept of what is no escalation any more"
    for peer in (city, regency, node):
        assert (await peer.state(one.complaint)).owner == REGENCY


class Silent(AlteredLink):
    """A hub that takes the question and says nothing."""

    async def silent(self) -> set[str]:
        await asyncio.Event().wait()
        raise AssertionError("nobody answers")


async def test_a_hub_that_says_nothing_of_who_is_silent_keeps_nobody_waiting_and_changes_nothing(
    nodes: list[Peer], desk: Desk
) -> None:
    (one,) = await desk.looked()
    inbox = desk.node.inbox
    abroad = Abroad(inbox, inbox._federation, desk.node.link, Silent(desk.node.link))
    async with asyncio.timeout(20):
        await abroad.prepare({"type": "recalled", "reason": "overdue"}, one.complaint, within_s=0.05)
    assert inbox._federation.knows_silence, "what the hub said before counts on"
    assert (await desk.node.state(one.complaint)).owner == CITY, "the evidence was fetched in any case"


async def test_what_was_said_is_in_no_bundle_also_where_the_desk_may_read_it(
    lab: Lab, nodes: list[Peer], desk: Desk
) -> None:
    city, regency, _ = nodes
    (one,) = await desk.looked()
    for _ in range(3):
        await city.offer(one.complaint, REGENCY)
        await settle_down(nodes, lab)
        await regency.decline(one.complaint)
        await settle_down(nodes, lab)
    await pass_days(lab, 5)
    assert SAID in str(await desk.link.evidence(one.complaint)), "bounced too often, it is the desk's to read"
    (bounced,) = await desk.looked()
    assert (bounced.recall, bounced.bounces, bounced.evidence.status) == ("bounced", 3, "verified")
    assert (bounced.duty, bounced.noticed_at > one.noticed_at) == ("first_answer", True)
    (name,) = desk.files()
    assert SAID not in (desk.book.folder / name).read_text()


_ID = "01890a5d-ac96-774b-bcce-b302099a8057"


def _other_signature(evidence: Any) -> Any:
    """The last part of a compact JWS; the log has the first spelling alone."""

    def spoil(lines: str) -> str:
        manifest, rest = lines.split("\n", 1)
        jws = json.loads(manifest)["manifest"]
        head, _, signature = jws.rpartition(".")
        other = ("A" if signature[0] != "A" else "B") + signature[1:]
        return manifest.replace(jws, f"{head}.{other}") + "\n" + rest

    return with_lines(spoil)(evidence)


def _words_in_front(evidence: Any) -> Any:
    """What a citizen said, where a manifest, a hidden line or a change line is looked for."""
    said = f'{{"text":"{SAID}"}}'
    hidden = f'x\u2028{{"hidden":"{SAID}","leaves":1}}'
    return with_lines(lambda lines: "\n".join([said, *lines.split("\n")[1:-1], said, hidden, ""]))(evidence)


def _without_receipts(evidence: Any) -> Any:
    sets = [msgspec.structs.replace(one, receipt="") for one in evidence.sets]
    return msgspec.structs.replace(evidence, sets=sets)


ALTERED: dict[str, tuple[str, Bundle]] = {
    "another time": ("root-mismatch", with_lines(lambda lines: lines.replace('"channel":"sms"', '"channel":"web"'))),
    "another's complaint": (
        "bad-proof",
        lambda evidence: msgspec.structs.replace(evidence, complaint=f"{CITY}:" + _ID),
    ),
    "no statements": ("malformed", lambda evidence: msgspec.structs.replace(evidence, statements=[])),
    "no lines": ("bad-proof", lambda evidence: msgspec.structs.replace(evidence, sets=[])),
    "another spelling of a signature": ("bad-proof", _other_signature),
    "a receipt of nothing": ("malformed", _without_receipts),
    "words where codes belong": ("malformed", _words_in_front),
}


async def test_evidence_that_does_not_hold_is_shown_and_stays_shown_when_other_evidence_does(desk: Desk) -> None:
    for name, (kind, alter) in ALTERED.items():
        desk.link.bundle = alter
        (one,) = await desk.looked()
        assert (one.evidence.status, one.evidence.file, one.bounces) == ("not_verified", None, None), name
        assert one.finding is not None, name
        assert one.finding.kind == kind, name
        assert desk.files() == {one.finding.file}, name
        assert SAID not in (desk.book.folder / str(one.finding.file)).read_text(), name
        assert await desk.looked() == [one], "the same finding is not made again"

    desk.link.bundle = lambda evidence: evidence
    (later,) = await desk.looked()
    assert one.finding is not None
    cleared = msgspec.structs.replace(one.finding, cleared_at=later.evidence.asked_at)
    assert (later.evidence.status, later.finding) == ("verified", cleared)
    assert len(desk.files()) == 2


LIES: dict[str, tuple[str, Page]] = {
    "an agency that does not own it": ("bad-proof", with_members(agency=str(REGENCY))),
    "another state": ("bad-proof", with_members(state="verified")),
    "a change that nobody made": ("bad-proof", with_members(rev=2)),
    "another limit": ("deadlines-mismatch", with_members(due_at="2026-02-03T17:00:00.000Z")),
    "another duty": ("deadlines-mismatch", with_members(duty="first_answer")),
}


async def test_a_list_that_the_evidence_contradicts_is_not_believed(desk: Desk) -> None:
    for name, (kind, lie) in LIES.items():
        desk.link.page = lie
        (one,) = await desk.looked()
        assert (one.evidence.status, one.finding and one.finding.kind) == ("not_verified", kind), name


async def test_where_the_rules_name_other_tables_than_these_the_limit_is_not_believed_and_it_says_so(
    desk: Desk, tmp_path: Path
) -> None:
    for name in ("deadlines.toml", "calendar.toml"):
        words = config_file(name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(words.replace("working_days = 3\n", "working_days = 2\n"), encoding="utf-8")
    desk.watch._check = dataclasses.replace(desk.watch._check, deadlines=deadlines_of_tables(tmp_path))
    (one,) = await desk.looked()
    assert (one.evidence.status, one.finding and one.finding.kind) == ("not_verified", "other-tables")


class Forgetful:
    """Another statement stands at each place of the log now."""

    def __init__(self, true: Any) -> None:
        self.true = true

    async def statements(self) -> list[StatementLine]:
        lines = await self.true.statements()
        return [
            msgspec.structs.replace(line, statement=other.statement)
            for line, other in zip(lines, reversed(lines), strict=True)
        ]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.true, name)


async def test_a_hub_that_contradicts_itself_when_asked_for_the_rules_holds_up_nobody_elses_evidence(
    nodes: list[Peer], lab: Lab, desk: Desk
) -> None:
    await nodes[1].receive()
    await nodes[1].push()
    await pass_days(lab, 5)
    hub = desk.watch._check.hub
    hub.link = Forgetful(hub.link)

    def lie(page: Any) -> Any:
        first, *others = page.complaints
        first = msgspec.structs.replace(first, due_at="2026-02-03T17:00:00.000Z")
        return msgspec.structs.replace(page, complaints=[first, *others])

    desk.link.page = lie
    first, second = await desk.looked()
    assert (first.evidence.status, first.finding and first.finding.kind) == ("not_verified", "bad-proof")
    assert second.evidence.status == "verified"


async def test_a_limit_that_has_not_passed_by_the_desks_own_clock_is_not_believed(
    lab: Lab, nodes: list[Peer], desk: Desk
) -> None:
    true = await desk.link.overdue("", 10)
    lab.clock.at_ms -= 3 * 24 * 3_600_000
    desk.link.page = lambda _: true
    (one,) = await desk.looked()
    assert (one.evidence.status, one.finding and one.finding.kind) == ("not_verified", "deadlines-mismatch")


async def test_a_line_that_no_hub_writes_is_no_name_of_a_file_and_no_reason_to_forget(desk: Desk) -> None:
    before = await desk.looked()
    members: list[dict[str, Any]] = [
        {"complaint": "../../x"},
        {"agency": "../x"},
        {"due_at": None},
        {"due_at": "soon"},
        {"state": "lost"},
        {"duty": "x"},
    ]
    for member in members:
        desk.link.page = with_members(**member)
        with pytest.raises(Unavailable, match="not a hub's"):
            await desk.watch.look()
        assert await desk.items() == before
        assert "not a hub's" in str((await desk.book.page(None, 1)).trouble)


async def test_a_hub_that_is_away_or_recovering_takes_nothing_away(desk: Desk) -> None:
    before = await desk.looked()
    away, lost = Unreachable("no answer from hub.example"), Recovering("1 leaf is missing", size=3)
    for error in (away, lost, Refused("malformed", "what?")):
        desk.link.error = error
        with pytest.raises(type(error)):
            await desk.watch.look()
        page = await desk.book.page(None, 10)
        assert (page.items, page.count) == (before, 1)
        assert page.failed_at is not None
        assert page.trouble is not None
        assert error.detail in page.trouble
    desk.link.error = None
    assert await desk.looked() == before
    assert (await desk.book.page(None, 10)).trouble is None


async def test_a_hub_that_folds_its_log_anew_takes_nothing_away(desk: Desk) -> None:
    before = await desk.looked()

    def young(page: Any) -> Any:
        return msgspec.structs.replace(page, as_of=msgspec.structs.replace(page.as_of, size=2), complaints=[])

    desk.link.page = young
    with pytest.raises(Unavailable, match="log size 2"):
        await desk.watch.look()
    assert await desk.items() == before


async def test_evidence_that_cannot_be_had_now_waits_and_is_asked_for_again(lab: Lab, desk: Desk) -> None:
    desk.link.evidence_error = Unavailable("the lines of a set were lost, and are waited for")
    (one,) = await desk.looked()
    assert (one.evidence.status, one.finding) == ("waiting", None)
    assert "were lost" in str(one.evidence.detail)
    desk.link.evidence_error = None
    (later,) = await desk.looked()
    assert later.evidence.status == "verified"
    assert (await desk.looked(), len(desk.link.asked)) == ([later], 2), "what is verified is not asked for again"


async def test_a_hub_that_folds_its_log_anew_between_list_and_evidence_is_accused_of_nothing(desk: Desk) -> None:
    """It shows no complaint then that it has not come to yet; nothing that anybody could be shown is proof of a lie."""
    desk.link.evidence_error = Refused("not-found", "there is no such complaint, or it is another agency's")
    (one,) = await desk.looked()
    assert (one.evidence.status, one.finding) == ("waiting", None)
    assert "no such complaint" in str(one.evidence.detail)
    desk.link.evidence_error = None
    (later,) = await desk.looked()
    assert (later.evidence.status, later.finding) == ("verified", None)


class Refusing:
    """A hub that refuses what it is asked for beside the evidence, as one does that was put back meanwhile."""

    def __init__(self, true: Any) -> None:
        self.true = true

    async def consistency(self, from_size: int, to_size: int) -> list[bytes]:
        raise Refused("not-found", f"the log has {from_size} leaves", where="to")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.true, name)


async def test_a_hub_that_refuses_a_proof_of_growth_beside_the_evidence_is_accused_of_nothing(
    lab: Lab, desk: Desk
) -> None:
    hub = desk.watch._check.hub
    true, hub.link = hub.link, Refusing(hub.link)
    hub.forget()
    (one,) = await desk.looked()
    assert (one.evidence.status, one.finding) == ("waiting", None)
    hub.link = true
    hub.forget()
    (later,) = await desk.looked()
    assert (later.evidence.status, later.finding) == ("verified", None)


async def test_evidence_that_did_not_hold_stays_in_doubt_until_other_evidence_came(
    desk: Desk,
) -> None:
    """Also where the hub, asked again, gives none: the command ends as for what does not hold."""
    _, desk.link.bundle = ALTERED["no lines"]
    await desk.looked()
    desk.link.evidence_error = Busy("later")
    (waiting,) = await desk.looked()
    assert (waiting.evidence.status, waiting.finding is None) == ("waiting", False)
    desk.link.evidence_error, desk.link.bundle = None, lambda evidence: evidence
    (verified,) = await desk.looked()
    for one, doubted in ((waiting, True), (verified, False)):
        item: dict[str, Any] = msgspec.to_builtins(one)
        (words,) = findings_of(item)
        assert (is_doubted({"items": [item]}), "verified evidence came later" in words) == (doubted, not doubted)


async def test_what_was_cleared_up_is_in_doubt_no_more_also_when_the_complaint_moves_and_the_hub_is_busy(
    nodes: list[Peer], lab: Lab, desk: Desk
) -> None:
    def doubted(one: Any) -> tuple[bool, bool]:
        item: dict[str, Any] = msgspec.to_builtins(one)
        return is_doubted({"items": [item]}), "verified evidence came later" in findings_of(item)[0]

    honest, lie = desk.link.bundle, ALTERED["no lines"][1]
    desk.link.bundle = lie
    await desk.looked()
    desk.link.bundle = honest
    await desk.looked()
    await nodes[0].change("amended", (await desk.items())[0].complaint, category="jalan")
    await nodes[0].push()
    await projected(lab)
    desk.link.evidence_error = Busy("later")
    (waiting,) = await desk.looked()
    assert (waiting.evidence.status, doubted(waiting)) == ("waiting", (False, True))
    desk.link.evidence_error, desk.link.bundle = None, lie
    (again,) = await desk.looked()
    assert (again.evidence.status, doubted(again)) == ("not_verified", (True, False))
    desk.link.evidence_error = Busy("later")
    (waiting,) = await desk.looked()
    assert (waiting.evidence.status, doubted(waiting)) == ("waiting", (True, False))


async def test_where_the_hub_goes_away_among_the_evidence_the_list_stays_and_the_rest_waits(
    nodes: list[Peer], lab: Lab, desk: Desk
) -> None:
    for _ in range(4):
        await nodes[1].receive()
    await nodes[1].push()
    await pass_days(lab, 5)
    desk.link.evidence_error = Unreachable("no answer")
    with pytest.raises(Unavailable):
        await desk.watch.look()
    assert len(desk.link.asked) == escalation_watch.AWAY_MAX
    assert [one.evidence.status for one in await desk.items()] == ["waiting"] * 5
    desk.link.evidence_error = None
    assert [one.evidence.status for one in await desk.looked()] == ["verified"] * 5


async def test_bundles_that_the_hub_lacks_hold_up_nobody_elses(
    nodes: list[Peer], lab: Lab, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(escalation_watch, "BUSY_MAX", 2)
    for _ in range(4):
        await nodes[1].receive()
    await nodes[1].push()
    await pass_days(lab, 5)
    desk.link.evidence_error = Busy("the lines of a set were lost, and are waited for")
    asked = []
    for _ in range(3):
        lab.clock.at_ms += 300_000
        await desk.watch.look()
        asked.append(len(desk.link.asked))
    assert asked == [2, 4, 6]
    assert len(set(desk.link.asked)) == 5, "who was asked for longest ago comes first"


async def test_one_wrong_size_of_the_log_stands_in_nobodys_way(desk: Desk) -> None:
    def boasting(page: Any) -> Any:
        return msgspec.structs.replace(page, as_of=msgspec.structs.replace(page.as_of, size=10**12))

    desk.link.page = boasting
    before = await desk.looked()
    desk.link.page = lambda page: page
    assert await desk.looked() == before


async def test_a_complaint_that_moved_between_list_and_evidence_waits_for_the_next_look(
    lab: Lab, nodes: list[Peer], desk: Desk
) -> None:
    true = await desk.link.overdue("", 10)
    await nodes[0].change("amended", true.complaints[0].complaint, category="jalan")
    await nodes[0].push()
    await projected(lab)
    desk.link.page = lambda _: true
    (one,) = await desk.looked()
    assert (one.evidence.status, one.finding) == ("waiting", None)
    desk.link.page = lambda page: page
    (later,) = await desk.looked()
    assert (later.rev, later.evidence.status, later.noticed_at) == (2, "verified", one.noticed_at)


async def test_a_bundle_that_is_gone_from_the_disk_comes_back_and_a_spoilt_list_is_made_anew(desk: Desk) -> None:
    (one,) = await desk.looked()
    bundle = desk.book.folder / str(one.evidence.file)
    before = bundle.read_bytes()
    bundle.unlink()
    assert await desk.looked() == [one]
    assert bundle.read_bytes() == before
    (desk.book.folder / "list.json").write_bytes(b'{"escalations": 7}')
    with pytest.raises(Corrupt, match="cannot be read"):
        await desk.items()
    assert len(await desk.looked()) == 1


async def test_where_there_is_no_room_for_bundles_they_are_verified_and_not_kept(nodes: list[Peer], desk: Desk) -> None:
    small = await desk_at(nodes[2], bytes_max=100)
    (one,) = await small.looked()
    assert (one.evidence.status, one.evidence.file) == ("verified", None)
    assert small.files() == set()


async def test_two_processes_of_one_directory_take_turns(nodes: list[Peer], desk: Desk) -> None:
    other = await desk_at(nodes[2])
    with other.book.alone() as is_alone:
        assert is_alone
        assert await desk.watch.look() is False
        assert await desk.items() == []
    assert await desk.watch.look() is True
    assert len(await other.items()) == 1


async def test_the_command_waits_for_a_look_that_is_under_way_and_shows_what_there_is_if_it_takes_too_long(
    nodes: list[Peer], desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving, parts = await desk_at(nodes[2]), cast("Any", None)
    command = wiring.Desk(parts, desk.node.link, desk.book, desk.watch)
    monkeypatch.setattr(wiring, "TURN_PAUSE_S", 0.01)
    with serving.book.alone():
        looking = asyncio.create_task(wiring._look(command))
        await asyncio.sleep(0.05)
        assert not looking.done()
    assert await looking
    assert len(await desk.items()) == 1

    desk.link.error = Unreachable("away")
    with serving.book.alone():
        monkeypatch.setattr(wiring, "TURNS_MAX", 2)
        assert await wiring._look(command), "nobody was asked, and nobody was away"
    assert not await wiring._look(command)


class Resting(LabClock):
    """The watch's own: others sleep by the lab's. Nobody waits, and the hub is away after the first and second rest."""

    def __init__(self, desk: Desk, at_ms: int) -> None:
        super().__init__()
        self.at_ms = at_ms
        self.slept: list[float] = []
        self.has_slept = asyncio.Event()
        self._desk = desk

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if len(self.slept) == 4:
            self.has_slept.set()
            await asyncio.Event().wait()
        self._desk.link.error = None if len(self.slept) == 3 else Unreachable("away")


async def test_the_serving_desk_looks_by_itself_and_after_a_failure_later_and_later(desk: Desk) -> None:
    clock = Resting(desk, desk.watch._clock.at_ms)  # type: ignore[attr-defined]
    desk.watch._clock = clock
    running = asyncio.create_task(desk.watch.run(look_every_s=300, pause_s=60))
    await asyncio.wait_for(clock.has_slept.wait(), 60)
    running.cancel()
    assert clock.slept == [300, 60, 120, 300]
    assert [one.evidence.status for one in await desk.items()] == ["verified"]


async def test_other_agencies_look_at_nothing_and_are_told_the_next_step(nodes: list[Peer], desk: Desk) -> None:
    city = await desk_at(nodes[0])
    assert not await city.watch.is_desk()
    with pytest.raises(Refused, match="not-desk") as refused:
        await city.items()
    assert "simpul node due" in str(refused.value.members["next"])
    with pytest.raises(Refused, match="wrong-agency"):
        await city.watch.look()
    with pytest.raises(Refused, match="not-desk"):
        await city.items()


@asynccontextmanager
async def officer(node: Peer, book: EscalationBook) -> AsyncIterator[tuple[TestClient[Any, Any], dict[str, str]]]:
    """At a node's API, with the headers of somebody who may use it."""
    clock, randomness = node.pusher.clock, LabRandomness(7)
    token = await create_token(node.store, clock, randomness, "meja")
    app = build_app(node.service, node.store, clock, randomness, escalations=book)
    async with TestClient(TestServer(app)) as client:
        yield client, {"Authorization": f"Bearer {token}"}


async def listed(client: TestClient[Any, Any], headers: dict[str, str], query: str = "") -> tuple[int, str, Any]:
    """Status, kind of problem, body."""
    answer = await client.get(ESCALATIONS_ROUTE + query, headers=headers)
    body = await answer.json(content_type=None)
    assert answer.status == 200 or body["next"]
    return answer.status, str(body.get("type", "")).rpartition(":")[2], body


async def test_the_api_shows_the_list_to_the_desks_officers_and_tells_everybody_else_the_next_step(
    nodes: list[Peer], desk: Desk
) -> None:
    (one,) = await desk.looked()
    async with officer(nodes[2], desk.book) as (client, headers):
        assert (await listed(client, {}))[:2] == (401, "unauthorised")
        status, _, body = await listed(client, headers)
        assert (status, [item["complaint"] for item in body["items"]]) == (200, [one.complaint])
        assert (await listed(client, headers, "?after=x"))[:2] == (422, "malformed")
        (desk.book.folder / "list.json").write_bytes(b"{")
        status, kind, body = await listed(client, headers)
        assert (status, kind, "simpul node escalations" in body["next"]) == (503, "storage", True)
    async with officer(nodes[0], (await desk_at(nodes[0])).book) as (client, headers):
        for query in ("", "?after=x"):
            assert (await listed(client, headers, query))[:2] == (403, "not-desk")


async def test_pages_are_whole_whatever_comes_in_meanwhile(nodes: list[Peer], lab: Lab, desk: Desk) -> None:
    for _ in range(5):
        await nodes[1].receive()
    await nodes[1].push()
    await pass_days(lab, 5)
    await desk.watch.look()
    seen, after = [], None
    while True:
        page = await desk.book.page(after, 2)
        assert page.count == 6
        assert not list(SCHEMA.iter_errors(json.loads(msgspec.json.encode(page))))
        seen += [one.complaint for one in page.items]
        after = page.next
        if after is None:
            break
    assert len(set(seen)) == len(seen) == 6
    first = (await desk.book.page(None, 2)).next
    assert first is not None
    for wrong in ("", first[:-1], first + "=", first + "AAAA", "A" * 300, "é", first.swapcase()):
        with pytest.raises(Refused, match="malformed"):
            await desk.book.page(wrong, 2)


async def test_more_than_a_desk_reads_is_said_and_not_kept(
    nodes: list[Peer], lab: Lab, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, number in (("ESCALATIONS_MAX", 2), ("PAGE", 1)):
        monkeypatch.setattr(escalation_watch, name, number)
    for _ in range(3):
        await nodes[1].receive()
    await nodes[1].push()
    await pass_days(lab, 5)
    await desk.watch.look()
    page = await desk.book.page(None, 200)
    assert (page.more, page.count, len(desk.files())) == (True, 2, 2)
    assert page.items[0].owner == CITY, "the longest overdue are those that are kept"


async def test_an_agency_that_dates_its_complaints_back_hides_nobody_elses(
    nodes: list[Peer], lab: Lab, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, number in (("ESCALATIONS_MAX", 4), ("OF_ONE_MAX", 2), ("PAGE", 2)):
        monkeypatch.setattr(escalation_watch, name, number)
    for _ in range(6):
        await nodes[1].receive(received_at="2019-03-01T02:00:00.000Z")
    await nodes[1].push()
    await pass_days(lab, 1)
    await desk.watch.look()
    page = await desk.book.page(None, 200)
    assert [one.owner for one in page.items] == [REGENCY, REGENCY, CITY]
    assert page.more
