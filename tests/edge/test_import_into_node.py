"""The whole way of an import, into a real local node's database."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from node.config_data import config_file
from node.local.import_service import Comparison, ImportRun
from node.local.importers.areas import area_finder
from node.local.ports import LocalStore
from node.local.recording import Minting
from node.local.service import LocalService
from node.store.local_records import ComplaintFilter
from node.store.local_store import open_local_store
from node.system import SystemClock, SystemRandomness
from sync_protocol.line import parse_change
from sync_protocol.values import AgencyId
from tests.edge.import_support import WITA, sp4n_row, write_csv, write_xlsx

SAMARINDA = AgencyId("64.72")
STATUSES = ["Ditutup oleh Sistem"] * 6 + ["Diarsipkan oleh Admin"] * 3 + ["Menunggu Kelengkapan Informasi"] * 2 + ["?"]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalStore]:
    opened = await open_local_store(tmp_path / "local.db", create=True)
    yield opened
    await opened.close()


@pytest.fixture
async def service(store: LocalStore) -> AsyncIterator[LocalService]:
    async with LocalService(store, Minting(SAMARINDA, "SMR", SystemClock(), SystemRandomness())) as running:
        yield running


def run_into(service: LocalService) -> ImportRun:
    return ImportRun(service, WITA, area_finder(), SystemClock())


async def test_totals_by_state_are_the_files_own_and_a_second_import_adds_nothing(
    tmp_path: Path, service: LocalService, store: LocalStore
) -> None:
    rows = [sp4n_row(number, status=status) for number, status in enumerate(STATUSES, 1)]
    first = await run_into(service).run(write_csv(tmp_path / "a.csv", rows))
    again = await run_into(service).run(write_xlsx(tmp_path / "a.xlsx", rows))
    assert (first.read, first.imported, first.refused_count) == (12, 11, 1)
    assert (again.imported, again.already_there, again.refused_count) == (0, 11, 1)
    held = await store.complaints(ComplaintFilter())
    assert Counter(one.state.state.label for one in held) == {"closed": 6, "archived": 3, "awaiting_information": 2}
    assert {one.state.area for one in held} == {"64.72"}


async def test_a_comparison_names_what_is_only_in_the_old_system_and_records_nothing(
    tmp_path: Path, service: LocalService, store: LocalStore
) -> None:
    here = [sp4n_row(number) for number in range(1, 4)]
    await run_into(service).run(write_csv(tmp_path / "a.csv", here))
    for rows, missing in (([*here, sp4n_row(8), sp4n_row(9), sp4n_row(8)], 2), (here, 0)):
        comparison = Comparison(service)
        totals = await ImportRun(comparison, WITA, area_finder(), SystemClock()).run(
            write_csv(tmp_path / "b.csv", rows)
        )
        assert (totals.read, comparison.count, len(comparison.missing)) == (len(rows), missing, missing)
    assert len(await store.complaints(ComplaintFilter())) == 3


async def test_a_row_is_one_change_and_what_was_said_is_in_its_content_line(
    tmp_path: Path, service: LocalService, store: LocalStore
) -> None:
    await run_into(service).run(write_csv(tmp_path / "a.csv", [sp4n_row()]))
    (held,) = await store.complaints(ComplaintFilter())
    (recorded,) = await store.complaint_changes(held.no)
    content = recorded.content
    change = parse_change(recorded.line)
    assert (change.type, change.rev, change.actor.role) == ("imported", 1, "system")
    assert change.content
    assert held.state.tracking.startswith("SMR-")
    assert content is not None
    assert b"Pelapor 001" in content


async def test_two_imports_of_one_file_at_the_same_time_record_each_row_once(
    tmp_path: Path, service: LocalService, store: LocalStore
) -> None:
    path = write_csv(tmp_path / "a.csv", [sp4n_row(number) for number in range(1, 41)])
    both = await asyncio.gather(*(run_into(service).run(path) for _ in range(2)))
    assert sum(totals.imported for totals in both) == 40
    assert sum(totals.already_there for totals in both) == 40
    assert len(await store.complaints(ComplaintFilter())) == 40


async def test_the_worked_example_of_a_map_goes_the_whole_way(
    tmp_path: Path, service: LocalService, store: LocalStore
) -> None:
    map_file = config_file("csv-map.example.toml")
    path = tmp_path / "a.csv"
    path.write_text(
        "Nomor;Tanggal Masuk;Status;Kanal;Jenis;Topik;Dinas;Tanggal Selesai;Alasan;"
        "Judul;Isi;Alamat;Kelurahan;Kecamatan;Nama\n"
        "17;03/01/2026 08:15;Selesai;Loket;Saran;Jalan Rusak;PUPR;05/01/2026 09:00;;Judul;Isi;-;Bendan;Barat;Nama\n"
    )
    for imported in (1, 0):
        totals = await run_into(service).run(path, format_name="csv", map_file=map_file)
        assert (totals.imported, totals.refused) == (imported, [])
    (held,) = await store.complaints(ComplaintFilter())
    assert (held.state.class_, held.state.category, held.state.unit) == ("aspiration", "jalan-rusak", "pupr")
