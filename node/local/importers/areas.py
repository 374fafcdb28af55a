"""Area codes by the names that an export gives.

In doubt the wider area or none, never one of two: Pekalongan is a city and a regency.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from node.directory import load_directory
from node.local.importers.rows import column_key
from node.local.importers.sp4n import AreaOf

_GOVERNMENT: Final = re.compile(r"^(?:pemerintah |pemprov |pemkot |pemkab )?(?:provinsi |prov\.? |propinsi )?")
_REGENCY: Final = re.compile(r"^kab(?:upaten)?\.? (?:adm(?:inistrasi)?\.? )?")
_CITY: Final = re.compile(r"^kota (?:adm(?:inistrasi)?\.? )?")
_REGION: Final = re.compile(r"\d\d(?:\.\d\d)?")


def area_lookup(regions: Iterable[tuple[str, str]]) -> AreaOf:
    """From (Kemendagri code, name) of provinces, regencies and cities; other codes are passed over."""
    provinces: dict[str, str] = {}
    towns: dict[str, set[str]] = defaultdict(set)
    for code, name in regions:
        if not _REGION.fullmatch(code):
            continue
        folded = _folded(name)
        if "." not in code:
            provinces[folded] = code
            continue
        towns[folded].add(code)
        towns[_bare(folded)].add(code)

    def area_of(province: str, town: str) -> str | None:
        inside = provinces.get(_folded(province)) if province else None
        if province and inside is None:
            return None
        found = towns.get(_folded(town), set()) if town else set()
        if inside is not None:
            found = {code for code in found if code.startswith(inside + ".")}
        return next(iter(found)) if len(found) == 1 else inside

    return area_of


def _folded(name: str) -> str:
    folded = _GOVERNMENT.sub("", column_key(name), count=1)
    return _CITY.sub("kota ", _REGENCY.sub("kabupaten ", folded, count=1), count=1)


def _bare(folded: str) -> str:
    return folded.removeprefix("kabupaten ").removeprefix("kota ")


@lru_cache(maxsize=1)
def area_finder() -> AreaOf:
    """The lookup over the directory that came with the program. Raises Refused(configuration) for a damaged one."""
    return area_lookup((str(agency.code), agency.name) for agency in load_directory().values())
