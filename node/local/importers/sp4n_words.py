"""The words of an SP4N-LAPOR! export and what they are in the protocol (§2.2): data, in one place.

Keys are folded by `column_key` (blanks and case do not count). Unknown flags, classes and states are refused with the
row, never guessed; unknown channels and reasons are `other`, with the words kept in the content line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SYSTEM: Final = "sp4n"
TRACKING_COLUMN: Final = "Tracking ID"

# The rows cannot be understood, or could show what must stay hidden, without these.
REQUIRED_COLUMNS: Final = (
    "Tracking ID",
    "Tanggal Laporan Masuk",
    "Klasifikasi Laporan",
    "Tipe Laporan (Anonim/Rahasia)",
    "Sumber Laporan",
    "Status Laporan",
)
OPTIONAL_COLUMNS: Final = (
    "Waktu Laporan Masuk",
    "Nama Pelapor",
    "ID Kategori",
    "Kategori",
    "Judul Laporan",
    "Isi Laporan Awal",
    "Isi Laporan Akhir",
    "Instansi Induk",
    "ID Instansi Terdisposisi",
    "Instansi Terdisposisi",
    "Alasan Tunda/Arsip",
    "Provinsi",
    "Kota/Kabupaten",
    "Kecamatan",
    "Kelurahan",
)

CLASSES: Final[Mapping[str, str]] = {
    "pengaduan berkadar pengawasan": "complaint_oversight",
    "pengaduan tidak berkadar pengawasan": "complaint_ordinary",
    "permintaan informasi": "information_request",
    "aspirasi": "aspiration",
}

FLAGS: Final[Mapping[str, str]] = {"anonim": "anonymous", "rahasia": "confidential"}

# Status → (state, who ended it). Where a unit is needed for the state, see sp4n.state_of.
STATES: Final[Mapping[str, str]] = {
    "belum terverifikasi": "received",
    "belum diverifikasi": "received",
    "menunggu verifikasi": "received",
    "laporan baru": "received",
    "baru": "received",
    "menunggu kelengkapan informasi": "awaiting_information",
    "terverifikasi": "verified",
    "sudah diverifikasi": "verified",
    "belum didisposisi": "verified",
    "belum didisposisikan": "verified",
    "terdisposisi": "assigned",
    "didisposisikan": "assigned",
    "belum ditindaklanjuti": "assigned",
    "proses": "in_progress",
    "diproses": "in_progress",
    "dalam proses": "in_progress",
    "sedang diproses": "in_progress",
    "sedang ditindaklanjuti": "in_progress",
    "dibuka kembali": "in_progress",
    "ditindaklanjuti": "answered",
    "sudah ditindaklanjuti": "answered",
    "ditanggapi": "answered",
    "sudah ditanggapi": "answered",
    "menunggu tanggapan pelapor": "answered",
    "tunda": "on_hold",
    "ditunda": "on_hold",
    "selesai": "closed",
    "ditutup": "closed",
    "arsip": "archived",
    "diarsipkan": "archived",
    "ditolak": "archived",
}
ENDED_BY: Final[Mapping[str, str]] = {
    "sistem": "system",
    "pelapor": "reporter",
    "admin": "officer",
    "admin instansi": "officer",
    "admin nasional": "officer",
    "petugas": "officer",
    "pejabat penghubung": "officer",
}

CHANNELS: Final[Mapping[str, str]] = {
    "website": "web",
    "web": "web",
    "situs": "web",
    "android": "android",
    "ios": "ios",
    "iphone": "ios",
    "sms": "sms",
    "twitter": "twitter",
    "x": "twitter",
    "whatsapp": "whatsapp",
    "wa": "whatsapp",
    "email": "email",
    "e-mail": "email",
    "surel": "email",
    "telepon": "phone",
    "call center": "phone",
    "call centre": "phone",
    "surat": "letter",
    "tatap muka": "desk",
    "datang langsung": "desk",
    "langsung": "desk",
    "loket": "desk",
    "sosialisasi": "outreach",
    "jemput bola": "outreach",
}

# The first whose words are all in the reason. Codes are stable: they are counted and compared over the years.
REASONS: Final[tuple[tuple[tuple[str, ...], str], ...]] = (
    (("sara", "bukti dukung", "tidak jelas", "tidak relevan"), "ineligible_catch_all"),
    (("kadaluarsa",), "expired"),
    (("kedaluwarsa",), "expired"),
    (("keinginan pelapor",), "reporter_wish"),
    (("permintaan pelapor",), "reporter_wish"),
    (("bukan", "wewenang"), "not_in_jurisdiction"),
    (("bukan", "kewenangan"), "not_in_jurisdiction"),
    (("duplikat",), "duplicate"),
    (("duplikasi",), "duplicate"),
    (("laporan ganda",), "duplicate"),
    (("laporan berulang",), "duplicate"),
    (("bukti dukung",), "no_evidence"),
    (("tidak jelas",), "unclear"),
    (("tidak relevan",), "irrelevant"),
    (("mengandung sara",), "hate_speech"),
    (("tidak sopan",), "abusive"),
    (("anggaran",), "awaiting_budget"),
    (("koordinasi",), "awaiting_coordination"),
    (("hukum",), "legal_proceedings"),
    (("kelengkapan",), "awaiting_information"),
)
