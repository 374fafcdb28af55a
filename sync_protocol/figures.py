"""The figures that rankings and reports are made of, counted from the same fold as the verdicts (protocol §9.6).

A figure is a count under four words: which figure, which agency, and up to two more. So the figures of one log leaf add
to the figures before it like table rows, and a database can keep them as one table.
"""

from collections import Counter
from collections.abc import Callable, Collection
from typing import Final, TypeAlias, cast

import msgspec

from sync_protocol import change_types as ct
from sync_protocol.complaint import ComplaintState
from sync_protocol.line import Change
from sync_protocol.transitions import State, Verdict

#: (figure, agency, key, class): see `FIGURES` for what stands in the last two.
FigureKey: TypeAlias = tuple[str, str, str, str]

UNCLASSIFIED: Final = "unclassified"  # a complaint whose class nobody has set yet
UNKNOWN: Final = "unknown"  # an imported complaint whose source does not say by whom or why
#: figure -> what its key says. `complaints` is what is there now; all others count what happened, and to whom.
FIGURES: Final = {
    "complaints": "state (and class): complaints that the agency owns now",
    "applied": "changes of the agency that were applied",
    "refused": "verdict: changes of the agency that were refused",
    "stale": "applied changes whose `at` is more than a day older than the tick before them",
    "ahead": "applied changes whose `at` is more than a day ahead of the tick before them",
    "closed": "by whom: complaints closed",
    "archived": "reason: complaints archived",
    "reopened": "complaints reopened",
    "hand_overs": "complaints passed on from one unit to the next",
    "reclassified": "complaints whose class was changed",
    "bounces": "offers of the agency that were declined",
    "ratings": "1 … 5: closures rated; a later rating of the same closure replaces the earlier",
}


class Figures(msgspec.Struct):
    """Counts by FigureKey. Zeros are left out, so that equal figures are equal."""

    counts: dict[FigureKey, int] = msgspec.field(default_factory=dict)

    def add(self, figure: str, agency: str, key: str = "", class_: str = "", count: int = 1) -> None:
        """Count, or take back with a negative count."""
        place = (figure, agency, key, class_)
        total = self.counts.get(place, 0) + count
        if total:
            self.counts[place] = total
        else:
            self.counts.pop(place, None)

    def merge(self, other: "Figures") -> None:
        """Add the figures of what came after."""
        for (figure, agency, key, class_), count in other.counts.items():
            self.add(figure, agency, key, class_, count)

    def total(self, figure: str, key: str | None = None) -> int:
        """The sum of a figure over all agencies, or of one key of it."""
        return sum(count for place, count in self.counts.items() if place[0] == figure and key in (None, place[2]))

    def by_key(self, figure: str, agency: str | None = None) -> dict[str, int]:
        """One figure as a flat map key -> count, over all agencies or for one; sorted by key."""
        sums: dict[str, int] = {}
        for (name, whose, key, _), count in sorted(self.counts.items()):
            if name == figure and agency in (None, whose):
                sums[key] = sums.get(key, 0) + count
        return sums

    def by_state(self, agency: str | None = None) -> dict[str, int]:
        """Complaints by state label, in the order of the states; states without complaints are left out."""
        found = self.by_key("complaints", agency)
        return {state.label: found[state.label] for state in State if state.label in found}

    def named(self) -> dict[str, int]:
        """All counts under one name each, `figure/agency/key/class`: how a hub tells its totals."""
        return {"/".join(place): count for place, count in sorted(self.counts.items())}

    def rows(self) -> list[tuple[str, str, str, str, int]]:
        """All counts as sorted rows (figure, agency, key, class, count)."""
        return [(*place, count) for place, count in sorted(self.counts.items())]


def count_complaints(
    figures: Figures, before: Collection[ComplaintState | None], after: Collection[ComplaintState]
) -> None:
    """Move complaints from where they were counted before (None: nowhere) to where they belong now."""
    for states, sign in ((after, 1), (before, -1)):
        places = Counter(
            [
                ("complaints", state.owner, _LABELS[state.state], state.class_ or UNCLASSIFIED)
                for state in states
                if state is not None
            ]
        )
        for place, count in places.items():
            figures.add(*place, count=sign * count)


def count_verdicts(figures: Figures, agency: str, verdicts: list[Verdict]) -> None:
    """How the changes of one set fared."""
    for verdict in set(verdicts):
        if verdict is Verdict.APPLIED:
            figures.add("applied", agency, count=verdicts.count(verdict))
        else:
            figures.add("refused", agency, verdict.label, count=verdicts.count(verdict))


def count_event(figures: Figures, before: ComplaintState | None, after: ComplaintState, change: Change) -> None:
    """What one applied change of a type in `COUNTED_TYPES` did, under the agency that owned the complaint then."""
    _EVENTS[change.type](figures, before or after, after, change)


_Count: TypeAlias = Callable[[Figures, ComplaintState, ComplaintState, Change], None]


def _imported(figures: Figures, _before: ComplaintState, after: ComplaintState, _change: Change) -> None:
    if after.state is State.CLOSED:
        figures.add("closed", after.owner, after.closed_by or UNKNOWN)
    elif after.state is State.ARCHIVED:
        figures.add("archived", after.owner, after.reason or UNKNOWN)


def _closed(figures: Figures, _before: ComplaintState, after: ComplaintState, change: Change) -> None:
    figures.add("closed", after.owner, cast("ct.Ended", change.data).by)


def _archived(figures: Figures, _before: ComplaintState, after: ComplaintState, change: Change) -> None:
    figures.add("archived", after.owner, cast("ct.Ended", change.data).reason)


def _reopened(figures: Figures, _before: ComplaintState, after: ComplaintState, _change: Change) -> None:
    figures.add("reopened", after.owner)


def _assigned(figures: Figures, before: ComplaintState, after: ComplaintState, _change: Change) -> None:
    if after.hand_overs != before.hand_overs:
        figures.add("hand_overs", after.owner)


def _classified(figures: Figures, before: ComplaintState, after: ComplaintState, _change: Change) -> None:
    if after.reclassified != before.reclassified:
        figures.add("reclassified", after.owner)


def _declined(figures: Figures, before: ComplaintState, _after: ComplaintState, _change: Change) -> None:
    figures.add("bounces", before.owner)


def _rated(figures: Figures, before: ComplaintState, after: ComplaintState, _change: Change) -> None:
    if before.rating is not None:
        figures.add("ratings", before.owner, str(before.rating), count=-1)
    figures.add("ratings", after.owner, str(after.rating))


_EVENTS: Final[dict[str, _Count]] = {
    "imported": _imported,
    "closed": _closed,
    "archived": _archived,
    "reopened": _reopened,
    "assigned": _assigned,
    "amended": _classified,
    "verified": _classified,
    "declined": _declined,
    "rated": _rated,
}
COUNTED_TYPES: Final = frozenset(_EVENTS)
_LABELS: Final = tuple(state.label for state in State)
