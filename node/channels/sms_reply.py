"""What 1708 says, in Indonesian and the GSM 7-bit alphabet: one SMS of 160 characters, three where it quotes. Pure."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from sync_protocol.transitions import State

SMS_MAX_CHARACTERS: Final = 160  # one message of the GSM 7-bit alphabet; a second one costs as much again
_WIB: Final = timezone(timedelta(hours=7))
SMS_LONG_CHARACTERS: Final = 3 * 153  # three joined messages; `max-messages` of config/kannel.example.conf

#: What is in the basic alphabet of GSM 03.38 and in ASCII: one septet each, the same in every charset on the way.
_PLAIN: Final = re.compile(r"[A-Za-z0-9 !\"#%&'()*+,./:;<=>?\n-]*")

_STATES: Final = {
    State.RECEIVED: "diterima",
    State.AWAITING_INFORMATION: "menunggu kelengkapan informasi dari Anda",
    State.VERIFIED: "sudah diverifikasi",
    State.ASSIGNED: "sudah didisposisikan",
    State.IN_PROGRESS: "sedang ditindaklanjuti",
    State.ANSWERED: "sudah dijawab",
    State.ON_HOLD: "ditunda",
    State.CLOSED: "selesai",
    State.ARCHIVED: "diarsipkan",
}


def how_to_write(keyword: str = "") -> str:
    """For an empty message, a call for help, or a keyword without a text."""
    if keyword:
        return _fitted(
            "Anda menulis {} tanpa isi laporan. Tulis: {} (spasi) isi laporan Anda, lalu kirim ke 1708.", keyword
        )
    return (
        "Cara lapor: tulis nama daerah dan isi laporan, contoh: PekalonganKota jalan rusak di Jl. Merdeka. "
        "Cek laporan: STATUS (spasi) nomor laporan."
    )


def recorded(tracking: str, agency: str) -> str:
    """It went to the agency that was named, or is there already."""
    return _fitted(
        f"Terima kasih. Laporan Anda nomor {tracking} diteruskan ke {{}}. Cek: STATUS (spasi) nomor.", agency
    )


def recorded_at_desk(tracking: str) -> str:
    """It is not certain which agency is meant; a person decides."""
    return (
        f"Terima kasih. Laporan Anda nomor {tracking}. Admin nasional menentukan instansi yang berwenang. "
        "Cek: STATUS (spasi) nomor."
    )


def recorded_unconnected(tracking: str, agency: str) -> str:
    """The agency that was named takes no part yet."""
    return _fitted(
        f"Laporan Anda nomor {tracking}. {{}} belum terhubung, ditangani admin nasional. Cek: STATUS (spasi) nomor.",
        agency,
    )


def recorded_first_part(tracking: str) -> str:
    """The first part of a long message; the rest is on its way."""
    return f"Terima kasih. Laporan Anda nomor {tracking}. Cek: STATUS (spasi) nomor."


def status(tracking: str, state: State, owner: str, due_hour: int | None, offered_to: str | None) -> str:
    """Where a complaint stands, who has it, until when something is due (an hour since 1970, at which the day ends)."""
    due = "" if due_hour is None else f" Batas berikutnya {_day(due_hour)}."
    if offered_to is not None:
        return _fitted(f"Laporan {tracking} {_STATES[state]}, sedang diteruskan ke {{}}.{due}", offered_to)
    return _fitted(f"Laporan {tracking} {_STATES[state]}, instansi: {{}}.{due}", owner)


def answered(tracking: str, agency: str, words: str) -> str:
    """The agency has answered; what it said where that is known, in three SMS at most."""
    if not words:
        return _fitted(f"Laporan {tracking} sudah dijawab oleh {{}}. Cek: STATUS (spasi) nomor laporan.", agency)
    return _with_words(f"Laporan {tracking} sudah dijawab oleh {{}}: ", agency, words)


def information_requested(tracking: str, agency: str, words: str) -> str:
    """The agency asks the reporter for something."""
    if not words:
        return _fitted(f"Laporan {tracking}: {{}} meminta kelengkapan informasi dari Anda.", agency)
    return _with_words(f"Laporan {tracking}: {{}} meminta kelengkapan informasi: ", agency, words)


def number_unknown() -> str:
    """No such number, here or at the hub."""
    return (
        "Nomor laporan tidak ditemukan. Periksa kembali nomor pada SMS tanda terima, "
        "lalu kirim: STATUS (spasi) nomor laporan."
    )


def status_unknown_now() -> str:
    """The number is not of this node, and the hub, which would know it, does not answer."""
    return (
        "Status laporan belum dapat diperiksa karena gangguan sementara. "
        "Silakan coba lagi beberapa saat lagi: STATUS (spasi) nomor laporan."
    )


def number_wanted() -> str:
    """STATUS without a number, or with something that is none."""
    return (
        "Nomor laporan tidak lengkap atau salah ketik. Kirim: STATUS (spasi) nomor laporan, "
        "contoh: STATUS 3375-7K3M-9QXA-20BD-C."
    )


def too_many_guesses() -> str:
    """Too many numbers that do not exist."""
    return "Terlalu banyak nomor yang tidak ditemukan. Silakan coba lagi satu jam lagi."


def gsm_plain(text: str) -> str:
    """The text in letters that fit the basic alphabet: accents dropped, anything else a question mark."""
    plain = "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))
    return "".join(sign if _PLAIN.fullmatch(sign) else "?" for sign in plain)


def _fitted(template: str, name: str) -> str:
    """The template with the name in it, which is cut where the whole is too long."""
    room = (SMS_MAX_CHARACTERS - len(template.replace("{}", ""))) // template.count("{}")
    plain = gsm_plain(name)
    return template.replace("{}", plain if len(plain) <= room else plain[: room - 2].rstrip(" ,") + "..")


def _with_words(template: str, agency: str, words: str) -> str:
    """What an agency said, behind a beginning that is not longer than half of one SMS and a name."""
    beginning = _fitted(template, agency)
    plain = gsm_plain(" ".join(words.split()))
    room = SMS_LONG_CHARACTERS - len(beginning)
    return beginning + (plain if len(plain) <= room else plain[: room - 2].rstrip(" ,") + "..")


def _day(hour: int) -> str:
    """The last day before that hour, in the capital's zone: the hour is the end of a day in the agency's own."""
    return f"{datetime.fromtimestamp((hour - 1) * 3600, UTC).astimezone(_WIB):%d-%m-%Y}"
