"""Files as they are found, and files made to hurt: plain sentences, bounded memory, the sound rows go in."""

from __future__ import annotations

import codecs
import zipfile
from contextlib import suppress
from datetime import datetime, time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import Workbook

from node.local.importers import csv_table, xlsx_table
from sync_protocol.errors import Refused
from tests.edge.import_support import (
    COLUMNS_21,
    only,
    read_all,
    refused,
    sound,
    sp4n_row,
    write_csv,
    write_xlsx,
)


def ids(path: Path) -> list[str]:
    return [row.source.id for row in sound(read_all(path))]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_three_encodings_are_read_without_being_told(tmp_path: Path, encoding: str) -> None:
    path = write_csv(tmp_path / "a.csv", [sp4n_row(text="Kafé – “pasar”")], encoding=encoding)
    assert only(read_all(path)).content["text"] == "Kafé – “pasar”"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_four_delimiters_are_read_without_being_told(tmp_path: Path, delimiter: str) -> None:
    path = write_csv(tmp_path / "a.csv", [sp4n_row(1), sp4n_row(2)], delimiter=delimiter)
    assert ids(path) == ["9100001", "9100002"]


def test_one_row_with_broken_bytes_does_not_garble_the_others(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [sp4n_row(n, text=f"Kafé no {n} é") for n in range(1, 6)])
    path.write_bytes(path.read_bytes().replace("Kafé no 3".encode(), b"Kaf\xff no 3"))
    found = read_all(path)
    assert [row.content["text"] for row in sound(found)] == [f"Kafé no {n} é" for n in (1, 2, 4, 5)]
    assert [row.line for row in refused(found)] == [4]


def test_utf16_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(codecs.BOM_UTF16_LE + ",".join(COLUMNS_21).encode("utf-16-le"))
    with pytest.raises(Refused, match="UTF-16") as caught:
        read_all(path)
    assert "UTF-8" in str(caught.value.members["next"])


def test_a_quote_left_open_costs_its_own_line_only(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [sp4n_row(n, text=f"kata, nomor {n}") for n in range(1, 6)])
    path.write_text(path.read_text().replace('"kata, nomor 2"', '"kata, nomor 2'), newline="")
    found = read_all(path)
    assert [row.source.id for row in sound(found)] == ["9100001", "9100003", "9100004", "9100005"]
    assert [row.line for row in refused(found)] == [3]


def test_a_quote_left_open_in_the_last_row_costs_that_row_only(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [sp4n_row(n, text=f"kata, nomor {n}") for n in range(1, 4)])
    path.write_text(path.read_text().replace('"kata, nomor 3"', '"kata, nomor 3'), newline="")
    found = read_all(path)
    assert len(sound(found)) == 2
    assert [row.line for row in refused(found)] == [4]


def test_a_row_cut_short_and_a_row_too_long_are_named(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [sp4n_row(n, text="kata", edited="kata") for n in range(1, 5)])
    lines = path.read_text().splitlines()
    lines[2] = ",".join(lines[2].split(",")[:12])
    lines[3] += ",lebih"
    path.write_text("\n".join(lines))
    found = read_all(path)
    assert [row.source.id for row in sound(found)] == ["9100001", "9100004"]
    assert [(row.line, row.reason) for row in refused(found)] == [
        (3, "the row has 12 cells where the header has 21"),
        (4, "the row has 22 cells where the header has 21"),
    ]


def test_a_huge_cell_and_a_huge_line_are_refused_and_the_rest_goes_in(tmp_path: Path) -> None:
    rows = [sp4n_row(1), sp4n_row(2, text="x" * 200_000), sp4n_row(3, text="y" * 3_000_000), sp4n_row(4)]
    found = read_all(write_csv(tmp_path / "a.csv", rows))
    assert [row.source.id for row in sound(found)] == ["9100001", "9100004"]
    assert len(refused(found)) == 2


def test_a_letter_without_end_is_bounded(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [sp4n_row(1, text="kata"), sp4n_row(2, text="kata")])
    with path.open("a") as file:
        file.write('9100003,"' + "baris\n" * (csv_table.RECORD_LINES_MAX * 2))
    found = read_all(path)
    assert len(sound(found)) == 2
    assert refused(found)[0].line == 4


def test_preamble_and_blank_lines_are_passed_over(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [sp4n_row(1, text="kata")])
    path.write_text("LAPORAN PENGADUAN\nPeriode: 2026\n\n" + path.read_text() + "\n,,,\n\n")
    assert only(read_all(path)).line == 5


def test_spreadsheet_cells_of_dates_times_and_numbers_are_understood(tmp_path: Path) -> None:
    row: dict[str, object] = dict(sp4n_row())
    row |= {"Tracking ID": 9100001, "Tanggal Laporan Masuk": datetime(2026, 1, 3), "ID Kategori": 1397.0}  # noqa: DTZ001
    row |= {"Waktu Laporan Masuk": time(8, 15, 30), "ID Instansi Terdisposisi": 131410}
    found = only(read_all(write_xlsx(tmp_path / "a.xlsx", [row])))
    assert found.source.id == "9100001"
    assert found.data["received_at"] == "2026-01-03T00:15:30.000Z"
    assert (found.data["category"], found.data["unit"]) == ("1397", "131410")


def test_a_workbook_is_known_by_its_bytes_not_by_its_name(tmp_path: Path) -> None:
    path = write_xlsx(tmp_path / "a.xlsx", [sp4n_row()])
    assert ids(path.rename(tmp_path / "export.csv")) == ["9100001"]


def test_the_export_may_be_on_a_later_sheet(tmp_path: Path) -> None:
    book = Workbook()
    assert book.active is not None
    book.active.append(["Ringkasan"])
    sheet = book.create_sheet("Laporan")
    sheet.append(list(COLUMNS_21))
    sheet.append([sp4n_row()[name] for name in COLUMNS_21])
    book.save(tmp_path / "a.xlsx")
    assert ids(tmp_path / "a.xlsx") == ["9100001"]


def repack(path: Path, part: str, old: bytes, new: bytes) -> Path:
    """The same workbook with something replaced inside one part."""
    with zipfile.ZipFile(path) as package:
        parts = {name: package.read(name) for name in package.namelist()}
    assert old in parts[part]
    parts[part] = parts[part].replace(old, new)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        for name, data in parts.items():
            package.writestr(name, data)
    return path


def test_a_sheet_that_lies_about_its_size_loses_no_column(tmp_path: Path) -> None:
    path = write_xlsx(tmp_path / "a.xlsx", [sp4n_row()])
    repack(path, "xl/worksheets/sheet1.xml", b'ref="A1:U5"', b'ref="A1:B2"')
    assert ids(path) == ["9100001"]


@pytest.mark.parametrize("number", ["99999999999", "1048577", "5", "1", "0", "-6", "", "six"])
def test_a_row_whose_number_is_a_lie_is_not_lost_in_silence(tmp_path: Path, number: str) -> None:
    """What reads workbooks leaves such a row out without a word, or all that follow it."""
    path = write_xlsx(tmp_path / "a.xlsx", [sp4n_row(1), sp4n_row(2), sp4n_row(3)])
    repack(path, "xl/worksheets/sheet1.xml", b'<row r="6"', f'<row spans="1:21" r="{number}"'.encode())
    with pytest.raises(Refused, match="stands behind row 5") as unusable:
        read_all(path)
    assert "save it again" in str(unusable.value.members["next"])


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr("xl/workbook.xml", b" " * (xlsx_table.RATIO_FREE_BYTES + 1))
    with pytest.raises(Refused, match="zip bomb"):
        read_all(path)
    monkeypatch.setattr(xlsx_table, "UNPACKED_MAX_BYTES", 1024 * 1024)
    with pytest.raises(Refused, match="unpacks to"):
        read_all(path)


def test_an_entity_bomb_is_refused(tmp_path: Path) -> None:
    path = write_xlsx(tmp_path / "a.xlsx", [sp4n_row()])
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><worksheet'
    repack(path, "xl/worksheets/sheet1.xml", b"<worksheet", bomb)
    with pytest.raises(Refused, match="entities"):
        read_all(path)


def test_damaged_xml_in_the_middle_keeps_the_rows_before_it(tmp_path: Path) -> None:
    path = write_xlsx(tmp_path / "a.xlsx", [sp4n_row(n) for n in range(1, 400)])
    repack(path, "xl/worksheets/sheet1.xml", b'<row r="300"', b"<row r=300")
    found = read_all(path)
    assert sound(found)
    (end,) = refused(found)
    assert "damaged from here on" in end.reason


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "no header"),
        (b"\x00" * 5000, "no header"),
        (b"PK\x03\x04" + b"\xff" * 300, "damaged or encrypted"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 600, "old .xls"),
        (b"%PDF-1.7\n", "page"),
        (b"<html><table><tr><td>Tracking ID</td></tr></table></html>", "page"),
        (b"nama,umur\nA,1\n", "Tracking ID"),
    ],
)
def test_a_file_of_another_kind_gets_one_plain_sentence(tmp_path: Path, data: bytes, named: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    with pytest.raises(Refused) as caught:
        read_all(path)
    assert named in caught.value.detail.replace("has no header", "no header")
    assert caught.value.kind == "configuration"
    assert caught.value.members["next"]


def test_every_truncation_of_a_workbook_is_refused_or_read_never_a_crash(tmp_path: Path) -> None:
    whole = write_xlsx(tmp_path / "a.xlsx", [sp4n_row(n) for n in range(1, 5)]).read_bytes()
    path = tmp_path / "b.xlsx"
    for length in range(4, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(Refused):
            read_all(path)


def test_flipped_bytes_in_a_workbook_raise_nothing_but_refused(tmp_path: Path) -> None:
    whole = bytearray(write_xlsx(tmp_path / "a.xlsx", [sp4n_row(n) for n in range(1, 5)]).read_bytes())
    path = tmp_path / "b.xlsx"
    for position in range(0, len(whole), 41):
        whole[position] ^= 0x10
        path.write_bytes(whole)
        with suppress(Refused):
            read_all(path)
        whole[position] ^= 0x10


def test_a_workbook_whose_parts_lie_before_its_beginning_is_refused(tmp_path: Path) -> None:
    """The place of the table of contents is off, and with it every part's: the first would begin at -1000."""
    whole = bytearray(write_xlsx(tmp_path / "a.xlsx", [sp4n_row(1)]).read_bytes())
    end = whole.rindex(b"PK\x05\x06") + 16
    whole[end : end + 4] = (int.from_bytes(whole[end : end + 4], "little") + 1_000).to_bytes(4, "little")
    path = tmp_path / "b.xlsx"
    path.write_bytes(whole)
    with pytest.raises(Refused, match="damaged"):
        read_all(path)


@settings(max_examples=150, deadline=None)
@given(
    noise=st.binary(min_size=1, max_size=40)
    | st.sampled_from([b'"', b'""', b"\r", b"\n", b"\x00", b",", b'",', b"\xef\xbb\xbf"]),
    place=st.floats(min_value=0, max_value=1),
)
def test_noise_in_the_rows_of_a_csv_costs_the_row_that_it_hits(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, place: float
) -> None:
    path = write_csv(tmp_path_factory.getbasetemp() / "noise.csv", [sp4n_row(n) for n in range(1, 8)])
    whole = path.read_bytes()
    head = whole.index(b"\n") + 1
    at = head + int(place * (len(whole) - head))
    path.write_bytes(whole[:at] + noise + whole[at:])
    assert len(sound(read_all(path))) >= 5  # one damaged place costs one row, at most the neighbour that it joins
