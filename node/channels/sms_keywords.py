"""Which agency the first words of an SMS name: the directory as people spell it. Pure.

`PekalonganKota`, `kota pekalongan`, `PEKALONGAN-KOTA:`, `Pemkot Pekalongan`, `pekalogan kota` are one agency;
`Pekalongan` is two, because a city and a regency bear the name. What fits several agencies names none of them: all are
given, and a person decides.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from node.channels.spelling import Spellings
from node.config_data import config_file
from node.directory import Agency, Kind, load_directory
from sync_protocol.errors import Refused
from sync_protocol.values import AgencyId

KEYWORDS_FILE: Final = "sms_keywords.toml"
WORDS_MAX: Final = 9  # the longest name of a ministry has eight, and one more may say what kind of agency it is
BARE_SLIPS_FROM: Final = 8  # letters of a name without "Kota" or "Kab"; shorter ones are too near to ordinary words

#: What stands before (first) or after a region's name as well, and says what kind of agency is meant.
_BEFORE: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.CITY: ("pemkot", "walikota"),
    Kind.REGENCY: ("pemkab", "bupati"),
    Kind.PROVINCE: ("pemprov", "gubernur"),
}
_AROUND: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.CITY: ("kota", "kot", "kodya", "kotamadya", "kotaadministrasi", "kotaadm"),
    Kind.REGENCY: ("kab", "kabupaten", "kabupatenadministrasi", "kabadm"),
    Kind.PROVINCE: ("prov", "provinsi", "propinsi", "prop"),
}
_KIND_WORDS: Final = frozenset(word for table in (_BEFORE, _AROUND) for words in table.values() for word in words)
_FORMAL: Final = ("kabupaten administrasi", "kota administrasi", "kabupaten", "kota", "provinsi", "kementerian")
_WORD: Final = re.compile(r"[^\W_]+")

Agencies = frozenset[AgencyId]
_NOBODY: Final[Agencies] = frozenset()


@dataclass(frozen=True, slots=True)
class Named:
    """Whom the first `words` words name: one agency for certain, or those that they fit, in the directory's order."""

    words: int
    agencies: tuple[AgencyId, ...]
    is_certain: bool


@dataclass(frozen=True, slots=True)
class _Reading:
    words: int
    agencies: Agencies
    is_exact: bool
    is_ordinary: bool = False


class Keywords:
    """The table. `prefixes` are what agencies' tracking numbers begin with."""

    def __init__(self, directory: Mapping[AgencyId, Agency], words: Mapping[str, Any]) -> None:
        self._place = {code: place for place, code in enumerate(directory)}
        self.prefixes = frozenset(agency.prefix for agency in directory.values())
        self._openers = frozenset(words["openers"])
        self._ordinary = frozenset(words["ordinary"])
        self._not_slips = frozenset(words["not_slips"])
        self._full = _full_names(directory)  # names with their kind, and the directory's keywords
        self._bare = _bare_names(directory, words["short"])  # without it
        self._begun = _beginnings(directory)
        self._full_near = Spellings(self._full)
        self._bare_near = Spellings(self._bare.keys() - self._ordinary, shortest=BARE_SLIPS_FROM)
        self._letters_max = max(self._full_near.longest, self._bare_near.longest) + 2

    def openers(self, words: Sequence[str]) -> int:
        """How many words at the beginning name nobody and only open the message."""
        count = 0
        while count < len(words) and words[count] in self._openers:
            count += 1
        return count

    def find(self, words: Sequence[str]) -> Named | None:
        """Whom the first words (folded, see `fold_word`) name; None where that is nobody whom we know."""
        readings = list(self._readings(words))
        exact = [reading for reading in readings if reading.is_exact]
        best = max(exact or readings, key=lambda reading: reading.words, default=None)
        if best is None:
            return None
        found = best.agencies
        # A longer reading that names others makes the shorter one doubtful: Kota Padang Panajng, Kota Bandung Barat.
        for reading in (*readings, *self._without_kind(words)):
            if reading.words > best.words and not found & reading.agencies:
                found |= reading.agencies
        return Named(
            best.words,
            tuple(sorted(found, key=self._place.__getitem__)),
            is_certain=len(found) == 1 and not best.is_ordinary,
        )

    def _without_kind(self, words: Sequence[str]) -> Iterator[_Reading]:
        if words and words[0] in _KIND_WORDS:
            for reading in self._readings(words[1:]):
                yield _Reading(reading.words + 1, reading.agencies, reading.is_exact)

    def _readings(self, words: Sequence[str]) -> Iterator[_Reading]:
        joined = ""
        for count, word in enumerate(words[:WORDS_MAX], start=1):
            joined += word
            if len(joined) > self._letters_max:
                return
            if joined in self._full:
                yield _Reading(count, self._full[joined] | self._bare.get(joined, _NOBODY), is_exact=True)
            elif joined in self._bare:
                yield _Reading(count, self._bearers(joined), is_exact=True, is_ordinary=joined in self._ordinary)
            elif joined not in self._not_slips and (near := self._near(joined)):
                yield _Reading(count, near, is_exact=False)

    def _near(self, joined: str) -> Agencies:
        full = [self._full[name] for name in self._full_near.near(joined)]
        return _NOBODY.union(*full, *(self._bearers(name) for name in self._bare_near.near(joined)))

    def _bearers(self, bare: str) -> Agencies:
        """Whom a name without its kind may mean; Padang is also how Padang Panjang begins."""
        return self._bare[bare] | self._begun.get(bare, _NOBODY)


@lru_cache(maxsize=1)
def load_keywords() -> Keywords:
    """The table over the directory and the words that came with the program. Raises Refused(configuration)."""
    path = config_file(KEYWORDS_FILE)
    directory = load_directory()
    try:
        words = tomllib.loads(path.read_text(encoding="utf-8"))
        for code in words["short"]:
            _ = directory[code]
        return Keywords(directory, words)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        step = "Correct it by the file that Simpul came with, or install Simpul again."
        raise Refused(
            "configuration", f"{KEYWORDS_FILE} cannot be used: {error}", where=str(path), members={"next": step}
        ) from None


def words_in(text: str) -> list[re.Match[str]]:
    """The words of a text, with their places in it."""
    return list(_WORD.finditer(text))


def fold_word(word: str) -> str:
    """A word as the table has it: lower case, without accents, full-width letters as plain ones."""
    plain = unicodedata.normalize("NFKD", word).casefold()
    return "".join(letter for letter in plain if letter.isalnum())


def _full_names(directory: Mapping[AgencyId, Agency]) -> dict[str, Agencies]:
    names: defaultdict[str, set[AgencyId]] = defaultdict(set)
    for agency in directory.values():
        bare = "".join(_bare_words(agency))
        around = _AROUND.get(agency.kind, ())
        spellings = {agency.sms_keyword.lower(), "".join(_folded(agency.name))}
        spellings |= {word + bare for word in (*_BEFORE.get(agency.kind, ()), *around)}
        spellings |= {bare + word for word in around}
        if agency.kind is Kind.MINISTRY:
            spellings |= {"kemen" + bare, "menteri" + bare}
        for spelling in spellings:
            names[spelling].add(agency.code)
    return {name: frozenset(codes) for name, codes in names.items()}


def _bare_names(directory: Mapping[AgencyId, Agency], short: Mapping[str, Sequence[str]]) -> dict[str, Agencies]:
    names: defaultdict[str, set[AgencyId]] = defaultdict(set)
    for agency in directory.values():
        if agency.kind is not Kind.MINISTRY:  # "agama", "kesehatan" are what a complaint is about
            names["".join(_bare_words(agency))].add(agency.code)
        for spelling in short.get(agency.code, ()):
            names[spelling].add(agency.code)
    return {name: frozenset(codes) for name, codes in names.items()}


def _beginnings(directory: Mapping[AgencyId, Agency]) -> dict[str, Agencies]:
    """The first words of longer names, and whose names they begin."""
    begun: defaultdict[str, set[AgencyId]] = defaultdict(set)
    for agency in directory.values():
        words = _bare_words(agency) if agency.kind is not Kind.MINISTRY else []
        for count in range(1, len(words)):
            begun["".join(words[:count])].add(agency.code)
    return {name: frozenset(codes) for name, codes in begun.items()}


def _bare_words(agency: Agency) -> list[str]:
    name = agency.name.lower()
    for formal in _FORMAL:
        name = name.removeprefix(formal + " ")
    return _folded(name)


def _folded(name: str) -> list[str]:
    return [fold_word(match[0]) for match in words_in(name)]
