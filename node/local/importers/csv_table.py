"""CSV files as they are found: any of three encodings and four delimiters, preamble lines, damaged rows in the middle.

A row is judged by itself: an unclosed quote costs its own line, never the rows behind it.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, TextIO

from node.local.importers.rows import RefusedRow, Table, TableRow, refused_row, unusable

HeaderRule = Callable[[Sequence[str]], bool]

DELIMITERS: Final = (",", ";", "\t", "|")
HEADER_SEARCH_LINES: Final = 100  # preambles of real exports have fewer than ten
LINE_MAX: Final = 1024 * 1024  # characters; two content lines' worth of text many times over
RECORD_LINES_MAX: Final = 1_000  # a letter with a thousand lines; beyond it a quote was left open
_SCAN_BYTES: Final = 1024 * 1024
_NOT_ASCII = re.compile("[^\x00-\x7f]")
_BROKEN = re.compile("[\ud800-\udfff]")


class _RecordTooLong(Exception):
    """A record that goes on and on: a quote was left open."""


class _Lines:
    """Physical lines of a text file with their numbers; what a broken record swallowed can be put back."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._again: deque[tuple[int, str]] = deque()
        self._count = 0
        self.taken: list[tuple[int, str]] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if len(self.taken) >= RECORD_LINES_MAX:
            raise _RecordTooLong
        number, line = self._again.popleft() if self._again else self._read()
        self.taken.append((number, line))
        return line

    def _read(self) -> tuple[int, str]:
        line = self._file.readline(LINE_MAX + 1)
        if not line:
            raise StopIteration
        self._count += 1
        if len(line) > LINE_MAX:
            while line and not line.endswith(("\n", "\r")):
                line = self._file.readline(LINE_MAX)
            self.taken.append((self._count, "(a line that is too long)\n"))
            raise _RecordTooLong
        return self._count, line

    def put_back_all_but_first(self) -> None:
        """The next record begins at the second line of this one."""
        self._again.extendleft(reversed(self.taken[1:]))


def find_encoding(path: Path) -> str:
    """`utf-8-sig` or `cp1252`, by reading the file once. Some damaged bytes among good UTF-8 leave it UTF-8, so that
    one bad row does not garble all others. Raises Refused(configuration) for UTF-16 and for binary files."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    good = broken = 0
    with path.open("rb") as file:
        first = file.read(4)
        if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise unusable("the file is in UTF-16", "Save it as “CSV UTF-8” and import that.")
        file.seek(0)
        while chunk := file.read(_SCAN_BYTES):
            text = decoder.decode(chunk)
            if not text.isascii():
                wrong = len(_BROKEN.findall(text))
                broken += wrong
                good += len(_NOT_ASCII.findall(text)) - wrong
        broken += len(decoder.decode(b"", final=True))
    return "cp1252" if broken > good else "utf-8-sig"


@contextmanager
def open_csv(path: Path, is_header: HeaderRule, *, delimiter: str | None, encoding: str | None) -> Iterator[Table]:
    """The table whose header satisfies the rule, among the first lines. Raises Refused(configuration)."""
    found = encoding or find_encoding(path)
    total = max(1, path.stat().st_size)
    for candidate in (delimiter,) if delimiter else DELIMITERS:
        with path.open(encoding=found, errors="surrogateescape", newline="") as file:
            lines = _Lines(file)
            rows = _records(lines, candidate)
            header = _find_header(rows, is_header)
            if header is not None:
                _check_header(header)
                yield Table(header, _sound_rows(rows, lines, len(header)), partial(_fraction_read, file, total))
                return
    raise unusable(
        f"no header was found in the first {HEADER_SEARCH_LINES} lines of {path.name}",
        "Check that this is the right file, and with --format csv that the map names its columns.",
    )


def _fraction_read(file: TextIO, total: int) -> float:
    return min(1.0, file.buffer.tell() / total)


def _find_header(rows: Iterator[TableRow | RefusedRow], is_header: HeaderRule) -> tuple[str, ...] | None:
    for number, row in enumerate(rows):
        if isinstance(row, TableRow) and is_header(row.cells):
            cells = list(row.cells)
            while cells and not cells[-1].strip():
                cells.pop()
            return tuple(cells)
        if number >= HEADER_SEARCH_LINES:
            break
    return None


def _check_header(header: tuple[str, ...]) -> None:
    if any("\x00" in cell or _BROKEN.search(cell) for cell in header):
        raise unusable("the header holds bytes that are no text", "Save the file again as “CSV UTF-8” and import that.")


def _records(lines: _Lines, delimiter: str) -> Iterator[TableRow | RefusedRow]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.taken.clear()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except _RecordTooLong:
            yield _broken(lines, "is too long, or a quote is not closed")
        except csv.Error as problem:
            yield _broken(lines, f"is damaged: {problem}")
        else:
            yield TableRow(lines.taken[0][0], tuple(cells))


def _broken(lines: _Lines, reason: str) -> RefusedRow:
    first = lines.taken[0][0] if lines.taken else 0
    lines.put_back_all_but_first()
    return refused_row(first, f"the line {reason}")


def _sound_rows(rows: Iterator[TableRow | RefusedRow], lines: _Lines, width: int) -> Iterator[TableRow | RefusedRow]:
    for row in rows:
        if isinstance(row, RefusedRow):
            yield row
        elif any(cell.strip() for cell in row.cells):
            sound = fit_row(row, width)
            if isinstance(sound, RefusedRow):
                lines.put_back_all_but_first()  # a quote left open may have swallowed sound rows
            yield sound


def fit_row(row: TableRow, width: int) -> TableRow | RefusedRow:
    """The row with exactly `width` cells, all of them text that can be stored; otherwise why not."""
    if len(row.cells) < width:
        return refused_row(row.line, f"the row has {len(row.cells)} cells where the header has {width}")
    if any(cell.strip() for cell in row.cells[width:]):
        return refused_row(row.line, f"the row has {len(row.cells)} cells where the header has {width}")
    for cell in row.cells:
        if "\x00" in cell:
            return refused_row(row.line, "the row contains NUL bytes")
        if not cell.isascii() and _BROKEN.search(cell):
            return refused_row(row.line, "the row contains bytes that are no text in the file's encoding")
    return TableRow(row.line, row.cells[:width])
