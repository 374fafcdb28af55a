"""What happens in the demonstration: complaints are dealt out in turn, and each lives its life at its local node."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

from node.cli.demo_view import AgencyLine
from node.cli.output import UsageProblem
from node.config_data import config_file
from node.directory import Agency, Kind, load_directory
from node.local.generator import Generator, MadeUpComplaint, parse_shapes
from node.local.import_service import ImportOutcome
from node.local.importers.areas import area_finder
from node.local.importers.detect import open_import
from node.local.importers.rows import ImportedRow, RefusedRow
from node.local.recording import Command, Outcome
from node.ports import Clock, Randomness
from sync_protocol.values import AgencyId

FIRST_AGENCIES: Final = ("33.75", "35.71", "13.71")  # Kota Pekalongan, Kota Kediri, Kota Padang: where it began
AT_WORK: Final = 8  # complaints that live at the same time, for each agency

Arrival = MadeUpComplaint | ImportedRow
Deal = Iterator[tuple[int, Arrival]]  # (whose turn, what arrives)


class Desk(Protocol):
    """Where an agency's complaints are recorded: its local node's service."""

    async def record(self, command: Command) -> Outcome:
        """See LocalService."""
        ...

    async def import_rows(self, rows: Sequence[ImportedRow]) -> ImportOutcome:
        """See LocalService."""
        ...


@dataclass(frozen=True, slots=True)
class Seat:
    """An agency that takes part: its desk, and its line in the picture."""

    desk: Desk
    line: AgencyLine


def choose_agencies(count: int) -> list[Agency]:
    """The three cities first, then others from the directory, cities before all. Raises UsageProblem for too many."""
    directory = load_directory()
    if count > len(directory):
        raise UsageProblem(f"The directory has {len(directory)} agencies.", "Ask for fewer with --agencies.")
    first = [directory[AgencyId(code)] for code in FIRST_AGENCIES]
    others = [agency for agency in directory.values() if agency.code not in FIRST_AGENCIES]
    others.sort(key=lambda agency: agency.kind is not Kind.CITY)
    return [*first, *others][:count]


def deal_made_up(agencies: Sequence[Agency], count: int, clock: Clock, randomness: Randomness) -> Deal:
    """`count` complaints in all, made when they are asked for."""
    shapes = parse_shapes(config_file("generator.toml").read_bytes())
    generators = [
        Generator(
            shapes, randomness, place_name=agency.name, area=None if agency.kind is Kind.MINISTRY else str(agency.code)
        )
        for agency in agencies
    ]
    for number in range(count):
        turn = number % len(agencies)
        yield turn, generators[turn].complaint(clock.now_ms())


def read_input(file: Path, agency: Agency, limit: int | None) -> tuple[list[ImportedRow], list[RefusedRow]]:
    """The rows of an export, `limit` at most, read as the first agency would. Raises Refused(configuration)."""
    sound: list[ImportedRow] = []
    refused: list[RefusedRow] = []
    with open_import(file, zone=agency.zone, area_of=area_finder()) as opened:
        for row in opened.rows:
            if isinstance(row, RefusedRow):
                refused.append(row)
            elif limit is None or len(sound) < limit:
                sound.append(row)
    return sound, refused


def deal_rows(rows: Sequence[ImportedRow], agencies: int) -> Deal:
    """An export's rows, dealt out in turn."""
    for number, row in enumerate(rows):
        yield number % agencies, row


async def play(deal: Deal, seats: Sequence[Seat], count: int, clock: Clock, pause_s: float) -> None:
    """The next `count` arrivals, each with its whole life; a short pause after each wave, for people who watch."""
    wave_size = AT_WORK * len(seats)
    while count > 0 and (wave := list(islice(deal, min(wave_size, count)))):
        await asyncio.gather(*(_live(arrival, seats[turn]) for turn, arrival in wave))
        count -= len(wave)
        await clock.sleep(pause_s)


async def _live(arrival: Arrival, seat: Seat) -> None:
    line = seat.line
    if isinstance(arrival, ImportedRow):
        outcome = await seat.desk.import_rows([arrival])
        line.complaints += outcome.imported
        line.changes += outcome.imported
        return
    first = Command(type="received", data=arrival.data, content=arrival.content, role="reporter")
    complaint = (await seat.desk.record(first)).recorded.complaint
    line.complaints += 1
    line.changes += 1
    for step in arrival.steps:
        command = Command(
            type=step.type,
            data=step.data,
            content=step.content,
            complaint=complaint,
            role=step.role,
            unit=step.unit,
        )
        await seat.desk.record(command)
        line.changes += 1
