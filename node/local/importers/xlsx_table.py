"""XLSX files, streamed by openpyxl in read-only mode. The file is somebody else's: it is measured before unpacking.

What the packed file may claim is bounded first (entries, unpacked size, ratio, no DOCTYPE), so that a zip bomb or an
entity bomb costs nothing. Whatever openpyxl raises over damaged XML becomes one plain sentence.
"""

from __future__ import annotations

import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, time
from errno import EINVAL
from pathlib import Path
from typing import Any, Final
from xml.etree.ElementTree import ParseError

from node.local.importers.csv_table import HEADER_SEARCH_LINES, HeaderRule, fit_row
from node.local.importers.rows import RefusedRow, Table, TableRow, refused_row, unusable

PARTS_MAX: Final = 10_000  # a workbook has a few dozen
UNPACKED_MAX_BYTES: Final = 512 * 1024 * 1024  # several hundred thousand complaints
RATIO_FREE_BYTES: Final = 16 * 1024 * 1024  # below this no ratio can hurt
RATIO_MAX: Final = 200  # repetitive sheets reach 50, a bomb 1,000
PROLOGUE_BYTES: Final = 65_536
COLUMNS_MAX: Final = 256  # ten times the widest export; bounds the memory of one row
ROWS_MAX: Final = 1_048_576  # Excel's own limit; a row number beyond it is a lie

TAG_MAX_BYTES: Final = 65_536  # a row's tag has some hundred; longer ones are not looked through
_SHEET: Final = re.compile(r"/?xl/worksheets/[^/]+\.xml", re.IGNORECASE)
_ROW: Final = re.compile(rb"<(?:\w+:)?row\s(?:[^<>]*\s)?r=[\"']([^\"'<>]*)[\"']")

_DAMAGE: Final = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    ParseError,
    KeyError,
    ValueError,
    TypeError,
    IndexError,
    AttributeError,
    ArithmeticError,
    EOFError,
    RuntimeError,
)
_SAVE_AGAIN: Final = "Open it in a spreadsheet program, save it again as .xlsx or as “CSV UTF-8”, and import that."


@contextmanager
def open_xlsx(path: Path, is_header: HeaderRule) -> Iterator[Table]:
    """The table of the first sheet whose header satisfies the rule. Raises Refused(configuration)."""
    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    _check_package(path)
    # Opened here, because openpyxl would judge a path by its ending.
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"openpyxl\.")  # about styles and extensions that nobody reads here
        try:
            book = load_workbook(file, read_only=True, data_only=True, keep_links=False)
        except (*_DAMAGE, InvalidFileException) as problem:
            raise unusable(f"{path.name} is no workbook that can be read ({problem})", _SAVE_AGAIN) from None
        try:
            yield _find_table(book, path, is_header)
        finally:
            book.close()


def _check_package(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as package:
            parts = package.infolist()
            if len(parts) > PARTS_MAX:
                raise unusable(f"{path.name} has {len(parts)} parts inside, over {PARTS_MAX}", _SAVE_AGAIN)
            total = sum(part.file_size for part in parts)
            if total > UNPACKED_MAX_BYTES:
                limit = UNPACKED_MAX_BYTES // 1024**2
                raise unusable(f"{path.name} unpacks to {total // 1024**2} MiB, over {limit} MiB", _SAVE_AGAIN)
            for part in parts:
                if part.file_size > max(RATIO_FREE_BYTES, RATIO_MAX * part.compress_size):
                    raise unusable(f"{path.name} is packed like a zip bomb ({part.filename})", _SAVE_AGAIN)
                _check_prologue(package, part, path)
                if _SHEET.fullmatch(part.filename):
                    _check_row_numbers(package, part, path)
    except (*_DAMAGE, OSError) as problem:
        if isinstance(problem, OSError) and problem.errno != EINVAL:  # that: a part before the beginning of the file
            raise
        raise unusable(f"{path.name} is a damaged or encrypted XLSX file ({problem})", _SAVE_AGAIN) from None


def _check_prologue(package: zipfile.ZipFile, part: zipfile.ZipInfo, path: Path) -> None:
    is_xml = part.filename.lower().endswith((".xml", ".rels", ".vml"))
    with package.open(part) as file:
        start = file.read(PROLOGUE_BYTES).replace(b"\x00", b"") if is_xml else b""
    if b"<!DOCTYPE" in start or b"<!ENTITY" in start:
        raise unusable(f"{path.name} declares XML entities, which no spreadsheet program writes", _SAVE_AGAIN)


def _check_row_numbers(package: zipfile.ZipFile, part: zipfile.ZipInfo, path: Path) -> None:
    """openpyxl leaves out a row whose number is not above the one before, and all behind one above Excel's limit."""
    last, rest = 0, b""
    with package.open(part) as file:
        while chunk := file.read(PROLOGUE_BYTES):
            text = rest + chunk
            end = text.rfind(b">") + 1
            for found in _ROW.finditer(text[:end]):
                number = int(found[1]) if found[1].isdigit() and len(found[1]) < 8 else 0
                if not last < number <= ROWS_MAX:
                    shown = found[1][:20].decode("ascii", "replace")
                    detail = f"{path.name}, {part.filename}: row “{shown}” stands behind row {last}"
                    raise unusable(detail, _SAVE_AGAIN)
                last = number
            rest = text[end:][-TAG_MAX_BYTES:]


def _find_table(book: Any, path: Path, is_header: HeaderRule) -> Table:
    for sheet in book.worksheets:
        claimed = max(1, int(sheet.max_row or ROWS_MAX))  # for the progress bar only
        rows = _rows(sheet)
        for row in rows:
            if isinstance(row, RefusedRow):
                raise unusable(f"{path.name}, sheet {sheet.title}: {row.reason}", _SAVE_AGAIN)
            if is_header(row.cells):
                cells = list(row.cells)
                while not cells[-1].strip():
                    cells.pop()
                return _table(tuple(cells), rows, claimed)
            if row.line > HEADER_SEARCH_LINES:
                break
    raise unusable(
        f"no header was found in the first {HEADER_SEARCH_LINES} rows of any sheet of {path.name}",
        "Check that this is the right file, and with --format csv that the map names its columns.",
    )


def _table(header: tuple[str, ...], rows: Iterator[TableRow | RefusedRow], claimed: int) -> Table:
    reached = 0

    def sound_rows() -> Iterator[TableRow | RefusedRow]:
        nonlocal reached
        for row in rows:
            reached = row.line
            if isinstance(row, RefusedRow):
                yield row
            elif any(row.cells):
                yield fit_row(row, len(header))

    return Table(header, sound_rows(), lambda: min(1.0, reached / claimed))


def _rows(sheet: Any) -> Iterator[TableRow | RefusedRow]:
    """Every row up to Excel's limit; damaged XML ends them with one RefusedRow: nothing behind it can be read."""
    sheet.reset_dimensions()  # the size that a sheet claims may cut off columns
    line = 0
    try:
        cells = sheet.iter_rows(max_row=ROWS_MAX, max_col=COLUMNS_MAX, values_only=True)
        for line, values in enumerate(cells, 1):
            if values.count(None) < len(values):  # a lying row number makes openpyxl fill in a million empty ones
                yield TableRow(line, tuple(_text(value) for value in values))
    except _DAMAGE as problem:
        yield refused_row(line + 1, f"the sheet is damaged from here on: {problem}")


def _text(value: object) -> str:
    """One spelling for each kind of cell: dates in ISO, whole numbers without fraction, texts as they are."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, time):
        return value.isoformat(timespec="seconds")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value)
