"""A hub whose query tables are damaged: the log is whole, every command says what to do, and `rebuild` does it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from node.wiring.doctor import hub_doctor
from node.wiring.hub import rebuild
from sync_protocol.errors import Refused
from tests.edge.place import settled_place
from tests.edge.program import told
from tests.edge.whole_way import NodeDirectory, serving_hub

GARBAGE = b"no database at all. " * 2_000


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a hub that holds five complaints, all folded; nobody serves it."""
    folder = tmp_path_factory.mktemp("projection")
    with settled_place(folder) as place:
        hub = place.hub.directory
    told("hub", "rebuild", hub)  # folded to the end, and the write-ahead log put away
    return hub


@pytest.fixture
def hub(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "hub")


def test_rebuild_puts_query_tables_that_are_no_database_aside_and_folds_the_same_state_anew(hub: Path) -> None:
    before = told("hub", "rebuild", hub)
    assert (before["aside"], before["before"]) == (None, before["after"])
    (hub / "projection.db").write_bytes(GARBAGE)
    for words in (("hub", "status", hub), ("hub", "export", hub, hub.with_name("out"))):
        error = told(*words, code=1)["error"]
        assert "projection.db is damaged" in error["detail"]
        assert f"simpul hub rebuild {hub}" in error["next"]
    mended = told("hub", "rebuild", hub)
    assert (mended["before"], mended["after"]) == (None, before["after"])
    assert Path(mended["aside"]).read_bytes() == GARBAGE
    assert told("hub", "rebuild", hub) == before
    assert told("hub", "status", hub)["projected_to"] == told("hub", "status", hub)["log"]["size"]


async def test_rebuild_mends_query_tables_that_open_and_are_damaged_further_on(hub: Path) -> None:
    wanted = (await rebuild(hub))["after"]
    file = hub / "projection.db"
    data = bytearray(file.read_bytes())
    for page in range(8_192, len(data), 8_192):  # the first page, with the schema, stays whole
        data[page : page + 200] = b"\xff" * 200
    for number in (1, 2):  # a second time nothing is written over
        file.write_bytes(data)
        folded: list[int] = []
        mended = await rebuild(hub, progress=lambda done, _total, folded=folded: folded.append(done))  # type: ignore[misc]
        assert folded == sorted(set(folded))  # once is enough: there is nothing to compare with
        assert (mended["before"], mended["after"]) == (None, wanted)
        assert mended["aside"] == f"{file}.damaged-{number}"
        assert file.with_name(f"{file.name}.damaged-{number}").read_bytes() == data
        assert await rebuild(hub) == {"before": wanted, "after": wanted, "aside": None}


async def test_the_doctor_names_damaged_query_tables_and_still_makes_the_other_checks(hub: Path) -> None:
    (hub / "projection.db").write_bytes(GARBAGE)
    found = {one["check"]: one for one in (await hub_doctor(hub))["findings"]}
    assert found.keys() >= {"disk", "permissions", "database", "serving"}
    assert "projection.db is damaged" in found["log"]["detail"]
    assert "simpul hub rebuild" in found["log"]["next"]


async def test_query_tables_that_a_serving_hub_has_open_are_not_moved_away_under_it(tmp_path: Path) -> None:
    with serving_hub(tmp_path) as hub:
        (hub.directory / "projection.db").write_bytes(GARBAGE)
        with pytest.raises(Refused, match="a hub serves from"):
            await rebuild(hub.directory)
        assert (hub.directory / "projection.db").read_bytes() == GARBAGE
    assert (await rebuild(hub.directory))["aside"] is not None


def test_a_damaged_database_of_a_node_is_named_by_its_path(tmp_path: Path) -> None:
    with serving_hub(tmp_path) as hub:
        node = NodeDirectory(tmp_path / "node")
        node.enrol(hub)
    database = node.directory / "node.db"
    for side in node.directory.glob("node.db-*"):
        side.unlink()
    database.write_bytes(GARBAGE)
    assert str(database) in told("node", "status", node.directory, code=1)["error"]["detail"]
