"""The script of the scene as a person reads it: Indonesian, with English below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from sync_protocol.values import parse_timestamp

WIB: Final = ZoneInfo("Asia/Jakarta")
_DAYS: Final = ("Senin", "Selasa", "Rabu", "Kamis", "Jumat", "Sabtu", "Minggu")
_MONTHS: Final = (
    *("Januari", "Februari", "Maret", "April", "Mei", "Juni"),
    *("Juli", "Agustus", "September", "Oktober", "November", "Desember"),
)
_CAST_WIDTH: Final = 17
_KINDS: Final = {
    "sms": "SMS",
    "requests": "Permintaan / requests",
    "change_sets": "Change sets",
    "inbox_items": "Kotak masuk / inbox",
}
_DUTIES: Final = {
    "verify": ("diverifikasi", "verified"),
    "first_answer": ("dijawab pertama kali", "answered for the first time"),
    "settle": ("diselesaikan", "settled"),
}


@dataclass(frozen=True)
class Line:
    """Something that happened."""

    at_ms: int
    who: str
    indonesian: str
    english: str


@dataclass
class Story:
    """Told as it happens, on a console if there is one."""

    console: Console | None = None
    lines: list[Line] = field(default_factory=list)

    def tell(self, at_ms: int, who: str, indonesian: str, english: str) -> None:
        """The next thing that happens."""
        before = self.lines[-1] if self.lines else None
        line = Line(at_ms, who, indonesian, english)
        self.lines.append(line)
        if self.console is None:
            return
        if before is None or _local(before.at_ms).date() != _local(at_ms).date():
            self.console.print()
            self.console.print(Rule(_day(at_ms), align="left", style="cyan"))
        table = Table.grid(padding=(0, 2))
        table.add_column(width=5, style="cyan", no_wrap=True)
        table.add_column(width=_CAST_WIDTH, style="bold")
        table.add_column(ratio=1)
        said = Text(indonesian)
        said.append(f"\n{english}", style="italic dim")
        table.add_row(f"{_local(at_ms):%H.%M}", who, said)
        self.console.print(table)

    def end(self, document: Mapping[str, Any]) -> None:
        """What came of it."""
        if self.console is None:
            return
        self.console.print()
        self.console.print(Rule("Yang dibuktikan / What is proven", align="left", style="green"))
        table = Table.grid(padding=(0, 2))
        for name, value in _proven(document):
            table.add_row(Text(name, style="bold"), Text(value))
        self.console.print(Padding(table, (0, 0, 1, 0)))


def due_words(due_at: str | None, duty: str | None) -> tuple[str, str]:
    """Until when what is to be done, in both languages."""
    if due_at is None or duty is None:
        return "Tidak ada batas waktu yang berjalan.", "No deadline is running."
    last = _local(parse_timestamp(due_at)) - timedelta(hours=1)  # the day that ends then
    day = f"{_DAYS[last.weekday()]} {last.day} {_MONTHS[last.month - 1]}"
    if duty == "close":
        return (
            f"Tanpa balasan, menutup dengan sendirinya sesudah {day} pukul 24.00.",
            f"Without a reply it closes by itself at the end of {last:%A %-d %B}.",
        )
    indonesian, english = _DUTIES[duty]
    return (
        f"Batas waktu: {indonesian} paling lambat {day} pukul 24.00.",
        f"To be {english} by the end of {last:%A %-d %B}.",
    )


def _proven(document: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    complaint, audit, delivered = document["complaint"], document["audit"], document["delivered"]
    verdict = "tidak ada temuan / nothing found" if audit["ok"] else "ADA TEMUAN / SOMETHING IS WRONG"
    return (
        ("Nomor / number", complaint["tracking"]),
        ("Pemilik / owner", f"{complaint['owner']} — {complaint['owner_name']}"),
        (
            "Keadaan / state",
            f"{complaint['state']}, oleh / by {complaint['closed_by']}, nilai / rated {complaint['rating']}",
        ),
        ("Penolakan / bounces", str(complaint["bounces"])),
        *(
            (
                _KINDS[kind],
                f"{count['messages']}, dikirim / delivered {count['deliveries']} kali / times",
            )
            for kind, count in delivered.items()
        ),
        ("Audit", f"{verdict}; {audit['change_sets']} change sets, state hash {audit['state_hash'][:16]}…"),
        ("Tenggat / deadlines", f"{len(document['deadlines'])} dihitung ulang, semua sama / recomputed, all the same"),
    )


def _local(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(WIB)


def _day(at_ms: int) -> str:
    day = _local(at_ms)
    return f"{_DAYS[day.weekday()]} {day.day} {_MONTHS[day.month - 1]} {day.year} / {day:%A %-d %B %Y}"
