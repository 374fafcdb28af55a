"""The directory of agencies: `config/agencies.csv`, read and checked once.

It says who there is, not who takes part: an agency takes part from its enrolment in the log on. Region codes, names and
their attribution: config/README.md.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Final, NoReturn
from zoneinfo import ZoneInfo

from node.config_data import config_file
from sync_protocol.errors import Refused
from sync_protocol.values import AgencyId

DIRECTORY_FILE: Final = "agencies.csv"
_PREFIX = re.compile(r"[A-Z0-9]{1,8}")  # protocol §1.2, tracking number
_KEYWORD = re.compile(r"[A-Za-z][A-Za-z0-9]{2,39}")  # typed into an SMS: no blank, no sign


class Kind(StrEnum):
    """What an agency is."""

    PROVINCE = "province"
    REGENCY = "regency"
    CITY = "city"
    MINISTRY = "ministry"


@dataclass(frozen=True, slots=True)
class Agency:
    """One line of the directory.

    `province` is the province's code, empty for a ministry; `timezone` an IANA name; `prefix` begins its tracking
    numbers; `sms_keyword` begins an SMS to 1708 and is told apart without regard to case.
    """

    code: AgencyId
    name: str
    kind: Kind
    province: str
    timezone: str
    prefix: str
    sms_keyword: str

    @property
    def zone(self) -> ZoneInfo:
        """The zone in which its days begin and end."""
        return ZoneInfo(self.timezone)


@lru_cache(maxsize=4)
def load_directory(path: Path | None = None) -> Mapping[AgencyId, Agency]:
    """All agencies by code, in the file's order. Read once for each path; cannot be changed.

    Raises Refused(configuration) with file and line for anything that is not right in it.
    """
    path = path or config_file(DIRECTORY_FILE)
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        agencies: dict[int, Agency] = {}
        try:
            if reader.fieldnames != [field.name for field in fields(Agency)]:
                _wrong(path, 1, "the header is not the one of the directory")
            for line, row in enumerate(reader, start=2):
                agencies[line] = _read(row, path, line)
        except (csv.Error, UnicodeDecodeError) as error:
            _wrong(path, len(agencies) + 2, str(error))
    _check_provinces(agencies, path)
    for what, key in _UNIQUE.items():
        _check_unique(agencies.items(), what, key, path)
    return MappingProxyType({agency.code: agency for agency in agencies.values()})


def name_of(code: str, directory: Mapping[AgencyId, Agency]) -> str:
    """As the directory has it; the code of an agency that is not in it."""
    agency = directory.get(AgencyId(code))
    return code if agency is None else agency.name


_UNIQUE: Final[Mapping[str, Callable[[Agency], str]]] = {
    "code": lambda agency: agency.code,
    "name": lambda agency: agency.name,
    "prefix": lambda agency: agency.prefix,
    "sms_keyword": lambda agency: agency.sms_keyword.lower(),
}


def _read(row: dict[str, str], path: Path, line: int) -> Agency:
    if None in row or None in row.values():
        _wrong(path, line, "it has another number of columns than the header")
    try:
        agency = Agency(**{**row, "code": AgencyId.parse(row["code"]), "kind": Kind(row["kind"])})  # type: ignore[arg-type]
        _ = agency.zone
    except (Refused, ValueError, KeyError, OSError) as error:
        _wrong(path, line, str(error))
    if not agency.name.strip() or not _PREFIX.fullmatch(agency.prefix) or not _KEYWORD.fullmatch(agency.sms_keyword):
        _wrong(path, line, "name, prefix or sms_keyword is not of its form")
    return agency


def _check_provinces(agencies: Mapping[int, Agency], path: Path) -> None:
    """A region lies in a province of the directory, and its code says so; a ministry in none."""
    provinces = {agency.code for agency in agencies.values() if agency.kind is Kind.PROVINCE}
    for line, agency in agencies.items():
        wanted = "" if agency.kind is Kind.MINISTRY else agency.code.partition(".")[0]
        if agency.province != wanted or (wanted and wanted not in provinces):
            _wrong(path, line, f"{agency.code} does not lie in province {agency.province!r}")


def _check_unique(lines: Iterable[tuple[int, Agency]], what: str, key: Callable[[Agency], str], path: Path) -> None:
    first: dict[str, int] = {}
    for line, agency in lines:
        if key(agency) in first:
            _wrong(path, line, f"its {what} is the one of line {first[key(agency)]}")
        first[key(agency)] = line


def _wrong(path: Path, line: int, why: str) -> NoReturn:
    raise Refused(
        "configuration",
        f"the directory of agencies is wrong in line {line}: {why}",
        where=str(path),
        members={"next": "Correct that line, or install Simpul again to get the directory it came with."},
    )
