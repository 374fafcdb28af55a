"""How many duties were done in time: the hub's figures are those that an auditor makes of the log."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from node.audit.deadlines import audit_deadlines
from node.audit.source import open_directory
from node.config_data import config_file
from node.deadlines.tables import deadlines_of_tables
from sync_protocol.errors import Refused
from sync_protocol.values import format_timestamp, parse_timestamp
from tests.edge.deadline_lab import (
    Life,
    at,
    audited,
    audited_live,
    counts,
    hub_figures,
    tick,
    tick_until,
)
from tests.edge.hub_lab import RULES, Agency, Lab, projected, running_hub
from tests.edge.hub_requests import auditor, read

CITY, REGENCY = "33.75", "33.26"


@pytest.fixture(params=["sqlite", "postgresql"])
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Where the projection is."""
    return {} if request.param == "sqlite" else {"projection_url": str(request.getfixturevalue("postgres_url"))}


@pytest.fixture
async def lab(options: dict[str, Any], tmp_path: Path) -> AsyncIterator[Lab]:
    """On both databases."""
    async with running_hub(tmp_path, **options) as running:
        await prepared(running)
        yield running


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Lab]:
    """On SQLite alone: for what no database decides."""
    async with running_hub(tmp_path) as running:
        await prepared(running)
        yield running


async def prepared(lab: Lab) -> None:
    await tick(lab, "2026-03-02T01")  # a Monday; eight in the morning in Pekalongan
    for code in (CITY, REGENCY, "kementerian-panrb"):
        await lab.enrol(code)


async def weeks(lab: Lab) -> list[Life]:
    """Three complaints: one done in time, one late, one that goes to the neighbour and stays there."""
    city, regency = lab.agencies[CITY], lab.agencies[REGENCY]
    good, late, lost = [await Life.received(city) for _ in range(3)]
    at(lab, "2026-03-03T03")
    await good.change("verified", {"class": "complaint_ordinary"})
    await good.change("assigned", {"unit": "dpu"})
    offer = await lost.offer(regency)
    at(lab, "2026-03-06T03")
    await good.change("answered")
    at(lab, "2026-03-09T03")
    await lost.accept(offer, regency)
    await tick(lab, "2026-03-11T03")
    await late.change("verified", {"class": "information_request"})
    await late.change("assigned", {"unit": "dpu"})
    await late.change("answered")
    await late.change("replied")
    await tick(lab, "2026-03-16T18")
    await good.change("closed", {"by": "system", "reason": "quiet_period"})
    await tick(lab, "2026-03-20T18")
    return [good, late, lost]


async def test_the_hubs_figures_are_the_auditors_on_an_export_and_live(lab: Lab, tmp_path: Path) -> None:
    await weeks(lab)
    theirs = await hub_figures(lab)
    assert counts(theirs, CITY, "verify") == {"in_time": 2, "late": 1, "late_unreachable": 1}
    assert counts(theirs, CITY, "first_answer") == {"in_time": 1, "late": 1, "late_unreachable": 1, "lapsed": 1}
    # Eid began on 18 March: of five working days two are left to the second answer.
    assert counts(theirs, CITY, "settle") == {"in_time": 2, "open": 1}
    assert counts(theirs, CITY, "close") == {"in_time": 1, "lapsed": 1}
    assert counts(theirs, REGENCY, "verify") == {"overdue": 1}
    assert counts(theirs, REGENCY, "first_answer") == {"overdue": 1}
    for mine in (
        await audited(lab, tmp_path / "out"),
        await audited_live(lab, (await auditor(lab))["Authorization"][7:]),
    ):
        assert mine["findings"] == []
        assert not [one for one in mine["unproven"] if "deadlines" in one]
        assert {name: mine[name] for name in ("tick", "tables", "hub", "agencies")} == {
            name: theirs[name] for name in ("tick", "tables", "hub", "agencies")
        }


async def test_figures_are_the_same_after_a_rebuild_and_folded_bit_by_bit(small: Lab) -> None:
    await weeks(small)
    before = await hub_figures(small)
    await small.hub.rebuild()
    assert await hub_figures(small) == before


async def test_a_hub_that_lies_about_its_figures_is_found(small: Lab, tmp_path: Path) -> None:
    await weeks(small)
    out = tmp_path / "out"
    assert (await audited(small, out))["ok"]
    told = msgspec.json.decode((out / "deadlines.json").read_bytes())
    told["agencies"][CITY]["duties"]["verify"]["late"] = 0
    (out / "deadlines.json").write_bytes(msgspec.json.encode(told))
    report = await audit_deadlines(open_directory(out), deadlines_of_tables(), trusted=small.vkey)
    assert [(one["kind"], one["detail"].rpartition(" ")[2]) for one in report["findings"]] == [
        ("deadlines-mismatch", CITY)
    ]


@pytest.mark.parametrize("name", ["deadlines.toml", "calendar.toml"])
async def test_an_auditor_with_other_tables_is_told_which_and_measures_nothing(name: str, tmp_path: Path) -> None:
    other = tmp_path / "tables"
    other.mkdir()
    for file in ("deadlines.toml", "calendar.toml"):
        shutil.copy(config_file(file), other / file)
    with (other / name).open("a") as file_:
        file_.write("\n# one remark more\n")
    async with running_hub(tmp_path) as lab:
        with pytest.raises(Refused) as caught:
            await audited(lab, tmp_path / "out", await asyncio.to_thread(deadlines_of_tables, other))
        assert (caught.value.kind, caught.value.where) == ("other-tables", name)


LATER = """
[[table]]
citation = "a later regulation"
in_force_from = 2026-03-10
[table.verify]
working_days = 1
"""


async def test_a_policy_that_changes_in_mid_run_measures_what_arrives_from_then_on(tmp_path: Path) -> None:
    """New rules in the log name the new tables; a hub that measured by the old ones folds its log again."""
    tables = tmp_path / "tables"
    tables.mkdir()
    shutil.copy(config_file("calendar.toml"), tables)
    (tables / "deadlines.toml").write_text(config_file("deadlines.toml").read_text() + LATER)
    later = await asyncio.to_thread(deadlines_of_tables, tables)
    async with running_hub(tmp_path) as lab:
        await prepared(lab)
        early = await Life.received(lab.agencies[CITY])
        await hub_figures(lab)
        clock = lab.clock
    async with running_hub(tmp_path, clock=clock, deadlines=later) as lab:
        rules = replace(RULES, deadlines=later.digests.deadlines)
        await lab.hub.ensure_rules(rules)
        city = Agency(lab, early.owner.code, early.owner.signer)
        city.restart_chain()
        early.owner = city
        at(lab, "2026-03-10T01")
        late = await Life.received(city)
        await tick(lab, "2026-03-11T18")
        await late.change("verified", {"class": "complaint_ordinary"})
        await early.change("verified", {"class": "complaint_ordinary"})
        await tick(lab)
        report = await audited(lab, tmp_path / "out", later)
        assert report["findings"] == []
        # Three days until 5 March for the first, one day until 11 March for the second: both are a day and an hour late
        assert counts(report, CITY, "verify") == {"late": 2, "late_unreachable": 2}
        assert counts(report, CITY, "first_answer") == {"overdue": 1}, "the later table knows no first answer"
        with pytest.raises(Refused, match="other-tables"):
            await audited(lab, tmp_path / "again")


async def test_what_is_overdue_is_listed_for_desk_and_auditors_with_what_nobody_could_help(lab: Lab) -> None:
    await weeks(lab)
    await projected(lab)
    answer = await lab.call("GET", "/v1/overdue", headers=await auditor(lab))
    (line,) = answer.json["complaints"]
    assert (line["agency"], line["duty"], line["overdue"], line["due_at"]) == (
        REGENCY, "verify", True, "2026-03-12T17:00:00.000Z",
    )  # fmt: skip
    # The lab's hub ticked on the 11th, 16th and 20th only: it was away all the time since the offer was accepted.
    assert line["unreachable"] == {"hub_s": (11 * 24 + 15) * 3_600, "node_s": 0}
    desk, city = lab.agencies["kementerian-panrb"], lab.agencies[CITY]
    assert (await read(lab, desk.signer, "/v1/overdue")).json["complaints"] == [line]
    assert (await read(lab, city.signer, "/v1/overdue")).kind == "wrong-agency"
    assert (await lab.call("GET", "/v1/overdue")).kind == "unauthorised"
    detail = await lab.call("GET", f"/v1/complaints/{line['complaint']}", headers=await auditor(lab, "bpkp"))
    assert detail.json["unreachable"] == line["unreachable"]


async def test_the_list_of_all_that_is_overdue_comes_in_pages_without_gap(lab: Lab) -> None:
    lives = [await Life.received(lab.agencies[code]) for code in (CITY, REGENCY, CITY, REGENCY, CITY)]
    await tick(lab, "2026-03-09T01")
    await projected(lab)
    headers, seen, after = await auditor(lab), [], ""
    while True:
        page = (await lab.call("GET", f"/v1/overdue?limit=2{after}", headers=headers)).json
        seen += [line["complaint"] for line in page["complaints"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert seen == [life.id for life in lives]


async def test_what_is_soon_due_stands_beside_what_is_overdue(lab: Lab) -> None:
    city = lab.agencies[CITY]
    old = await Life.received(city)
    at(lab, "2026-03-05T01")
    young = await Life.received(city)
    at(lab, "2026-03-09T01")
    await projected(lab)

    async def found(due: str) -> list[str]:
        path = f"/v1/agencies/{CITY}/complaints?due={due}"
        return [one["complaint"] for one in (await read(lab, city.signer, path)).json["complaints"]]

    assert (await found("overdue"), await found("soon")) == ([old.id], [young.id])
    assert (await read(lab, city.signer, f"/v1/agencies/{CITY}/complaints?due=late")).kind == "malformed"


async def test_the_figures_come_by_pages_of_agencies_or_for_one(lab: Lab) -> None:
    headers = await auditor(lab)
    await projected(lab)
    first = (await lab.call("GET", "/v1/deadlines?limit=2", headers=headers)).json
    assert (sorted(first["agencies"]), first["next"]) == ([REGENCY, CITY], CITY)
    last = (await lab.call("GET", f"/v1/deadlines?limit=2&after={CITY}", headers=headers)).json
    assert (sorted(last["agencies"]), last["next"]) == (["kementerian-panrb"], None)
    one = (await lab.call("GET", f"/v1/deadlines?agency={CITY}", headers=headers)).json
    assert one["agencies"] == {CITY: first["agencies"][CITY]}
    assert (await lab.call("GET", "/v1/deadlines?agency=99.99", headers=headers)).json["agencies"] == {}


async def test_a_node_that_was_away_is_told_from_a_hub_that_was(small: Lab) -> None:
    """The city sends nothing for two days while the hub ticks on; then the hub is away for two days."""
    city = small.agencies[CITY]
    life = await Life.received(city)
    await tick_until(small, "2026-03-04T03")
    await life.change("noted")
    await tick(small, "2026-03-06T03")
    await life.change("noted")
    await projected(small)
    figures: Any = await hub_figures(small)
    away = figures["agencies"][CITY]
    assert away["absences"] == [{"from": "2026-03-02T02:00:00.000Z", "until": "2026-03-04T03:00:00.000Z"}]
    assert away["unreachable_s"] == 49 * 3_600
    before, then = figures["hub"]["absences"]
    assert before["until"] == "2026-03-02T01:00:00.000Z", "the small's hub was founded a month before it was used"
    assert then == {"from": "2026-03-04T03:00:00.000Z", "until": "2026-03-06T03:00:00.000Z"}
    first_ms = parse_timestamp(before["until"]) - parse_timestamp(before["from"])
    assert figures["hub"]["unreachable_s"] == first_ms // 1000 + 48 * 3_600
    # The regency never spoke: it is silent from the first tick after its enrolment, but for the hub's own absence.
    silent = figures["agencies"][REGENCY]
    assert silent["unreachable_s"] == 49 * 3_600
    assert silent["absences"][-1]["until"] == format_timestamp(small.clock.at_ms)


async def test_a_node_that_sends_its_heartbeat_was_never_away(small: Lab) -> None:
    city = small.agencies[CITY]
    for day in ("03", "04", "05"):
        await city.push_new(0)
        await tick_until(small, f"2026-03-{day}T01")
    assert (await hub_figures(small))["agencies"][CITY]["absences"] == []


async def test_a_transfer_begins_the_new_owners_duties_and_ends_the_old_ones(small: Lab, tmp_path: Path) -> None:
    city, regency, desk = (small.agencies[code] for code in (CITY, REGENCY, "kementerian-panrb"))
    life = await Life.received(desk)
    at(small, "2026-03-04T01")
    await life.change("directed", {"to": CITY, "reason": "place"})
    life.owner = city
    offer = await life.offer(regency)
    await tick(small, "2026-03-12T01")
    await life.accept(offer, regency)
    await life.change("verified", {"class": "complaint_ordinary"})
    await tick(small)
    report = await audited(small, tmp_path / "out")
    assert report["findings"] == []
    assert counts(report, "kementerian-panrb", "verify") == {"in_time": 1}
    assert counts(report, "kementerian-panrb", "first_answer") == {"lapsed": 1}
    assert counts(report, CITY, "verify") == {"in_time": 1}
    assert counts(report, CITY, "first_answer") == {"late": 1, "late_unreachable": 1}
    assert counts(report, REGENCY, "verify") == {"in_time": 1}
    assert counts(report, REGENCY, "settle") == {"open": 1}


async def test_waiting_for_the_reporter_is_no_delay_and_holding_is(small: Lab, tmp_path: Path) -> None:
    city = small.agencies[CITY]
    asked, held = await Life.received(city), await Life.received(city)
    await asked.change("information_requested")
    await held.change("verified", {"class": "information_request"})
    await held.change("held", {"reason": "weather"})
    await tick(small, "2026-03-12T01")
    report = await audited(small, tmp_path / "out")
    assert counts(report, CITY, "first_answer") == {"waiting": 1, "overdue": 1}
    assert counts(report, CITY, "settle") == {"overdue": 1}
    assert [(line["complaint"], line["duty"]) for line in report["overdue"]] == [(held.id, "first_answer")]
    await asked.change("archived", {"by": "officer", "reason": "no_reply"})
    await tick(small)
    assert counts(await hub_figures(small), CITY, "first_answer") == {"lapsed": 1, "overdue": 1}
