"""How near two spellings are: letters left out, added, changed, or changed places. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

SLIPS_FROM: Final = 6  # letters; in a shorter word one letter more or less is another word
TWO_SLIPS_FROM: Final = 14  # letters: long enough that two slips leave no doubt of what was meant
SLIPS_MAX: Final = 2  # in the longest word
_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz"
_PLACES: Final = {letter: place for place, letter in enumerate(_ALPHABET)}
_BITS: Final = 3 * len(_ALPHABET)


def slips_allowed(length: int) -> int:
    """How many slips a word of so many letters may have and still be recognised."""
    return 0 if length < SLIPS_FROM else 1 if length < TWO_SLIPS_FROM else SLIPS_MAX


def distance(one: str, other: str, most: int) -> int:
    """Optimal string alignment: fewest slips from one to the other; `most + 1` for anything beyond `most`."""
    if abs(len(one) - len(other)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for place, letter in enumerate(one):
        earlier, before, row = before, row, [place + 1]
        for column, wanted in enumerate(other):
            least = min(before[column + 1] + 1, row[column] + 1, before[column] + (letter != wanted))
            if place and column and letter == other[column - 1] and one[place - 1] == wanted:
                least = min(least, earlier[column - 1] + 1)
            row.append(least)
        if min(row) > most:
            return most + 1
    return min(row[-1], most + 1)


class Spellings:
    """Known words of at least `shortest` letters, found by what was written for one of them."""

    def __init__(self, words: Iterable[str], *, shortest: int = SLIPS_FROM) -> None:
        self._by_length: defaultdict[int, list[tuple[int, str]]] = defaultdict(list)
        for word in sorted(words):
            if len(word) >= shortest:
                self._by_length[len(word)].append((_letters_of(word), word))
        self.longest = max(self._by_length, default=0)

    def near(self, written: str) -> list[str]:
        """Every known word that `written` may be, with the slips that a word of its length may have."""
        letters = _letters_of(written)
        return [
            word
            for length in range(len(written) - SLIPS_MAX, len(written) + SLIPS_MAX + 1)
            for most in (slips_allowed(length),)
            for known, word in self._by_length.get(length, ())
            # A slip takes at most one letter out and puts one in: nearly all words fall out here.
            if (known ^ letters).bit_count() <= 2 * most and distance(written, word, most) <= most
        ]


def _letters_of(word: str) -> int:
    """A bit for each letter, another for its second and third time."""
    letters = 0
    for letter in word:
        place = _PLACES.get(letter, _BITS)
        while place < _BITS and letters >> place & 1:
            place += len(_ALPHABET)
        letters |= 1 << place if place < _BITS else 0
    return letters
