"""The contract of ProjectionStore (node/hub/ports.py), run on every implementation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text

from node.deadlines.clocks import Duty
from node.deadlines.slot import HOUR_MS, Due, slot_of, slots_due
from node.hub.projection_ports import ProjectionStore
from node.store import projection_reading
from node.store.complaint_keys import complaint_key, complaint_of
from node.store.complaint_place import place_of, slot_at
from node.store.projection_postgres import COPY_FROM_ROWS, PostgresProjectionStore
from node.store.projection_records import (
    ComplaintRow,
    Cursor,
    InboxRow,
    ProjectionStep,
    RefusedChange,
    read_pointers,
)
from node.store.projection_store import SqlProjectionStore
from sync_protocol.errors import Unavailable
from sync_protocol.transitions import State
from tests.sim.disk import Disk, Mount
from tests.sim.memory_projection import MemoryProjectionStore, ProjectionState

Opener = Callable[[], Awaitable[ProjectionStore]]

FIRST = complaint_key("33.75:01890a5d-ac96-774b-bcce-b302099a8057")
SECOND = complaint_key("kementerian-panrb:01890a5d-ac96-774b-bcce-b302099a8058")


def pointer(index: int, position: int) -> bytes:
    return (index << 16 | position).to_bytes(8, "big")


def step_to(size: int, begins: int = 0) -> ProjectionStep:
    return ProjectionStep(begins, Cursor(size, bytes([size]) * 32, 1_000 + size))


@pytest.fixture(params=["sqlite", "postgresql", "memory"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens one and the same projection, as another process would; the one in memory is the simulation's."""
    if request.param == "postgresql":
        url = str(request.getfixturevalue("postgres_url"))
        return partial(PostgresProjectionStore.create_or_open, url)
    if request.param == "sqlite":
        return partial(SqlProjectionStore.create_or_open, tmp_path / "projection.db")
    disk = Disk("projection", ProjectionState())

    async def in_memory() -> ProjectionStore:
        return MemoryProjectionStore(Mount(disk))

    return in_memory


@pytest.fixture
async def store(opener: Opener) -> AsyncIterator[ProjectionStore]:
    opened = await opener()
    yield opened
    await opened.close()


def test_a_key_is_the_complaint_id_in_other_words() -> None:
    assert complaint_of(SECOND) == "kementerian-panrb:01890a5d-ac96-774b-bcce-b302099a8058"
    assert len(FIRST) == 16 + len("33.75")


async def test_an_empty_projection_begins_at_nothing(store: ProjectionStore) -> None:
    assert await store.cursor() == Cursor(0, bytes(32), 0)
    assert await store.load([FIRST]) == {}
    assert await store.load([]) == {}
    assert await store.totals() == (Cursor(), {})


async def test_complaints_and_cursor_move_together(store: ProjectionStore) -> None:
    rows = [ComplaintRow(FIRST, 5, b"one", pointer(3, 0)), ComplaintRow(SECOND, 7, b"\x00two", pointer(3, 1))]
    await store.commit(replace(step_to(4), born=rows))
    assert await store.cursor() == Cursor(4, b"\x04" * 32, 1_004)
    assert await store.load([SECOND, FIRST, FIRST[:16] + b"99"]) == {FIRST: b"one", SECOND: b"\x00two"}
    assert await store.complaint(SECOND) == (step_to(4).cursor, rows[1])
    assert await store.complaint(b"x" * 20) == (step_to(4).cursor, None)


async def test_a_change_replaces_state_and_place_and_adds_to_the_pointers(store: ProjectionStore) -> None:
    await store.commit(replace(step_to(1), born=[ComplaintRow(FIRST, 5, b"a", pointer(0, 7))]))
    later = ComplaintRow(FIRST, 2**62, b"longer", pointer(1, 0) + pointer(1, 65_535))
    await store.commit(replace(step_to(2, 1), changed=[later]))
    _, found = await store.complaint(FIRST)
    assert found is not None
    assert (found.state, found.place, found.number) == (b"longer", 2**62, 7)
    assert list(read_pointers(found.pointers)) == [(0, 7), (1, 0), (1, 65_535)]


async def test_a_state_of_the_greatest_size_and_many_rows_go_in(store: ProjectionStore) -> None:
    keys = [number.to_bytes(16, "big") + b"33" for number in range(3_000)]
    rows = [ComplaintRow(key, 1, key[:4] + bytes(number % 50), pointer(0, number)) for number, key in enumerate(keys)]
    rows.append(ComplaintRow(FIRST, 2, bytes(70_000), b"".join(pointer(1, n) for n in range(4_096))))
    rows += [ComplaintRow(SECOND[:15] + bytes([n]) + b"33", 3, bytes([n]) * 130_000, pointer(2, n)) for n in range(100)]
    await store.commit(replace(step_to(1), born=rows))
    last = SECOND[:15] + bytes([99]) + b"33"
    changed = [row._replace(state=b"changed", pointers=pointer(3, 0)) for row in rows[:2_000]]
    changed.append(ComplaintRow(last, 3, b"\xff" * 130_000, pointer(3, 1)))
    await store.commit(replace(step_to(2, 1), changed=changed))
    found = await store.load([*keys, FIRST])
    assert len(found) == 3_001
    assert found[FIRST] == bytes(70_000)
    assert found[keys[2_049]] == keys[2_049][:4] + bytes(49)
    assert {found[key] for key in keys[:2_000]} == {b"changed"}
    assert await store.load([last]) == {last: b"\xff" * 130_000}


@pytest.mark.parametrize("count", [1, COPY_FROM_ROWS - 1, COPY_FROM_ROWS, COPY_FROM_ROWS + 1])
async def test_few_and_many_new_complaints_are_alike(store: ProjectionStore, count: int) -> None:
    keys = [number.to_bytes(16, "big") + b"33.75" for number in range(count)]
    rows = [ComplaintRow(key, number, b"s%d" % number, pointer(0, number)) for number, key in enumerate(keys)]
    await store.commit(replace(step_to(1), born=rows))
    assert await store.load(keys) == {row.key: row.state for row in rows}


@pytest.mark.parametrize("few", [5_000, 1])
async def test_complaints_are_found_by_when_they_were_minted_the_newest_first(
    store: ProjectionStore, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projection_reading, "FEW_MAX", few)

    def key(at_ms: int, agency: str) -> bytes:
        return at_ms.to_bytes(6, "big") + b"\x70" + bytes(9) + agency.encode()

    wanted = [(100, 3, State.RECEIVED), (200, 5, State.CLOSED), (300, 3, State.CLOSED), (300, 4, State.RECEIVED)]
    rows = [
        ComplaintRow(key(at_ms, f"{owner}"), place_of(owner, state, 7), b"x", pointer(number, 0))
        for number, (at_ms, owner, state) in enumerate(wanted)
    ]
    await store.commit(replace(step_to(9), born=rows))
    all_states = list(State)

    async def found(
        first: int, end: int, agency: int | None = None, states: list[State] = all_states, limit: int = 9
    ) -> list[int]:
        first_key, end_key = (at_ms.to_bytes(6, "big") + bytes(10) for at_ms in (first, end))
        cursor, page = await store.complaints_minted(first_key, end_key, agency, states, limit)
        assert cursor == step_to(9).cursor
        return [rows.index(row) for row in page]

    assert await found(0, 400) == [3, 2, 1, 0]
    assert await found(100, 300) == [1, 0]
    assert await found(0, 400, limit=2) == [3, 2]
    assert await found(0, 400, agency=3) == [2, 0]
    assert await found(0, 400, agency=6) == []
    assert await found(0, 400, states=[State.CLOSED]) == [2, 1]
    assert await found(0, 400, agency=3, states=[State.RECEIVED]) == [0]
    _, rest = await store.complaints_minted(bytes(16), rows[3].key, None, all_states, 9)
    assert rest == [rows[2], rows[1], rows[0]]


async def test_a_step_from_elsewhere_writes_nothing(store: ProjectionStore) -> None:
    await store.commit(step_to(4))
    row = ComplaintRow(FIRST, 1, b"x", pointer(0, 0))
    for begins in (0, 3, 5):
        with pytest.raises(Unavailable):
            await store.commit(replace(step_to(9, begins), born=[row], totals={"applied/33//": 1}))
    assert (await store.cursor()).size == 4
    assert await store.load([FIRST]) == {}
    assert await store.totals() == (step_to(4).cursor, {})


async def test_of_two_projectors_with_the_same_step_one_wins(store: ProjectionStore, opener: Opener) -> None:
    other = await opener()
    try:
        for size in range(1, 9):
            row = ComplaintRow(size.to_bytes(16, "big") + b"33", size, b"x", pointer(size, 0))
            step = replace(step_to(size, size - 1), born=[row], totals={"applied/33//": 1})
            outcomes = await asyncio.gather(store.commit(step), other.commit(step), return_exceptions=True)
            assert [type(one) for one in outcomes if one] == [Unavailable]
        assert await other.totals() == (step_to(8).cursor, {"applied/33//": 8})
    finally:
        await other.close()


async def test_a_step_that_fails_half_way_leaves_nothing(store: ProjectionStore) -> None:
    row = ComplaintRow(FIRST, 1, b"x", pointer(0, 0))
    await store.commit(replace(step_to(1), born=[row]))
    twice = replace(step_to(2, 1), changed=[row._replace(state=b"y")], born=[row], totals={"applied/33//": 1})
    with pytest.raises(Exception, match=r"(?i)unique"):
        await store.commit(twice)
    assert await store.cursor() == step_to(1).cursor
    assert await store.load([FIRST]) == {FIRST: b"x"}
    assert await store.totals() == (step_to(1).cursor, {})


async def test_totals_are_added_up_and_ticks_replaced(store: ProjectionStore) -> None:
    await store.commit(replace(step_to(1), totals={"applied/33//": 3, "closed/33/system/": 1}, last_heard={"33.75": 5}))
    await store.commit(
        replace(
            step_to(2, 1),
            totals={"applied/33//": 2, "closed/33/system/": -1},
            last_heard={"33.75": 9, "33": None},
        )
    )
    assert await store.totals() == (step_to(2).cursor, {"applied/33//": 5, "closed/33/system/": 0})
    assert await store.last_heard() == {"33.75": 9, "33": None}
    assert await store.heard() == (step_to(2).cursor, {"33.75": 9, "33": None})


async def test_refused_changes_are_found_by_agency_and_seq(store: ProjectionStore) -> None:
    refused = [
        RefusedChange(2, 0, "33.75", 1, "id-a", 11),
        RefusedChange(2, 5, "33.75", 1, "", 2),
        RefusedChange(3, 1, "33.75", 2, "id-b", 14),
        RefusedChange(4, 0, "35.71", 1, "id-c", 14),
    ]
    await store.commit(replace(step_to(5), refused=refused))
    assert await store.refused("33.75", 1, 1) == refused[:2]
    assert await store.refused("33.75", 1, 9) == refused[:3]
    assert await store.refused("13.71", 1, 9) == []
    assert await store.refused_at(2) == (step_to(5).cursor, {0, 5})
    assert await store.refused_at(1) == (step_to(5).cursor, set())


async def test_what_agencies_are_told_is_read_in_the_order_of_the_log(store: ProjectionStore) -> None:
    told = [
        InboxRow("33.75", 5, 0, 0, FIRST),
        InboxRow("33.75", 2, 2, 11, None),
        InboxRow("35.71", 5, 1, 0, FIRST),
        InboxRow("35.06", 6, 2, 11, FIRST),
    ]
    await store.commit(replace(step_to(5), inbox=told))
    assert await store.inbox("33.75", -1, 9) == (step_to(5).cursor, [told[1], told[0]])
    assert (await store.inbox("33.75", 2, 9))[1] == [told[0]]
    assert (await store.inbox("33.75", -1, 1))[1] == [told[1]]
    assert (await store.inbox("33.75", 5, 9))[1] == []
    assert await store.told_since(5) == {"33.75", "35.71", "35.06"}
    assert await store.told_since(6) == {"35.06"}
    assert await store.holders(FIRST) == {"33.75", "35.71"}  # a refusal alone makes nobody a holder
    assert [await store.history_told(agency, FIRST, 6) for agency in ("35.71", "33.75")] == [5, None]
    assert await store.history_told("35.71", FIRST, 5) is None
    with pytest.raises(Unavailable):
        await store.commit(replace(step_to(9, 4), inbox=[InboxRow("33", 9, 0, 0, FIRST)]))
    assert await store.told_since(7) == set()
    await store.clear()
    assert await store.told_since(0) == set()


async def test_tracking_numbers_are_found_by_their_hash_and_read_on(
    store: ProjectionStore,
) -> None:
    assert await store.tracked_to() == 0
    await store.track(0, 4, [(7, FIRST), (7, b"other"), (9, FIRST)])
    with pytest.raises(Unavailable):
        await store.track(0, 9, [(8, FIRST)])
    await store.track(4, 6, [(7, FIRST)])
    assert await store.tracked_to() == 6
    assert sorted(await store.tracked(7)) == sorted([FIRST, b"other"])
    assert await store.tracked(8) == []
    await store.track(6, 7, [(5, b"%d" % number) for number in range(40)])
    assert len(await store.tracked(5)) == 16
    await store.clear()
    assert (await store.tracked_to(), await store.tracked(7)) == (0, [])


async def test_clearing_leaves_nothing(store: ProjectionStore) -> None:
    row = ComplaintRow(FIRST, 1, b"x", pointer(0, 0))
    step = replace(step_to(1), born=[row], totals={"applied/33//": 1}, last_heard={"33": 1})
    await store.commit(step)
    await store.clear()
    assert await store.cursor() == Cursor()
    assert await store.load([FIRST]) == {}
    assert await store.totals() == (Cursor(), {})
    assert await store.last_heard() == {}
    await store.commit(step)
    assert await store.load([FIRST]) == {FIRST: b"x"}


async def test_what_was_committed_is_there_after_opening_again(store: ProjectionStore, opener: Opener) -> None:
    await store.commit(replace(step_to(1), born=[ComplaintRow(FIRST, 1, b"x", pointer(0, 0))]))
    again = await opener()
    assert await again.load([FIRST]) == {FIRST: b"x"}
    await again.close()


def overdue_row(number: int, agency: int, state: State, slot: int) -> ComplaintRow:
    key = number.to_bytes(16, "big") + b"33.75"
    return ComplaintRow(key, place_of(agency, state, slot), b"s", pointer(1, number))


async def test_what_is_overdue_comes_from_all_agencies_in_pages_and_without_what_closes_itself(
    store: ProjectionStore,
) -> None:
    settle, close = Duty.SETTLE, Duty.CLOSE
    rows = [
        overdue_row(1, 3, State.ASSIGNED, slot_of(Due(50, settle), 0)),
        overdue_row(2, 9, State.RECEIVED, slot_of(Due(40, Duty.VERIFY), 0)),
        overdue_row(3, 9, State.ANSWERED, slot_of(Due(30, close), 0)),
        overdue_row(4, 3, State.CLOSED, slot_of(None, 1)),
        overdue_row(5, 4, State.ASSIGNED, slot_of(Due(50, settle), 0)),
        overdue_row(6, 3, State.ASSIGNED, slot_of(Due(51, settle), 0)),
    ]
    await store.commit(replace(step_to(1), born=rows))
    last = slots_due("overdue", 50 * HOUR_MS)[1]
    cursor, found = await store.overdue(last, None, 10)
    assert (cursor.size, [row.number & 0xFFFF for row in found]) == (1, [2, 1, 5])
    for seen in range(3):
        place = (slot_at(found[seen].place), found[seen].number)
        assert (await store.overdue(last, place, 10))[1] == found[seen + 1 :]
    assert (await store.overdue(last, None, 2))[1] == found[:2]


async def test_what_is_overdue_is_found_by_the_index_of_what_is_due(tmp_path: Path) -> None:
    """Both walks of it, in SQLite; PostgreSQL has the same index, spelt alike."""
    store = await SqlProjectionStore.create_or_open(tmp_path / "projection.db")
    try:
        async with store.readers.connect() as connection:
            values = {"slot": 1, "number": 1, "last": 9, "rows": 5}
            query = text(f"EXPLAIN QUERY PLAN {projection_reading.OVERDUE.text}")
            plan = [row[3] for row in (await connection.execute(query, values)).all()]
    finally:
        await store.close()
    walks = [line for line in plan if "complaint_due" in line]
    assert len(walks) == 2, plan
    assert not [line for line in plan if line == "SCAN complaint"], plan


async def test_an_agencys_list_may_be_of_some_slots_alone(store: ProjectionStore) -> None:
    rows = [overdue_row(n, 3, State.ASSIGNED, slot_of(Due(n, Duty.SETTLE), 0)) for n in range(1, 6)]
    await store.commit(replace(step_to(1), born=rows))
    slots = (slot_of(Due(2, 0), 0), slot_of(Due(4, 3), 0))
    _, found = await store.complaints_of(3, [State.ASSIGNED], None, 10, slots)
    assert found == rows[1:4]
    after = (slot_at(found[0].place), found[0].number)
    assert (await store.complaints_of(3, [State.ASSIGNED], after, 1, slots))[1] == rows[2:3]


async def test_duties_are_added_up_by_whether_their_hour_is_over(store: ProjectionStore) -> None:
    totals = {
        "duty/33.75/verify.late/": 2,
        "duty/33.75/settle.open/00000040": 3,
        "duty/33.75/settle.open/00000050": 4,
        "duty/33.75/settle.open/00000051": 5,
        "duty/64.72/settle.open/00000040": 1,
        "applied/33.75//": 9,
    }
    await store.commit(replace(step_to(1), totals=totals))
    assert await store.totals() == (step_to(1).cursor, {"applied/33.75//": 9})
    _, rows = await store.duties(("33.75", "33.75"), "00000050")
    assert [row for row in rows if "open" in row[1]] == [
        ("33.75", "settle.open", False, 5),
        ("33.75", "settle.open", True, 7),
    ]
    assert len((await store.duties(("33.75", "64.72"), ""))[1]) == 3
    gone = {"duty/64.72/settle.open/00000040": -1}
    await store.commit(replace(step_to(2, 1), totals=gone, has_tick=True))
    assert [row for row in (await store.duties(("64.72", "64.72"), "9"))[1] if row[3]] == []


async def test_absences_and_the_mark_of_the_tables_are_kept_until_everything_is_cleared(store: ProjectionStore) -> None:
    assert await store.tables_mark() == b""
    await store.clear(b"tables")
    await store.commit(replace(step_to(1), gaps=[("64.72", 5, 9), ("33.75", 7, 8)]))
    assert await store.gaps() == [("33.75", 7, 8), ("64.72", 5, 9)]
    assert await store.tables_mark() == b"tables"
    await store.clear(b"others")
    assert (await store.gaps(), await store.tables_mark(), await store.cursor()) == ([], b"others", Cursor())
