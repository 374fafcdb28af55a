"""Sums that stand ready beside the figures they are of, because adding up 727 agencies takes longer than an answer may.

They are rows of the same table under figures of their own, moved in the same transaction: `national` has each figure
over all agencies (its name where the agency stands), `open` the open complaints of each agency.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sync_protocol.figures import FIGURES
from sync_protocol.transitions import State

NATIONAL: Final = "national"
OPEN: Final = "open"
COMPLAINTS: Final = "complaints"
OPEN_STATES: Final = frozenset(state.label for state in State if State.NONE < state <= State.ON_HOLD)
PLAIN: Final = tuple(FIGURES)  # what protocol §9.6 knows
DUTY: Final = "duty"  # node/deadlines/duties.py; its rows are added up where they are asked for

#: (figure, agency, key, class, difference)
TotalChange = tuple[str, str, str, str, int]


def with_sums(totals: Mapping[str, int]) -> list[TotalChange]:
    """Differences by name (`figure/agency/key/class`) as rows, and what they do to the sums."""
    rows: list[TotalChange] = []
    national: dict[tuple[str, str, str], int] = {}
    open_: dict[str, int] = {}
    for name, count in totals.items():
        figure, agency, key, class_ = name.split("/")
        rows.append((figure, agency, key, class_, count))
        if figure == DUTY:
            continue
        national[figure, key, class_] = national.get((figure, key, class_), 0) + count
        if figure == COMPLAINTS and key in OPEN_STATES:
            open_[agency] = open_.get(agency, 0) + count
    rows += [(NATIONAL, figure, key, class_, count) for (figure, key, class_), count in national.items() if count]
    rows += [(OPEN, agency, "", "", count) for agency, count in open_.items() if count]
    return rows
