"""A log taken back from a copy of it, from nothing but keys and lock, and without some sets' lines (protocol §10.6)."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from node.audit.source import DirectorySource
from node.audit.url_source import UrlSource
from sync_protocol.errors import Refused, Unavailable
from tests.edge.refill_lab import AGENCIES, AWAY_MS, Disaster, audited, exported, roots_of, state_of


@asynccontextmanager
async def mirror(place: Path) -> AsyncIterator[str]:
    """The folder over HTTP; its address."""
    application = web.Application()
    application.router.add_static("/", place)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


async def lived(disaster: Disaster, *, with_content: bool = True) -> tuple[dict[int, bytes], str]:
    """A backup, more life, an export of it all."""
    async with disaster.hub() as lab:
        await disaster.live_a_day(1, *AGENCIES[:2], lab=lab)
    disaster.back_up()
    async with disaster.hub() as lab:
        await disaster.live_a_day(2, *AGENCIES, lab=lab)
        await exported(lab, disaster.place / "copy", with_content=with_content)
        return await roots_of(lab), await state_of(lab)


async def test_an_export_brings_back_the_log_and_its_lines(disaster: Disaster) -> None:
    roots, state = await lived(disaster)
    disaster.restore("hub.db")
    async with disaster.hub() as lab:
        assert await lab.hub.gathering.take_copy(DirectorySource(disaster.place / "copy")) == len(roots)
        assert await lab.hub.restoring.look(now=True)
        assert await roots_of(lab) == roots
        assert await state_of(lab) == state
        assert (await lab.hub.status())["missing_sets"] == []
        await audited(lab, disaster.place / "export")


async def test_a_mirror_brings_back_entries_and_the_nodes_their_lines(disaster: Disaster) -> None:
    """A cache of the tiles has no sets: the log is whole without them, and the fold waits for each."""
    roots, state = await lived(disaster)
    shutil.rmtree(disaster.place / "copy" / "sets")
    disaster.restore("hub.db")
    async with disaster.hub() as lab:
        async with mirror(disaster.place / "copy") as url:
            source = UrlSource(url, token=None)
            assert await lab.hub.gathering.take_copy(source) == len(roots)
            await source.close()
        assert await lab.hub.restoring.look(now=True)
        assert await roots_of(lab) == roots
        missing = (await lab.hub.status())["missing_sets"]
        assert {one["agency"] for one in missing} == set(AGENCIES)
        async with disaster.nodes(lab, *AGENCIES) as nodes:
            await disaster.knock(*nodes)
        assert (await lab.hub.status())["missing_sets"] == []
        assert await state_of(lab) == state
        await audited(lab, disaster.place / "export")


async def test_words_that_an_export_hides_are_shown_again_by_their_owner(disaster: Disaster) -> None:
    roots, state = await lived(disaster, with_content=False)
    disaster.restore("hub.db")
    async with disaster.hub() as lab:
        await lab.hub.gathering.take_copy(DirectorySource(disaster.place / "copy"))
        async with disaster.nodes(lab, *AGENCIES) as nodes:
            await disaster.knock(*nodes)
            await disaster.check_whole_again(lab, roots, state)
        for agency in AGENCIES:
            assert {one.hidden for one in await lab.hub.store.sets_of(agency, 1, 99)} == {0}


async def test_words_that_an_export_hides_are_asked_for_after_the_log_is_whole_too(disaster: Disaster) -> None:
    roots, state = await lived(disaster, with_content=False)
    disaster.restore("hub.db")
    async with disaster.hub() as lab:
        await lab.hub.gathering.take_copy(DirectorySource(disaster.place / "copy"))
        assert await lab.hub.restoring.look(now=True)
        hidden = [one for agency in AGENCIES for one in await lab.hub.store.sets_of(agency, 1, 99) if one.hidden]
        assert hidden != []
        async with disaster.nodes(lab, *AGENCIES) as nodes:
            await disaster.knock(*nodes)
        for agency in AGENCIES:
            assert {one.hidden for one in await lab.hub.store.sets_of(agency, 1, 99)} == {0}
            assert await lab.hub.store.wanted_seqs(agency) is None
        assert await roots_of(lab) == roots
        assert await state_of(lab) == state


async def test_a_database_that_is_lost_altogether_comes_back_from_nodes_lock_and_keys(disaster: Disaster) -> None:
    roots, state = await lived(disaster)
    disaster.lose_database()
    await disaster.make_empty()
    async with disaster.hub() as lab:
        assert (lab.hub.log.size, (await lab.hub.status())["log"]["size"]) == (0, 0)
        for path in ("/v1/hub", "/checkpoint", "/v1/agencies", "/v1/consistency?from=0&to=1", "/tile/0/000.p/1"):
            assert (await lab.call("GET", path)).kind == "recovering"
        async with disaster.nodes(lab, *AGENCIES) as nodes:
            for node in nodes:
                await node.received()
            await disaster.knock(*nodes)
            await disaster.check_whole_again(lab, roots, state)
            disaster.clock.at_ms += AWAY_MS
            for node in nodes:
                await node.drain()
            await audited(lab, disaster.place / "export")
    async with disaster.hub() as lab:
        assert (await lab.hub.status())["troubles"] == []


async def test_a_lost_database_without_the_statements_beside_the_lock_names_what_nobody_has(
    disaster: Disaster,
) -> None:
    roots, _ = await lived(disaster)
    disaster.lose_database()
    (disaster.root / "lock" / "statements.jsonl").unlink()
    await disaster.make_empty()
    async with disaster.hub() as lab:
        async with disaster.nodes(lab, *AGENCIES) as nodes:
            await disaster.knock(*nodes)
        await asyncio.sleep(1.5)
        shortfall = await lab.hub.restoring.shortfall()
        assert shortfall.entries == [(2, 2)]  # the tick: no node has it
        assert lab.hub.log.size == 0
        waiting = await lab.call("GET", "/v1/consistency?from=1&to=3")
        assert waiting.status == 503  # not that the log has no such size: it may be there soon
        await lab.hub.gathering.take_copy(DirectorySource(disaster.place / "copy"))
        await disaster.whole(lab)
        assert await roots_of(lab) == roots


async def test_a_damaged_statement_beside_the_lock_is_found_out_and_a_copy_mends_it(disaster: Disaster) -> None:
    roots, _ = await lived(disaster)
    disaster.lose_database()
    file = disaster.root / "lock" / "statements.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    assert lines[2].startswith(b'{"index":2,')
    file.write_bytes(b"".join([*lines[:2], lines[1].replace(b'"index":1,', b'"index":2,'), *lines[3:]]))
    await disaster.make_empty()
    async with disaster.hub() as lab:
        async with disaster.nodes(lab, *AGENCIES) as nodes:
            await disaster.knock(*nodes)
        assert not await lab.hub.restoring.look(now=True)
        assert lab.hub.log.size == 0
        (trouble,) = (await lab.hub.status())["troubles"]
        assert "does not lead to the checkpoint of size" in trouble
        await lab.hub.gathering.take_copy(DirectorySource(disaster.place / "copy"))
        await disaster.whole(lab)
        assert await roots_of(lab) == roots


async def test_a_copy_of_another_log_is_no_copy(disaster: Disaster, tmp_path: Path) -> None:
    await lived(disaster)
    (tmp_path / "elsewhere").mkdir()
    elsewhere = Disaster(tmp_path / "elsewhere")
    await lived(elsewhere)
    disaster.restore("hub.db")
    async with disaster.hub() as lab:
        with pytest.raises(Refused):
            await lab.hub.gathering.take_copy(DirectorySource(elsewhere.place / "copy"))
        assert await lab.hub.store.recovered_places(0, 1_000) == []


async def test_a_copy_whose_entries_were_exchanged_is_not_taken_in(disaster: Disaster) -> None:
    await lived(disaster)
    (bundle,) = (disaster.place / "copy" / "tile" / "entries").glob("*.p/*")
    data = bundle.read_bytes()
    bundle.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    disaster.restore("hub.db")
    async with disaster.hub() as lab:
        with pytest.raises(Refused):
            await lab.hub.gathering.take_copy(DirectorySource(disaster.place / "copy"))
        assert await lab.hub.store.recovered_places(0, 1_000) == []


async def lines_lost(disaster: Disaster) -> tuple[dict[int, bytes], str]:
    """The log is back, and nobody brought the lines of what was lost; disaster.place/copy has them."""
    known = await lived(disaster)
    bare = shutil.copytree(disaster.place / "copy", disaster.place / "bare")
    shutil.rmtree(bare / "sets")
    disaster.restore("hub.db")
    async with disaster.hub() as lab:
        await lab.hub.gathering.take_copy(DirectorySource(bare))
        assert await lab.hub.restoring.look(now=True)
    return known


async def test_the_fold_stands_still_before_a_set_without_lines_and_goes_on_with_them(disaster: Disaster) -> None:
    roots, _ = await lines_lost(disaster)
    async with disaster.hub(projector=True) as lab:
        (first, *_) = (await lab.hub.status())["missing_sets"]
        async with asyncio.timeout(20):
            while (await lab.hub.projection.cursor()).size < first["index"]:  # noqa: ASYNC110 - the hub's own task
                await asyncio.sleep(0.01)
        (trouble,) = (await lab.hub.status())["troubles"]
        assert f"{first['agency']} set {first['seq']}" in trouble
        with pytest.raises(Unavailable):
            async with lab.hub.projector.settled():
                raise AssertionError("an export would be without lines")
        async with disaster.nodes(lab, *AGENCIES) as nodes:
            await nodes[0].received()
            await nodes[0].drain()  # what is new goes in, whatever is missing
            assert lab.hub.log.size == len(roots) + 1
            await disaster.knock(*nodes)
            async with asyncio.timeout(20):
                while (await lab.hub.projection.cursor()).size < lab.hub.log.size:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        status = await lab.hub.status()
        assert (status["missing_sets"], status["troubles"]) == ([], [])
        assert status["projected_to"] == lab.hub.log.size
        await audited(lab, disaster.place / "export")


async def test_the_fold_goes_on_with_lines_that_a_command_beside_the_serving_hub_brought(disaster: Disaster) -> None:
    """Nothing is appended meanwhile, and nobody wakes it (simulated by seed 760)."""
    _, state = await lines_lost(disaster)
    async with disaster.hub(projector=True) as lab:
        async with asyncio.timeout(20):
            while not lab.hub.projector.is_paused:  # noqa: ASYNC110 - the hub's own task
                await asyncio.sleep(0.01)
        await lab.hub.gathering.take_copy(DirectorySource(disaster.place / "copy"))
        async with asyncio.timeout(20):
            while (await lab.hub.projection.cursor()).size < lab.hub.log.size:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert await state_of(lab) == state


async def test_lines_that_were_lost_are_taken_from_an_export_that_turns_up_later(disaster: Disaster) -> None:
    roots, state = await lines_lost(disaster)
    async with disaster.hub() as lab:
        assert (await lab.hub.status())["missing_sets"] != []
        await lab.hub.gathering.take_copy(DirectorySource(disaster.place / "copy"))
        assert (await lab.hub.status())["missing_sets"] == []
        assert await roots_of(lab) == roots
        assert await state_of(lab) == state


async def test_a_set_without_lines_is_not_found_and_lines_of_another_set_do_not_fill_it(disaster: Disaster) -> None:
    await lines_lost(disaster)
    async with disaster.hub() as lab, disaster.nodes(lab, AGENCIES[0]) as (node,):
        missing = [one for one in (await lab.hub.status())["missing_sets"] if one["agency"] == AGENCIES[0]]
        seq = missing[0]["seq"]
        with pytest.raises(Refused, match="lines of this set were lost"):
            await node.pusher.link.fetch_sets(seq)
        held = await node.store.live_set(seq)
        other = await node.store.live_set(seq + 1)
        assert held is not None
        assert other is not None
        own, foreign = await node.store.set_frames(held.id), await node.store.set_frames(other.id)
        path = f"/v1/agencies/{AGENCIES[0]}/change-sets/{seq}"
        headers = {"Content-Encoding": "zstd"}
        mixed = await lab.call("PUT", path, data=own[0] + foreign[1], headers=headers)
        assert (mixed.status, mixed.kind) == (422, "root-mismatch")
        right = await lab.call("PUT", path, data=own[0] + own[1], headers=headers)
        assert (right.status, right.json["hidden"]) == (200, 0)
