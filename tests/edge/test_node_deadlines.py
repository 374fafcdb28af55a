"""Deadlines at a node: what is due, in which order, and closing by itself when the quiet period is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import pytest

from node.config_data import config_file
from node.deadlines.clocks import Clocks
from node.deadlines.slot import NOTHING_DUE
from node.deadlines.tables import Deadlines, deadlines_of_tables, read_deadlines
from node.directory import load_directory
from node.local.measuring import clocks_of, measure
from node.local.ports import LocalStore
from node.local.recording import Command, Minting, Outcome
from node.local.service import LocalService
from node.local.sweeper import PAGE, sweep, sweep_forever
from node.store.complaint_keys import complaint_key
from node.store.local_records import WrittenComplaint
from node.store.local_store import SqlLocalStore
from node.system import SystemRandomness
from sync_protocol.line import format_change
from sync_protocol.values import ComplaintId, format_timestamp, parse_timestamp
from tests.edge.hub_lab import LabClock, projected, running_hub
from tests.edge.hub_requests import read
from tests.edge.node_api import AGENCY, Api, MovableClock, serving

DAY_MS = 24 * 3_600_000


@lru_cache(maxsize=1)
def tables() -> Deadlines:
    return deadlines_of_tables()


def put(clock: MovableClock, moment: str) -> None:
    """The node's clock to that moment; it goes on from there."""
    clock.later_ms += parse_timestamp(moment) - clock.now_ms()


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path, deadlines=tables()) as running:
        put(running.clock, "2026-03-02T01:00:00.000Z")  # a Monday; eight in the morning in Pekalongan
        yield running


async def answered(api: Api) -> str:
    """A complaint that was answered now; its id."""
    complaint = str((await api.create())["complaint"])
    for change_type, members in (
        ("verified", {"class": "complaint_ordinary"}),
        ("assigned", {"unit": "dpu"}),
        ("answered", {"text": "Sudah diganti."}),
    ):
        assert (await api.change(complaint, change_type, **members)).status == 201
    return complaint


async def many_answered(api: Api, count: int) -> list[str]:
    """The same, past the server."""
    arrived = format_timestamp(api.clock.now_ms())
    data = {"channel": "web", "class": "complaint_ordinary", "received_at": arrived, "visibility": "public"}
    born = await api.service.record_all([Command("received", data=data)] * count)
    ids = [one.recorded.complaint for one in born if isinstance(one, Outcome)]
    for change_type, more in (
        ("verified", {"class": "complaint_ordinary"}),
        ("assigned", {"unit": "dpu"}),
        ("answered", {}),
    ):
        await api.service.record_all([Command(change_type, data=more, complaint=one) for one in ids])
    assert len(ids) == count
    return ids


async def shown(api: Api, complaint: str) -> Any:
    return (await api.get(f"/v1/complaints/{complaint}")).body["complaint"]


async def test_every_complaint_says_what_is_due_and_when(api: Api) -> None:
    complaint = (await api.create())["complaint"]
    told = await shown(api, complaint)
    assert (told["due_at"], told["duty"], told["overdue"]) == ("2026-03-05T17:00:00.000Z", "verify", False)
    put(api.clock, "2026-03-05T17:00:00.000Z")
    assert (await shown(api, complaint))["overdue"]
    await api.change(complaint, "verified", **{"class": "information_request"})
    told = await shown(api, complaint)
    assert (told["due_at"], told["duty"]) == ("2026-03-09T17:00:00.000Z", "first_answer")
    (line,) = (await api.get("/v1/complaints")).body["items"]
    assert line == told
    await api.change(complaint, "information_requested", text="Di mana?")
    assert (await shown(api, complaint))["due_at"] is None


async def test_what_is_overdue_and_soon_due_comes_in_pages_the_earliest_first(api: Api) -> None:
    ids = []
    for day in ("02", "03", "04", "05", "06"):
        put(api.clock, f"2026-03-{day}T01:00:00.000Z")
        ids += [(await api.create())["complaint"] for _ in range(2)]
    put(api.clock, "2026-03-09T01:00:00.000Z")  # due: 5, 6, 9, 10 and 11 March, five in the evening UTC

    async def found(due: str, query: str = "") -> list[str]:
        seen, after = [], ""
        while True:
            page = (await api.get(f"/v1/complaints?due={due}{query}{after}")).body
            seen += [one["complaint"] for one in page["items"]]
            if page["next"] is None:
                return seen
            after = f"&after={page['next']}"

    for query in ("&limit=1", "&limit=3", ""):
        assert await found("overdue", query) == ids[:4]
        assert await found("soon", query) == ids[4:8]
    assert await found("overdue", "&state=assigned") == []
    for wrong in ("due=late", "due=soon&after=AAAAAAAAAAE", "due=soon&due=soon", "after=AAAAAAAAAAAAAAAA"):
        assert (await api.get(f"/v1/complaints?{wrong}")).kind == "malformed"


async def test_an_answer_without_reply_closes_itself_once_its_time_is_over_and_no_hour_earlier(api: Api) -> None:
    complaint = await answered(api)
    put(api.clock, "2026-03-12T16:59:59.000Z")
    assert await sweep(api.store, api.service, api.clock) == 0
    put(api.clock, "2026-03-12T17:00:00.000Z")
    assert await sweep(api.store, api.service, api.clock) == 1
    history = (await api.get(f"/v1/complaints/{complaint}")).body["history"]
    assert [history[-1][name] for name in ("type", "actor", "data")] == [
        "closed", {"role": "system"}, {"by": "system", "reason": "quiet_period"},
    ]  # fmt: skip
    assert await sweep(api.store, api.service, api.clock) == 0


async def test_a_clock_that_jumps_back_closes_nothing_early(api: Api) -> None:
    put(api.clock, "2026-03-02T09:00:00.000Z")
    await answered(api)
    put(api.clock, "2025-12-01T00:00:00.000Z")
    await answered(api)  # by a clock that is wrong: its ten days count from there
    put(api.clock, "2026-01-01T00:00:00.000Z")
    assert await sweep(api.store, api.service, api.clock) == 1
    put(api.clock, "2026-03-12T16:00:00.000Z")
    assert await sweep(api.store, api.service, api.clock) == 0


async def test_a_reply_in_time_stops_the_closing_and_holding_and_offering_put_it_off(api: Api) -> None:
    replied, held, offered, plain = [await answered(api) for _ in range(4)]
    assert (await api.change(replied, "replied", text="Belum.")).status == 201
    assert (await api.change(held, "held", reason="weather")).status == 201
    assert (await api.change(offered, "offered", to="33.26", reason="place")).status == 201
    put(api.clock, "2026-03-20T00:00:00.000Z")
    assert await sweep(api.store, api.service, api.clock) == 1
    states = {name: (await shown(api, name))["state"] for name in (replied, held, offered, plain)}
    assert list(states.values()) == ["in_progress", "on_hold", "answered", "closed"]


async def test_two_processes_that_sweep_one_directory_close_each_complaint_once(api: Api) -> None:
    complaints = await many_answered(api, PAGE + 20)
    put(api.clock, "2026-03-20T00:00:00.000Z")
    other_store = await SqlLocalStore.open(api.file)
    try:
        minting = Minting(AGENCY, "PKL", api.clock, SystemRandomness(), deadlines=tables())
        async with LocalService(other_store, minting) as other:
            closed = await asyncio.gather(
                *(sweep(api.store, api.service, api.clock), sweep(other_store, other, api.clock)),
                *(sweep(api.store, api.service, api.clock), sweep(other_store, other, api.clock)),
            )
    finally:
        await other_store.close()
    assert sum(closed) == len(complaints)
    lines = [line for line, _ in await api.stored_changes() if b'"type":"closed"' in line]
    assert len(lines) == len(complaints)


async def test_a_reply_between_looking_and_closing_wins(api: Api) -> None:
    """The sweeper found the complaint; before its transaction begins, the reporter replies."""
    complaint = await answered(api)
    put(api.clock, "2026-03-20T00:00:00.000Z")

    class Slow(LocalService):
        async def record_all(self, commands: Any) -> Any:
            await super().record_all(
                [Command("replied", content={"text": "Belum."}, complaint=complaint, role="reporter")]
            )
            return await super().record_all(commands)

    async with Slow(api.store, api.service.minting) as slow:
        assert await sweep(api.store, slow, api.clock) == 0
    assert (await shown(api, complaint))["state"] == "in_progress"


async def test_a_sweep_that_is_cut_off_anywhere_goes_on_where_it_was(api: Api) -> None:
    complaints = await many_answered(api, PAGE + 5)
    put(api.clock, "2026-03-20T00:00:00.000Z")

    class Dying(LocalService):
        async def record_all(self, commands: Any) -> Any:
            await super().record_all(commands)
            raise OSError("the process dies")

    async with Dying(api.store, api.service.minting) as dying:
        with pytest.raises(OSError, match="dies"):
            await sweep(api.store, dying, api.clock)
    assert await sweep(api.store, api.service, api.clock) == len(complaints) - PAGE


@asynccontextmanager
async def sweeping(api: Api, *, closes: bool) -> AsyncIterator[None]:
    """The sweeper at work; when the block begins it has looked once, to the end, and begun to look again."""
    stop, looks = asyncio.Event(), api.faults.calls["measure_by"]
    store = cast("LocalStore", api.faults)
    sweeper = asyncio.create_task(
        sweep_forever(store, api.service, api.clock, tables(), stop, closes=closes, look_every_s=0.01)
    )
    try:
        async with asyncio.timeout(20):
            while api.faults.calls["measure_by"] < looks + 2:  # noqa: ASYNC110 - another task's work
                await asyncio.sleep(0.01)
        yield
    finally:
        stop.set()
        await sweeper


async def test_the_sweeper_survives_a_store_that_fails_and_may_be_switched_off(api: Api) -> None:
    complaint = await answered(api)
    put(api.clock, "2026-03-20T00:00:00.000Z")
    async with sweeping(api, closes=False):
        assert (await shown(api, complaint))["state"] == "answered"
    api.faults.error = OSError("disk full")
    async with sweeping(api, closes=True):
        api.faults.error = None
        async with asyncio.timeout(10):
            while (await shown(api, complaint))["state"] != "closed":  # noqa: ASYNC110 - another task's work
                await asyncio.sleep(0.01)


async def test_what_nobody_measured_is_measured_from_its_lines_as_it_was_when_it_was_recorded(api: Api) -> None:
    """After an update, or after sets came back from the hub: rows without clocks come to the very same."""
    await answered(api)
    complaint = (await api.create())["complaint"]
    await api.change(complaint, "verified", **{"class": "complaint_ordinary"})
    before = (await api.get("/v1/complaints")).body
    async with api.store.writing() as connection:
        await connection.exec_driver_sql("UPDATE complaint SET clocks = NULL, slot = NULL")
    assert {one["due_at"] for one in (await api.get("/v1/complaints")).body["items"]} == {None}
    assert await measure(api.store, tables(), str(AGENCY)) == 2
    assert (await api.get("/v1/complaints")).body == before
    assert await measure(api.store, tables(), str(AGENCY)) == 0


async def test_a_change_to_what_is_not_measured_yet_is_measured_with_the_rest(api: Api) -> None:
    complaint = await answered(api)
    async with api.store.writing() as connection:
        await connection.exec_driver_sql("UPDATE complaint SET clocks = NULL, slot = NULL")
    assert (await api.change(complaint, "replied", text="Belum.")).status == 201
    await measure(api.store, tables(), str(AGENCY))
    assert (await shown(api, complaint))["due_at"] == "2026-03-27T17:00:00.000Z", "fourteen days, less Nyepi and Eid"


async def test_other_tables_measure_what_is_open_anew(api: Api) -> None:
    complaint = (await api.create())["complaint"]
    await measure(api.store, tables(), str(AGENCY))
    quick = config_file("deadlines.toml").read_text().replace("working_days = 3", "working_days = 1")
    other = read_deadlines(quick, config_file("calendar.toml").read_text(), load_directory())
    assert await measure(api.store, other, str(AGENCY)) == 1
    assert (await shown(api, complaint))["due_at"] == "2026-03-03T17:00:00.000Z"


async def test_nothing_is_due_here_on_a_complaint_that_is_another_agencys_by_now(api: Api) -> None:
    complaint = ComplaintId.parse((await api.create())["complaint"])
    held = await api.store.complaint(complaint_key(complaint))
    assert held is not None
    assert held.clocks is not None
    gone = WrittenComplaint(held.key, replace_owner(held.state), held.changed_at_ms, held.clocks)
    async with api.store.transaction() as transaction:
        await transaction.record([gone], [])
    await measure(api.store, tables(), str(AGENCY))
    after = await api.store.complaint(held.key)
    assert after is not None
    assert after.slot is not None
    assert after.slot >= NOTHING_DUE


def replace_owner(state: Any) -> Any:
    copied = state.__copy__()
    copied.owner = "33.26"
    return copied


def test_the_clocks_of_a_complaint_born_elsewhere_begin_with_its_arrival() -> None:
    complaint = "33.26:01890a5d-ac96-774b-bcce-b302099a8057"

    def line(change_type: str, rev: int, day: int, data: dict[str, Any]) -> bytes:
        return format_change(
            id=f"01890a5d-ac96-774b-bcce-b3020000000{rev}",
            complaint=complaint,
            rev=rev,
            type=change_type,
            at=f"2026-03-0{day}T01:00:00.000Z",
            role="officer",
            unit=None,
            data=data,
            content=False,
        )

    accepted = line("accepted", 3, 2, {"offer": "A" * 43})
    verified = line("verified", 4, 3, {"class": "aspiration"})
    hours = [parse_timestamp(f"2026-03-0{day}T01:00:00.000Z") // 3_600_000 for day in (2, 3)]
    assert clocks_of([accepted, b"no line", verified], str(AGENCY)) == Clocks(None, hours[0], hours[1])
    assert clocks_of([verified], str(AGENCY)) == Clocks()


async def test_an_import_that_was_answered_before_is_not_closed_by_itself(api: Api) -> None:
    now = format_timestamp(api.clock.now_ms() - 90 * DAY_MS)
    data = {"channel": "other", "received_at": now, "state": "answered", "visibility": "public"}
    outcome = await api.service.record(Command("imported", data=data, role="system"))
    assert isinstance(outcome, Outcome)
    assert await sweep(api.store, api.service, api.clock) == 0


async def test_the_hub_says_the_same_of_the_same_changes(api: Api, tmp_path: Path) -> None:
    """What the node recorded goes to a hub line by line: both tell one due date for each complaint."""
    complaints = [await answered(api)]
    put(api.clock, "2026-03-06T18:00:00.000Z")
    complaints += [(await api.create(**{"class": kind}))["complaint"] for kind in ("aspiration", "information_request")]
    await api.change(complaints[0], "replied", text="Belum.")
    await api.change(complaints[1], "verified", **{"class": "aspiration"})
    await api.change(complaints[2], "verified", **{"class": "information_request"})
    await api.change(complaints[2], "held", reason="weather")
    put(api.clock, "2026-03-31T00:00:00.000Z")
    changes = await api.stored_changes()
    clock = LabClock()
    clock.at_ms = api.clock.now_ms()
    async with running_hub(tmp_path, clock=clock) as lab:
        agency = await lab.enrol(str(AGENCY))
        await agency.push_new([line for line, _ in changes], [said for _, said in changes if said is not None])
        await projected(lab)
        page = (await read(lab, agency.signer, f"/v1/agencies/{AGENCY}/complaints?state=all")).json["complaints"]
    names = ("complaint", "state", "due_at", "duty", "overdue")
    mine = (await api.get("/v1/complaints")).body["items"]
    assert len(mine) == 3
    assert sorted([[one[name] for name in names] for one in page]) == sorted(
        [[one[name] for name in names] for one in mine]
    )
