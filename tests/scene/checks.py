"""What must hold when everything was delivered twice: nothing came twice, all tell one story, one agency owns it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from node.store.local_records import ComplaintFilter
from sync_protocol.evidence import EvidenceFile, ProvenChange, verify_evidence
from sync_protocol.line import parse_change
from tests.scene.auditing import Audited
from tests.scene.cast import CITY, Country, Office
from tests.scene.script import Script
from tests.scene.twice import Count, places_of

STORY: Final = (
    ("kementerian-panrb", "received"),
    ("kementerian-panrb", "offered"),
    ("35.71", "declined"),
    ("kementerian-panrb", "offered"),
    ("35.06", "accepted"),
    ("35.06", "verified"),
    ("35.06", "assigned"),
    ("35.06", "answered"),
    ("35.06", "replied"),
    ("35.06", "answered"),
    ("35.06", "closed"),
    ("35.06", "rated"),
)
OWNERS: Final = ("kementerian-panrb",) * 4 + ("35.06",) * 8
IN_TIME: Final = {"verify": 1, "first_answer": 1, "settle": 2, "close": 1}
KNOWN_TO_CITY: Final = 3  # it declined: what becomes of it is told to those whom it concerns


@dataclass(frozen=True)
class Seen:
    """All that must not change by anything that is delivered again."""

    log_size: int
    histories: tuple[tuple[str, ...], ...]
    totals: tuple[tuple[str, int], ...]


async def deliver_everything_again(country: Country) -> None:
    """SMS, requests, sets and inboxes once more, the newest first; nothing may come of it."""
    before = await _seen(country)
    for office in reversed(country.offices):
        await office.client.ask_all_again()
        await office.link.push_all_again()
        whole = await office.link.inbox("", 0)
        again = await office.link.inbox("", 0)
        assert places_of(whole) == places_of(again)
        assert len(set(places_of(whole))) == len(whole.items), "an inbox tells something twice"
        assert (await office.peer.store.outbox()).unsent == 0, "a repeat was recorded as something new"
    await country.spread()
    assert await _seen(country) == before, "something came twice"


async def check_that_all_agree(country: Country, script: Script) -> list[ProvenChange]:
    """Desk, city, regency and hub tell one history, and who owns it; that history, proven."""
    proven = await _proven(country, script.complaint)
    assert tuple((one.agency, one.change.type) for one in proven) == STORY
    ids = [one.change.id for one in proven]
    assert len(set(ids)) == len(ids)
    for office in country.offices:
        known = KNOWN_TO_CITY if office.agency == CITY else len(STORY)
        assert await _history(office, script.complaint) == ids[:known], office.agency
        assert await office.peer.store.refusals(9) == [], "the log refused something"
        owner = (await office.complaint(script.complaint))["complaint"]["owner"]
        assert owner == OWNERS[known - 1], office.agency
        assert len(await office.peer.store.complaints(ComplaintFilter(limit=9))) == 1
    tracked = await _tracked(country, script.number)
    assert [(one["agency"], one["type"]) for one in tracked["history"]] == list(STORY)
    assert (tracked["owner"], tracked["state"], tracked["closed_by"]) == (OWNERS[-1], "closed", "system")
    return proven


def check_the_audit(audited: Audited, script: Script) -> None:
    """Owner, verdicts, totals, state hash and every deadline, recomputed from the log alone."""
    assert audited.report["ok"], audited.report["findings"]
    assert audited.report["complete"]
    assert audited.report["refused"] == 0
    told = [*audited.report["unproven"], *audited.deadlines["unproven"]]
    assert not any("figures" in one for one in told), "the hub's own figures were not compared"
    assert audited.deadlines["findings"] == []
    away = [audited.deadlines["hub"], *audited.deadlines["agencies"].values()]
    assert [one["unreachable_s"] for one in away] == [0] * len(away)
    assert _duties(audited, "35.06") == IN_TIME
    assert audited.deadlines["overdue_count"] == 0
    assert tuple(audited.book.owners) == OWNERS
    assert tuple(audited.book.types) == STORY
    recomputed = {change: audited.book.due[change] for change in script.due}
    assert recomputed == script.due, "a node and an auditor reckon two deadlines"


def delivered(country: Country) -> dict[str, Count]:
    """How many messages of each kind there were, and how often they came."""
    sms, requests, sets, items = Count(), Count(), Count(), Count()
    for office in country.offices:
        kinds = {"GET": sms, "POST": requests}
        for method, count in office.client.counts.items():
            kinds[method].note(count.deliveries, messages=count.messages)
        sets.note(office.link.deliveries, messages=len(office.link.sets))
        items.note(office.pages.deliveries, messages=office.pages.messages)
    return {"sms": sms, "requests": requests, "change_sets": sets, "inbox_items": items}


def _duties(audited: Audited, agency: str) -> dict[str, int]:
    counts = audited.deadlines["agencies"][agency]["duties"]
    assert not any(count["late"] or count["overdue"] or count["open"] for count in counts.values())
    return {duty: count["in_time"] for duty, count in counts.items()}


async def _history(office: Office, complaint: str) -> list[str]:
    shown = await office.complaint(complaint)
    assert all(one["verdict"] is None for one in shown["history"])
    return [one["id"] for one in shown["history"]]


async def _proven(country: Country, complaint: str) -> list[ProvenChange]:
    """What the hub hands to the desk, and to the regency, with every signature verified."""
    told = []
    for office in (country.desk, country.regency):
        file: EvidenceFile = await office.link.evidence(complaint)
        told.append(list(verify_evidence(file, country.lab.vkey).changes))
    assert [one.change.id for one in told[0]] == [one.change.id for one in told[1]]
    return told[1]


async def _tracked(country: Country, number: str) -> Any:
    hub = country.lab.hub
    size = hub.log.size
    while await hub.projection.tracked_to() < size:  # the serving hub reads on as well, and may be quicker
        await hub.tracker.step(size)
    return (await country.lab.call("GET", f"/v1/track/{number}")).json


async def _seen(country: Country) -> Seen:
    hub = country.lab.hub
    await hub.projector.catch_up()
    histories = []
    for office in country.offices:
        held = await office.peer.store.complaints(ComplaintFilter(limit=9))
        changes = [change for one in held for change in await office.peer.history(str(one.id))]
        histories.append(tuple(parse_change(change.line).id for change in changes))
    _, totals = await hub.projection.totals()
    return Seen(hub.log.size, tuple(histories), tuple(sorted(totals.items())))
