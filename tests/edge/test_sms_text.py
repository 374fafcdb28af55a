"""What an SMS says: the agency that is named, or that none is named for certain; questions; what 1708 answers."""

from __future__ import annotations

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from node.channels.phone import normal_number
from node.channels.sms_keywords import load_keywords
from node.channels.sms_text import AsksHelp, AsksStatus, Message, Report, parse_message, read_tracking
from node.channels.spelling import distance
from node.directory import Kind, load_directory
from sync_protocol.values import format_tracking

AGENCIES = tuple(load_directory().values())
REGIONS = tuple(agency for agency in AGENCIES if agency.kind is not Kind.MINISTRY)
NUMBER = format_tracking("3375", 0x0123_4567_89AB_CDE)


def parsed(text: str) -> Message:
    return parse_message(text, load_keywords())


def report(text: str) -> Report:
    found = parsed(text)
    assert isinstance(found, Report), found
    return found


@pytest.mark.parametrize(
    ("text", "agency", "rest"),
    [
        ("PekalonganKota jalan rusak", "33.75", "jalan rusak"),
        ("pekalongankota jalan rusak", "33.75", "jalan rusak"),
        ("PEKALONGANKOTA: jalan rusak", "33.75", "jalan rusak"),
        ("pekalongan kota jalan rusak", "33.75", "jalan rusak"),
        ("Pekalongan-Kota, jalan rusak", "33.75", "jalan rusak"),
        ("  #PekalonganKota\njalan rusak ", "33.75", "jalan rusak"),
        ("Kota Pekalongan jalan rusak", "33.75", "jalan rusak"),
        ("Yth. Walikota Pekalongan, jalan rusak", "33.75", "jalan rusak"),
        ("LAPOR pemerintah kota pekalongan jalan rusak", "33.75", "jalan rusak"),
        ("Pemkot Pekalongan jalan rusak", "33.75", "jalan rusak"),
        ("PekalongKota jalan rusak", "33.75", "jalan rusak"),
        ("PekalonganKot jalan rusak", "33.75", "jalan rusak"),
        ("Pekalogan Kota jalan rusak", "33.75", "jalan rusak"),
        ("PekalonganKtoa jalan rusak", "33.75", "jalan rusak"),
        ("ＰｅｋａｌｏｎｇａｎＫｏｔａ jalan", "33.75", "jalan"),
        ("Pékalongan Kota jalan", "33.75", "jalan"),
        ("Pekalongan Kab. sawah kering", "33.26", "sawah kering"),
        ("Kabupaten Pekalongan sawah kering", "33.26", "sawah kering"),
        ("bupati kediri sawah kering", "35.06", "sawah kering"),
        ("KediriKota lampu mati", "35.71", "lampu mati"),
        ("Kota Padang lampu mati", "13.71", "lampu mati"),
        ("PadangPanjangKota lampu mati", "13.74", "lampu mati"),
        ("PadangPariaman lampu mati", "13.05", "lampu mati"),
        ("Padang Sidempuan lampu mati", "12.77", "lampu mati"),
        ("Padangsidimpuan lampu mati", "12.77", "lampu mati"),
        ("PadangLawasKab lampu mati", "12.21", "lampu mati"),
        ("kab. padang lawas utara lampu mati", "12.20", "lampu mati"),
        ("Kab Lima Puluh Kota lampu mati", "13.07", "lampu mati"),
        ("Surabaya macet", "35.78", "macet"),
        ("surabya macet", "35.78", "macet"),
        ("Jateng jalan berlubang", "33", "jalan berlubang"),
        ("Provinsi Jawa Tengah jalan berlubang", "33", "jalan berlubang"),
        ("pemprov DKI Jakarta banjir", "31", "banjir"),
        ("KemPanrb pungli", "kementerian-panrb", "pungli"),
        ("menpan rb pungli", "kementerian-panrb", "pungli"),
        ("Kemenkes antrian obat", "kementerian-kesehatan", "antrian obat"),
        ("Kementerian Dalam Negeri KTP belum jadi", "kementerian-dalam-negeri", "KTP belum jadi"),
        ("kemendagri KTP belum jadi", "kementerian-dalam-negeri", "KTP belum jadi"),
        ("BPN sertifikat lama", "kementerian-atr-bpn", "sertifikat lama"),
    ],
)
def test_an_agency_is_recognised_however_its_name_is_typed(text: str, agency: str, rest: str) -> None:
    found = report(text)
    assert (found.agency, found.text) == (agency, rest)


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("Pekalongan jalan rusak", {"33.75", "33.26"}),
        ("kediri jalan rusak", {"35.71", "35.06"}),
        ("Padang jalan rusak", {"13.71", "13.74", "13.05", "12.77", "12.21", "12.20"}),
        ("Padang Lawas jalan rusak", {"12.21", "12.20"}),
        ("Kota Padang Panajng jalan rusak", {"13.71", "13.74"}),
        ("Kota Bandung Barat jalan rusak", {"32.73", "32.17"}),
        ("Kab Pekalongan Kota jalan rusak", {"33.26", "33.75"}),
        ("Balukota jalan rusak", {"35.79", "72.71"}),
        ("Kemenke obat habis", {"kementerian-keuangan", "kementerian-kesehatan"}),
        ("Jakarta banjir", {"31", "31.71", "31.72", "31.73", "31.74", "31.75"}),
        ("Jogja macet", {"34", "34.71"}),
        ("Batu besar jatuh di jalan", {"35.79", "12.19"}),
        ("Batang pohon tumbang", {"33.25"}),
    ],
)
def test_what_fits_several_agencies_or_is_an_ordinary_word_names_none_and_keeps_all_words(
    text: str, fits: set[str]
) -> None:
    found = report(text)
    assert (found.agency, set(found.agencies), found.text) == (None, fits, text)


@pytest.mark.parametrize(
    "text",
    [
        "jalan rusak di Pekalongan",
        "Sekarang banjir di mana-mana",  # a letter away from Semarang
        "Datang ke kantor tidak ada orang",  # and from Batang
        "Kab/Kota Pekalongan jalan rusak",
        "NegeriDongeng jalan rusak",
        "tolong",
        "🚧🚧 awas",
        "status jalan rusak, kapan diperbaiki?",
    ],
)
def test_a_report_that_names_nobody_keeps_all_words(text: str) -> None:
    assert report(text) == Report(text)


@pytest.mark.parametrize("text", ["", "  \n", "\x00\x07", "...", "INFO", "bantuan?", "Lapor"])
def test_an_empty_message_or_a_call_for_help_is_no_report(text: str) -> None:
    assert parsed(text) == AsksHelp()


@pytest.mark.parametrize("text", ["PekalonganKota", "kota pekalongan:", "Kediri", "Yth. Kemenkes !!"])
def test_a_keyword_without_text_is_no_report(text: str) -> None:
    found = parsed(text)
    assert isinstance(found, AsksHelp)
    assert found.keyword


@pytest.mark.parametrize(
    "typed",
    [
        NUMBER,
        NUMBER.lower(),
        NUMBER.replace("-", " "),
        NUMBER.replace("-", ""),
        NUMBER.replace("-", "."),
        NUMBER.replace("-", " – "),
        f"({NUMBER})",
        NUMBER.replace("0", "O").replace("1", "l"),
    ],
)
@pytest.mark.parametrize(
    "before", ["STATUS ", "status", "Status: ", "cek status no. ", "LACAK #", "", "status laporan nomor "]
)
def test_a_number_is_understood_in_every_spelling_that_a_person_types(before: str, typed: str) -> None:
    if before == "status" and not typed[0].isdigit():
        before = "status "
    assert parsed(before + typed) == AsksStatus(NUMBER)


@pytest.mark.parametrize(
    "text", ["STATUS", "status:", "STATUS 1234567", f"STATUS {NUMBER[:-1]}", f"STATUS 9{NUMBER[1:]}"]
)
def test_status_without_a_number_or_with_a_mistyped_one_is_told_so(text: str) -> None:
    assert parsed(text) == AsksStatus(None)


@given(st.sampled_from(AGENCIES), st.integers(0, 2**60 - 1), st.data())
def test_every_number_survives_case_and_separators(agency: object, bits: int, data: st.DataObject) -> None:
    prefix = getattr(agency, "prefix", "")
    number = format_tracking(prefix, bits)
    typed = "".join(
        (sign.lower() if data.draw(st.booleans()) else sign) + data.draw(st.sampled_from(["", "", " ", "-"]))
        for sign in number.replace("-", "")
    )
    assert read_tracking(typed, load_keywords().prefixes) == number


@given(st.integers(0, 2**60 - 1), st.integers(0, 12), st.sampled_from("0123456789ABCDEFGHJKMNPQRSTVWXYZ"))
@example(1_297_650, 8, "K")  # its check character is an I, which was read as a 1 as well
def test_no_number_with_one_wrong_letter_is_taken_for_another(bits: int, place: int, letter: str) -> None:
    bare = format_tracking("3375", bits).replace("-", "")
    wrong = bare[: 4 + place] + letter + bare[5 + place :]
    assert read_tracking(wrong, load_keywords().prefixes) in (
        None,
        format_tracking("3375", bits) if wrong == bare else None,
    )


def test_every_agency_has_its_keyword_and_its_full_name() -> None:
    """All of them: Kabupaten Bangka has a road (jalan), and Kabupaten Bangkalan is another one."""
    for agency in AGENCIES:
        assert report(f"{agency.sms_keyword} air mati").agency == agency.code
        assert report(f"{agency.sms_keyword.upper()}:air mati").agency == agency.code
        for said in (", air mati", ": jalan rusak", "\nlampu padam"):
            assert report(agency.name + said).agency == agency.code, agency.name + said


def test_a_sign_within_a_name_is_no_end_of_it() -> None:
    assert report("Kab: Pati lampu padam").agency == "33.18"
    assert not report("Kota Padang Panajng air mati").is_certain


def test_a_report_that_has_the_check_character_of_a_number_by_chance_is_still_a_report() -> None:
    assert report("AcheBaratKab air mati").agency == "11.05"


@given(st.sampled_from(REGIONS), st.data())
def test_one_slip_in_a_keyword_never_leads_to_another_agency(agency: object, data: st.DataObject) -> None:
    code, keyword = (getattr(agency, member) for member in ("code", "sms_keyword"))
    place = data.draw(st.integers(0, len(keyword) - 2))
    typed = data.draw(
        st.sampled_from(
            [
                keyword[:place] + keyword[place + 1 :],
                keyword[:place] + keyword[place + 1] + keyword[place] + keyword[place + 2 :],
                keyword[:place] + data.draw(st.sampled_from(string.ascii_lowercase)) + keyword[place + 1 :],
                keyword[:place] + data.draw(st.sampled_from(string.ascii_lowercase)) + keyword[place:],
            ]
        )
    )
    found = parsed(f"{typed} air mati")
    exact = {other.code for other in AGENCIES if other.sms_keyword.lower() == typed.lower()}
    assert isinstance(found, Report)
    assert found.agency in ({None, code} | exact)


@given(st.text(max_size=400))
def test_whatever_is_typed_is_understood_somehow_and_no_word_is_lost(text: str) -> None:
    found = parsed(text)
    if isinstance(found, Report):
        kept = "".join(sign for sign in found.keyword + found.text if sign.isalnum())
        typed = "".join(sign for sign in text if sign.isalnum())
        assert typed.endswith(kept)
        assert found.text.strip()


@given(st.text("abcd", max_size=8), st.text("abcd", max_size=8), st.integers(0, 2))
def test_the_distance_is_symmetric_bounded_and_zero_for_equals_alone(one: str, other: str, most: int) -> None:
    found = distance(one, other, most)
    assert found == distance(other, one, most)
    assert (found == 0) == (one == other)
    assert 0 <= found <= most + 1


def test_letters_that_changed_places_are_one_slip() -> None:
    assert distance("kota", "koat", 2) == 1
    assert distance("kediri", "kdeiir", 2) == 2
    assert distance("kediri", "padang", 2) == 3


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("6281234567890", "+6281234567890"),
        ("081234567890", "+6281234567890"),
        ("+62 812-3456-7890", "+6281234567890"),
        ("+14155552671", "+14155552671"),
        ("1708", "1708"),
        ("TELKOMSEL", "TELKOMSEL"),
        ("", ""),
        ("999999999999999999999", "999999999999999999999"),
    ],
)
def test_numbers_have_one_spelling_and_short_codes_stay(written: str, normal: str) -> None:
    assert normal_number(written) == normal


def test_a_name_that_is_cut_by_a_comma_or_a_line_break_is_never_surely_another_agency_s() -> None:
    """Whatever stands between its words, in every spelling of every agency: it is theirs, or a person decides."""
    wrong = {}
    for agency in AGENCIES:
        for name in _spellings(agency.name):
            words = name.split()
            for place in range(1, len(words)):
                between = (", ", "\n")[(place + len(name)) % 2]
                text = f"{' '.join(words[:place])}{between}{' '.join(words[place:])} air mati"
                found = parsed(text)
                if isinstance(found, Report) and found.is_certain and found.agency != agency.code:
                    wrong[text] = found.agency
    assert wrong == {}


def _spellings(name: str) -> set[str]:
    short = {"Kabupaten ": "Kab ", "Kota ": "Pemkot ", "Provinsi ": "Prov "}
    found = {name}
    for kind, abbreviated in short.items():
        if name.startswith(kind):
            bare = name.removeprefix(kind)
            found |= {abbreviated + bare, bare, f"{bare} {kind.strip()}"}
    return found
