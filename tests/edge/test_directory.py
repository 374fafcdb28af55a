"""The directory of agencies: whole, unambiguous, and refused with its line where it is not."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from node.config_data import config_file
from node.directory import Agency, Kind, load_directory
from sync_protocol.errors import Refused
from sync_protocol.values import AgencyId, format_tracking, parse_tracking

HEADER = "code,name,kind,province,timezone,prefix,sms_keyword\n"
PROVINCE = "33,Provinsi Jawa Tengah,province,33,Asia/Jakarta,33,ProvJawaTengah\n"
CITY = "33.75,Kota Pekalongan,city,33,Asia/Jakarta,3375,PekalonganKota\n"


def agency(code: str) -> Agency:
    return load_directory()[AgencyId(code)]


def test_all_provinces_regencies_cities_and_ministries_are_there() -> None:
    kinds = Counter(agency.kind for agency in load_directory().values())
    assert kinds[Kind.PROVINCE] == 38
    assert kinds[Kind.REGENCY] + kinds[Kind.CITY] == 514
    assert kinds[Kind.CITY] == 98
    assert kinds[Kind.MINISTRY] == 34


def test_codes_say_what_an_agency_is() -> None:
    forms = {
        Kind.PROVINCE: r"\d\d",
        Kind.REGENCY: r"\d\d\.[0-6]\d",
        Kind.CITY: r"\d\d\.7\d",
        Kind.MINISTRY: r"kementerian-[a-z-]+",
    }
    for found in load_directory().values():
        assert re.fullmatch(forms[found.kind], found.code), found


def test_nobody_shares_code_name_prefix_or_keyword() -> None:
    agencies = load_directory().values()
    for spellings in (
        {found.code for found in agencies},
        {found.name for found in agencies},
        {found.prefix for found in agencies},
        {found.sms_keyword.lower() for found in agencies},
    ):
        assert len(spellings) == len(agencies)


@pytest.mark.parametrize(
    ("city", "regency", "name"),
    [("33.75", "33.26", "Pekalongan"), ("35.71", "35.06", "Kediri"), ("13.72", "13.02", "Solok")],
)
def test_city_and_regency_of_one_name_are_told_apart_and_the_bare_name_is_nobodys(
    city: str, regency: str, name: str
) -> None:
    assert (agency(city).name, agency(regency).name) == (f"Kota {name}", f"Kabupaten {name}")
    assert (agency(city).sms_keyword, agency(regency).sms_keyword) == (f"{name}Kota", f"{name}Kab")
    assert name.lower() not in {found.sms_keyword.lower() for found in load_directory().values()}


def test_the_five_padangs_are_five() -> None:
    names = {code: agency(code).name for code in ("13.71", "13.74", "13.05", "12.77", "12.21")}
    assert names == {
        "13.71": "Kota Padang",
        "13.74": "Kota Padang Panjang",
        "13.05": "Kabupaten Padang Pariaman",
        "12.77": "Kota Padang Sidempuan",
        "12.21": "Kabupaten Padang Lawas",
    }


def test_every_zone_is_one_of_the_three_of_the_country() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    for found in load_directory().values():
        assert noon.astimezone(found.zone).utcoffset() in {timedelta(hours=hours) for hours in (7, 8, 9)}
    assert noon.astimezone(agency("64.72").zone).utcoffset() == timedelta(hours=8)
    assert noon.astimezone(agency("91.71").zone).utcoffset() == timedelta(hours=9)


def test_a_tracking_number_can_be_made_and_read_for_every_agency() -> None:
    for found in load_directory().values():
        tracking = format_tracking(found.prefix, 0x123456789ABCDEF)
        assert parse_tracking(tracking.lower().replace("-", " ")) == tracking


def test_the_directory_cannot_be_changed_by_who_reads_it() -> None:
    directory = load_directory()
    with pytest.raises(TypeError):
        directory[AgencyId("33.75")] = agency("33.26")  # type: ignore[index]


def test_the_attribution_of_the_region_data_travels_with_it() -> None:
    words = config_file("README.md").read_text(encoding="utf-8")
    assert "idn-area-data" in words
    assert "ODbL" in words


@pytest.mark.parametrize(
    ("lines", "line", "words"),
    [
        ("", 1, "header"),
        ("code,name\n", 1, "header"),
        (HEADER + PROVINCE + CITY + CITY, 4, "its code is the one of line 3"),
        (HEADER + PROVINCE + CITY + CITY.replace("33.75", "33.76"), 4, "its name is the one of line 3"),
        (
            HEADER + PROVINCE + CITY.replace("PekalonganKota", "provjawatengah"),
            3,
            "its sms_keyword is the one of line 2",
        ),
        (HEADER + PROVINCE + CITY.replace("33.75", "33.75 "), 3, "agency code"),
        (HEADER + PROVINCE + CITY.replace("city", "town"), 3, "town"),
        (HEADER + PROVINCE + CITY.replace("Jakarta", "Atlantis"), 3, "Atlantis"),
        (HEADER + PROVINCE + CITY.replace("Asia/Jakarta", "../../etc/passwd"), 3, "passwd"),
        (HEADER + PROVINCE + CITY.replace("3375", "33-75"), 3, "prefix"),
        (HEADER + PROVINCE + CITY.replace("PekalonganKota", "Kota Pekalongan"), 3, "sms_keyword"),
        (HEADER + CITY, 2, "does not lie in province"),
        (HEADER + PROVINCE + CITY.replace(",33,", ",35,"), 3, "does not lie in province"),
        (HEADER + PROVINCE + "33.75,Kota\n", 3, "number of columns"),
        (HEADER + PROVINCE + CITY.strip() + ",more\n", 3, "number of columns"),
        (HEADER + PROVINCE + '33.75,"Kota', 3, "unexpected end"),
    ],
)
def test_a_wrong_line_is_refused_with_its_number(tmp_path: Path, lines: str, line: int, words: str) -> None:
    path = tmp_path / "agencies.csv"
    path.write_text(lines, encoding="utf-8")
    with pytest.raises(Refused, match=f"in line {line}: .*{re.escape(words)}") as caught:
        load_directory(path)
    assert caught.value.kind == "configuration"


def test_a_directory_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "agencies.csv"
    path.write_bytes(HEADER.encode() + PROVINCE.replace("Jawa", "J\u00e1wa").encode("latin-1"))
    with pytest.raises(Refused, match="directory of agencies is wrong"):
        load_directory(path)
