"""The SP4N-LAPOR! export becomes one honest `imported` change a row (protocol §2.2)."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.local.importers.sp4n import state_of
from node.local.importers.times import MONTHS
from sync_protocol.errors import Refused
from tests.edge.import_support import (
    COLUMNS_21,
    COLUMNS_26,
    as_change_line,
    only,
    read_all,
    refused,
    sound,
    sp4n_row,
    write_csv,
    write_xlsx,
)


def test_a_row_becomes_one_imported_change_with_what_the_file_tells_and_nothing_else(tmp_path: Path) -> None:
    row = only(read_all(write_csv(tmp_path / "a.csv", [sp4n_row()])))
    assert dict(row.data) == {
        "area": "64.72",
        "category": "1397",
        "channel": "web",
        "class": "complaint_oversight",
        "closed_by": "system",
        "received_at": "2026-01-03T00:15:30.000Z",
        "source": {"id": "9100001", "system": "sp4n"},
        "state": "closed",
        "unit": "131410",
        "visibility": "public",
    }
    assert row.line == 2
    assert row.source.system == "sp4n"


def test_names_texts_and_places_stay_off_the_change_line(tmp_path: Path) -> None:
    row = only(read_all(write_csv(tmp_path / "a.csv", [sp4n_row()])))
    line = as_change_line(row)
    for word in (b"Pelapor", b"Jalan", b"SAMARINDA", b"Dinas", b"Pemerintah"):
        assert word not in line
    assert row.content["reporter"] == "Pelapor 001"
    assert row.content["text"] == "Jalan berlubang,\nberbahaya saat hujan."
    assert row.content["edited_text"] == "Jalan berlubang, berbahaya saat hujan. [disunting]"
    assert row.content["place"] == "SAMARINDA ULU, Kota Samarinda, Kalimantan Timur"


def test_csv_and_xlsx_of_the_same_rows_give_the_same_changes(tmp_path: Path) -> None:
    rows = [sp4n_row(number) for number in range(1, 20)]
    from_csv = sound(read_all(write_csv(tmp_path / "a.csv", rows)))
    from_xlsx = sound(read_all(write_xlsx(tmp_path / "a.xlsx", rows)))
    assert [(row.data, row.content) for row in from_csv] == [(row.data, row.content) for row in from_xlsx]
    assert [row.line for row in from_xlsx] == list(range(5, 24))


@pytest.mark.parametrize("suffix", ["csv", "xlsx"])
def test_the_five_newer_columns_are_kept_with_the_content(tmp_path: Path, suffix: str) -> None:
    rows = [sp4n_row() | {"Nomor SK": "188/45/2026", "Rating": "4"}]
    write = write_csv if suffix == "csv" else write_xlsx
    row = only(read_all(write(tmp_path / f"a.{suffix}", rows, columns=COLUMNS_26)))
    assert row.content["source_fields"] == {"Nomor SK": "188/45/2026", "Rating": "4"}


@pytest.mark.parametrize(
    ("status", "state", "ended_by"),
    [
        ("Ditutup oleh Sistem", "closed", "system"),
        ("Ditutup oleh Pelapor", "closed", "reporter"),
        ("Ditutup oleh Admin", "closed", "officer"),
        ("Diarsipkan oleh Admin", "archived", "officer"),
        ("Diarsipkan oleh Sistem", "archived", "system"),
        ("Diarsipkan oleh Pelapor", "archived", "reporter"),
        ("Menunggu Kelengkapan Informasi", "awaiting_information", ""),
        ("Belum Terverifikasi", "received", ""),
        ("Belum Ditindaklanjuti", "assigned", ""),
        ("Diproses", "in_progress", ""),
        ("Ditunda", "on_hold", ""),
        ("Selesai", "closed", ""),
    ],
)
def test_statuses_are_understood(status: str, state: str, ended_by: str) -> None:
    assert state_of(status, has_unit=True) == (state, ended_by)


def test_an_assignment_without_a_unit_is_not_invented() -> None:
    assert state_of("Belum Ditindaklanjuti", has_unit=False) == ("verified", "")


@pytest.mark.parametrize(
    ("flags", "visibility"),
    [
        ("", "public"),
        ("Anonim", "anonymous"),
        ("Rahasia", "confidential"),
        ("Anonim|Rahasia", "anonymous-confidential"),
        ("rahasia | ANONIM", "anonymous-confidential"),
    ],
)
def test_both_flags_may_be_set(tmp_path: Path, flags: str, visibility: str) -> None:
    assert only(read_all(write_csv(tmp_path / "a.csv", [sp4n_row(flags=flags)]))).data["visibility"] == visibility


def test_an_unknown_flag_is_never_read_as_public(tmp_path: Path) -> None:
    (row,) = refused(read_all(write_csv(tmp_path / "a.csv", [sp4n_row(flags="Anonim|Tertutup")])))
    assert "Tertutup" in row.reason


def test_an_empty_class_goes_in_unclassified(tmp_path: Path) -> None:
    assert "class" not in only(read_all(write_csv(tmp_path / "a.csv", [sp4n_row(class_="")]))).data


def test_another_agencys_parent_is_kept_not_refused(tmp_path: Path) -> None:
    row = only(read_all(write_csv(tmp_path / "a.csv", [sp4n_row(parent="Dinas Perhubungan Provinsi")])))
    assert row.content["parent_agency"] == "Dinas Perhubungan Provinsi"


@pytest.mark.parametrize(
    ("channel", "code"),
    [
        ("Website - pemerintah-kota-samarinda", "web"),
        ("Android", "android"),
        ("Whatsapp", "whatsapp"),
        ("Merpati pos", "other"),
        ("", "other"),
    ],
)
def test_channels_are_codes_and_unknown_ones_are_other(tmp_path: Path, channel: str, code: str) -> None:
    row = only(read_all(write_csv(tmp_path / "a.csv", [sp4n_row(channel=channel)])))
    assert row.data["channel"] == code
    if code == "other" and channel:
        assert row.content["channel_name"] == channel


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (
            "Mengandung SARA, Tidak Memiliki Bukti Dukung, Tidak Jelas, dan Tidak Relevan dengan Kinerja Pemerintah",
            "ineligible_catch_all",
        ),
        ("Laporan diarsipkan karena sudah mencapai batas kadaluarsa pengaduan. ", "expired"),
        ("Laporan ini diarsipkan sesuai dengan keinginan Pelapor", "reporter_wish"),
        ("Bukan kewenangan instansi kami", "not_in_jurisdiction"),
        ("Sesuatu yang lain sama sekali", "other"),
    ],
)
def test_reasons_are_stable_codes_with_their_words_in_the_content(tmp_path: Path, words: str, code: str) -> None:
    row = only(read_all(write_csv(tmp_path / "a.csv", [sp4n_row(reason=words, status="Diarsipkan oleh Admin")])))
    assert row.data["reason"] == code
    assert row.content["reason_text"] == words.strip()


def test_every_spelling_of_a_month_is_the_same_month(tmp_path: Path) -> None:
    words = [
        "Jan",
        "Feb",
        "Mar",
        "Apr",
        "Mei",
        "Jun",
        "Jul",
        "Agu",
        "Agt",
        "Ags",
        "Sep",
        "Okt",
        "Nov",
        "Des",
        "Dec",
        "May",
    ]
    rows = [sp4n_row(number, day=f"15 {word} 2025") for number, word in enumerate(words, 1)]
    found = sound(read_all(write_csv(tmp_path / "a.csv", rows)))
    assert [int(str(row.data["received_at"])[5:7]) for row in found] == [MONTHS[word.lower()] for word in words]
    assert [MONTHS[word.lower()] for word in words] == [1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 9, 10, 11, 12, 12, 5]


@pytest.mark.parametrize(
    ("day", "clock", "expected"),
    [
        ("1 Jan 2026", "00:30:00", "2025-12-31T16:30:00.000Z"),  # WITA: still last year in UTC
        ("2026-01-03", "08:15", "2026-01-03T00:15:00.000Z"),
        ("03/01/2026", "08.15.00", "2026-01-03T00:15:00.000Z"),
        ("Sabtu, 3 Januari 2026", "08:15:00 WIB", "2026-01-03T01:15:00.000Z"),
        ("3 Jan 2026", "", "2026-01-02T16:00:00.000Z"),
    ],
)
def test_times_are_local_to_the_agency_and_stored_in_utc(tmp_path: Path, day: str, clock: str, expected: str) -> None:
    row = only(read_all(write_csv(tmp_path / "a.csv", [sp4n_row(day=day, clock=clock)])))
    assert row.data["received_at"] == expected
    assert ("received_time" in row.content) == (not clock)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"tracking": ""}, "empty"),
        ({"tracking": "Total: 240"}, "Total: 240"),
        ({"tracking": "6472011501900001"}, "source id"),
        ({"day": ""}, "Tanggal Laporan Masuk"),
        ({"day": "31 Feb 2026"}, "31 Feb 2026"),
        ({"day": "3 Jax 2026"}, "Jax"),
        ({"clock": "25:00:00"}, "25:00:00"),
        ({"status": "Terbang"}, "Terbang"),
        ({"status": ""}, "Status Laporan"),
        ({"status": "Diproses oleh Sistem"}, "Diproses oleh Sistem"),
        ({"class_": "Pujian"}, "Pujian"),
        ({"unit": "6472011501900001"}, "unit"),
        ({"text": "x" * 40_000}, "32768"),
        ({"text": "a\x00b"}, "NUL"),
    ],
)
def test_a_damaged_row_is_named_by_line_and_the_rest_goes_in(
    tmp_path: Path, changed: dict[str, str], named: str
) -> None:
    rows = [sp4n_row(1), sp4n_row(2) | sp4n_row(2, **changed), sp4n_row(3)]
    found = read_all(write_csv(tmp_path / "a.csv", rows))
    assert [row.source.id for row in sound(found)] == ["9100001", "9100003"]
    (bad,) = refused(found)
    assert bad.line == 4  # the sound text before it takes two lines
    assert named in bad.reason
    assert len(bad.reason) <= 300


@pytest.mark.parametrize("lost", ["Status Laporan", "Tipe Laporan (Anonim/Rahasia)", "Tanggal Laporan Masuk"])
def test_a_missing_column_is_named(tmp_path: Path, lost: str) -> None:
    columns = [name for name in COLUMNS_21 if name != lost]
    with pytest.raises(Refused) as caught:
        read_all(write_csv(tmp_path / "a.csv", [sp4n_row()], columns=columns))
    assert lost in caught.value.detail
    assert caught.value.members["next"]


def test_a_doubled_column_is_refused_rather_than_guessed(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="Status Laporan"):
        read_all(write_csv(tmp_path / "a.csv", [sp4n_row()], columns=[*COLUMNS_21, "STATUS  Laporan"]))


def test_columns_may_stand_in_any_order_after_the_first(tmp_path: Path) -> None:
    columns = [COLUMNS_21[0], *reversed(COLUMNS_21[1:])]
    assert only(read_all(write_csv(tmp_path / "a.csv", [sp4n_row()], columns=columns))).data["state"] == "closed"
