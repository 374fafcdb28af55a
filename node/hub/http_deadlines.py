"""Deadlines of all agencies: what is overdue, for the desk and auditors; the figures (protocol §7.5)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

import msgspec
from aiohttp import web

from node.deadlines.duties import last_hour
from node.deadlines.outages import Outages
from node.deadlines.overdue import OverdueLine, OverduePage
from node.deadlines.report import (
    Absences,
    AgencyFigures,
    Tables,
    agency_figures,
    hub_absences,
    unreachable,
)
from node.deadlines.slot import due_of, slots_due
from node.hub.complaint_lists import format_after, line_of, parse_after
from node.hub.folding import unpack_state
from node.hub.http_projection import as_of
from node.hub.http_queries import AGENCIES_DEFAULT, AGENCIES_MAX, PAGE_DEFAULT, PAGE_MAX, limit_of, word_of
from node.hub.http_requests import HUB, identify, json_answer
from node.hub.hub import Hub
from node.store.complaint_place import slot_at
from node.store.projection_records import ComplaintRow
from sync_protocol.errors import Refused
from sync_protocol.values import AgencyId, format_timestamp
from sync_protocol.wire import AsOf

_LAST: Final = "~"  # behind every agency


class DeadlineFigures(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/deadlines`: as of `tick`, the newest of the log; null while there is none, and nothing is overdue."""

    as_of: AsOf
    tick: str | None
    tables: Tables
    hub: Absences
    agencies: dict[str, AgencyFigures]
    next: str | None


async def get_overdue(request: web.Request) -> web.Response:
    """`GET /v1/overdue`, for the desk of the rules in force, and auditors."""
    reader = await identify(request)
    hub = request.app[HUB]
    rules = hub.log.roster.rules_at(hub.log.size)
    if reader.agency is not None and (rules is None or reader.agency != rules.desk):
        raise Refused("wrong-agency", "the list of all agencies is for the desk and for auditors", where="agency")
    limit, text = limit_of(request, PAGE_DEFAULT, PAGE_MAX), word_of(request, "after")
    now_ms = hub.clock.now_ms()
    after = None if text is None else parse_after(text)
    cursor, rows = await hub.projection.overdue(slots_due("overdue", now_ms)[1], after, limit + 1)
    shown = rows[:limit]
    outages = await hub.absences.as_of(cursor.size) if shown else Outages()
    heard = await hub.projection.last_heard() if shown else {}
    page = OverduePage(
        as_of=await as_of(hub, cursor, now_ms),
        complaints=[_line(row, now_ms, outages, heard) for row in shown],
        next=format_after(slot_at(shown[-1].place), shown[-1].number) if len(rows) > limit else None,
    )
    return json_answer(page)


def _line(row: ComplaintRow, now_ms: int, outages: Outages, heard: dict[str, int | None]) -> OverdueLine:
    state = unpack_state(row.state)
    line, owner = line_of(row, now_ms), str(state.owner)
    due = due_of(slot_at(row.place))
    assert due is not None  # the list is of such
    away = unreachable(outages, outages.node(owner, heard.get(owner)), state.clocks, due)
    return OverdueLine(**msgspec.structs.asdict(line), agency=owner, unreachable=away)


async def get_deadlines(request: web.Request) -> web.Response:
    """`GET /v1/deadlines`: of one agency, or by pages of agencies."""
    await identify(request)
    hub = request.app[HUB]
    agency = word_of(request, "agency")
    enrolled = sorted(str(record.agency) for record in hub.log.roster.agencies)
    if agency is not None:
        code = str(AgencyId.parse(agency))
        page, next_ = [one for one in enrolled if one == code], None
    else:
        after, limit = word_of(request, "after"), limit_of(request, AGENCIES_DEFAULT, AGENCIES_MAX)
        begin = 0 if after is None else bisect_right(enrolled, str(AgencyId.parse(after)))
        page = enrolled[begin : begin + limit]
        next_ = page[-1] if begin + limit < len(enrolled) else None
    return json_answer(await figures_of(hub, page, next_))


async def figures_of(hub: Hub, agencies: Sequence[str], next_: str | None = None) -> DeadlineFigures:
    """The figures of some agencies that follow each other in the order of their names."""
    bounds = (agencies[0], agencies[-1]) if agencies else (_LAST, _LAST)
    cursor = await hub.projection.cursor()
    while True:  # once; twice where a tick was folded between the two questions
        tick = hub.log.roster.tick_before(cursor.size)
        cursor, rows = await hub.projection.duties(bounds, last_hour(tick))
        if hub.log.roster.tick_before(cursor.size) == tick:
            break
    outages = await hub.absences.as_of(cursor.size)
    return DeadlineFigures(
        as_of=await as_of(hub, cursor, hub.clock.now_ms()),
        tick=None if tick is None else format_timestamp(tick),
        tables=Tables.of(hub.deadlines.digests),
        hub=hub_absences(outages),
        agencies=agency_figures(rows, agencies, outages, await hub.projection.last_heard()),
        next=next_,
    )
