"""What people ask of the projection: what is due at an agency, how many there are of what, who is silent (protocol
§7.5). What a caller writes into an address is read here by its one spelling, or refused.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Sequence
from typing import Final

import msgspec
from aiohttp import web

from node.deadlines.slot import DUE_WORDS, SLOT_MAX, slots_due
from node.hub.complaint_lists import LIST_STATES, format_after, line_of, parse_after
from node.hub.http_projection import as_of
from node.hub.http_requests import HUB, agency_of, identify, identify_for, json_answer, query_integer
from node.store.complaint_place import slot_at
from node.store.projection_records import TotalsWanted
from node.store.projection_sums import COMPLAINTS
from sync_protocol.change_types import CLASSES
from sync_protocol.errors import Refused, malformed
from sync_protocol.figures import FIGURES, UNCLASSIFIED
from sync_protocol.ledger import format_state_hash
from sync_protocol.limits import INTEGER_MAX
from sync_protocol.roster_state import AgencyRecord
from sync_protocol.values import AgencyId, format_timestamp
from sync_protocol.wire import ComplaintPage, SilentAgencies, SilentAgency, Totals

PAGE_DEFAULT: Final = 50
PAGE_MAX: Final = 200  # a page of some 60 KiB, read and written in a few milliseconds
AGENCIES_DEFAULT: Final = 50
AGENCIES_MAX: Final = 100  # a page of totals: each agency has some fifty
_LABELS: Final = [state.label for state in LIST_STATES["all"]]
_CLASSES: Final = [*CLASSES, UNCLASSIFIED]
_BY: Final = {"agency": "agency", "state": "key", "class": "class_"}  # word of the address -> word of a total


async def get_complaints(request: web.Request) -> web.Response:
    """`GET /v1/agencies/{agency}/complaints`."""
    hub, agency = request.app[HUB], agency_of(request)
    await identify_for(request, agency)
    record = hub.log.roster.agency(agency)
    if record is None:
        raise Refused("not-found", f"{agency} is not enrolled", where="agency")
    states = LIST_STATES[_one_of(request, "state", LIST_STATES) or "open"]
    limit = limit_of(request, PAGE_DEFAULT, PAGE_MAX)
    text, which, now_ms = word_of(request, "after"), _one_of(request, "due", DUE_WORDS), hub.clock.now_ms()
    after = None if text is None else parse_after(text)
    slots = (0, SLOT_MAX) if which is None else slots_due(which, now_ms)
    # One more than is shown tells whether there is another page.
    cursor, rows = await hub.projection.complaints_of(record.enrolled_index, states, after, limit + 1, slots)
    shown = rows[:limit]
    page = ComplaintPage(
        as_of=await as_of(hub, cursor, now_ms),
        complaints=[line_of(row, now_ms) for row in shown],
        next=format_after(slot_at(shown[-1].place), shown[-1].number) if len(rows) > limit else None,
    )
    return json_answer(page)


async def get_totals(request: web.Request) -> web.Response:
    """`GET /v1/totals`: everything at once; with parameters of one agency, national, or by pages of agencies."""
    await identify(request)
    hub = request.app[HUB]
    totals: object
    if request.query:
        wanted, next_ = _totals_wanted(request, hub.log.roster.agencies)
        cursor, rows = await hub.projection.figures(wanted)
        totals = {row.name: row.total for row in rows if row.total}
    else:
        (cursor, words), next_ = await hub.projection.totals_json(), None
        totals = msgspec.Raw(words)
    told = await as_of(hub, cursor, hub.clock.now_ms())
    answer = Totals(as_of=told, state_hash=format_state_hash(cursor.state_hash), totals={}, next=next_)
    return json_answer({**msgspec.structs.asdict(answer), "totals": totals})


def _totals_wanted(request: web.Request, enrolled: Sequence[AgencyRecord]) -> tuple[TotalsWanted, str | None]:
    """What is asked for, and the `after` of the next page."""
    figure = _one_of(request, "figure", FIGURES)
    state, class_ = _one_of(request, "state", _LABELS), _one_of(request, "class", _CLASSES)
    summed = _summed(word_of(request, "by"))
    if (state, class_) != (None, None) or summed is not None:
        if figure not in (None, COMPLAINTS):
            raise malformed("only complaints have states and classes", "figure")
        figure = COMPLAINTS
    wanted = TotalsWanted(figure=figure, key=state, class_=class_, summed=summed or frozenset())
    agency = word_of(request, "agency")
    if agency is not None:
        code = str(AgencyId.parse(agency))
        return wanted._replace(agencies=(code, code), summed=wanted.summed - {"agency"}), None
    if "agency" in wanted.summed:
        return wanted, None
    return _page_of_agencies(request, wanted, sorted(record.agency for record in enrolled))


def _page_of_agencies(
    request: web.Request, wanted: TotalsWanted, agencies: Sequence[str]
) -> tuple[TotalsWanted, str | None]:
    """`after` is the last agency of the page before, which need not be one: it is a place in an order."""
    after, limit = word_of(request, "after"), limit_of(request, AGENCIES_DEFAULT, AGENCIES_MAX)
    begin = 0 if after is None else bisect_right(agencies, AgencyId.parse(after))
    page = agencies[begin : begin + limit]
    bounds = (str(page[0]), str(page[-1])) if page else ("", "")
    return wanted._replace(agencies=bounds), str(page[-1]) if begin + limit < len(agencies) else None


def _summed(by: str | None) -> frozenset[str] | None:
    """The words of a total that `by` leaves out."""
    if by is None:
        return None
    words = by.split(",")
    if len(set(words)) < len(words) or not set(words) <= set(_BY):
        raise malformed("is one or more of " + ", ".join(_BY), "by")
    return frozenset(_BY.values()) - {_BY[word] for word in words}


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
    open_ = await hub.projection.open_complaints() if silent else {}
    agencies = [
        SilentAgency(agency=agency, heard_at=format_timestamp(at), silent_s=ms // 1000, open=open_.get(agency, 0))
        for agency, (ms, at) in sorted(silent.items(), key=lambda one: (-one[1][0], one[0]))
    ]
    told = await as_of(hub, cursor, hub.clock.now_ms())
    newest = None if tick is None else format_timestamp(tick)
    return json_answer(SilentAgencies(as_of=told, tick=newest, agencies=agencies))


def word_of(request: web.Request, name: str) -> str | None:
    """A value from the query, None where there is none. Raises Refused(malformed) for two."""
    values = request.query.getall(name, [])
    if len(values) > 1:
        raise malformed("wants one value", name)
    return values[0] if values else None


def _one_of(request: web.Request, name: str, known: Collection[str]) -> str | None:
    """A value from the query that is one of the known. Raises Refused(malformed)."""
    value = word_of(request, name)
    if value is not None and value not in known:
        raise malformed("is one of " + ", ".join(known), name)
    return value


def limit_of(request: web.Request, default: int, most: int) -> int:
    """The `limit` of the query. Raises Refused(malformed)."""
    limit = query_integer(request, "limit", default=default, least=1)
    if limit > most:
        raise malformed(f"is at most {most}", "limit")
    return limit
