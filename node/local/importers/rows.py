"""What every importer hands out: a row that can be recorded, or a line number and a reason (protocol §2.2)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, get_args

import msgspec

from sync_protocol.change_types import CHANNELS, CLASSES, CLOSERS, VISIBILITIES, StateLabel
from sync_protocol.errors import Refused
from sync_protocol.limits import CODE_MAX, CONTENT_LINE_MAX_BYTES
from sync_protocol.values import AREA_PATTERN, parse_code, parse_source_id

REASON_MAX: Final = 300  # one line on a screen; a hostile cell must not become the error message
LISTED_REFUSALS_MAX: Final = 10_000  # a file that is damaged throughout must not fill the memory with its complaints

SALT_MEMBER_BYTES: Final = 64  # `,"salt":"…"` takes 33; some room for the recorder's own spelling

STATES: Final[tuple[str, ...]] = get_args(StateLabel)

_VOCABULARIES: Final[Mapping[str, Collection[str]]] = {
    "state": STATES,
    "class": CLASSES,
    "visibility": VISIBILITIES,
    "channel": CHANNELS,
    "closed_by": CLOSERS,
}
_CODES: Final = ("category", "unit", "reason")
_AREA = re.compile(AREA_PATTERN)
_NOT_SLUG = re.compile(r"[^a-z0-9]+")
_LONG_DIGITS = re.compile(r"[0-9]{10,}")


@dataclass(frozen=True, slots=True)
class SourceKey:
    """Another system's name and its own number of a complaint: what makes an import repeatable."""

    system: str
    id: str


@dataclass(frozen=True, slots=True)
class ImportedRow:
    """One complaint of the file. `data` is that of an `imported` change without `tracking`, which the recorder mints;
    `content` are the fields of its content line without `salt`. Nothing that concerns a person is in `data`."""

    line: int
    source: SourceKey
    data: Mapping[str, object]
    content: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that cannot go in. `line` is the line of the text file or the row of the sheet, counted from 1."""

    line: int
    reason: str


Row = ImportedRow | RefusedRow


class RowProblem(Exception):
    """A row that cannot be understood; the message is for the operator. It never leaves this package."""


@dataclass(frozen=True, slots=True)
class TableRow:
    """The cells of one line as text, as many as the header has; empty cells are empty strings."""

    line: int
    cells: tuple[str, ...]


@dataclass(slots=True)
class Table:
    """An open file: its header and, lazily, its rows; `fraction_read` (0 … 1) is for a progress bar."""

    header: tuple[str, ...]
    rows: Iterator[TableRow | RefusedRow]
    fraction_read: Callable[[], float]


def refused_row(line: int, reason: object) -> RefusedRow:
    """A RefusedRow whose reason is bounded and printable."""
    text = " ".join(str(reason).split())
    printable = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return RefusedRow(line, printable[: REASON_MAX - 1] + "…" if len(printable) > REASON_MAX else printable)


def unusable(detail: str, next_step: str) -> Refused:
    """The file or its map as a whole is of no use; `next_step` is what the operator does now."""
    return Refused("configuration", detail, members={"next": next_step})


def column_key(name: str) -> str:
    """What two spellings of one column name have in common: blanks, case and a byte order mark do not count."""
    return " ".join(name.replace("\ufeff", "").split()).casefold()


def quote(text: str, limit: int = 60) -> str:
    """A cell's words for an error message, bounded."""
    return f"“{text[:limit]}…”" if len(text) > limit else f"“{text}”"


def slug(text: str) -> str:
    """A code made of words: the same words always give the same code. Empty where nothing is left."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii").lower()
    words = _LONG_DIGITS.sub("", _NOT_SLUG.sub("-", plain))
    return re.sub(r"-+", "-", words)[:CODE_MAX].strip("-")


def check_data(data: Mapping[str, object]) -> None:
    """The vocabularies and patterns of protocol §2.2 for an `imported` change. Raises RowProblem."""
    for name, words in _VOCABULARIES.items():
        if name in data and data[name] not in words:
            raise RowProblem(f"{name} {quote(str(data[name]))} is not one of {', '.join(sorted(words))}")
    if "area" in data and not _AREA.fullmatch(str(data["area"])):
        raise RowProblem(f"area {quote(str(data['area']))} is not a Kemendagri code such as 33.75")
    try:
        for name in _CODES:
            if name in data:
                parse_code(str(data[name]), name)
    except Refused as refused:
        raise RowProblem(f"{refused.where} {quote(str(data[str(refused.where)]))} is {refused.detail}") from None


def check_content(content: Mapping[str, object]) -> None:
    """The content line with its salt must keep within its limit (protocol §11). Raises RowProblem."""
    size = len(msgspec.json.encode(content)) + SALT_MEMBER_BYTES
    if size > CONTENT_LINE_MAX_BYTES:
        raise RowProblem(f"the texts of the row take {size} bytes, over the limit of {CONTENT_LINE_MAX_BYTES}")


def source_key(system: str, number: str) -> SourceKey:
    """Raises RowProblem: a row without its own number could not be imported twice without doubling it."""
    if not number:
        raise RowProblem("the number of the complaint is empty")
    try:
        return SourceKey(parse_code(system, "system"), parse_source_id(number))
    except Refused as refused:
        raise RowProblem(f"the number {quote(number)} is {refused.detail}") from None


def without_empty(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    """A dict of what is there: neither empty text, nor empty collections, nor None."""
    return {name: value for name, value in pairs if value not in ("", None) and value != {}}
