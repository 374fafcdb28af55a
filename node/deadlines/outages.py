"""When the hub, or an agency's node, was provably away (docs/deadlines.md). Pure: ticks and places of sets go in.

The log's ticks are the only clock that nobody alone controls. A hub that serves ticks every hour, so a longer time
between two ticks is a time without hub. A node that serves sends something every day; between the first tick after one
of its sets and the last tick before its next one it sent nothing. What of that is the hub's own absence is not the
node's. Nothing shorter is told: that it was reachable is not proven by this, only that it was away.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from sync_protocol.ledger import FoldedLeaf
from sync_protocol.roster import Roster
from sync_protocol.statement import Tick

_HOUR_MS: Final = 3_600_000
HUB_QUIET_MAX_MS: Final = 2 * _HOUR_MS  # the hourly tick, and as long again to be started anew
NODE_QUIET_MAX_MS: Final = 25 * _HOUR_MS  # the daily heartbeat (protocol §10.4), and an hour to get through


class Span(NamedTuple):
    """From … until, milliseconds since 1970."""

    from_ms: int
    until_ms: int


class Away(NamedTuple):
    """How much of a time hub and node were provably away, in seconds."""

    hub_s: int
    node_s: int


class Outages:
    """Absences up to the newest tick that was handed in. `gaps` (agency, from, until) are those that `heard` told."""

    def __init__(self, ticks: Iterable[int] = (), gaps: Iterable[tuple[str, int, int]] = ()) -> None:
        self._ticks: list[int] = []
        self.hub: list[Span] = []
        self._nodes: dict[str, list[Span]] = {}
        for at_ms in ticks:
            self.tick(at_ms)
        self.add(gaps)

    @property
    def newest_ms(self) -> int:
        """The newest tick, 0 while there is none."""
        return self._ticks[-1] if self._ticks else 0

    @property
    def ticks(self) -> int:
        """How many were handed in."""
        return len(self._ticks)

    def copy(self) -> Outages:
        """Ticks and the hub's absences, without those of nodes."""
        other = Outages()
        other._ticks, other.hub = list(self._ticks), list(self.hub)
        return other

    def add(self, gaps: Iterable[tuple[str, int, int]]) -> None:
        """Absences of nodes that `heard` told before, in their order."""
        for agency, *span in gaps:
            self._nodes.setdefault(agency, []).append(Span(*span))

    def tick(self, at_ms: int) -> None:
        """The next tick of the log; they never go back."""
        if self._ticks and at_ms - self._ticks[-1] > HUB_QUIET_MAX_MS:
            self.hub.append(Span(self._ticks[-1], at_ms))
        self._ticks.append(at_ms)

    def follow(self, folded: FoldedLeaf, roster: Roster) -> Span | None:
        """The next leaf of the log; the absence of its agency that ends with it, if there was one."""
        if folded.typ == Tick.TYP and folded.problem is None:
            at_ms = roster.tick_before(folded.index + 1)
            assert at_ms is not None
            self.tick(at_ms)
        elif folded.agency is not None and folded.heard_before is not None:
            return self.heard(folded.agency, folded.heard_before, roster.tick_before(folded.index))
        return None

    def heard(self, agency: str, before_ms: int | None, now_ms: int | None) -> Span | None:
        """A set of the agency: `before_ms` is the tick before its last one, `now_ms` the tick before this one.

        The absence that ends with it, if there was one.
        """
        span = self._silence(before_ms, now_ms)
        if span is not None:
            self._nodes.setdefault(agency, []).append(span)
        return span

    def node(self, agency: str, heard_ms: int | None) -> Sequence[Span]:
        """All absences of an agency, with the one that lasts; `heard_ms` is the tick before its newest set."""
        known = self._nodes.get(agency, [])
        lasting = self._silence(heard_ms, self._ticks[-1] if self._ticks else None)
        return known if lasting is None else [*known, lasting]

    def away(self, spans: Sequence[Span], from_ms: int, until_ms: int) -> Away:
        """Of the time from … until; `spans` are the node's. What both were away counts as the hub's."""
        hub = _common(self.hub, from_ms, until_ms)
        node = [
            (begin, end, sum(b - a for a, b in _common(self.hub, begin, end)))
            for begin, end in _common(spans, from_ms, until_ms)
        ]
        return Away(sum(b - a for a, b in hub) // 1000, sum(end - begin - both for begin, end, both in node) // 1000)

    def was_away(self, agency: str, from_ms: int, until_ms: int) -> bool:
        """Whether the hub, or the agency's node, was away at any time in between; of absences that are over."""
        node = self._nodes.get(agency)
        return bool(_common(self.hub, from_ms, until_ms) or (node and _common(node, from_ms, until_ms)))

    def _silence(self, before_ms: int | None, now_ms: int | None) -> Span | None:
        """From the first tick after `before_ms` until `now_ms`, if that is too long even without the hub's absences."""
        if before_ms is None or now_ms is None or now_ms - before_ms <= NODE_QUIET_MAX_MS:
            return None
        after = bisect_right(self._ticks, before_ms)
        if after == len(self._ticks) or self._ticks[after] >= now_ms:
            return None
        begun = self._ticks[after]
        hub_ms = sum(b - a for a, b in _common(self.hub, begun, now_ms))
        return Span(begun, now_ms) if now_ms - begun - hub_ms > NODE_QUIET_MAX_MS else None


def _common(spans: Sequence[Span], from_ms: int, until_ms: int) -> list[Span]:
    """The parts of the spans, which follow each other, that lie in from … until; the newest first."""
    found = []
    for span in reversed(spans):
        if span.until_ms <= from_ms:
            break
        begin, end = max(span.from_ms, from_ms), min(span.until_ms, until_ms)
        if begin < end:
            found.append(Span(begin, end))
    return found
