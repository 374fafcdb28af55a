"""A local node and its way to the hub: the clock, the hub's word, receipts, what waits (architecture G9)."""

from __future__ import annotations

from typing import Final

from node.doctor.findings import Finding, Words, fail, ok, warn
from node.local.status import HALTED, WAITING, NodeStatus
from sync_protocol.errors import Refused, Unavailable
from sync_protocol.values import parse_timestamp
from sync_protocol.wire import HubDescription

CLOCK_REFUSED_S: Final = 60  # signed requests live for a minute (protocol §7.2): beyond, the hub refuses all of them
CLOCK_OFF_S: Final = 10  # no time server lets it come so far
_STATUS: Final = Words("`simpul node status` says more.", "`simpul node status` menjelaskan lebih lanjut.")


def hub_away(url: str, error: Unavailable) -> Finding:
    """Nobody answers as a hub would."""
    step = Words(
        "Check the network and the address. Nothing is lost: the node records, and pushes when the hub is back.",
        "Periksa jaringan dan alamatnya. Tidak ada yang hilang: node tetap mencatat dan mengirim bila hub kembali.",
    )
    return fail("hub", Words(f"{url} does not answer: {error.detail}", f"{url} tidak menjawab: {error.detail}"), step)


def check_hub(url: str, origin: str, told: HubDescription) -> Finding:
    """That who answers is the hub of this node's log."""
    if told.origin == origin:
        detail = f"log {origin}, {told.size:,}"
        return ok("hub", Words(f"{url} answers: {detail} leaves", f"{url} menjawab: {detail} daun"))
    step = Words("Correct hub_url in simpul.toml.", "Perbaiki hub_url di simpul.toml.")
    detail_en = f"{url} is another hub: its log is {told.origin}, this node's is {origin}"
    return fail(
        "hub-identity", Words(detail_en, f"{url} adalah hub lain: log-nya {told.origin}, log node ini {origin}"), step
    )


def check_clock(told: HubDescription, now_ms: int, took_s: float) -> Finding:
    """Ours beside the hub's; `now_ms` is when its answer came, `took_s` how long that took."""
    try:
        off_s = (now_ms - parse_timestamp(told.time)) / 1000
    except Refused:
        step = Words("Tell the hub's operator.", "Beri tahu operator hub.")
        return warn("clock", Words("the hub tells no time", "hub tidak memberi tahu waktu"), step)
    off_s = max(0.0, off_s - took_s) if off_s > 0 else off_s  # the answer was on its way for some of it
    detail = Words(f"{abs(off_s):.0f} s off the hub's clock", f"selisih {abs(off_s):.0f} detik dari jam hub")
    step = Words(
        "Set the clock, and keep it with a time server (chrony, systemd-timesyncd).",
        "Setel jam, dan jaga dengan server waktu (chrony, systemd-timesyncd).",
    )
    if abs(off_s) > CLOCK_REFUSED_S:
        return fail("clock", detail, step)
    return warn("clock", detail, step) if abs(off_s) > CLOCK_OFF_S else ok("clock", detail)


def check_admission(refused: Refused | None) -> Finding:
    """Whether the hub takes this node's key: the answer to a signed question."""
    if refused is None:
        return ok("admission", Words("the hub knows this node's key", "hub mengenal kunci node ini"))
    step = Words("Ask the hub's operator; nothing is lost.", "Tanyakan kepada operator hub; tidak ada yang hilang.")
    if "time" in refused.members:
        step = Words("Set the clock of this machine.", "Setel jam mesin ini.")
    detail = Words(f"the hub refuses this node: {refused.detail}", f"hub menolak node ini: {refused.detail}")
    return fail("admission", detail, step)


def check_receipts(status: NodeStatus, stale_after_s: float) -> Finding:
    """The age of the newest receipt: proof of disk, key, link and hub at once."""
    age_s = status.last_receipt_age_s
    if age_s is None:
        detail = Words("the hub has given no receipt yet", "hub belum pernah memberi tanda terima")
        return warn(
            "receipts", detail, Words("simpul node push DIR --until-drained", "simpul node push DIR --until-drained")
        )
    hours = age_s / 3600
    detail = Words(f"the newest receipt is {hours:.1f} hours old", f"tanda terima terbaru berumur {hours:.1f} jam")
    step = Words(
        "See that `simpul node serve` runs, or a timer with `simpul node push`; then look at the other findings.",
        "Pastikan `simpul node serve` berjalan, atau timer dengan `simpul node push`; lalu lihat temuan lain.",
    )
    return fail("receipts", detail, step) if age_s > stale_after_s else ok("receipts", detail)


def check_files(waiting: int, trouble: str | None) -> Finding:
    """Attached files on their way to the hub, and what is in the way of one of them."""
    detail = Words(f"{waiting} file(s) wait", f"{waiting} berkas menunggu")
    if trouble is None:
        return ok("files", detail)
    step = Words(
        "See docs/operations.md, 'Files'. Changes go on without them.",
        "Lihat docs/operations.md, 'Files'. Perubahan tetap terkirim tanpanya.",
    )
    return warn("files", Words(f"{detail.en}: {trouble}", f"{detail.id}: {trouble}"), step)


def check_pusher(status: NodeStatus) -> list[Finding]:
    """Halted, waiting or at work; and what an old backup left aside."""
    waiting = status.unsent + status.unacknowledged
    count = Words(f"{waiting} change(s) wait", f"{waiting} perubahan menunggu")
    trouble = status.troubles[0] if status.troubles else ""
    if status.pusher == HALTED:
        step = Words("Do what it says; the node goes on recording.", "Lakukan yang tertulis; node tetap mencatat.")
        findings = [fail("pusher", Words(f"halted: {trouble}", f"berhenti: {trouble}"), step)]
    elif status.pusher == WAITING:
        detail = Words(
            f"{count.en}, nothing goes out since {status.failing_since}: {trouble}",
            f"{count.id}, tidak ada yang terkirim sejak {status.failing_since}: {trouble}",
        )
        findings = [warn("pusher", detail, _STATUS)]
    else:
        findings = [ok("pusher", Words(f"{status.pusher}, {count.en}", f"{status.pusher}, {count.id}"))]
    if status.set_aside:
        step = Words("Look at each, and record what is meant.", "Periksa satu per satu, lalu catat yang dimaksud.")
        detail = Words(
            f"{status.set_aside} change(s) of an old backup are not possible any more and were set aside",
            f"{status.set_aside} perubahan dari cadangan lama tidak mungkin lagi dan disisihkan",
        )
        findings.append(warn("set-aside", detail, step))
    return findings
