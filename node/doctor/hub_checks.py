"""A hub: whether it signs, what the lock store holds, how far the fold and the ticks are, and who is silent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from node.doctor.findings import Finding, Words, fail, ok, warn
from sync_protocol.wire import AgencyLine

LAG_SHORT_S: Final = 120  # the fold may stand still for 15 s in a rush; ten times that is no rush
LAG_LONG_S: Final = 900
TICKS_MISSED: Final = 2  # one may be on its way
AHEAD_S: Final = 60  # of the log's newest tick: that much a time server may set back
SHOWN_MAX: Final = 5  # agencies by name; a country would fill the screen

_RESTORED: Final = Words(
    "docs/operations.md, 'A restored hub'. Leave the lock folder alone.",
    "Lihat docs/operations.md, 'A restored hub'. Jangan sentuh folder lock.",
)


def server_away(words: str) -> Finding:
    """PostgreSQL does not answer."""
    step = Words(
        "See whether the database server runs and can be reached. Nothing was lost.",
        "Periksa apakah server basis data berjalan dan dapat dihubungi. Tidak ada yang hilang.",
    )
    return fail("database-server", Words(words, f"server basis data tidak menjawab: {words}"), step)


def check_signing(recovering: str | None, size: int) -> Finding:
    """Whether it signs, by log and lock."""
    if recovering is None:
        return ok("log", Words(f"the log of {size:,} leaves is whole", f"log dengan {size:,} daun utuh"))
    detail = Words(f"recovering: {recovering}", f"sedang memulihkan diri (recovering): {recovering}")
    return fail("log", detail, _RESTORED)


def check_lock(locked: int | None, size: int) -> Finding:
    """The lock store beside the log, which was read later and may have grown; sizes in leaves."""
    if locked is None:
        detail = Words("the lock store holds no checkpoint", "penyimpan lock tidak memuat checkpoint")
        return fail("lock", detail, _RESTORED)
    detail = Words(f"the lock holds {locked:,} leaves, the log {size:,}", f"lock memuat {locked:,} daun, log {size:,}")
    return ok("lock", detail) if locked <= size else fail("lock", detail, _RESTORED)


def check_projection(behind: int, oldest_s: float) -> Finding:
    """How many leaves are not folded yet, and for how long the first of them has been waiting."""
    if behind == 0:
        return ok("projection", Words("everything is folded", "semua sudah diolah"))
    detail = Words(
        f"{behind:,} leaves are not folded yet, the first for {oldest_s:.0f} s",
        f"{behind:,} daun belum diolah, yang pertama sejak {oldest_s:.0f} detik",
    )
    step = Words(
        "See that `simpul hub serve` runs, with projector on, and what its log says; `simpul hub rebuild` folds anew.",
        "Pastikan `simpul hub serve` berjalan dengan projector aktif dan lihat log-nya; atau `simpul hub rebuild`.",
    )
    if oldest_s > LAG_LONG_S:
        return fail("projection", detail, step)
    return warn("projection", detail, step) if oldest_s > LAG_SHORT_S else ok("projection", detail)


def check_ticks(tick_ms: int | None, now_ms: int, interval_s: float) -> list[Finding]:
    """The newest tick: that the hub tells the log the time, and that this machine's clock is not behind it."""
    if tick_ms is None:
        return []
    age_s = (now_ms - tick_ms) / 1000
    findings = []
    if age_s < -AHEAD_S:
        detail = Words(
            f"this machine's clock is {-age_s:.0f} s behind the time that stands in the log",
            f"jam mesin ini tertinggal {-age_s:.0f} detik dari waktu di dalam log",
        )
        step = Words("Set the clock, and keep it with a time server.", "Setel jam, dan jaga dengan server waktu.")
        findings.append(fail("clock", detail, step))
    else:
        findings.append(ok("clock", Words("not behind the log", "tidak tertinggal dari log")))
    detail = Words(f"the newest tick is {age_s / 60:.0f} minutes old", f"tick terbaru berumur {age_s / 60:.0f} menit")
    if age_s > TICKS_MISSED * interval_s:
        step = Words(
            "See that `simpul hub serve` runs and signs.", "Pastikan `simpul hub serve` berjalan dan menandatangani."
        )
        findings.append(fail("ticks", detail, step))
    else:
        findings.append(ok("ticks", detail))
    return findings


def check_agencies(lines: Sequence[AgencyLine]) -> Finding:
    """Who is silent or in trouble."""
    troubled = [line for line in lines if line.troubles]
    if not troubled:
        return ok("agencies", Words(f"{len(lines)} enrolled, all heard of", f"{len(lines)} terdaftar, semua terdengar"))
    shown = "; ".join(f"{line.agency}: {line.troubles[0]}" for line in troubled[:SHOWN_MAX])
    more = "" if len(troubled) <= SHOWN_MAX else " …"
    step = Words("simpul hub status DIR; call them.", "simpul hub status DIR; hubungi mereka.")
    count = f"{len(troubled)}/{len(lines)}"
    detail = Words(f"{count} in trouble: {shown}{more}", f"{count} bermasalah: {shown}{more}")
    return warn("agencies", detail, step)
