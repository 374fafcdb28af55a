"""Any table goes in through a map; whatever is wrong with the map or a row is said plainly."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import pytest
from openpyxl import Workbook

from node.local.importers.mapping import load_map, parse_map
from node.local.importers.rows import ImportedRow, slug
from sync_protocol.errors import Refused
from sync_protocol.values import parse_code
from tests.edge.import_support import only, read_all, refused, sound

CONFIG = Path(__file__).parents[2] / "config"
MAP = """
[source]
system = "lama"
id_column = "No"
[times]
formats = ["%d/%m/%Y %H:%M"]
[fields.received_at]
column = "Masuk"
[fields.state]
column = "Status"
values = { Baru = "received", Selesai = "closed" }
[fields.channel]
column = "Kanal"
values = { Situs = "web" }
otherwise = "other"
default = "desk"
[fields.visibility]
constant = "confidential"
[fields.unit]
column = "Dinas"
slug = true
[content.text]
columns = ["Isi", "Catatan"]
join = " / "
ignore = ["-"]
"""
HEADER = "No,Masuk,Status,Kanal,Dinas,Isi,Catatan\n"


def table(tmp_path: Path, *lines: str, text: str = MAP) -> tuple[Path, Path]:
    file, map_file = tmp_path / "a.csv", tmp_path / "map.toml"
    file.write_text(HEADER + "\n".join(lines) + "\n")
    map_file.write_text(text)
    return file, map_file


def test_columns_become_fields_as_the_map_says(tmp_path: Path) -> None:
    file, map_file = table(tmp_path, "17,03/01/2026 08:15,selesai,Situs,Dinas Pekerjaan Umum,Jalan rusak,-")
    row = only(read_all(file, format_name="csv", map_file=map_file))
    assert dict(row.data) == {
        "channel": "web",
        "received_at": "2026-01-03T00:15:00.000Z",
        "source": {"id": "17", "system": "lama"},
        "state": "closed",
        "unit": "dinas-pekerjaan-umum",
        "visibility": "confidential",
    }
    assert dict(row.content) == {"text": "Jalan rusak"}


def test_default_is_for_empty_cells_and_otherwise_for_unknown_words(tmp_path: Path) -> None:
    file, map_file = table(tmp_path, "1,03/01/2026 08:15,Baru,,A,x,", "2,03/01/2026 08:15,Baru,Radio,A,x,")
    rows = sound(read_all(file, format_name="csv", map_file=map_file))
    assert [row.data["channel"] for row in rows] == ["desk", "other"]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (",03/01/2026 08:15,Baru,Situs,A,x,", "empty"),
        ("17,,Baru,Situs,A,x,", "received_at"),
        ("17,2026,Baru,Situs,A,x,", "2026"),
        ("17,03/01/2026 08:15,Hilang,Situs,A,x,", "Hilang"),
        ("17,03/01/2026 08:15,,Situs,A,x,", "state is empty"),
        ("a b,03/01/2026 08:15,Baru,Situs,A,x,", "a b"),
        ("17,03/01/2026", "2 cells"),
    ],
)
def test_a_row_that_the_map_cannot_read_is_named_by_line(tmp_path: Path, line: str, named: str) -> None:
    good = "1,03/01/2026 08:15,Baru,Situs,A,x,"
    file, map_file = table(tmp_path, good, line, good.replace("1,", "3,", 1))
    found = read_all(file, format_name="csv", map_file=map_file)
    assert [row.source.id for row in sound(found)] == ["1", "3"]
    (bad,) = refused(found)
    assert bad.line == 3
    assert named in bad.reason


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("[source]", "[sauce]", "sauce"),
        ('system = "lama"', 'system = "Nama Lama"', "source.system"),
        ("[fields.visibility]", "[fields.visible]", "fields.visibility"),
        ('constant = "confidential"', 'constant = "secret"', "secret"),
        ('constant = "confidential"', "", "either column or constant"),
        ('Selesai = "closed"', 'Selesai = "done"', "done"),
        ('column = "Masuk"', 'constant = "Masuk"', "received_at"),
        ("[content.text]", "[content.salt]", "content.salt"),
        ('formats = ["%d/%m/%Y %H:%M"]', 'zone = "Mars/Olympus"', "Mars/Olympus"),
        ('formats = ["%d/%m/%Y %H:%M"]', 'zone = "../../etc/passwd"', "time zone"),
        ("[times]", "[times", "TOML"),
        ('columns = ["Isi", "Catatan"]', "columns = 3", "array"),
        ("[times]", '[file]\ndelimiter = "xx"\n[times]', "delimiter"),
        ("[times]", '[file]\nencoding = "rot13"\n[times]', "encoding"),
    ],
)
def test_a_wrong_map_is_refused_with_the_place(old: str, new: str, named: str) -> None:
    assert old in MAP
    with pytest.raises(Refused) as caught:
        parse_map(MAP.replace(old, new, 1).encode())
    assert named in caught.value.detail
    assert caught.value.kind == "configuration"


@pytest.mark.parametrize("value", ["9" * 5_000, "[" * 5_000, "{a=" * 5_000], ids=["digits", "lists", "tables"])
def test_a_map_with_a_value_that_no_reader_takes_is_refused(value: str) -> None:
    with pytest.raises(Refused, match="not TOML"):
        parse_map(f"x = {value}".encode())


def test_a_column_that_the_file_lacks_or_doubles_is_named_before_anything_is_read(tmp_path: Path) -> None:
    file, map_file = table(tmp_path, "1", text=MAP.replace('"Catatan"', '"Keterangan"'))
    with pytest.raises(Refused, match="Keterangan"):
        read_all(file, format_name="csv", map_file=map_file)
    file.write_text(HEADER.replace("Kanal", "status"))
    map_file.write_text(MAP.replace("Kanal", "Dinas"))
    with pytest.raises(Refused, match="more than once"):
        read_all(file, format_name="csv", map_file=map_file)


@pytest.mark.parametrize(("format_name", "with_map"), [("csv", False), ("sp4n", True), ("xml", False)])
def test_format_and_map_must_fit_together(tmp_path: Path, format_name: str, with_map: bool) -> None:
    file, map_file = table(tmp_path, "1")
    with pytest.raises(Refused) as caught:
        read_all(file, format_name=format_name, map_file=map_file if with_map else None)
    assert caught.value.kind == "configuration"


@pytest.mark.parametrize("name", ["csv-map.example.toml", "csv-map-sf311.example.toml"])
def test_the_maps_that_come_with_the_program_are_sound(name: str) -> None:
    assert load_map(CONFIG / name).columns()


def test_a_request_of_san_francisco_goes_in_through_its_map(tmp_path: Path) -> None:
    column_map = load_map(CONFIG / "csv-map-sf311.example.toml")
    row = dict.fromkeys(column_map.columns(), "")
    row |= {"unique_key": "6078653", "created_date": "2016-07-13 15:11:07+00:00", "status": "Closed"}
    row |= {"closed_date": "2016-07-14 12:13:22+00:00", "source": "Mobile/Open311", "category": "Sewer Issues"}
    file = tmp_path / "a.csv"
    file.write_text(",".join(row) + "\n" + ",".join(row.values()) + "\n")
    found = only(read_all(file, format_name="csv", map_file=CONFIG / "csv-map-sf311.example.toml"))
    assert found.data["state"] == "closed"
    assert found.data["channel"] == "open311"
    assert found.data["category"] == "sewer-issues"
    assert found.data["closed_at"] == "2016-07-14T12:13:22.000Z"


@pytest.mark.parametrize(
    "text", ["Dinas Pekerjaan Umum & Penataan Ruang Kota", "À la carte", "Tel 081234567890 a", "é" * 90]
)
def test_a_slug_is_a_code_and_holds_no_long_number(text: str) -> None:
    made = slug(text)
    assert parse_code(made) == made
    assert slug(text) == made
    assert "0812" not in made


def test_a_sheet_of_an_event_goes_in_with_who_wrote_it_down(tmp_path: Path) -> None:
    rows = read_all(CONFIG / "outreach.example.csv", format_name="csv", map_file=CONFIG / "csv-map-outreach.toml")
    row = only(rows)
    assert (row.data["channel"], row.data["state"], row.data["visibility"]) == ("outreach", "received", "public")
    assert row.source.id == "NB-20260203-01"
    said = row.content
    assert (said["event"], said["written_by"]) == ("Ngaji bareng, Masjid Agung", "Petugas Kelurahan")
    assert "reporter" not in said


def test_date_cells_of_a_workbook_go_in_beside_texts_in_the_maps_formats(tmp_path: Path) -> None:
    """As a spreadsheet program keeps the same sheet: what was typed as a date is a date, however it is shown."""
    header, row = (line.split(";") for line in (CONFIG / "outreach.example.csv").read_text("utf-8").splitlines())
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(header)
    place = header.index("Tanggal")
    for number, moment in enumerate(("03/02/2026 20:15", datetime.fromisoformat("2026-02-03 20:15"), date(2026, 2, 3))):
        sheet.append([f"NB-{number}", *row[1:place], moment, *row[place + 1 :]])
    book.save(tmp_path / "a.xlsx")
    rows = read_all(tmp_path / "a.xlsx", format_name="csv", map_file=CONFIG / "csv-map-outreach.toml")
    moments = [one.data["received_at"] for one in rows if isinstance(one, ImportedRow)]
    assert moments == ["2026-02-03T12:15:00.000Z", "2026-02-03T12:15:00.000Z", "2026-02-02T16:00:00.000Z"]
