"""Names of regions become codes only where there is no doubt."""

from __future__ import annotations

import pytest

from node.local.importers.areas import area_lookup

REGIONS = [
    ("33", "JAWA TENGAH"),
    ("33.26", "KABUPATEN PEKALONGAN"),
    ("33.75", "KOTA PEKALONGAN"),
    ("64", "KALIMANTAN TIMUR"),
    ("64.02", "KABUPATEN KUTAI KARTANEGARA"),
    ("64.72", "KOTA SAMARINDA"),
    ("31", "DKI JAKARTA"),
    ("31.71", "KOTA ADMINISTRASI JAKARTA PUSAT"),
    ("kementerian-panrb", "Kementerian PANRB"),
]


@pytest.mark.parametrize(
    ("province", "town", "code"),
    [
        ("Kalimantan Timur", "Kota Samarinda", "64.72"),
        ("Kalimantan Timur", "Kutai Kartanegara", "64.02"),
        ("Provinsi Jawa Tengah", "Kab. Pekalongan", "33.26"),
        ("Jawa Tengah", "Kota Pekalongan", "33.75"),
        ("Jawa Tengah", "Pekalongan", "33"),
        ("", "Pekalongan", None),
        ("", "Samarinda", "64.72"),
        ("DKI Jakarta", "Kota Jakarta Pusat", "31.71"),
        ("Kalimantan Timur", "Kota Surabaya", "64"),
        ("Kalimantan Timur", "", "64"),
        ("Atlantis", "Kota Samarinda", None),
        ("", "", None),
    ],
)
def test_a_region_is_found_by_name_and_a_doubt_gives_the_wider_one(province: str, town: str, code: str | None) -> None:
    assert area_lookup(REGIONS)(province, town) == code
