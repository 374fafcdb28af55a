"""Any table with a header, CSV or XLSX, read through a map (node/local/importers/mapping.py)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import tzinfo
from typing import Final

from node.local.importers.mapping import ColumnMap, ContentRule, FieldRule, zone_of
from node.local.importers.rows import (
    ImportedRow,
    RefusedRow,
    Row,
    RowProblem,
    Table,
    TableRow,
    check_content,
    check_data,
    column_key,
    quote,
    refused_row,
    slug,
    source_key,
    unusable,
    without_empty,
)
from node.local.importers.times import local_moment, moment_by_formats

#: A date cell of a workbook, as xlsx_table.py spells it, however the sheet shows it: the map's formats are for texts.
DATE_CELL: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", re.ASCII)
CODE_FIELDS: Final[Sequence[str]] = (
    "area",
    "category",
    "channel",
    "class",
    "closed_by",
    "reason",
    "state",
    "unit",
    "visibility",
)


def header_rule(column_map: ColumnMap) -> Callable[[Sequence[str]], bool]:
    """The header is the first row that holds the column with the other system's number."""
    wanted = column_key(column_map.source.id_column)
    return lambda cells: wanted in map(column_key, cells)


def find_columns(column_map: ColumnMap, header: Sequence[str]) -> dict[str, int]:
    """Positions of the columns that the map names. Raises Refused(configuration) for one missing or doubled."""
    keys = [column_key(cell) for cell in header]
    found: dict[str, int] = {}
    for name in column_map.columns():
        times = keys.count(column_key(name))
        if times != 1:
            problem = "is not in the header of the file" if times == 0 else "stands in the header more than once"
            raise unusable(f"the column {quote(name)} {problem}", f"The header has: {', '.join(header)[:500]}")
        found[name] = keys.index(column_key(name))
    return found


def read_generic(table: Table, column_map: ColumnMap, *, zone: tzinfo) -> Iterator[Row]:
    """The rows of the table, lazily. Raises Refused(configuration) at once for a header that the map does not fit."""
    reader = _Reader(column_map, find_columns(column_map, table.header), zone)
    return (row if isinstance(row, RefusedRow) else reader.judge(row) for row in table.rows)


class _Reader:
    """A map whose columns are found, its tables folded once."""

    def __init__(self, column_map: ColumnMap, columns: dict[str, int], zone: tzinfo) -> None:
        self._map = column_map
        self._columns = columns
        self._zone = zone_of(column_map.times.zone) if column_map.times.zone else zone
        self._values = {
            name: {column_key(words): value for words, value in rule.values.items()}
            for name, rule in column_map.fields.items()
            if rule.values is not None
        }

    def judge(self, row: TableRow) -> Row:
        """The row as an ImportedRow, or why not."""
        try:
            source = source_key(self._map.source.system, self._cell(row, self._map.source.id_column))
            data = self._data(row)
            content = {name: self._text(row, rule) for name, rule in self._map.content.items()}
            kept = without_empty(content.items())
            check_data(data)
            check_content(kept)
        except RowProblem as problem:
            return refused_row(row.line, problem)
        return ImportedRow(row.line, source, data | {"source": {"id": source.id, "system": source.system}}, kept)

    def _cell(self, row: TableRow, column: str) -> str:
        return row.cells[self._columns[column]].strip()

    def _data(self, row: TableRow) -> dict[str, object]:
        fields = self._map.fields
        data: dict[str, object] = {name: self._field(row, name, fields[name]) for name in CODE_FIELDS if name in fields}
        for name in ("received_at", "closed_at"):
            if name in fields and fields[name].column:
                data[name] = self._moment(self._cell(row, str(fields[name].column)))
        for name in ("received_at", "state", "channel", "visibility"):
            if not data[name]:
                raise RowProblem(f"{name} is empty (column {quote(str(fields[name].column))})")
        return without_empty(data.items())

    def _field(self, row: TableRow, name: str, rule: FieldRule) -> str:
        if rule.column is None:
            return rule.constant or ""
        words = self._cell(row, rule.column)
        if not words:
            return rule.default or ""
        table = self._values.get(name)
        if table is not None:
            found = table.get(column_key(words))
            if found is not None:
                return found
            if rule.otherwise is not None:
                return rule.otherwise
            if not rule.slug:
                raise RowProblem(f"{rule.column} {quote(words)} is not in the table of fields.{name}")
        return (slug(words) or rule.otherwise or "") if rule.slug else words

    def _moment(self, text: str) -> str:
        if not text:
            return ""
        formats = self._map.times.formats
        if formats and not DATE_CELL.fullmatch(text):
            return moment_by_formats(text, formats, self._zone)
        return local_moment(text, "", self._zone)

    def _text(self, row: TableRow, rule: ContentRule) -> str:
        parts = [(name, self._cell(row, name)) for name in rule.columns]
        said = [(name, text) for name, text in parts if text and text not in rule.ignore]
        return rule.join.join(f"{name}: {text}" if rule.labels else text for name, text in said)
