"""The map of a generic CSV: which column becomes which field (docs: config/csv-map.example.toml).

A map is a TOML file written by an operator: whatever is wrong with it is said in one sentence that names the place.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from node.local.importers.rows import STATES, quote, unusable
from sync_protocol.change_types import CHANNELS, CLASSES, CLOSERS, VISIBILITIES
from sync_protocol.errors import Refused
from sync_protocol.values import parse_code

MAP_MAX_BYTES: Final = 1024 * 1024  # a map is a page; long tables of words still fit
MAP_PIECES_MAX: Final = 100  # rules in one map: more than any table has columns that a person looks after

_FIELDS: Final[Mapping[str, Collection[str] | None]] = {
    "area": None,
    "category": None,
    "channel": CHANNELS,
    "class": CLASSES,
    "closed_by": CLOSERS,
    "reason": None,
    "state": STATES,
    "unit": None,
    "visibility": VISIBILITIES,
}
_TIMES: Final = frozenset({"received_at", "closed_at"})
_REQUIRED: Final = ("received_at", "state", "channel", "visibility")
_RESERVED_CONTENT: Final = frozenset({"salt", "hidden"})
_EXAMPLE: Final = "Compare it with config/csv-map.example.toml."


class FieldRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one field gets its value: from a column or a constant, through a table, with what to do about the rest.

    `values`: the cell's words (case and blanks do not count) → the field's value. `otherwise`: for words that are not
    in the table. `default`: for an empty cell. `slug`: make a code of the words.
    """

    column: str | None = None
    constant: str | None = None
    values: dict[str, str] | None = None
    otherwise: str | None = None
    default: str | None = None
    slug: bool = False


class ContentRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one member of the content line is made: cells joined, empty ones and those in `ignore` left out."""

    columns: list[str]
    join: str = "\n"
    labels: bool = False
    ignore: list[str] = []


class TimeRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`formats` are those of strptime, the first that fits; none at all means dates as in `3 Jan 2026` or ISO.
    `zone` holds where a time carries none; the agency's own if it is not given."""

    formats: list[str] = []
    zone: str | None = None


class SourceRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The other system's name (a code) and the column with its own number of a complaint."""

    system: str
    id_column: str


class FileRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Only where guessing goes wrong: `utf-8-sig` or `cp1252`, and the delimiter."""

    encoding: str | None = None
    delimiter: str | None = None


class ColumnMap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole map, as in the TOML file."""

    source: SourceRule
    fields: dict[str, FieldRule]
    content: dict[str, ContentRule] = {}
    times: TimeRules = TimeRules()
    file: FileRule = FileRule()

    def columns(self) -> list[str]:
        """Every column that the map names, each once."""
        named = [self.source.id_column, *(rule.column for rule in self.fields.values() if rule.column)]
        return list(dict.fromkeys([*named, *(name for rule in self.content.values() for name in rule.columns)]))


def load_map(path: Path) -> ColumnMap:
    """Reads and checks a map file. Raises Refused(configuration)."""
    if path.stat().st_size > MAP_MAX_BYTES:
        raise unusable(f"the map {path.name} is over {MAP_MAX_BYTES} bytes", _EXAMPLE)
    try:
        return parse_map(path.read_bytes())
    except Refused as refused:
        raise unusable(f"the map {path.name}: {refused.detail}", _EXAMPLE) from None


def parse_map(text: bytes) -> ColumnMap:
    """Raises Refused(configuration)."""
    try:
        document = tomllib.loads(text.decode("utf-8-sig"))
        column_map = msgspec.convert(document, ColumnMap)
    except (ValueError, RecursionError) as problem:  # also for a number of 5,000 digits, which tomllib lets out as such
        raise unusable(f"it is not TOML in UTF-8 ({problem})", _EXAMPLE) from None
    except msgspec.ValidationError as problem:
        raise unusable(str(problem), _EXAMPLE) from None
    _check(column_map)
    return column_map


def _check(column_map: ColumnMap) -> None:
    try:
        parse_code(column_map.source.system, "source.system")
    except Refused as refused:
        raise unusable(f"source.system {quote(column_map.source.system)} is {refused.detail}", _EXAMPLE) from None
    for name in _REQUIRED:
        if name not in column_map.fields:
            raise unusable(f"fields.{name} is missing", _EXAMPLE)
    if len(column_map.fields) + len(column_map.content) > MAP_PIECES_MAX:
        raise unusable(f"it has more than {MAP_PIECES_MAX} rules", _EXAMPLE)
    for name, rule in column_map.fields.items():
        _check_field(name, rule)
    for name, content in column_map.content.items():
        if name in _RESERVED_CONTENT or not name or not content.columns:
            raise unusable(f"content.{name} is reserved, or names no column", _EXAMPLE)
    _check_file(column_map)


def _check_field(name: str, rule: FieldRule) -> None:
    if name not in _FIELDS and name not in _TIMES:
        raise unusable(f"fields.{name} is not known; known are {', '.join(sorted({*_FIELDS, *_TIMES}))}", _EXAMPLE)
    if (rule.column is None) == (rule.constant is None):
        raise unusable(f"fields.{name} wants either column or constant", _EXAMPLE)
    if name in _TIMES and (rule.column is None or rule.values or rule.slug or rule.otherwise or rule.default):
        raise unusable(f"fields.{name} is a time: it wants a column and nothing else", _EXAMPLE)
    vocabulary = _FIELDS.get(name)
    results = [rule.constant, rule.otherwise, rule.default, *(rule.values or {}).values()]
    for result in results:
        if result and vocabulary is not None and result not in vocabulary:
            raise unusable(f"fields.{name}: {quote(result)} is not one of {', '.join(sorted(vocabulary))}", _EXAMPLE)


def _check_file(column_map: ColumnMap) -> None:
    encoding, delimiter = column_map.file.encoding, column_map.file.delimiter
    if encoding not in {None, "utf-8", "utf-8-sig", "cp1252"}:
        raise unusable(f"file.encoding {quote(encoding or '')} is neither utf-8-sig nor cp1252", _EXAMPLE)
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n\x00'):
        raise unusable("file.delimiter wants one character", _EXAMPLE)
    if column_map.times.zone is not None:
        zone_of(column_map.times.zone)


def zone_of(name: str) -> ZoneInfo:
    """A time zone by its IANA name. Raises Refused(configuration)."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise unusable(f"the time zone {quote(name)} is not known (wanted: Asia/Jakarta, …)", _EXAMPLE) from None
