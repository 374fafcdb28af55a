"""The SMS channel behind a real Kannel (tests/edge/kannel.py): what citizens send, and what comes back to them."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from uuid import UUID

import pytest

from node.store.local_records import HeldComplaint
from tests.edge.kannel import SECRET, Kannel, kannel, needed
from tests.edge.kannel_run import Figures, KannelRun
from tests.edge.program import wait_for
from tests.edge.sms_node import SmsNode, sms_node

BACK_S = 20.0
HEADER = "%05%00%03%2A%02%"
BEGINNING = "Kota Pekalongan jalan di depan pasar rusak parah, sudah dua kali warga jatuh, "
REST = "mohon segera diperbaiki."
JOINED = (BEGINNING + REST).removeprefix("Kota Pekalongan ")


async def say(gateway: Kannel, text: str, *, is_answered: bool = True) -> list[str]:
    """Sends one SMS and gives what came back: one SMS, or nothing that was waited for."""
    sent, before = gateway.sent, len(gateway.got)
    sending = gateway.send([text], messages=1, interval_s=0.01)
    await asyncio.to_thread(wait_for, "it is sent", lambda: gateway.sent > sent, BACK_S, 0.02)
    if is_answered:
        await asyncio.to_thread(wait_for, "an answer", lambda: len(gateway.got) > before, BACK_S, 0.02)
    sending.terminate()
    await asyncio.to_thread(sending.wait, BACK_S)
    return gateway.got[before:]


async def test_a_report_its_status_and_a_call_for_help_go_through_kannel_and_back(tmp_path: Path) -> None:
    needed()
    async with sms_node(tmp_path / "node", secret=SECRET) as node:
        with kannel(tmp_path / "kannel", node.url) as gateway:
            (receipt,) = await say(gateway, "text PekalonganKota jalan & trotoar rusak 100%")
            (held,) = await node.held()
            assert held.state.tracking in receipt
            assert held.state.source is not None  # Kannel's ids are UUIDs: on the line, so that no backup forgets them
            assert UUID(held.state.source.id)
            assert (await node.changes(held))[0][2]["text"] == "jalan & trotoar rusak 100%"
            (status,) = await say(gateway, f"text status {held.state.tracking.lower()}")
            assert re.match(rf"Laporan {held.state.tracking} diterima, sedang diteruskan ke Kota Pekalongan\.", status)
            (help_,) = await say(gateway, "text PekalonganKota")
            assert "tanpa isi laporan" in help_
            assert len(await node.held()) == 1
            written = sorted(gateway.place.glob("*box.log"))
            assert [file.name for file in written] == ["bearerbox.log", "smsbox.log"]
            logs = "".join(file.read_text(errors="replace") for file in written)
            assert "6281234567890" not in logs
            assert "trotoar" not in logs


@pytest.mark.parametrize("joined_by", ["kannel", "node"])
async def test_a_long_sms_arrives_whole_whoever_joins_its_parts(tmp_path: Path, joined_by: str) -> None:
    needed()
    combining = "sms-combine-concatenated-mo = "
    changed = {} if joined_by == "kannel" else {combining + "true": combining + "false"}
    async with sms_node(tmp_path / "node", secret=SECRET) as node:
        with kannel(tmp_path / "kannel", node.url, changed=changed) as gateway:
            # bearerbox waits for the other part; the node answers the part that comes first, and keeps the number.
            second = await say(gateway, f"udh {HEADER}02 {REST.replace(' ', '+')}", is_answered=joined_by == "node")
            first = await say(
                gateway, f"udh {HEADER}01 {BEGINNING.replace(' ', '+')}", is_answered=joined_by == "kannel"
            )
            held = await joined(node)
            assert (await node.changes(held))[-2 if joined_by == "node" else 0][2]["text"] == JOINED
            assert [held.state.tracking in answer for answer in (*second, *first)] == [True]


async def joined(node: SmsNode) -> HeldComplaint:
    """The one complaint, once it is offered: both parts are there."""
    async with asyncio.timeout(BACK_S):
        while True:
            found = await node.held()
            if found and found[0].state.offer_to == "33.75":
                (held,) = found
                return held
            await asyncio.sleep(0.05)


@pytest.mark.slow
def test_no_sms_is_lost_or_doubled_while_desk_and_hub_are_killed(tmp_path: Path) -> None:
    needed()
    figures = KannelRun(tmp_path, Figures(messages=60, kills=2), 0.01, lambda _: None).run()
    assert figures.recorded == figures.answered == figures.numbers == 60
    assert len(figures.down_s) == 2
