"""Files that the import tests write for themselves, and a target that is stricter than the real one."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

from openpyxl import Workbook

from node.local.import_service import ImportOutcome
from node.local.importers.detect import open_import
from node.local.importers.rows import ImportedRow, RefusedRow, Row, SourceKey
from sync_protocol.line import format_change, format_content
from sync_protocol.values import format_tracking

COLUMNS_21 = (
    "Tracking ID",
    "Tanggal Laporan Masuk",
    "Waktu Laporan Masuk",
    "Nama Pelapor",
    "Klasifikasi Laporan",
    "ID Kategori",
    "Kategori",
    "Judul Laporan",
    "Isi Laporan Awal",
    "Isi Laporan Akhir",
    "Tipe Laporan (Anonim/Rahasia)",
    "Sumber Laporan",
    "Instansi Induk",
    "ID Instansi Terdisposisi",
    "Instansi Terdisposisi",
    "Status Laporan",
    "Alasan Tunda/Arsip",
    "Provinsi",
    "Kota/Kabupaten",
    "Kecamatan",
    "Kelurahan",
)
COLUMNS_26 = (
    *COLUMNS_21,
    "Nomor SK",
    "Url SK",
    "Url Dokumen Laporan Tahunan",
    "Laporan yang Masuk melalui Kanal Aduan Setwapres",
    "Rating",
)
SOUND: Mapping[str, str] = {
    "Tracking ID": "9100001",
    "Tanggal Laporan Masuk": "3 Jan 2026",
    "Waktu Laporan Masuk": "08:15:30",
    "Nama Pelapor": "Pelapor 001",
    "Klasifikasi Laporan": "Pengaduan Berkadar Pengawasan",
    "ID Kategori": "1397",
    "Kategori": "Jalan Berlubang",
    "Judul Laporan": "Jalan berlubang di depan pasar",
    "Isi Laporan Awal": "Jalan berlubang,\nberbahaya saat hujan.",
    "Isi Laporan Akhir": "Jalan berlubang, berbahaya saat hujan. [disunting]",
    "Tipe Laporan (Anonim/Rahasia)": "",
    "Sumber Laporan": "Website",
    "Instansi Induk": "Pemerintah Kota Samarinda",
    "ID Instansi Terdisposisi": "131410",
    "Instansi Terdisposisi": "Dinas Pekerjaan Umum dan Penataan Ruang",
    "Status Laporan": "Ditutup oleh Sistem",
    "Alasan Tunda/Arsip": "",
    "Provinsi": "Kalimantan Timur",
    "Kota/Kabupaten": "Kota Samarinda",
    "Kecamatan": "SAMARINDA ULU",
    "Kelurahan": "",
}
WITA = ZoneInfo("Asia/Makassar")
_UUID = "01890a5d-ac96-774b-bcce-b302099a8057"


def sp4n_row(number: int = 1, **changed: str) -> dict[str, str]:
    """A sound row; keyword arguments replace cells, by the short names of `_COLUMN`."""
    row = dict(SOUND) | {"Tracking ID": str(9_100_000 + number)}
    for name, value in changed.items():
        row[_COLUMN[name]] = value
    return row


_COLUMN = {
    "tracking": "Tracking ID",
    "day": "Tanggal Laporan Masuk",
    "clock": "Waktu Laporan Masuk",
    "reporter": "Nama Pelapor",
    "class_": "Klasifikasi Laporan",
    "text": "Isi Laporan Awal",
    "edited": "Isi Laporan Akhir",
    "flags": "Tipe Laporan (Anonim/Rahasia)",
    "channel": "Sumber Laporan",
    "parent": "Instansi Induk",
    "unit": "ID Instansi Terdisposisi",
    "unit_name": "Instansi Terdisposisi",
    "status": "Status Laporan",
    "reason": "Alasan Tunda/Arsip",
    "category": "ID Kategori",
}


def write_csv(
    path: Path,
    rows: Sequence[Mapping[str, str]],
    *,
    columns: Sequence[str] = COLUMNS_21,
    encoding: str = "utf-8",
    delimiter: str = ",",
) -> Path:
    """An export as CSV, header in line 1."""
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(columns)
        writer.writerows([row.get(name, "") for name in columns] for row in rows)
    return path


def write_xlsx(
    path: Path,
    rows: Sequence[Mapping[str, object]],
    *,
    columns: Sequence[str] = COLUMNS_21,
    preamble: Sequence[str] = ("LAPORAN PENGADUAN SP4N-LAPOR!", "Instansi: Pemerintah Kota Samarinda", ""),
) -> Path:
    """An export as XLSX, preamble rows above the header."""
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    for line in preamble:
        sheet.append([line])
    sheet.append(list(columns))
    for row in rows:
        sheet.append([row.get(name) or None for name in columns])
    book.save(path)
    book.close()
    return path


def read_all(path: Path, *, format_name: str | None = None, map_file: Path | None = None) -> list[Row]:
    """Every row of a file, read in WITA; areas are found for Kota Samarinda only."""

    def area_of(province: str, town: str) -> str | None:
        return "64.72" if (province, town) == ("Kalimantan Timur", "Kota Samarinda") else None

    with open_import(path, zone=WITA, area_of=area_of, format_name=format_name, map_file=map_file) as file:
        return list(file.rows)


def sound(rows: Sequence[Row]) -> list[ImportedRow]:
    """Those that can go in; each is held against the protocol's own formatter."""
    found = [row for row in rows if isinstance(row, ImportedRow)]
    for row in found:
        as_change_line(row)
        format_content(row.content, bytes(16))
    return found


def refused(rows: Sequence[Row]) -> list[RefusedRow]:
    """Those that cannot."""
    return [row for row in rows if isinstance(row, RefusedRow)]


def only(rows: Sequence[Row]) -> ImportedRow:
    """The one row of a file that goes in."""
    (row,) = sound(rows)
    assert not refused(rows)
    return row


def as_change_line(row: ImportedRow) -> bytes:
    """The `imported` change line that a recorder would write."""
    return format_change(
        id=_UUID,
        complaint=f"64.72:{_UUID}",
        rev=1,
        type="imported",
        at="2026-01-03T00:00:00.000Z",
        role="system",
        data={**row.data, "tracking": format_tracking("SMR", 1)},
        content=True,
    )


class RememberingTarget:
    """Keeps rows by source, as the local store does. At one call it fails, before or after having recorded."""

    def __init__(self) -> None:
        self.rows: dict[SourceKey, ImportedRow] = {}
        self.calls = 0
        self.fail_at_call: int | None = None
        self.reply_lost = False

    async def import_rows(self, rows: Sequence[ImportedRow]) -> ImportOutcome:
        self.calls += 1
        if self.calls == self.fail_at_call and not self.reply_lost:
            raise OSError("disk full")
        fresh = {row.source: row for row in reversed(rows) if row.source not in self.rows}
        self.rows |= fresh
        if self.calls == self.fail_at_call:
            raise OSError("killed after the commit")
        return ImportOutcome(imported=len(fresh), already_there=len(rows) - len(fresh))

    async def known_sources(self, sources: Collection[SourceKey]) -> set[SourceKey]:
        return set(sources) & self.rows.keys()
