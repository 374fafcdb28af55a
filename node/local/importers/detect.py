"""The door of the importers: opens a file of any known kind, and lets the header decide what it is.

What a file is, is seen from its first bytes, never from its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import Final

from node.local.importers.csv_table import HeaderRule, open_csv
from node.local.importers.generic_csv import header_rule, read_generic
from node.local.importers.mapping import ColumnMap, load_map
from node.local.importers.rows import Row, Table, unusable
from node.local.importers.sp4n import AreaOf, is_sp4n_header, read_sp4n
from sync_protocol.errors import Refused

FORMATS: Final = ("sp4n", "csv")
_ZIP: Final = b"PK\x03\x04"
_OLD_OFFICE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_PDF: Final = b"%PDF-"
_HTML: Final = (b"<html", b"<!doctype html", b"<table", b"<?xml")
_HOW_TO_MAP: Final = "For another system's table say --format csv --map FILE (example: config/csv-map.example.toml)."


@dataclass(frozen=True, slots=True)
class ImportFile:
    """An open export: what it is, its rows (read while they are asked for), and how far the reading is (0 … 1)."""

    format_name: str
    rows: Iterator[Row]
    fraction_read: Callable[[], float]


@contextmanager
def open_import(
    path: Path, *, zone: tzinfo, area_of: AreaOf, format_name: str | None = None, map_file: Path | None = None
) -> Iterator[ImportFile]:
    """Opens an export. `zone` is the agency's own; `area_of` finds an area code by names.

    Raises Refused(configuration) with the next step where the file, its header or its map is of no use."""
    column_map = _choose_map(format_name, map_file)
    rule = is_sp4n_header if column_map is None else header_rule(column_map)
    with _open_explained(path, rule, column_map, guessed=format_name is None) as table:
        if column_map is None:
            yield ImportFile("sp4n", read_sp4n(table, zone=zone, area_of=area_of), table.fraction_read)
        else:
            yield ImportFile("csv", read_generic(table, column_map, zone=zone), table.fraction_read)


def _choose_map(format_name: str | None, map_file: Path | None) -> ColumnMap | None:
    """None means the SP4N export. A map without --format is taken as meant."""
    if format_name not in {None, *FORMATS}:
        raise unusable(f"the format {format_name} is not known", f"Known are: {', '.join(FORMATS)}.")
    if format_name == "sp4n" and map_file is not None:
        raise unusable("an SP4N export needs no map", "Leave --map away, or say --format csv.")
    if format_name == "csv" and map_file is None:
        raise unusable(
            "--format csv needs a map of the columns", "Say --map FILE (example: config/csv-map.example.toml)."
        )
    return load_map(map_file) if map_file is not None else None


@contextmanager
def _open_explained(path: Path, rule: HeaderRule, column_map: ColumnMap | None, *, guessed: bool) -> Iterator[Table]:
    opening = _open_table(path, rule, column_map)
    try:
        table = opening.__enter__()
    except Refused as refused:
        if guessed and column_map is None and "no header" in refused.detail:
            raise unusable(f"{path.name} has no header with “Tracking ID”", _HOW_TO_MAP) from None
        raise
    try:
        yield table
    finally:
        opening.__exit__(None, None, None)


def _open_table(path: Path, rule: HeaderRule, column_map: ColumnMap | None) -> AbstractContextManager[Table]:
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith(_OLD_OFFICE):
        raise unusable(
            f"{path.name} is an old .xls file or protected by a password",
            "Open it, save it as .xlsx without a password or as “CSV UTF-8”, and import that.",
        )
    if start.startswith(_PDF) or start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_HTML):
        raise unusable(
            f"{path.name} is a page, not a table",
            "Export it as .xlsx or CSV, or save it so from a spreadsheet program.",
        )
    if start.startswith(_ZIP):
        from node.local.importers.xlsx_table import open_xlsx

        return open_xlsx(path, rule)
    file_rule = column_map.file if column_map is not None else None
    return open_csv(
        path,
        rule,
        delimiter=file_rule.delimiter if file_rule else None,
        encoding=file_rule.encoding if file_rule else None,
    )
