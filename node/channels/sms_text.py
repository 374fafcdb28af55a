"""What an SMS to 1708 says: `PekalonganKota <text>`, `STATUS <tracking number>`, or something to help with. Pure.

Whatever is neither a question after a number nor empty is a report, and no report is turned away: one that names no
agency for certain keeps all its words and goes to the national desk.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from node.channels.sms_keywords import Keywords, fold_word, words_in
from sync_protocol.errors import Refused
from sync_protocol.values import AgencyId, parse_tracking

NUMBER_MAX_CHARACTERS: Final = 60  # a tracking number has 25, people put blanks and dots between
TRACKING_LEAST: Final = 14  # letters and digits of the shortest number: one of prefix, twelve, one to check
TRACKING_MOST: Final = 21

_ASKING: Final = re.compile(
    r"(?:(?:cek|check|lacak)[\W_]*)?(?:status|lacak|cek)(?P<rest>[\W_0-9].*|)", re.IGNORECASE | re.DOTALL
)
_LABEL: Final = re.compile(r"(?:(?:laporan|nomor|nomer|no|tracking|resi|id|kode)\b[\W_]*)+", re.IGNORECASE)
_HELP: Final = frozenset({"bantuan", "help", "info", "format", "cara", "lapor", "aduan", "pengaduan", "1708"})
_TO_DIGITS: Final = str.maketrans("OIL", "011")  # letters that no tracking number has among its twelve
_ENDS_NAME: Final = frozenset(",:;!?\n")
_OPENING_SIGNS: Final = " \t\r\n:;,.!?#*/\\|=>)]}\"'-–—_"


@dataclass(frozen=True, slots=True)
class AsksStatus:
    """Where does my report stand? The number in its one spelling; None where what was typed is no number."""

    tracking: str | None


@dataclass(frozen=True, slots=True)
class AsksHelp:
    """Nothing to record: an empty message, a call for help, or a keyword without a text."""

    keyword: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """A complaint. `agencies` are those that the first words fit; only where `is_certain` there is one to go to.

    `keyword` is what named it, as typed, and then not part of `text`; otherwise `text` is the whole message.
    """

    text: str
    keyword: str = ""
    agencies: tuple[AgencyId, ...] = ()
    is_certain: bool = False

    @property
    def agency(self) -> AgencyId | None:
        """The one that is named for certain."""
        return self.agencies[0] if self.is_certain else None


Message = AsksStatus | AsksHelp | Report


def parse_message(text: str, keywords: Keywords) -> Message:
    """What the message says. Never raises."""
    whole = clean_text(text).strip()
    asked = _question(whole, keywords.prefixes)
    if asked is not None:
        return asked
    matches = words_in(whole)
    if not matches or (len(matches) == 1 and fold_word(matches[0][0]) in _HELP):
        return AsksHelp()
    words = [fold_word(match[0]) for match in matches]
    skipped = keywords.openers(words)
    named = keywords.find(words[skipped:])
    address = keywords.find(words[skipped : _end_of_address(whole, matches, skipped)])
    if named is None or (address is not None and address.is_certain and not named.is_certain):
        named = address
    elif address is not None and address.is_certain and address.agencies != named.agencies:
        named = replace(named, agencies=address.agencies + named.agencies, is_certain=False)
    if named is None:
        return Report(whole)
    end = matches[skipped + named.words - 1].end()
    rest = whole[end:].lstrip(_OPENING_SIGNS)
    if not words_in(rest):
        return AsksHelp(whole[matches[skipped].start() : end])
    if not named.is_certain:
        return Report(whole, agencies=named.agencies)
    return Report(rest, whole[matches[skipped].start() : end], named.agencies, is_certain=True)


def _end_of_address(whole: str, matches: Sequence[re.Match[str]], first: int) -> int:
    """How many words there are up to a sign behind which no name goes on: Kabupaten Bangka has roads (jalan)."""
    for count, (before, after) in enumerate(pairwise(matches[first:]), start=first + 1):
        if _ENDS_NAME & set(whole[before.end() : after.start()]):
            return count
    return len(matches)


def clean_text(text: str) -> str:
    """Without what is no letter, sign or line break: control characters of gateways, halves of surrogate pairs."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(sign for sign in lines if sign in "\n\t" or unicodedata.category(sign) not in ("Cc", "Cs"))


def _question(whole: str, prefixes: Collection[str]) -> AsksStatus | None:
    alone = read_tracking(whole, prefixes)
    if alone is not None:
        return AsksStatus(alone)
    asking = _ASKING.fullmatch(unicodedata.normalize("NFKC", whole).lstrip(_OPENING_SIGNS))
    if asking is None:
        return None
    rest = asking["rest"].strip(_OPENING_SIGNS)
    rest = _LABEL.sub("", rest, count=1).strip(_OPENING_SIGNS) if _LABEL.match(rest) else rest
    tracking = read_tracking(rest, prefixes)
    if tracking is not None or not rest or _is_like_a_number(rest):
        return AsksStatus(tracking)
    return None


def _is_like_a_number(rest: str) -> bool:
    """Whether somebody meant a number, and did not begin a report with the word "status"."""
    first = rest.split(maxsplit=1)[0]
    has_form = any(sign.isdigit() for sign in first) or ("-" in rest and rest == first)
    return has_form and len(rest) <= NUMBER_MAX_CHARACTERS


def read_tracking(typed: str, prefixes: Collection[str]) -> str | None:
    """The one spelling of a tracking number as people type it; None for anything else.

    Case, blanks, dots, hyphens, brackets and full-width letters do not count; O, I and L are read as 0 and 1 where no
    letter can stand. What begins with none of the `prefixes` of agencies must have its hyphens: one text
    in thirty-six of that length has the check character of a number.
    """
    if len(typed) > NUMBER_MAX_CHARACTERS:
        return None
    bare = "".join(sign for sign in unicodedata.normalize("NFKC", typed).upper() if sign.isalnum())
    if not TRACKING_LEAST <= len(bare) <= TRACKING_MOST or not bare.isascii():
        return None
    for spelling in _spellings(bare):
        try:
            number = parse_tracking(spelling)
        except Refused:
            continue
        if spelling[:-13] in prefixes or typed.strip().upper() == number:
            return number
    return None


def _spellings(bare: str) -> Iterator[str]:
    """As typed first; then with digits where O, I, L must have been digits.

    The check character may be any letter, and stays as typed: read in two ways it would let one wrong letter in 36 by.
    """
    prefix, letters, check = bare[:-13], bare[-13:-1].translate(_TO_DIGITS), bare[-1]
    for wanted in dict.fromkeys((prefix, prefix.translate(_TO_DIGITS))):
        yield wanted + letters + check
