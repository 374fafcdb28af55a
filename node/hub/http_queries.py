"""What people ask of the projection: what is due at an agency, how many there are of what, who is silent (protocol
§7.5). What a caller writes into an address is read here by its one spelling, or refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NoReturn

from aiohttp import web

from node.hub.complaint_lists import LIST_STATES, format_after, line_of, parse_after
from node.hub.http_projection import as_of
from node.hub.http_requests import HUB, agency_of, identify, identify_for, json_answer, query_integer
from node.hub.hub import Hub
from node.store.complaint_place import slot_at
from node.store.projection_records import TotalsWanted
from sync_protocol.change_types import CLASSES
from sync_protocol.errors import Refused, malformed
from sync_protocol.figures import FIGURES, UNCLASSIFIED
from sync_protocol.ledger import format_state_hash
from sync_protocol.limits import INTEGER_MAX
from sync_protocol.values import AgencyId, format_timestamp
from sync_protocol.wire import ComplaintPage, SilentAgencies, SilentAgency, Totals

PAGE_DEFAULT: Final = 50
PAGE_MAX: Final = 200  # a page of some 60 KiB, read and written in a few milliseconds
_OPEN_LABELS: Final = frozenset(state.label for state in LIST_STATES["open"])
_LABELS: Final = [state.label for state in LIST_STATES["all"]]
_CLASSES: Final = [*CLASSES, UNCLASSIFIED]
_COMPLAINTS: Final = "complaints"  # the figure that has states and classes
_BY: Final = {"agency": "agency", "state": "key", "class": "class_"}  # word of the address -> word of a total


async def get_complaints(request: web.Request) -> web.Response:
    """`GET /v1/agencies/{agency}/complaints`."""
    hub, agency = request.app[HUB], agency_of(request)
    await identify_for(request, agency)
    record = hub.log.roster.agency(agency)
    if record is None:
        raise Refused("not-found", f"{agency} is not enrolled", where="agency")
    state = _word(request, "state")
    states = LIST_STATES.get("open" if state is None else state)
    if states is None:
        _unknown("state", LIST_STATES)
    limit = query_integer(request, "limit", default=PAGE_DEFAULT, least=1)
    if limit > PAGE_MAX:
        raise malformed(f"is at most {PAGE_MAX}", "limit")
    text = _word(request, "after")
    after = None if text is None else parse_after(text)
    # One more than is shown tells whether there is another page.
    cursor, rows = await hub.projection.complaints_of(record.enrolled_index, states, after, limit + 1)
    shown, now_ms = rows[:limit], hub.clock.now_ms()
    page = ComplaintPage(
        as_of=await as_of(hub, cursor, now_ms),
        complaints=[line_of(row, now_ms) for row in shown],
        next=format_after(slot_at(shown[-1].place), shown[-1].number) if len(rows) > limit else None,
    )
    return json_answer(page)


async def get_totals(request: web.Request) -> web.Response:
    """`GET /v1/totals`."""
    await identify(request)
    hub = request.app[HUB]
    cursor, rows = await hub.projection.figures(_totals_wanted(request))
    totals = {row.name: row.total for row in rows if row.total}
    told = await as_of(hub, cursor, hub.clock.now_ms())
    return json_answer(Totals(as_of=told, state_hash=format_state_hash(cursor.state_hash), totals=totals))


def _totals_wanted(request: web.Request) -> TotalsWanted:
    figure, agency = _word(request, "figure"), _word(request, "agency")
    state, class_, by = _word(request, "state"), _word(request, "class"), _word(request, "by")
    if figure is not None and figure not in FIGURES:
        _unknown("figure", FIGURES)
    if state is not None and state not in _LABELS:
        _unknown("state", _LABELS)
    if class_ is not None and class_ not in _CLASSES:
        _unknown("class", _CLASSES)
    summed: frozenset[str] = frozenset()
    if by is not None:
        words = by.split(",")
        if len(set(words)) < len(words) or not set(words) <= set(_BY):
            _unknown("by", _BY)
        summed = frozenset(_BY.values()) - {_BY[word] for word in words}
    if (state, class_, by) != (None, None, None):
        if figure not in (None, _COMPLAINTS):
            raise malformed("only complaints have states and classes", "figure")
        figure = _COMPLAINTS
    whose = None if agency is None else str(AgencyId.parse(agency))
    return TotalsWanted(agency=whose, figure=figure, key=state, class_=class_, summed=summed)


async def get_silent(request: web.Request) -> web.Response:
    """`GET /v1/silent`."""
    await identify(request)
    hub = request.app[HUB]
    cursor, heard = await hub.projection.heard()
    tick, rules = hub.log.roster.tick_before(cursor.size), hub.log.roster.rules_at(cursor.size)
    default = INTEGER_MAX if rules is None else rules.silence_s
    longer_than_s = query_integer(request, "longer_than_s", default=default)
    silent = {
        agency: (tick - at, at)
        for agency, at in heard.items()
        if tick is not None and at is not None and tick - at > longer_than_s * 1000
    }
    open_ = await _open_complaints(hub) if silent else {}
    agencies = [
        SilentAgency(agency=agency, heard_at=format_timestamp(at), silent_s=ms // 1000, open=open_.get(agency, 0))
        for agency, (ms, at) in sorted(silent.items(), key=lambda one: (-one[1][0], one[0]))
    ]
    told = await as_of(hub, cursor, hub.clock.now_ms())
    newest = None if tick is None else format_timestamp(tick)
    return json_answer(SilentAgencies(as_of=told, tick=newest, agencies=agencies))


async def _open_complaints(hub: Hub) -> dict[str, int]:
    """By agency; perhaps of a moment later than the rest of the answer."""
    _, rows = await hub.projection.figures(TotalsWanted(figure=_COMPLAINTS, summed=frozenset({"class_"})))
    counts: dict[str, int] = {}
    for row in rows:
        if row.key in _OPEN_LABELS:
            counts[row.agency] = counts.get(row.agency, 0) + row.total
    return counts


def _word(request: web.Request, name: str) -> str | None:
    """A value from the query, None where there is none. Raises Refused(malformed) for two."""
    values = request.query.getall(name, [])
    if len(values) > 1:
        raise malformed("wants one value", name)
    return values[0] if values else None


def _unknown(where: str, known: Iterable[str]) -> NoReturn:
    raise malformed("is one of " + ", ".join(known), where)
