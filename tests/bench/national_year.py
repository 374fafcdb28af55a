"""One year of a city's complaints, as it was: what every node of the national bench lives through.

The volumes are those of a real SP4N-LAPOR! export (Kota Samarinda, 2024: 240 complaints; how many came in on which day
is a government fact), the proportions and the lives of the complaints those of config/generator.toml.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Final

from node.local.generator import Generator, MadeUpComplaint, Step
from node.local.recording import Command

#: Complaints of each day, 1 January to 31 December 2024, one digit a day, one line a month.
OBSERVED: Final = (
    "0002332100100001110021213101300"
    "23110010000110013001111504100"
    "0002000010120001301210004000000"
    "201001000100053121020113320001"
    "0421101202101211100011110001054"
    "100011211120000002211102112110"
    "0030100002100102010021140000301"
    "0300100010012000000100000001110"
    "000000100010100101010011111200"
    "0100000110110201300000100000100"
    "000011000011000201000000000100"
    "0010000000001000001010110000010"
)
DAYS: Final = len(OBSERVED)
WEEK: Final = 7

#: Days from arrival to each step: verified within 3 working days, answered within 5 (Permen PANRB 62/2018 as the public
#: manuals give it), closed 10 days after an answer without reply.
_AFTER_DAYS: Final = {
    "information_requested": 1,
    "verified": 1,
    "assigned": 1,
    "started": 2,
    "held": 3,
    "archived": 3,
    "answered": 5,
    "replied": 6,
    "closed": 15,
    "rated": 16,
}


def first_change(made_up: MadeUpComplaint) -> Command:
    """Its arrival."""
    return Command("received", data=made_up.data, content=made_up.content, role="reporter")


class Year:
    """One agency's year. `number` moves it by whole weeks, so that a national day is a mixture of days."""

    def __init__(self, generator: Generator, number: int) -> None:
        self._generator = generator
        self._shift = number * WEEK
        self._due: dict[int, list[tuple[str, Step]]] = {}

    def day(self, number: int, at_ms: int) -> tuple[list[Command], list[MadeUpComplaint]]:
        """What is due on that day: the follow-up of earlier complaints, then arrivals, whose lives `begin` is told."""
        follow_up = [
            Command(
                step.type, data=step.data, content=step.content, complaint=complaint, role=step.role, unit=step.unit
            )
            for complaint, step in self._due.pop(number, [])
        ]
        arrivals = [self._generator.complaint(at_ms) for _ in range(int(OBSERVED[(number + self._shift) % DAYS]))]
        return [*follow_up, *map(first_change, arrivals)], arrivals

    def begin(self, complaint: str, made_up: MadeUpComplaint, today: int) -> None:
        """From now on its steps fall due, in order; what lies after the last day is another year's."""
        day = today
        for step in made_up.steps:
            day = max(day, today + _AFTER_DAYS[step.type])
            self._due.setdefault(day, []).append((complaint, step))


def arrivals(generator: Generator, at_ms: int) -> Iterator[Command]:
    """New complaints without end."""
    return (first_change(generator.complaint(at_ms)) for _ in count())
