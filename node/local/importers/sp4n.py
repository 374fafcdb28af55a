"""The SP4N-LAPOR! export, 21 or 26 columns, CSV or XLSX: each row one `imported` change (protocol §2.2).

Steps that the file does not tell are not invented. Names, texts and places go to the content line only; times are
those of the agency's own zone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Final

from node.local.importers import sp4n_words as words
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
from node.local.importers.times import local_moment

AreaOf = Callable[[str, str], str | None]  # names of province and of regency or city → area code, None if in doubt

_KNOWN: Final = {column_key(name): name for name in (*words.REQUIRED_COLUMNS, *words.OPTIONAL_COLUMNS)}


@dataclass(frozen=True, slots=True)
class Sp4nHeader:
    """Where the known columns stand, and the names of all others, which are kept with the content."""

    positions: dict[str, int]
    extras: tuple[tuple[str, int], ...]


def is_sp4n_header(cells: Sequence[str]) -> bool:
    """The row whose first cell is `Tracking ID`; what stands above it is preamble."""
    return bool(cells) and column_key(cells[0]) == column_key(words.TRACKING_COLUMN)


def read_header(cells: Sequence[str]) -> Sp4nHeader:
    """Raises Refused(configuration) for a missing or doubled column, naming it."""
    positions: dict[str, int] = {}
    extras: dict[str, int] = {}
    for position, cell in enumerate(cells):
        known = _KNOWN.get(column_key(cell))
        target, name = (positions, known) if known else (extras, " ".join(cell.split()))
        if name in target:
            raise unusable(f"the column {quote(name)} stands in the header twice", "Remove one of them and try again.")
        if name:
            target[name] = position
    missing = [name for name in words.REQUIRED_COLUMNS if name not in positions]
    if missing:
        raise unusable(
            f"the header lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}",
            "Export the file from SP4N-LAPOR! again with all columns; 21 or 26 are known.",
        )
    return Sp4nHeader(positions, tuple(extras.items()))


def read_sp4n(table: Table, *, zone: tzinfo, area_of: AreaOf) -> Iterator[Row]:
    """The rows of an export, lazily. Raises Refused(configuration) at once for a header that cannot be used."""
    header = read_header(table.header)
    return (row if isinstance(row, RefusedRow) else _judge(row, header, zone, area_of) for row in table.rows)


def _judge(row: TableRow, header: Sp4nHeader, zone: tzinfo, area_of: AreaOf) -> Row:
    def cell(name: str) -> str:
        position = header.positions.get(name)
        return "" if position is None else row.cells[position].strip()

    try:
        source = source_key(words.SYSTEM, cell("Tracking ID"))
        data = _data(cell, zone, area_of)
        content = _content(cell, data, [(name, row.cells[at].strip()) for name, at in header.extras])
        check_data(data)
        check_content(content)
    except RowProblem as problem:
        return refused_row(row.line, problem)
    return ImportedRow(row.line, source, data | {"source": {"id": source.id, "system": source.system}}, content)


def _data(cell: Callable[[str], str], zone: tzinfo, area_of: AreaOf) -> dict[str, object]:
    if not cell("Tanggal Laporan Masuk"):
        raise RowProblem("Tanggal Laporan Masuk is empty")
    unit = unit_of(cell("ID Instansi Terdisposisi"), cell("Instansi Terdisposisi"))
    state, ended_by = state_of(cell("Status Laporan"), has_unit=bool(unit))
    return without_empty(
        (
            ("area", area_of(cell("Provinsi"), cell("Kota/Kabupaten"))),
            ("category", cell("ID Kategori") or slug(cell("Kategori"))),
            ("channel", channel_of(cell("Sumber Laporan"))),
            ("class", class_of(cell("Klasifikasi Laporan"))),
            ("closed_by", ended_by),
            ("reason", reason_of(cell("Alasan Tunda/Arsip"))),
            ("received_at", local_moment(cell("Tanggal Laporan Masuk"), cell("Waktu Laporan Masuk"), zone)),
            ("state", state),
            ("unit", unit),
            ("visibility", visibility_of(cell("Tipe Laporan (Anonim/Rahasia)"))),
        )
    )


def _content(cell: Callable[[str], str], data: dict[str, object], extras: list[tuple[str, str]]) -> dict[str, object]:
    first, last = cell("Isi Laporan Awal"), cell("Isi Laporan Akhir")
    place = [cell(name) for name in ("Kelurahan", "Kecamatan", "Kota/Kabupaten", "Provinsi")]
    return without_empty(
        (
            ("title", cell("Judul Laporan")),
            ("text", first or last),  # the citizen's own words; what an officer made of them stands beside them
            ("edited_text", last if last != first and first else ""),
            ("place", ", ".join(part for part in place if part)),
            ("reporter", cell("Nama Pelapor")),
            ("category_name", cell("Kategori")),
            (
                "channel_name",
                cell("Sumber Laporan") if data["channel"] == "other" or " - " in cell("Sumber Laporan") else "",
            ),
            ("parent_agency", cell("Instansi Induk")),
            ("unit_name", cell("Instansi Terdisposisi")),
            ("status_name", cell("Status Laporan")),
            ("reason_text", cell("Alasan Tunda/Arsip")),
            ("received_time", "" if cell("Waktu Laporan Masuk") else "unknown"),
            ("source_fields", without_empty(extras)),
        )
    )


def class_of(text: str) -> str:
    """The class, or empty for an unclassified row. Raises RowProblem."""
    if not text:
        return ""
    found = words.CLASSES.get(column_key(text))
    if found is None:
        raise RowProblem(f"Klasifikasi Laporan {quote(text)} is not known")
    return found


def visibility_of(text: str) -> str:
    """`Anonim|Rahasia` and its parts; an unknown flag is refused, never read as public. Raises RowProblem."""
    flags = {column_key(part) for part in text.split("|") if part.strip()}
    unknown = flags - words.FLAGS.keys()
    if unknown:
        raise RowProblem(f"Tipe Laporan {quote(text)} is not known")
    return "-".join(words.FLAGS[flag] for flag in ("anonim", "rahasia") if flag in flags) or "public"


def channel_of(text: str) -> str:
    """`Website - pemerintah-kota-samarinda` is the web; what is not known is `other`."""
    return words.CHANNELS.get(column_key(text.split(" - ", maxsplit=1)[0]), "other")


def state_of(text: str, *, has_unit: bool) -> tuple[str, str]:
    """The state, and who ended the complaint or empty. An assignment without a unit is not known to be one: `verified`.
    Raises RowProblem."""
    status, _, who = column_key(text).partition(" oleh ")
    state = words.STATES.get(status)
    if state is None or (who and (who not in words.ENDED_BY or state not in {"closed", "archived"})):
        raise RowProblem(f"Status Laporan {quote(text)} is not known" if text else "Status Laporan is empty")
    if state == "assigned" and not has_unit:
        state = "verified"
    return state, words.ENDED_BY[who] if who else ""


def unit_of(number: str, name: str) -> str:
    """The unit's own number, else a code made of its name, else empty."""
    return number.lower() or slug(name)


def reason_of(text: str) -> str:
    """A stable code for the words of a reason; `other` for words that are not known, empty for none."""
    folded = column_key(text)
    if not folded:
        return ""
    return next((code for wanted, code in words.REASONS if all(word in folded for word in wanted)), "other")
