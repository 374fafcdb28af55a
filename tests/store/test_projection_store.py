"""The contract of ProjectionStore (node/hub/ports.py), run on every implementation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from node.hub.ports import ProjectionStore
from node.store.complaint_keys import complaint_key, complaint_of
from node.store.projection_records import (
    ComplaintRow,
    Cursor,
    ProjectionStep,
    RefusedChange,
    read_pointers,
)
from node.store.projection_store import SqlProjectionStore
from sync_protocol.errors import Unavailable

Opener = Callable[[Path], Awaitable[ProjectionStore]]
IMPLEMENTATIONS: dict[str, Opener] = {"sqlite": SqlProjectionStore.create}
FIRST = complaint_key("33.75:01890a5d-ac96-774b-bcce-b302099a8057")
SECOND = complaint_key("kementerian-panrb:01890a5d-ac96-774b-bcce-b302099a8058")


def pointer(index: int, position: int) -> bytes:
    return (index << 16 | position).to_bytes(8, "big")


def step_to(size: int, begins: int = 0) -> ProjectionStep:
    return ProjectionStep(begins, Cursor(size, bytes([size]) * 32, 1_000 + size))


@pytest.fixture(params=sorted(IMPLEMENTATIONS))
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ProjectionStore]:
    opened = await IMPLEMENTATIONS[request.param](tmp_path / "projection.db")
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
    rows = [ComplaintRow(FIRST, b"one", pointer(3, 0)), ComplaintRow(SECOND, b"\x00two", pointer(3, 1))]
    await store.commit(replace(step_to(4), complaints=rows))
    assert await store.cursor() == Cursor(4, b"\x04" * 32, 1_004)
    assert await store.load([SECOND, FIRST, FIRST[:16] + b"99"]) == {FIRST: b"one", SECOND: b"\x00two"}
    assert await store.complaint(SECOND) == (step_to(4).cursor, rows[1])
    assert await store.complaint(b"x" * 20) == (step_to(4).cursor, None)


async def test_a_change_replaces_the_state_and_adds_to_the_pointers(store: ProjectionStore) -> None:
    await store.commit(replace(step_to(1), complaints=[ComplaintRow(FIRST, b"a", pointer(0, 7))]))
    later = ComplaintRow(FIRST, b"longer", pointer(1, 0) + pointer(1, 65_535))
    await store.commit(replace(step_to(2, 1), complaints=[later]))
    _, found = await store.complaint(FIRST)
    assert found is not None
    assert found.state == b"longer"
    assert list(read_pointers(found.pointers)) == [(0, 7), (1, 0), (1, 65_535)]


async def test_a_state_of_the_greatest_size_and_many_rows_go_in(store: ProjectionStore) -> None:
    keys = [number.to_bytes(16, "big") + b"33" for number in range(3_000)]
    rows = [ComplaintRow(key, key[:4] + bytes(number % 50), pointer(0, number)) for number, key in enumerate(keys)]
    rows.append(ComplaintRow(FIRST, bytes(70_000), b"".join(pointer(0, n) for n in range(4_096))))
    rows += [ComplaintRow(SECOND[:15] + bytes([n]) + b"33", bytes([n]) * 130_000, b"") for n in range(100)]
    await store.commit(replace(step_to(1), complaints=rows))
    found = await store.load([*keys, FIRST])
    assert len(found) == 3_001
    assert found[FIRST] == bytes(70_000)
    assert found[keys[49]] == keys[49][:4] + bytes(49)
    last = SECOND[:15] + bytes([99]) + b"33"
    assert await store.load([last]) == {last: bytes([99]) * 130_000}


async def test_a_step_from_elsewhere_writes_nothing(store: ProjectionStore) -> None:
    await store.commit(step_to(4))
    for begins in (0, 3, 5):
        with pytest.raises(Unavailable):
            await store.commit(replace(step_to(9, begins), complaints=[ComplaintRow(FIRST, b"x", b"")]))
    assert (await store.cursor()).size == 4
    assert await store.load([FIRST]) == {}


async def test_totals_are_added_up_and_ticks_replaced(store: ProjectionStore) -> None:
    await store.commit(replace(step_to(1), totals={"applied": 3, "closed": 1}, last_heard={"33.75": 5}))
    await store.commit(replace(step_to(2, 1), totals={"applied": 2, "closed": -1}, last_heard={"33.75": 9, "33": None}))
    assert await store.totals() == (step_to(2).cursor, {"applied": 5, "closed": 0})
    assert await store.last_heard() == {"33.75": 9, "33": None}


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


async def test_clearing_leaves_nothing(store: ProjectionStore) -> None:
    step = replace(step_to(1), complaints=[ComplaintRow(FIRST, b"x", b"")], totals={"a": 1}, last_heard={"33": 1})
    await store.commit(step)
    await store.clear()
    assert await store.cursor() == Cursor()
    assert await store.load([FIRST]) == {}
    assert await store.totals() == (Cursor(), {})
    assert await store.last_heard() == {}
