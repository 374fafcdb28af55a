"""The figures of deadlines in the one form that hub and auditor give them, to be compared (docs/deadlines.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from node.deadlines.clocks import Clocks, Duty
from node.deadlines.duties import DutyCount, summed
from node.deadlines.outages import Outages, Span
from node.deadlines.slot import HOUR_MS, Due
from node.deadlines.tables import TableDigests
from sync_protocol.values import b64u_encode, format_timestamp

SPANS_MAX: Final = 20  # absences shown, the newest: figures of 727 agencies stay one document (protocol §11)


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Written with all members."""


class Tables(_Answer, frozen=True, kw_only=True):
    """What measured: SHA-256 of the tables as the rules name them (base64url), version of the package of holidays."""

    deadlines: str
    calendar: str
    holidays: str

    @classmethod
    def of(cls, digests: TableDigests) -> Tables:
        """In this spelling."""
        return cls(
            deadlines=b64u_encode(digests.deadlines),
            calendar=b64u_encode(digests.calendar),
            holidays=digests.holidays,
        )


class Absence(_Answer, frozen=True, kw_only=True, rename={"from_": "from"}):
    """A time of which the ticks prove that somebody was away."""

    from_: str
    until: str


class Unreachable(_Answer, frozen=True, kw_only=True):
    """For how long hub and node were provably away since the duty began; what both were away is the hub's."""

    hub_s: int
    node_s: int


class Absences(_Answer, frozen=True, kw_only=True):
    """Of the hub: seconds in all, and the newest."""

    unreachable_s: int
    absences: list[Absence]


class AgencyFigures(_Answer, frozen=True, kw_only=True):
    """Counts by duty, and how long the agency's node was provably away."""

    duties: dict[str, DutyCount]
    unreachable_s: int
    absences: list[Absence]


def agency_figures(
    rows: Iterable[tuple[str, str, bool, int]],
    agencies: Iterable[str],
    outages: Outages,
    heard: Mapping[str, int | None],
) -> dict[str, AgencyFigures]:
    """Of the agencies, from rows as ProjectionStore.duties gives them; `heard` is the tick before their newest set."""
    counted = summed(rows)
    figures = {}
    for agency in sorted(agencies):
        spans = outages.node(agency, heard.get(agency))
        figures[agency] = AgencyFigures(
            duties=counted.get(agency) or {duty.label: DutyCount() for duty in Duty},
            unreachable_s=outages.away(spans, 0, outages.newest_ms).node_s,
            absences=_absences(spans),
        )
    return figures


def hub_absences(outages: Outages) -> Absences:
    """Of the hub itself."""
    return Absences(
        unreachable_s=outages.away((), 0, outages.newest_ms).hub_s,
        absences=_absences(outages.hub),
    )


def unreachable(outages: Outages, spans: Sequence[Span], clocks: Clocks, due: Due) -> Unreachable:
    """Of the time since the duty that is due began, until the newest tick."""
    begun = msgspec.structs.astuple(clocks)[due.duty]
    away = outages.away(spans, begun * HOUR_MS, outages.newest_ms)
    return Unreachable(hub_s=away.hub_s, node_s=away.node_s)


def _absences(spans: Sequence[Span]) -> list[Absence]:
    return [
        Absence(from_=format_timestamp(span.from_ms), until=format_timestamp(span.until_ms))
        for span in spans[-SPANS_MAX:]
    ]
